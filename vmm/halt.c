/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tells a guest that has halted for good from one that is idle.
 *
 * Main asks, the vCPU threads answer between two KVM_RUNs (answer_halt_question() in vcpu.c): only
 * they may look at their registers. With the interrupt chips in the kernel KVM reports no HLT, and a
 * vCPU put back into KVM_RUN goes on halting. The guest pays a kick per second, and only while it is
 * idle.
 */
#include <pthread.h>
#include <time.h>

#include "vmm/vcpu.h"
#include "vmm/vm.h"

#define IDLE_NS	       (10 * 1000 * 1000)
#define ANSWER_STEP_NS (500 * 1000)
#define ANSWER_STEPS   200

/* CPU time since the last call below the threshold? One that has none to tell is not idle. */
static bool was_idle(struct vcpu *vcpu)
{
	struct timespec now;
	clockid_t clock;
	uint64_t ns, used;

	if (!vcpu->started || pthread_getcpuclockid(vcpu->thread, &clock) ||
	    clock_gettime(clock, &now))
		return false;
	ns = (uint64_t)now.tv_sec * 1000000000 + now.tv_nsec;
	used = ns - vcpu->cpu_time;
	vcpu->cpu_time = ns;
	return used < IDLE_NS;
}

static bool all_idle(struct vm *vm)
{
	bool idle = true;

	/* No early return: every vCPU's mark must be moved to now. */
	for (unsigned i = 0; i < vm->nvcpus; i++)
		idle &= was_idle(&vm->vcpu[i]);
	return idle;
}

static bool answered(struct vm *vm, uint32_t question, bool *halted)
{
	*halted = true;
	for (unsigned i = 0; i < vm->nvcpus; i++) {
		const uint32_t answer = atomic_load(&vm->vcpu[i].halt_answer);

		if (answer >> 1 != question)
			return false;
		*halted &= answer & 1;
	}
	return true;
}

bool vm_all_halted(struct vm *vm)
{
	const struct timespec step = { .tv_nsec = ANSWER_STEP_NS };
	uint32_t question;
	bool halted;

	/* One that holds gives no answer, and is woken by main rather than by an interrupt. */
	if (!vm->nvcpus || atomic_load(&vm->hold) & 1 || !all_idle(vm))
		return false;
	question = (atomic_load(&vm->vcpu[0].halt_asked) + 1) & (UINT32_MAX >> 1);
	for (unsigned i = 0; i < vm->nvcpus; i++) {
		atomic_store(&vm->vcpu[i].halt_asked, question);
		vcpu_kick(&vm->vcpu[i]);
	}
	for (unsigned i = 0; i < ANSWER_STEPS && vm_end_reason(vm, NULL) == VM_RUNNING; i++) {
		if (answered(vm, question, &halted))
			return halted;
		nanosleep(&step, NULL);
	}
	return false;
}
