/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A vCPU and its thread: KVM_RUN, dispatch of the exit to a bus, and again.
 *
 * vcpu_thread() and what it calls run on the vCPU's own thread, everything else on main. Knows no
 * device; exits that only one architecture has go to arch_vcpu_exit().
 *
 * How a kick is never lost: main stores what it wants (stop, halt_asked, vm->hold), then immediate_exit = 1,
 * then sends the signal. The thread clears immediate_exit and then looks at what main wants. If the
 * clear overwrote main's 1, the look comes after main's store and sees it; if it did not, the next
 * KVM_RUN returns at once. The clear is a seq_cst exchange because the look must not be done before
 * it. The signal is for a thread that is inside KVM_RUN already.
 */
#include "vmm/vcpu.h"

#include <errno.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "vmm/arch.h"
#include "vmm/kvm.h"
#include "vmm/thread_signals.h"

#define KICK_SIGNAL SIGRTMIN
#define VCPU_STACK  (128 << 10)

int vcpu_init(struct vcpu *vcpu, struct vm *vm, unsigned id, struct error *err)
{
	int ret;

	*vcpu = (struct vcpu){ .vm = vm, .id = id, .cpu = -1, .run = MAP_FAILED };
	vcpu->fd = ret = kvm_create_vcpu(vm->fd, id);
	if (ret < 0)
		return error_set(err, -ret, "KVM cannot create vCPU %u", id);
	ret = kvm_vcpu_mmap_size(vm->kvm_fd);
	if (ret < (int)sizeof(*vcpu->run)) {
		ret = error_set(err, ret < 0 ? -ret : EIO,
				"KVM names no size for the state of vCPU %u", id);
		goto err_fd;
	}
	vcpu->run_size = ret;
	vcpu->run = mmap(NULL, vcpu->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu->fd, 0);
	if (vcpu->run == MAP_FAILED) {
		ret = error_set(err, errno, "cannot map the state of vCPU %u", id);
		goto err_fd;
	}
	ret = arch_vcpu_init(vcpu, err);
	if (ret)
		goto err_run;
	return 0;

err_run:
	munmap(vcpu->run, vcpu->run_size);
err_fd:
	close(vcpu->fd);
	return ret;
}

void vcpu_destroy(struct vcpu *vcpu)
{
	munmap(vcpu->run, vcpu->run_size);
	close(vcpu->fd);
}

static void set_immediate_exit(struct vcpu *vcpu, uint8_t on)
{
	__atomic_exchange_n(&vcpu->run->immediate_exit, on, __ATOMIC_SEQ_CST);
}

static void handle_mmio(struct vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;

	if (run->mmio.is_write)
		bus_write(&vcpu->vm->mmio, run->mmio.phys_addr, run->mmio.data, run->mmio.len);
	else
		bus_read(&vcpu->vm->mmio, run->mmio.phys_addr, run->mmio.data, run->mmio.len);
}

/* An access of the guest's to a device? Then it has been done. */
static bool handle_access(struct vcpu *vcpu)
{
	if (vcpu->run->exit_reason != KVM_EXIT_MMIO)
		return arch_vcpu_exit(vcpu);
	handle_mmio(vcpu);
	return true;
}

static const char *internal_error_name(uint32_t suberror)
{
	switch (suberror) {
	case KVM_INTERNAL_ERROR_EMULATION:
		return "an instruction that KVM cannot emulate";
	case KVM_INTERNAL_ERROR_SIMUL_EX:
		return "an exception during an exception";
	case KVM_INTERNAL_ERROR_DELIVERY_EV:
		return "an exit while an event was being delivered";
	case KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON:
		return "an exit reason that KVM does not know";
	default:
		return "of a kind that mvmm does not know";
	}
}

static void handle_internal_error(struct vcpu *vcpu)
{
	const struct kvm_run *run = vcpu->run;
	char data[17 * 20] = "";
	size_t n = 0;

	for (unsigned i = 0; i < run->internal.ndata && i < 16; i++)
		n += snprintf(data + n, sizeof(data) - n, " %#llx",
			      (unsigned long long)run->internal.data[i]);
	vcpu_crash(vcpu, "KVM internal error %u: %s; data:%s", run->internal.suberror,
		   internal_error_name(run->internal.suberror), n ? data : " none");
}

