/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pausing the vCPUs: the real threads on a KVM_RUN that does what KVM does with a guest that writes
 * to a port for ever, one number after the other.
 *
 * A guest's own words (struct guest) are plain: its thread writes them, the test reads them while the
 * VM is paused. So TSan sees whether vm_paused() orders the two.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <linux/kvm.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "vmm/vcpu.h"

#define VCPU_FD	  1000000 /* + the vCPU's number; nothing the kernel knows */
#define NVCPUS	  4
#define RUN_SIZE  8192
#define RUN_DATA  4096
#define PORT	  0x100 /* + 4 for each vCPU */
#define LONG_MS	  10000
#define PARTS	  3 /* exits that one instruction takes */
#define SETTLE_US 5000
#define STAGES	  8 /* of a pause, halted or not, that a stop meets */

enum behaviour {
	WRITES,	    /* one access after the other */
	HALTED,	    /* with interrupts off: KVM_RUN does not return by itself */
	FAULTS,	    /* the access is done, and what it led to is a triple fault */
	ENDLESS,    /* an instruction whose accesses have no end */
	WAITS_INIT, /* never started: KVM_RUN returns for a signal only */
};

/* What KVM keeps of a guest. */
struct guest {
	enum behaviour behaviour;
	struct kvm_run *run;
	unsigned parts;	       /* of the instruction that has left for user space; 0: none has */
	uint32_t instructions; /* finished */
	uint32_t heard;	       /* by the device: parts */
	unsigned stopped;      /* KVM_KVMCLOCK_CTRL */
	bool told;	       /* and nothing run since */
	_Atomic uint32_t seen; /* == instructions, for looks at a running guest */
};

struct rig {
	struct vm vm;
	struct vcpu vcpu[NVCPUS];
	_Atomic bool block; /* the device of vCPU 0 does not answer */
	_Atomic bool blocked;
};

static struct guest guest[NVCPUS];

static int leave(struct guest *g, unsigned cpu)
{
	struct kvm_run *run = g->run;

	run->exit_reason = KVM_EXIT_IO;
	run->io.direction = KVM_EXIT_IO_OUT;
	run->io.port = PORT + 4 * cpu;
	run->io.size = 4;
	run->io.count = 1;
	run->io.data_offset = RUN_DATA;
	memcpy((uint8_t *)run + RUN_DATA, &g->instructions, 4);
	return 0;
}

/* Time in the guest, some of it asleep: the test is not about the host's scheduler. */
static int in_guest(struct guest *g)
{
	const struct timespec step = { .tv_nsec = 50 * 1000 };
	const bool silent = g->behaviour == HALTED || g->behaviour == WAITS_INIT;

	do {
		if (__atomic_load_n(&g->run->immediate_exit, __ATOMIC_SEQ_CST))
			return -EINTR;
		if ((silent || g->instructions % 4 == 0) && nanosleep(&step, NULL) &&
		    errno == EINTR)
			return -EINTR;
	} while (silent);
	return 0;
}

/* As kvm_arch_vcpu_ioctl_run(): first what user space has done is completed, then immediate_exit. */
static int guest_run(struct guest *g, unsigned cpu)
{
	int ret;

	if (g->parts && g->behaviour == FAULTS) {
		g->run->exit_reason = KVM_EXIT_SHUTDOWN;
		return 0;
	}
	if (g->parts && (++g->parts <= PARTS || g->behaviour == ENDLESS))
		return leave(g, cpu);
	if (g->parts) {
		g->parts = 0;
		g->instructions++;
		atomic_store(&g->seen, g->instructions);
	}
	ret = in_guest(g);
	if (ret)
		return ret;
	g->told = false;
	g->parts = 1;
	return leave(g, cpu);
}

static int get_mp_state(const struct guest *g, struct kvm_mp_state *state)
{
	state->mp_state = g->behaviour == HALTED       ? KVM_MP_STATE_HALTED
			  : g->behaviour == WAITS_INIT ? KVM_MP_STATE_UNINITIALIZED
						       : KVM_MP_STATE_RUNNABLE;
	return 0;
}

static int request(unsigned cpu, unsigned long what, void *arg)
{
	struct guest *g = &guest[cpu];

	switch (what) {
	case KVM_RUN:
		return guest_run(g, cpu);
	case KVM_GET_MP_STATE:
		return get_mp_state(g, arg);
	case KVM_GET_REGS:
		memset(arg, 0, sizeof(struct kvm_regs));
		return 0;
	case KVM_KVMCLOCK_CTRL:
		g->stopped++;
		g->told = true;
		return cpu & 1 ? -EINVAL : 0; /* as of a vCPU without kvm-clock */
	default:
		return -ENOTTY;
	}
}

