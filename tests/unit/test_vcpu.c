/* SPDX-License-Identifier: Apache-2.0 */
/* What becomes of each exit: the real vCPU thread on a KVM_RUN that answers by a script. H numbers
 * are the cases of docs/security.md. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <linux/kvm.h>
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
#define RUN_SIZE  8192
#define RUN_DATA  4096 /* where KVM puts the data of port accesses */
#define PORT	  0x100
#define MAX_STEPS 4

/* One return of KVM_RUN: fills `run`, and returns 0 or -errno. */
typedef int (*step_fn)(struct kvm_run *run);

struct rig {
	struct vm vm;
	struct vcpu vcpu[2];
	int stderr_fd, saved_stderr;
	unsigned reads, writes; /* of the device at PORT */
	uint8_t last;
};

/* Of the thread that runs in KVM_RUN only, and constant while it does. */
static struct {
	step_fn step[MAX_STEPS + 1];
	_Atomic unsigned next[2];
	struct kvm_run *run[2];
} script;

static int run_script(unsigned cpu)
{
	const unsigned n = atomic_load(&script.next[cpu]);
	int ret = -EINTR;

	if (script.step[n]) {
		ret = script.step[n](script.run[cpu]);
		atomic_store(&script.next[cpu], n + 1);
	} else {
		usleep(1000); /* the guest has nothing more to say */
	}
	return ret;
}

int ioctl(int fd, unsigned long request, ...)
{
	va_list ap;
	void *arg;
	int ret;

	va_start(ap, request);
	arg = va_arg(ap, void *);
	va_end(ap);
	if (_IOC_TYPE(request) != KVMIO)
		return syscall(SYS_ioctl, fd, request, arg);
	ret = request == KVM_RUN ? run_script(fd - VCPU_FD) : -ENOTTY;
	if (ret >= 0)
		return ret;
	errno = -ret;
	return -1;
}

/* What the tests' own calls and the library's see of the host's clock, which somebody sets. */
static _Atomic time_t clock_jump;

int clock_gettime(clockid_t id, struct timespec *ts)
{
	const int ret = syscall(SYS_clock_gettime, id, ts);

	if (id == CLOCK_REALTIME)
		ts->tv_sec += clock_jump;
	return ret;
}

static void port_read(void *opaque, uint64_t off, void *data, unsigned len)
{
	struct rig *rig = opaque;

	memset(data, rig->reads++, len);
}

static void port_write(void *opaque, uint64_t off, const void *data, unsigned len)
{
	struct rig *rig = opaque;

	rig->writes++;
	rig->last = *(const uint8_t *)data;
}

static const struct bus_ops port_ops = { port_read, port_write };

static struct rig *rig_new(void)
{
	struct rig *rig = calloc(1, sizeof(*rig));