static void handle_system_event(struct vcpu *vcpu)
{
	const uint32_t type = vcpu->run->system_event.type;

	if (type == KVM_SYSTEM_EVENT_SHUTDOWN)
		vm_request_end(vcpu->vm, VM_END_POWEROFF, 0);
	else if (type == KVM_SYSTEM_EVENT_RESET)
		vm_request_end(vcpu->vm, VM_END_RESET, 0);
	else if (type == KVM_SYSTEM_EVENT_CRASH)
		vm_note_panic(vcpu->vm);
	else
		vcpu_crash(vcpu, "system event %u, which mvmm does not know", type);
}

static void handle_other(struct vcpu *vcpu)
{
	const struct kvm_run *run = vcpu->run;

	switch (run->exit_reason) {
	case KVM_EXIT_INTR:
		break;
	case KVM_EXIT_SHUTDOWN:
		vcpu_crash(vcpu, "triple fault");
		break;
	case KVM_EXIT_FAIL_ENTRY:
		vcpu_crash(vcpu, "the CPU refuses to enter the guest: hardware reason %#llx",
			   (unsigned long long)run->fail_entry.hardware_entry_failure_reason);
		break;
	case KVM_EXIT_INTERNAL_ERROR:
		handle_internal_error(vcpu);
		break;
	case KVM_EXIT_SYSTEM_EVENT:
		handle_system_event(vcpu);
		break;
	default:
		vcpu_crash(vcpu, "exit reason %u (hardware %#llx), which mvmm does not know",
			   run->exit_reason, (unsigned long long)run->hw.hardware_exit_reason);
	}
}

/*
 * EAGAIN: a vCPU that waited for INIT or SIPI has got it. One that has nothing to wait for and hears
 * it again cannot begin: KVM wants a thread of the host's at the first KVM_RUN, and there is none.
 */
static bool was_woken(struct vcpu *vcpu)
{
	const bool before = vcpu->woken;
	struct kvm_mp_state state;

	vcpu->woken = !kvm_ioctl(vcpu->fd, KVM_GET_MP_STATE, &state) &&
		      state.mp_state == KVM_MP_STATE_RUNNABLE;
	return !before;
}

static void run_once(struct vcpu *vcpu)
{
	const int ret = kvm_ioctl(vcpu->fd, KVM_RUN, NULL);

	if (ret != -EAGAIN)
		vcpu->woken = false;
	/* EINTR: a kick. exit_reason says nothing. */
	if (ret == -EINTR || (ret == -EAGAIN && was_woken(vcpu)))
		set_immediate_exit(vcpu, 0);
	else if (ret < 0)
		vcpu_host_error(vcpu, -ret, "KVM_RUN");
	else if (!handle_access(vcpu))
		handle_other(vcpu);
}

static void answer_halt_question(struct vcpu *vcpu)
{
	const uint32_t asked = atomic_load(&vcpu->halt_asked);

	if (asked != atomic_load_explicit(&vcpu->halt_answer, memory_order_relaxed) >> 1)
		atomic_store(&vcpu->halt_answer, asked << 1 | arch_vcpu_halted(vcpu));
}

/*
 * KVM finishes an instruction that left for user space only at the next KVM_RUN, and may then leave
 * again for the rest of it (an access across two pages, a string instruction), or for what the
 * instruction has led to. Without this the last write to a device could be half done, and the
 * registers would still stand before it. A string instruction's repetitions stand on their own, so a
 * hostile count may be cut; nothing of it is lost where the guest goes on.
 */
static void finish_access(struct vcpu *vcpu)
{
	for (unsigned i = 0; i < 16; i++) {
		set_immediate_exit(vcpu, 1);
		if (kvm_ioctl(vcpu->fd, KVM_RUN, NULL) < 0)
			return;
		if (!handle_access(vcpu)) {
			handle_other(vcpu);
			return;
		}
	}
}

/* Leaves immediate_exit set: all that main may want is looked at anew before the guest goes on. */
static void hold(struct vcpu *vcpu)
{
	if (!(atomic_load(&vcpu->vm->hold) & 1))
		return;
	finish_access(vcpu);
	vcpu_hold(vcpu);
}

