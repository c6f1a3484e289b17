/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Holds all vCPUs between two instructions and lets them go on.
 *
 * vcpu_hold() runs on the vCPUs' threads, the rest on main; vm_paused() on both. Main never waits.
 * Knows no device and no disk.
 *
 * vm->hold counts pauses and resumes; vcpu->held says at which of them a vCPU began to hold. So a
 * vCPU that comes late cannot be taken for one that has come to a later pause, and nothing has to be
 * set back when a pause is taken back half-way. Two pairs of accesses matter:
 *
 * - A vCPU stores its `held` and then loads the others'; all of them seq_cst. So the last one in that
 *   order finds everybody there, and wakes main. With less, two vCPUs could each miss the other, and
 *   main would sleep on.
 * - The store of `held` releases what the vCPU has done, to its registers, to memory and to devices;
 *   vm_paused() on main acquires it. The way back is `hold` itself: main's store releases what it did
 *   meanwhile, the vCPU's load acquires it.
 */
#include <limits.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "vmm/arch.h"
#include "vmm/vcpu.h"
#include "vmm/vm.h"

/* Only main changes it. */
static bool advance(struct vm *vm, bool from_held)
{
	const uint32_t hold = atomic_load(&vm->hold);

	if ((hold & 1) != from_held)
		return false;
	atomic_store(&vm->hold, hold + 1);
	return true;
}

void vm_pause(struct vm *vm)
{
	if (!advance(vm, false))
		return;
	for (unsigned i = 0; i < vm->nvcpus; i++)
		vcpu_kick(&vm->vcpu[i]);
}

void vm_resume(struct vm *vm)
{
	if (advance(vm, true))
		syscall(SYS_futex, &vm->hold, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

bool vm_paused(struct vm *vm)
{
	const uint32_t hold = atomic_load(&vm->hold);

	if (!(hold & 1))
		return false;
	for (unsigned i = 0; i < vm->nvcpus; i++)
		if (atomic_load(&vm->vcpu[i].held) != hold)
			return false;
	return true;
}

static bool may_go_on(const struct vcpu *vcpu)
{
	return !atomic_load(&vcpu->stop) && vm_end_reason(vcpu->vm, NULL) == VM_RUNNING;
}

/* A resume between the load and the wait changes the futex's value, so that the wait does not begin;
 * vm_stop_vcpus() resumes for the same reason. */
void vcpu_hold(struct vcpu *vcpu)
{
	struct vm *vm = vcpu->vm;
	uint32_t hold;

	while ((hold = atomic_load(&vm->hold)) & 1 && may_go_on(vcpu)) {
		if (atomic_load_explicit(&vcpu->held, memory_order_relaxed) != hold) {
			atomic_store(&vcpu->held, hold);
			if (vm_paused(vm))
				vm_wake_main(vm);
		}
		syscall(SYS_futex, &vm->hold, FUTEX_WAIT_PRIVATE, hold, NULL, NULL, 0);
	}
	arch_vcpu_resumes(vcpu);
}