	assert_non_null(rig);
	rig->vm.event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	rig->vm.stop_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	rig->vm.vcpu = rig->vcpu;
	assert_int_equal(vcpu_report_open(&rig->vm, NULL), 0);
	assert_int_equal(bus_add(&rig->vm.pio, "port", PORT, 8, &port_ops, rig, NULL), 0);
	for (unsigned i = 0; i < 2; i++) {
		void *run = mmap(NULL, RUN_SIZE, PROT_READ | PROT_WRITE,
				 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		rig->vcpu[i] = (struct vcpu){
			.vm = &rig->vm, .id = i, .fd = VCPU_FD + i, .run = run, .cpu = -1
		};
		script.run[i] = run;
	}
	memset(script.step, 0, sizeof(script.step));
	rig->stderr_fd = memfd_create("stderr", MFD_CLOEXEC);
	return rig;
}

static bool all_said(unsigned n)
{
	while (n--)
		if (script.step[atomic_load(&script.next[n])])
			return false;
	return true;
}

/* Runs `n` vCPUs, all by the same script, until the VM has ended or all is said. */
static void run(struct rig *rig, unsigned n)
{
	struct error err;

	rig->vm.nvcpus = n;
	script.next[0] = script.next[1] = 0;
	rig->saved_stderr = dup(STDERR_FILENO);
	dup2(rig->stderr_fd, STDERR_FILENO);
	assert_int_equal(vm_start_vcpus(&rig->vm, &err), 0);
	vm_release_vcpus(&rig->vm);
	for (unsigned i = 0; i < 10000 && !all_said(n) && !vm_end_reason(&rig->vm, NULL); i++)
		usleep(1000);
	vm_stop_vcpus(&rig->vm);
	dup2(rig->saved_stderr, STDERR_FILENO);
	close(rig->saved_stderr);
}

static const char *said(struct rig *rig)
{
	static char text[16384];
	const ssize_t n = pread(rig->stderr_fd, text, sizeof(text) - 1, 0);

	text[n < 0 ? 0 : n] = '\0';
	return text;
}

static unsigned reports(struct rig *rig)
{
	unsigned n = 0;

	for (const char *p = said(rig); (p = strstr(p, "mvmm: vcpu")); p++)
		n++;
	return n;
}

static void rig_free(struct rig *rig)
{
	for (unsigned i = 0; i < 2; i++)
		munmap(rig->vcpu[i].run, RUN_SIZE);
	vcpu_report_close(&rig->vm);
	close(rig->vm.event_fd);
	close(rig->vm.stop_fd);
	close(rig->stderr_fd);
	free(rig);
}

/* ---- exits that lead nowhere ----------------------------------------------------------------- */

static int triple_fault(struct kvm_run *run)
{
	run->exit_reason = KVM_EXIT_SHUTDOWN;
	return 0;
}

static int fail_entry(struct kvm_run *run)
{
	run->exit_reason = KVM_EXIT_FAIL_ENTRY;
	run->fail_entry.hardware_entry_failure_reason = 0x80000021;
	return 0;
}

static int internal_error(struct kvm_run *run)
{
	run->exit_reason = KVM_EXIT_INTERNAL_ERROR;
	run->internal.suberror = KVM_INTERNAL_ERROR_EMULATION;
	run->internal.ndata = 0xffffffff; /* more than there is room for */
	for (unsigned i = 0; i < 16; i++)
		run->internal.data[i] = ~0ULL - i;
	return 0;
}

static int internal_error_unknown(struct kvm_run *run)
{
	run->exit_reason = KVM_EXIT_INTERNAL_ERROR;
	run->internal.suberror = 4711;
	run->internal.ndata = 0;
	return 0;
}

static int exit_unknown(struct kvm_run *run)
{
	run->exit_reason = KVM_EXIT_UNKNOWN;
	run->hw.hardware_exit_reason = 0x55;
	return 0;
}

static int exit_of_tomorrow(struct kvm_run *run)
{
	run->exit_reason = 0xfffe;
	return 0;
}

static int system_event_of_tomorrow(struct kvm_run *run)
{
	run->exit_reason = KVM_EXIT_SYSTEM_EVENT;
	run->system_event.type = 99;
	return 0;
}

static int host_error(struct kvm_run *run)
{
	return -EFAULT;
}

static void H31_an_exit_that_leads_nowhere_ends_the_vm_with_one_report(void **state)
{
	static const struct {
		step_fn step;
		enum vm_end end;
		uint32_t value;
		const char *says;
	} cases[] = {
		{ triple_fault, VM_END_CRASH, 0, "mvmm: vcpu0: triple fault\n" },
		{ fail_entry, VM_END_CRASH, 0, "hardware reason 0x80000021\n" },
		{ internal_error, VM_END_CRASH, 0, "internal error 1: an instruction" },
		{ internal_error_unknown, VM_END_CRASH, 0, "error 4711: of a kind" },
		{ exit_unknown, VM_END_CRASH, 0, "exit reason 0 (hardware 0x55)" },
		{ exit_of_tomorrow, VM_END_CRASH, 0, "exit reason 65534" },
		{ system_event_of_tomorrow, VM_END_CRASH, 0, "system event 99" },
		{ host_error, VM_END_HOST_ERROR, EFAULT, "KVM_RUN: Bad address\n" },
	};

	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct rig *rig = rig_new();
		uint32_t value;

		script.step[0] = script.step[1] = cases[i].step;
		run(rig, 1);
		assert_int_equal(vm_end_reason(&rig->vm, &value), cases[i].end);
		assert_int_equal(value, cases[i].value);
		assert_non_null(strstr(said(rig), cases[i].says));
		assert_int_equal(reports(rig), 1);
		rig_free(rig);
	}
}

static void H31_of_two_vcpus_that_crash_at_once_one_reports(void **state)
{
	for (unsigned i = 0; i < 20; i++) {
		struct rig *rig = rig_new();

		script.step[0] = triple_fault;
		run(rig, 2);
		assert_int_equal(vm_end_reason(&rig->vm, NULL), VM_END_CRASH);
		assert_int_equal(reports(rig), 1);
		rig_free(rig);
	}
}

static int panic_event(struct kvm_run *run)
{
	run->exit_reason = KVM_EXIT_SYSTEM_EVENT;
	run->system_event.type = KVM_SYSTEM_EVENT_CRASH;
	return 0;
}

static void H31_a_triple_fault_after_a_panic_is_no_news(void **state)
{
	struct rig *rig = rig_new();

	script.step[0] = panic_event;
	script.step[1] = triple_fault;
	run(rig, 1);
	assert_int_equal(vm_end_reason(&rig->vm, NULL), VM_END_PANIC);
	assert_string_equal(said(rig), "");
	rig_free(rig);
}

/* ---- accesses -------------------------------------------------------------------------------- */

static int port_string(struct kvm_run *run, uint8_t direction)
{
	run->exit_reason = KVM_EXIT_IO;
	run->io.direction = direction;
	run->io.port = PORT;
	run->io.size = 2;
	run->io.count = (RUN_SIZE - RUN_DATA) / 2;
	run->io.data_offset = RUN_DATA;
	memset((uint8_t *)run + RUN_DATA, 0x5a, RUN_SIZE - RUN_DATA);
	return 0;
}