/* A kick that comes before the wait is lost, but vcpu_join() kicks again. */
static bool wait_for_release(struct vcpu *vcpu)
{
	_Atomic uint32_t *released = &vcpu->vm->released;

	while (!atomic_load(released) && !atomic_load(&vcpu->stop))
		syscall(SYS_futex, released, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);
	return atomic_load(released);
}

/* Itself: to name another thread takes a file of /proc. */
static void name_thread(const struct vcpu *vcpu)
{
	char name[16];

	snprintf(name, sizeof(name), "vcpu%u", vcpu->id);
	prctl(PR_SET_NAME, name);
}

static void run_guest(struct vcpu *vcpu)
{
	/* A guest that has asked for its end does not run on: main needs time to come and stop it. */
	while (!atomic_load(&vcpu->stop) && vm_end_reason(vcpu->vm, NULL) == VM_RUNNING) {
		answer_halt_question(vcpu);
		hold(vcpu);
		run_once(vcpu);
	}
	finish_access(vcpu);
}

static void *vcpu_thread(void *opaque)
{
	struct vcpu *vcpu = opaque;

	name_thread(vcpu);
	thread_hook_enter(&vcpu->vm->vcpu_hook);
	if (wait_for_release(vcpu))
		run_guest(vcpu);
	atomic_store(&vcpu->ended, 1);
	syscall(SYS_futex, &vcpu->ended, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
	return NULL;
}

static void on_kick(int signal)
{
}

static void set_affinity(pthread_attr_t *attr, int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	pthread_attr_setaffinity_np(attr, sizeof(set), &set);
}

static int create_thread(struct vcpu *vcpu)
{
	struct sigaction action = { .sa_handler = on_kick };
	sigset_t blocked, old;
	pthread_attr_t attr;
	int ret;

	/* Without SA_RESTART, or the kick would put the thread straight back into KVM_RUN. */
	sigaction(KICK_SIGNAL, &action, NULL);
	pthread_attr_init(&attr);
	/* Refused where the C library needs more: then its default stays. */
	pthread_attr_setstacksize(&attr, VCPU_STACK);
	if (vcpu->cpu >= 0)
		set_affinity(&attr, vcpu->cpu);
	thread_signals(&blocked);
	sigdelset(&blocked, KICK_SIGNAL);
	pthread_sigmask(SIG_SETMASK, &blocked, &old);
	ret = pthread_create(&vcpu->thread, &attr, vcpu_thread, vcpu);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	return ret;
}

int vcpu_start(struct vcpu *vcpu, struct error *err)
{
	int ret;

	atomic_store(&vcpu->stop, false);
	atomic_store(&vcpu->ended, 0);
	ret = create_thread(vcpu);
	if (ret && vcpu->cpu >= 0)
		return error_set(err, ret, "cannot start the thread of vCPU %u on host CPU %d",
				 vcpu->id, vcpu->cpu);
	if (ret)
		return error_set(err, ret, "cannot start the thread of vCPU %u", vcpu->id);
	vcpu->started = true;
	thread_hook_created(&vcpu->vm->vcpu_hook);
	return 0;
}

void vcpu_kick(struct vcpu *vcpu)
{
	if (!vcpu->started)
		return;
	set_immediate_exit(vcpu, 1);
	pthread_kill(vcpu->thread, KICK_SIGNAL);
}

void vcpu_ask_stop(struct vcpu *vcpu)
{
	atomic_store(&vcpu->stop, true);
	vcpu_kick(vcpu);
}

/*
 * Each wait is one of CLOCK_MONOTONIC (futex(2): so is a timeout of FUTEX_WAIT), which a host's clock
 * that is set back does not make longer. pthread_clockjoin_np() would do, were it known to TSan.
 */
void vcpu_join(struct vcpu *vcpu)
{
	static const struct timespec again = { .tv_nsec = 50 * 1000 * 1000 };

	if (!vcpu->started)
		return;
	while (!atomic_load(&vcpu->ended)) {
		vcpu_kick(vcpu);
		syscall(SYS_futex, &vcpu->ended, FUTEX_WAIT_PRIVATE, 0, &again, NULL, 0);
	}
	pthread_join(vcpu->thread, NULL);
	vcpu->started = false;
}