int ioctl(int fd, unsigned long what, ...)
{
	va_list ap;
	void *arg;
	int ret;

	va_start(ap, what);
	arg = va_arg(ap, void *);
	va_end(ap);
	if (_IOC_TYPE(what) != KVMIO)
		return syscall(SYS_ioctl, fd, what, arg);
	ret = request(fd - VCPU_FD, what, arg);
	if (ret >= 0)
		return ret;
	errno = -ret;
	return -1;
}

static void port_read(void *opaque, uint64_t off, void *data, unsigned len)
{
	memset(data, 0xff, len);
}

static void port_write(void *opaque, uint64_t off, const void *data, unsigned len)
{
	struct rig *rig = opaque;

	guest[off / 4].heard++;
	while (off == 0 && atomic_load(&rig->block) && !vm_end_reason(&rig->vm, NULL)) {
		atomic_store(&rig->blocked, true);
		usleep(100);
	}
}

static const struct bus_ops port_ops = { port_read, port_write };

static void add_vcpu(struct rig *rig, unsigned i, enum behaviour behaviour)
{
	void *run =
		mmap(NULL, RUN_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	assert_ptr_not_equal(run, MAP_FAILED);
	guest[i] = (struct guest){ .behaviour = behaviour, .run = run };
	rig->vcpu[i] =
		(struct vcpu){ .vm = &rig->vm, .id = i, .fd = VCPU_FD + i, .run = run, .cpu = -1 };
}

/* A VM of `n` vCPUs whose threads wait to be released. */
static struct rig *rig_start(unsigned n, enum behaviour behaviour)
{
	struct rig *rig = calloc(1, sizeof(*rig));
	struct error err;

	assert_non_null(rig);
	rig->vm.event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	rig->vm.stop_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	rig->vm.vcpu = rig->vcpu;
	rig->vm.nvcpus = n;
	assert_int_equal(bus_add(&rig->vm.pio, "port", PORT, 4 * NVCPUS, &port_ops, rig, NULL), 0);
	for (unsigned i = 0; i < n; i++)
		add_vcpu(rig, i, behaviour);
	assert_int_equal(vm_start_vcpus(&rig->vm, &err), 0);
	return rig;
}

static struct rig *rig_run(unsigned n, enum behaviour behaviour)
{
	struct rig *rig = rig_start(n, behaviour);

	vm_release_vcpus(&rig->vm);
	return rig;
}

static void rig_stop(struct rig *rig)
{
	vm_stop_vcpus(&rig->vm);
	for (unsigned i = 0; i < rig->vm.nvcpus; i++)
		munmap(rig->vcpu[i].run, RUN_SIZE);
	close(rig->vm.event_fd);
	close(rig->vm.stop_fd);
	free(rig);
}

/* As main does: sleeps on event_fd and on nothing else. */
static void wait_paused(struct rig *rig)
{
	struct pollfd pfd = { .fd = rig->vm.event_fd, .events = POLLIN };
	uint64_t count;

	while (!vm_paused(&rig->vm)) {
		assert_int_equal(poll(&pfd, 1, LONG_MS), 1);
		assert_int_equal(read(pfd.fd, &count, sizeof(count)), sizeof(count));
	}
}

static void pause_vm(struct rig *rig)
{
	vm_pause(&rig->vm);
	wait_paused(rig);
}

static void wait_for_progress(unsigned cpu)
{
	const uint32_t before = atomic_load(&guest[cpu].seen);

	for (unsigned i = 0; i < LONG_MS && atomic_load(&guest[cpu].seen) == before; i++)
		usleep(1000);
	assert_int_not_equal(atomic_load(&guest[cpu].seen), before);
}

/* Whole instructions, each heard in all its parts. */
static void assert_consistent(const struct rig *rig)
{
	for (unsigned i = 0; i < rig->vm.nvcpus; i++) {
		assert_int_equal(guest[i].parts, 0);
		assert_int_equal(guest[i].heard, PARTS * guest[i].instructions);
	}
}

static void a_paused_guest_stands_between_two_instructions(void **state)
{
	struct rig *rig = rig_run(NVCPUS, WRITES);
	uint32_t before[NVCPUS];

	wait_for_progress(0);
	assert_false(vm_paused(&rig->vm));
	pause_vm(rig);
	assert_consistent(rig);
	for (unsigned i = 0; i < NVCPUS; i++)
		before[i] = guest[i].instructions;
	usleep(SETTLE_US);
	for (unsigned i = 0; i < NVCPUS; i++)
		assert_int_equal(guest[i].instructions, before[i]);
	vm_resume(&rig->vm);
	assert_false(vm_paused(&rig->vm));
	for (unsigned i = 0; i < NVCPUS; i++)
		wait_for_progress(i);
	rig_stop(rig);
}

static void pauses_and_resumes_follow_each_other_a_thousand_times(void **state)
{
	struct rig *rig = rig_run(NVCPUS, WRITES);

	for (unsigned i = 0; i < 1000; i++) {
		pause_vm(rig);
		assert_consistent(rig);
		vm_resume(&rig->vm);
		if (i % 50 == 0)
			wait_for_progress(i / 50 % NVCPUS);
	}
	for (unsigned i = 0; i < NVCPUS; i++)
		wait_for_progress(i);
	pause_vm(rig);
	assert_consistent(rig);
	rig_stop(rig);
}

/* Before its vCPUs hold, while some do, and once they all do. */
static void a_pause_taken_back_half_way_leaves_nothing_behind(void **state)
{
	struct rig *rig = rig_run(NVCPUS, WRITES);

	for (unsigned i = 0; i < 1000; i++) {
		vm_pause(&rig->vm);
		for (volatile unsigned n = 0; n < i * 10; n++)
			;
		vm_resume(&rig->vm);
		assert_false(vm_paused(&rig->vm));
	}
	for (unsigned i = 0; i < NVCPUS; i++)
		wait_for_progress(i);
	pause_vm(rig);
	assert_consistent(rig);
	rig_stop(rig);
}

static void twice_is_as_good_as_once(void **state)
{
	struct rig *rig = rig_run(2, WRITES);

	vm_resume(&rig->vm);
	wait_for_progress(0);
	pause_vm(rig);
	vm_pause(&rig->vm);
	assert_true(vm_paused(&rig->vm));
	vm_resume(&rig->vm);
	vm_resume(&rig->vm);
	wait_for_progress(1);
	rig_stop(rig);
}

static void each_vcpu_is_told_before_it_runs_again(void **state)
{
	struct rig *rig = rig_run(2, WRITES);

	pause_vm(rig);
	assert_int_equal(guest[0].stopped, 0);
	for (unsigned i = 1; i < 20; i++) {
		vm_resume(&rig->vm);
		wait_for_progress(0);
		wait_for_progress(1);
		pause_vm(rig);
		assert_int_equal(guest[0].stopped, i);
		assert_int_equal(guest[1].stopped, i);
		assert_false(guest[0].told);
	}
	rig_stop(rig);
}

static void a_device_that_does_not_answer_delays_the_pause(void **state)
{
	struct rig *rig = rig_start(2, WRITES);
	struct pollfd pfd = { .fd = rig->vm.event_fd, .events = POLLIN };

	atomic_store(&rig->block, true);
	vm_release_vcpus(&rig->vm);
	for (unsigned i = 0; i < LONG_MS && !atomic_load(&rig->blocked); i++)
		usleep(1000);
	vm_pause(&rig->vm);
	assert_int_equal(poll(&pfd, 1, 20), 0);
	assert_false(vm_paused(&rig->vm));
	atomic_store(&rig->block, false);
	wait_paused(rig);
	assert_consistent(rig);
	vm_resume(&rig->vm);
	wait_for_progress(0);
	rig_stop(rig);
}

/* vm_all_halted() wants two looks: the first has nothing to compare CPU times with. */
static bool found_halted(struct rig *rig)
{
	for (unsigned i = 0; i < 3; i++)
		if (vm_all_halted(&rig->vm))
			return true;
	return false;
}

static void a_paused_vm_is_not_halted(void **state)
{
	struct rig *rig = rig_run(2, HALTED);

	pause_vm(rig);
	assert_false(found_halted(rig));
	assert_int_equal(rig->vcpu[0].halt_asked, 0); /* main has not waited for an answer */
	vm_resume(&rig->vm);
	assert_true(found_halted(rig));
	rig_stop(rig);
}

static void vcpus_that_never_began_are_paused_all_the_same(void **state)
{
	struct rig *rig = rig_start(2, WRITES);

	guest[1].behaviour = WAITS_INIT;
	vm_release_vcpus(&rig->vm);
	wait_for_progress(0);
	for (unsigned i = 0; i < 50; i++) {
		pause_vm(rig);
		assert_consistent(rig);
		vm_resume(&rig->vm);
	}
	wait_for_progress(0);
	rig_stop(rig);
}

/* What an instruction leads to while it is being finished is no less true for the pause. */
static void a_crash_on_the_way_into_the_pause_ends_the_vm(void **state)
{
	struct rig *rig = rig_start(1, FAULTS);
	struct pollfd pfd = { .fd = rig->vm.event_fd, .events = POLLIN };

	atomic_store(&rig->block, true);
	vm_release_vcpus(&rig->vm);
	for (unsigned i = 0; i < LONG_MS && !atomic_load(&rig->blocked); i++)
		usleep(1000);
	vm_pause(&rig->vm);
	atomic_store(&rig->block, false);
	assert_int_equal(poll(&pfd, 1, LONG_MS), 1);
	assert_int_equal(vm_end_reason(&rig->vm, NULL), VM_END_CRASH);
	assert_false(vm_paused(&rig->vm));
	rig_stop(rig);
}

/* What is left of it comes after the pause. */
static void H37_an_access_without_end_does_not_keep_off_a_pause(void **state)
{
	struct rig *rig = rig_run(2, ENDLESS);

	for (unsigned i = 0; i < 20; i++) {
		uint32_t heard;

		pause_vm(rig);
		heard = guest[0].heard;
		usleep(SETTLE_US);
		assert_int_equal(guest[0].heard, heard);
		assert_int_equal(guest[0].heard, guest[0].parts);
		vm_resume(&rig->vm);
	}
	rig_stop(rig);
}

static void a_pause_asked_for_before_the_start_comes_first(void **state)
{
	struct rig *rig = rig_start(NVCPUS, WRITES);

	vm_pause(&rig->vm);
	usleep(SETTLE_US);
	assert_false(vm_paused(&rig->vm));
	vm_release_vcpus(&rig->vm);
	wait_paused(rig);
	for (unsigned i = 0; i < NVCPUS; i++)
		assert_int_equal(guest[i].instructions, 0);
	vm_resume(&rig->vm);
	wait_for_progress(0);
	rig_stop(rig);
}

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/*
 * A wake-up that is lost costs vcpu_join() 50 ms. A busy host may take that, too, but not for nearly all
 * stops at one stage of a pause.
 */
static void a_vm_stops_at_once_from_any_stage_of_a_pause(void **state)
{
	unsigned at_once[STAGES] = { 0 };

	for (unsigned i = 0; i < 25 * STAGES; i++) {
		const unsigned stage = i % STAGES;
		struct rig *rig = rig_run(NVCPUS, stage & 4 ? HALTED : WRITES);
		uint64_t begin;

		if (stage % 4)
			vm_pause(&rig->vm);
		if (stage % 4 == 2)
			wait_paused(rig);
		if (stage % 4 == 3)
			vm_resume(&rig->vm);
		begin = now_ms();
		vm_request_end(&rig->vm, VM_END_SIGNAL, 15);
		rig_stop(rig);
		at_once[stage] += now_ms() - begin < 50;
	}
	for (unsigned stage = 0; stage < STAGES; stage++)
		assert_in_range(at_once[stage], 6, 25);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_paused_guest_stands_between_two_instructions),
		cmocka_unit_test(pauses_and_resumes_follow_each_other_a_thousand_times),
		cmocka_unit_test(a_pause_taken_back_half_way_leaves_nothing_behind),
		cmocka_unit_test(twice_is_as_good_as_once),
		cmocka_unit_test(each_vcpu_is_told_before_it_runs_again),
		cmocka_unit_test(a_device_that_does_not_answer_delays_the_pause),
		cmocka_unit_test(a_paused_vm_is_not_halted),
		cmocka_unit_test(vcpus_that_never_began_are_paused_all_the_same),
		cmocka_unit_test(a_crash_on_the_way_into_the_pause_ends_the_vm),
		cmocka_unit_test(H37_an_access_without_end_does_not_keep_off_a_pause),
		cmocka_unit_test(a_pause_asked_for_before_the_start_comes_first),
		cmocka_unit_test(a_vm_stops_at_once_from_any_stage_of_a_pause),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