static int string_out(struct kvm_run *run)
{
	return port_string(run, KVM_EXIT_IO_OUT);
}

static int string_in(struct kvm_run *run)
{
	return port_string(run, KVM_EXIT_IO_IN);
}

static void H26_a_string_of_port_accesses_is_done_one_by_one(void **state)
{
	struct rig *rig = rig_new();
	uint8_t *data = (uint8_t *)rig->vcpu[0].run + RUN_DATA;

	script.step[0] = string_out;
	script.step[1] = string_in;
	run(rig, 1);
	assert_int_equal(vm_end_reason(&rig->vm, NULL), VM_RUNNING);
	assert_int_equal(rig->writes, 2048);
	assert_int_equal(rig->last, 0x5a);
	assert_int_equal(rig->reads, 2048);
	for (unsigned i = 0; i < 4096; i++)
		assert_int_equal(data[i], (uint8_t)(i / 2));
	rig_free(rig);
}

static int mmio_read_nowhere(struct kvm_run *run)
{
	run->exit_reason = KVM_EXIT_MMIO;
	run->mmio.phys_addr = 0xfffffffffffffffc;
	run->mmio.len = 8;
	run->mmio.is_write = 0;
	memset(run->mmio.data, 0, 8);
	return 0;
}

static int mmio_write_nowhere(struct kvm_run *run)
{
	mmio_read_nowhere(run);
	run->mmio.is_write = 1;
	return 0;
}

static void H26_nobody_there_reads_as_ones(void **state)
{
	static const uint8_t ones[8] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };
	struct rig *rig = rig_new();

	script.step[0] = mmio_write_nowhere;
	script.step[1] = mmio_read_nowhere;
	run(rig, 1);
	assert_int_equal(vm_end_reason(&rig->vm, NULL), VM_RUNNING);
	assert_memory_equal(rig->vcpu[0].run->mmio.data, ones, 8);
	rig_free(rig);
}

/* ---- a vCPU that never leaves by itself ------------------------------------------------------ */

static int interrupted(struct kvm_run *run)
{
	return -EINTR;
}

static void H30_a_vcpu_with_nothing_to_say_is_stopped(void **state)
{
	struct rig *rig = rig_new();

	script.step[0] = interrupted;
	run(rig, 2); /* hangs if it is not */
	assert_int_equal(vm_end_reason(&rig->vm, NULL), VM_RUNNING);
	rig_free(rig);
}

/* ---- a host that is not still ---------------------------------------------------------------- */

static _Atomic unsigned kicks;

/* A guest that hears of kicks late: the first come between its looks and its waits. */
static int deaf_to_some_kicks(struct kvm_run *run)
{
	static const struct timespec second = { .tv_sec = 1 };

	while (kicks < 3)
		if (nanosleep(&second, NULL) < 0)
			kicks++;
	return -EINTR;
}

static unsigned stop_takes_ms(time_t jump)
{
	struct rig *rig = rig_new();
	struct timespec from, to;
	struct error err;

	kicks = 0;
	script.step[0] = deaf_to_some_kicks;
	script.next[0] = 0;
	rig->vm.nvcpus = 1;
	assert_int_equal(vm_start_vcpus(&rig->vm, &err), 0);
	vm_release_vcpus(&rig->vm);
	usleep(10 * 1000);
	clock_jump = jump;
	clock_gettime(CLOCK_MONOTONIC, &from);
	vm_stop_vcpus(&rig->vm);
	clock_gettime(CLOCK_MONOTONIC, &to);
	clock_jump = 0;
	rig_free(rig);
	return (to.tv_sec - from.tv_sec) * 1000 + (to.tv_nsec - from.tv_nsec) / 1000000;
}

/* If the wait for the next kick were one of the host's clock, it would take an hour. */
static void F26_a_clock_that_jumps_does_not_hold_up_the_stop(void **state)
{
	alarm(30);
	assert_in_range(stop_takes_ms(0), 20, 3000);
	assert_in_range(stop_takes_ms(3600), 20, 3000);
	assert_in_range(stop_takes_ms(-3600), 20, 3000);
	alarm(0);
	/* And it was kicked until it heard. */
	assert_int_equal(kicks, 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(H31_an_exit_that_leads_nowhere_ends_the_vm_with_one_report),
		cmocka_unit_test(H31_of_two_vcpus_that_crash_at_once_one_reports),
		cmocka_unit_test(H31_a_triple_fault_after_a_panic_is_no_news),
		cmocka_unit_test(H26_a_string_of_port_accesses_is_done_one_by_one),
		cmocka_unit_test(H26_nobody_there_reads_as_ones),
		cmocka_unit_test(H30_a_vcpu_with_nothing_to_say_is_stopped),
		cmocka_unit_test(F26_a_clock_that_jumps_does_not_hold_up_the_stop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
