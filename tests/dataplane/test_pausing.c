/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A whole machine that pauses and goes on under load: the real vCPU threads, disks and state machine
 * on the real loop. What runs in a KVM_RUN here is a driver that has random I/O done and checks it.
 *
 * What a driver knows is plain memory, which its vCPU's thread writes and the test reads while the
 * machine is paused; so does the guest's memory. TSan sees whether the pause orders the two.
 */
#include "tests/dataplane/driver.h"
#include "tests/dataplane/slow.h"

#include <linux/kvm.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>

#include "vmm/cli/clock.h"
#include "vmm/cli/disk_stop.h"
#include "vmm/cli/machine.h"
#include "vmm/vcpu.h"

#define VCPU_FD 1000000 /* + the vCPU's number; nothing the kernel knows */
#define CPUS	2	/* each has a disk of its own */
#define DEPTH	16
#define ALL	(1U << 30)
#define F_ALL	(F_EVENT | F_INDIRECT)

struct vm_rig {
	struct machine m;
	struct run_options opt;
	struct loop loop;
	struct loop_watch on_vm;
	struct vcpu vcpu[CPUS];
	struct machine_disk disk[CPUS];
	struct rig *rig[CPUS];
};

/* A guest of one vCPU; its thread's while that runs. */
static struct guest {
	struct kvm_run *run;
	struct driver *driver;
	bool begun;
	unsigned done;	      /* requests */
	_Atomic unsigned now; /* == done, for looks at a running guest */
} guest[CPUS];

/* ---- the guests ------------------------------------------------------------------------------ */

static void begin(struct driver *d)
{
	for (unsigned i = 0; i < d->depth && !d->error; i++)
		if (!queue_one(d, i))
			d->error = "queue full";
	rig_kick(d->rig, d->q);
}

static void go_on(struct guest *g, const struct fake_done *done)
{
	struct driver *d = g->driver;

	d->error = check_one(d, done);
	if (d->error)
		return;
	if (!queue_one(d, done->cookie))
		d->error = "queue full";
	rig_kick(d->rig, d->q);
	atomic_store(&g->now, ++g->done);
}

static int guest_run(struct guest *g)
{
	const struct timespec nap = { .tv_nsec = 50 * 1000 };
	struct fake_done done;

	while (!__atomic_load_n(&g->run->immediate_exit, __ATOMIC_SEQ_CST)) {
		if (!g->begun)
			begin(g->driver);
		g->begun = true;
		if (!g->driver->error && fake_queue_poll(&g->driver->rig->drv[0], &done))
			go_on(g, &done);
		else if (nanosleep(&nap, NULL))
			break;
	}
	return -EINTR;
}

int ioctl(int fd, unsigned long request, ...)
{
	va_list ap;
	void *arg;

	va_start(ap, request);
	arg = va_arg(ap, void *);
	va_end(ap);
	if (_IOC_TYPE(request) != KVMIO)
		return syscall(SYS_ioctl, fd, request, arg);
	errno = request == KVM_RUN ? -guest_run(&guest[fd - VCPU_FD]) : EINVAL;
	return -1;
}

/* ---- the machine ----------------------------------------------------------------------------- */

static void vm_event(void *opaque, short revents)
{
	struct vm_rig *r = opaque;
	uint64_t count;

	if (read(r->m.vm.event_fd, &count, sizeof(count)) == sizeof(count))
		pausing_look(&r->m.pausing);
}

static void add_cpu(struct vm_rig *r, unsigned i)
{
	struct kvm_run *run =
		mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	assert_ptr_not_equal(run, MAP_FAILED);
	r->rig[i] = rig_new((struct rig_config){
		.features = F_ALL,
		.on_error = DISK_ON_ERROR_ENOSPC,
		.main_fd = r->m.vm.event_fd,
	});
	r->vcpu[i] =
		(struct vcpu){ .vm = &r->m.vm, .id = i, .fd = VCPU_FD + i, .run = run, .cpu = -1 };
	guest[i] = (struct guest){ .run = run, .driver = driver_new(r->rig[i], 0, DEPTH, ALL) };
	r->disk[i].config = &r->rig[i]->disk;
	r->disk[i].blk.dataplane = r->rig[i]->dp;
	r->disk[i].calls.blk = &r->disk[i].blk;
	r->m.disk[r->m.ndisks++] = &r->disk[i];
}

static struct vm_rig *vm_rig_new(void)
{
	struct vm_rig *r = calloc(1, sizeof(*r));
	struct error err;

	assert_non_null(r);
	r->opt.control = "a.sock";
	r->m.opt = &r->opt;
	r->m.vm.event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	r->m.vm.stop_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	r->m.vm.vcpu = r->vcpu;
	r->m.vm.nvcpus = CPUS;
	for (unsigned i = 0; i < CPUS; i++)
		add_cpu(r, i);
	pausing_init(&r->m.pausing, &r->m, &r->loop);
	r->on_vm = (struct loop_watch){
		.fd = r->m.vm.event_fd, .events = POLLIN, .ready = vm_event, .opaque = r
	};
	assert_int_equal(loop_add(&r->loop, &r->on_vm), 0);
	assert_int_equal(vm_start_vcpus(&r->m.vm, &err), 0);
	vm_release_vcpus(&r->m.vm);
	return r;
}

static void vm_rig_free(struct vm_rig *r)
{
	vm_stop_vcpus(&r->m.vm);
	for (unsigned i = 0; i < CPUS; i++) {
		if (guest[i].driver->error)
			fail_msg("disk %u: %s", i, guest[i].driver->error);
		rig_free(r->rig[i]);
		munmap(guest[i].run, 4096);
		free(guest[i].driver);
	}
	close(r->m.vm.event_fd);
	close(r->m.vm.stop_fd);
	free(r);
}

static void ring(void *opaque)
{
	*(bool *)opaque = true;
}

/* Serves the loop for so long, or until *done. */
static bool serve(struct vm_rig *r, uint64_t ms, const bool *done)
{
	bool late = false;
	struct loop_timer timer = { .expired = ring, .opaque = &late };

	loop_timer_set(&r->loop, &timer, clock_ms() + ms);
	while (!late && !(done && *done))
		loop_once(&r->loop);
	loop_timer_cancel(&r->loop, &timer);
	return done && *done;
}

struct answer {
	bool there;
	int result;
};

static void answer(void *opaque, int result)
{
	struct answer *a = opaque;

	assert_false(a->there); /* only once */
	*a = (struct answer){ true, result };
}

static void pause_machine(struct vm_rig *r)
{
	struct answer a = { 0 };

	assert_int_equal(pausing_pause(&r->m.pausing, answer, &a), 0);
	assert_true(serve(r, RIG_WAIT_MS, &a.there));
	assert_int_equal(a.result, 0);
	assert_string_equal(pausing_state_name(&r->m.pausing), "paused");
	assert_true(vm_paused(&r->m.vm));
}

static void resume_machine(struct vm_rig *r)
{
	struct answer a = { 0 };

	assert_int_equal(pausing_resume(&r->m.pausing, answer, &a), 0);
	assert_true(serve(r, RIG_WAIT_MS, &a.there));
	assert_int_equal(a.result, 0);
	assert_string_equal(pausing_state_name(&r->m.pausing), "running");
}

static void wait_for_io(unsigned cpu)
{
	const unsigned before = atomic_load(&guest[cpu].now);

	for (unsigned i = 0; i < RIG_WAIT_MS && atomic_load(&guest[cpu].now) < before + DEPTH; i++)
		usleep(1000);
	assert_true(atomic_load(&guest[cpu].now) >= before + DEPTH);
}

/* All of a guest's memory and its image, in a number. */
static uint64_t fingerprint(struct vm_rig *r)
{
	static uint64_t image[RIG_SIZE / 8];
	uint64_t hash = 0;

	for (unsigned i = 0; i < CPUS; i++) {
		const struct fake_guest *g = &r->rig[i]->guest;
		const uint64_t *mem = (const uint64_t *)g->mem.slot[0].hva;

		rig_peek(r->rig[i], 0, image, sizeof(image));
		for (unsigned n = 0; n < RIG_SIZE / 8; n++)
			hash = hash * 31 + image[n];
		for (uint64_t n = 0; n < (g->next - g->mem.slot[0].gpa) / 8; n++)
			hash = hash * 31 + mem[n];
	}
	return hash;
}

/* ---- tests ----------------------------------------------------------------------------------- */

static void nothing_moves_in_a_paused_machine(void **state)
{
	struct vm_rig *r = vm_rig_new();

	for (unsigned i = 0; i < 3; i++) {
		uint64_t before;

		wait_for_io(0);
		wait_for_io(1);
		pause_machine(r);
		before = fingerprint(r);
		serve(r, 20, NULL);
		assert_true(fingerprint(r) == before);
		resume_machine(r);
	}
	wait_for_io(0);
	wait_for_io(1);
	vm_rig_free(r);
}

static void verified_io_survives_a_thousand_pauses(void **state)
{
	struct vm_rig *r = vm_rig_new();

	for (unsigned i = 0; i < 1000; i++) {
		if (i % 16 == 0)
			wait_for_io(i / 16 % CPUS);
		pause_machine(r);
		for (unsigned cpu = 0; cpu < CPUS; cpu++)
			assert_null(guest[cpu].driver->error);
		resume_machine(r);
	}
	wait_for_io(0);
	wait_for_io(1);
	pause_machine(r);
	vm_rig_free(r);
}

static void who_asks_for_what_is_or_is_under_way_is_told(void **state)
{
	struct vm_rig *r = vm_rig_new();
	struct pausing *p = &r->m.pausing;
	struct answer a = { 0 };

	assert_string_equal(pausing_state_name(p), "running");
	assert_int_equal(pausing_resume(p, answer, &a), -EALREADY);
	assert_int_equal(pausing_pause(p, NULL, NULL), 0);
	assert_string_equal(pausing_state_name(p), "pausing");
	assert_int_equal(pausing_pause(p, answer, &a), -EBUSY);
	for (unsigned i = 0; i < RIG_WAIT_MS && p->state != PAUSING_PAUSED; i++)
		serve(r, 1, NULL);
	assert_int_equal(pausing_pause(p, answer, &a), -EALREADY);
	assert_int_equal(pausing_resume(p, NULL, NULL), 0);
	assert_string_equal(pausing_state_name(p), "resuming");
	assert_int_equal(pausing_resume(p, answer, &a), -EBUSY);
	assert_int_equal(pausing_pause(p, answer, &a), -EBUSY);
	serve(r, 50, NULL);
	assert_string_equal(pausing_state_name(p), "running");
	assert_false(a.there);
	vm_rig_free(r);
}

static void wait_for_some_io(void)
{
	const unsigned before = atomic_load(&guest[0].now) + atomic_load(&guest[1].now);

	for (unsigned i = 0; i < RIG_WAIT_MS; i++, usleep(1000))
		if (atomic_load(&guest[0].now) + atomic_load(&guest[1].now) >= before + 10 * DEPTH)
			return;
	fail_msg("no I/O");
}

/* Main serves its loop all the while. Once the pause is taken back the guest goes on, with the disk
 * whose storage answers at once. */
static void a_pause_waits_for_storage_until_it_is_taken_back(void **state)
{
	struct vm_rig *r = vm_rig_new();
	struct answer paused = { 0 }, resumed = { 0 };

	wait_for_io(0);
	hold_io(true);
	serve(r, 20, NULL);
	assert_int_equal(pausing_pause(&r->m.pausing, answer, &paused), 0);
	assert_false(serve(r, 50, &paused.there));
	assert_string_equal(pausing_state_name(&r->m.pausing), "pausing");
	assert_true(vm_paused(&r->m.vm));
	assert_int_equal(pausing_resume(&r->m.pausing, answer, &resumed), 0);
	assert_int_equal(paused.result, -ECANCELED);
	assert_false(vm_paused(&r->m.vm));
	assert_false(serve(r, 50, &resumed.there));
	wait_for_some_io();
	release_held();
	assert_true(serve(r, RIG_WAIT_MS, &resumed.there));
	assert_int_equal(resumed.result, 0);
	wait_for_io(0);
	wait_for_io(1);
	pause_machine(r);
	resume_machine(r);
	vm_rig_free(r);
}

static void a_pause_is_taken_back_at_any_moment(void **state)
{
	struct vm_rig *r = vm_rig_new();

	for (unsigned i = 0; i < 100; i++) {
		struct answer paused = { 0 };

		assert_int_equal(pausing_pause(&r->m.pausing, answer, &paused), 0);
		for (unsigned laps = i % 4; laps && !paused.there; laps--)
			loop_once(&r->loop);
		resume_machine(r);
		assert_true(paused.there);
		assert_true(paused.result == 0 || paused.result == -ECANCELED);
	}
	wait_for_io(0);
	wait_for_io(1);
	vm_rig_free(r);
}

/* As ending.c does it: rig_free() in vm_rig_free() drains and must not wait. */
static void a_machine_ends_from_any_state(void **state)
{
	for (unsigned i = 0; i < 8; i++) {
		struct vm_rig *r = vm_rig_new();
		const uint64_t begin_ms = clock_ms();

		if (i % 4)
			assert_int_equal(pausing_pause(&r->m.pausing, NULL, NULL), 0);
		if (i % 4 >= 2)
			serve(r, i, NULL);
		if (i % 4 == 3)
			assert_int_equal(pausing_resume(&r->m.pausing, NULL, NULL), 0);
		vm_request_end(&r->m.vm, VM_END_SIGNAL, 15);
		vm_rig_free(r);
		assert_in_range(clock_ms() - begin_ms, 0, 2000);
	}
}

static void a_disk_that_is_taken_away_holds_no_pause_up(void **state)
{
	struct vm_rig *r = vm_rig_new();
	struct answer paused = { 0 };

	wait_for_io(0);
	hold_io(true);
	serve(r, 20, NULL);
	assert_int_equal(pausing_pause(&r->m.pausing, answer, &paused), 0);
	assert_false(serve(r, 50, &paused.there));
	for (unsigned i = 0; i < CPUS; i++)
		disk_calls_close(&r->disk[i].calls);
	assert_true(paused.there);
	assert_int_equal(paused.result, 0);
	release_held();
	resume_machine(r); /* they answer nobody any more, and nobody waits */
	vm_rig_free(r);
}

/* What is said while this lasts. */
static struct {
	int saved, fd;
} said = { -1, -1 };

static int listen_begin(void **state)
{
	said.saved = dup(STDERR_FILENO);
	said.fd = memfd_create("stderr", MFD_CLOEXEC);
	return dup2(said.fd, STDERR_FILENO) < 0;
}

/* Also after a failure, which then can be read. */
static int listen_end(void **state)
{
	fail_io(0);
	dup2(said.saved, STDERR_FILENO);
	close(said.saved);
	return close(said.fd);
}

static const char *heard(void)
{
	static char text[4096];
	const ssize_t n = pread(said.fd, text, sizeof(text) - 1, 0);

	text[n < 0 ? 0 : n] = '\0';
	return text;
}

static unsigned count(const char *text, const char *what)
{
	unsigned n = 0;

	while ((text = strstr(text, what))) {
		text += strlen(what);
		n++;
	}
	return n;
}

static void wait_paused(struct vm_rig *r)
{
	for (unsigned i = 0; i < RIG_WAIT_MS && r->m.pausing.state != PAUSING_PAUSED; i++)
		serve(r, 1, NULL);
	assert_string_equal(pausing_state_name(&r->m.pausing), "paused");
}

/* The guest sees nothing but time: its requests are verified afterwards. */
static void a_disk_that_stops_pauses_the_machine_until_it_is_resumed(void **state)
{
	struct vm_rig *r = vm_rig_new();
	struct answer resumed = { 0 };
	char want[128], why[128];

	wait_for_io(0);
	assert_false(disk_stop_reason(&r->m, why, sizeof(why)));
	fail_io(ENOSPC);
	wait_paused(r);
	serve(r, 20, NULL); /* the other disk fails, too, or has had nothing to do */
	assert_true(disk_stop_reason(&r->m, why, sizeof(why)));
	assert_non_null(strstr(why, "': No space left on device"));
	assert_int_equal(pausing_resume(&r->m.pausing, answer, &resumed), 0); /* in vain */
	assert_true(serve(r, RIG_WAIT_MS, &resumed.there));
	wait_paused(r);
	fail_io(0);
	resume_machine(r);
	assert_false(disk_stop_reason(&r->m, why, sizeof(why)));
	wait_for_io(0);
	wait_for_io(1);
	assert_string_equal(pausing_state_name(&r->m.pausing), "running");
	assert_in_range(count(heard(), "\n"), 2, 4); /* once a disk and stop */
	assert_int_equal(count(heard(), "make room, then: mvmm ctl a.sock resume\n"),
			 count(heard(), "\n"));
	snprintf(want, sizeof(want), "mvmm: warning: disk '%s': No space left on device",
		 r->rig[0]->path);
	assert_in_range(count(heard(), want), 1, 2);
	vm_rig_free(r);
}

static void a_disk_that_stops_in_a_paused_machine_says_so_and_changes_nothing(void **state)
{
	struct vm_rig *r = vm_rig_new();
	struct answer paused = { 0 };
	char why[128];

	wait_for_io(0);
	fail_io(ENOSPC);
	assert_int_equal(pausing_pause(&r->m.pausing, answer, &paused), 0);
	assert_true(serve(r, RIG_WAIT_MS, &paused.there));
	assert_int_equal(paused.result, 0);
	serve(r, 20, NULL);
	assert_string_equal(pausing_state_name(&r->m.pausing), "paused");
	fail_io(0);
	resume_machine(r);
	assert_false(disk_stop_reason(&r->m, why, sizeof(why)));
	wait_for_io(0);
	wait_for_io(1);
	vm_rig_free(r);
}

/* One disk's storage takes requests and answers none from now on: whose does still? */
static unsigned hang_one(void)
{
	unsigned before[CPUS];

	hold_io(true);
	for (unsigned i = 0; i < RIG_WAIT_MS && !is_holding(); i++)
		usleep(1000);
	for (unsigned cpu = 0; cpu < CPUS; cpu++)
		before[cpu] = atomic_load(&guest[cpu].now);
	for (unsigned i = 0; i < RIG_WAIT_MS; i++, usleep(1000))
		for (unsigned cpu = 0; cpu < CPUS; cpu++)
			if (atomic_load(&guest[cpu].now) > before[cpu] + 2 * DEPTH)
				return cpu;
	fail_msg("both hang");
	return 0;
}

static void wait_told(struct vm_rig *r, unsigned times)
{
	for (unsigned i = 0; i < RIG_WAIT_MS && count(heard(), "mvmm ctl") < times; i++)
		serve(r, 1, NULL);
	assert_int_equal(count(heard(), "make room, then: mvmm ctl a.sock resume\n"), times);
}

/* A pause was taken back because of the one that hangs: until that answers the machine resumes. */
static void a_disk_that_stops_beside_a_hung_one_is_resumed(void **state)
{
	struct vm_rig *r = vm_rig_new();
	struct answer paused = { 0 }, resumed[3] = { 0 };
	struct pausing *p = &r->m.pausing;
	struct machine_disk *disk;
	unsigned works;

	wait_for_io(0);
	wait_for_io(1);
	works = hang_one();
	disk = &r->disk[works];
	assert_int_equal(pausing_pause(p, answer, &paused), 0);
	assert_false(serve(r, 50, &paused.there));
	assert_int_equal(pausing_resume(p, answer, &resumed[0]), 0);
	for (unsigned i = 0; i < RIG_WAIT_MS && disk_call_waits(&disk->calls, &disk->pause.resume);
	     i++)
		serve(r, 1, NULL);
	fail_io(ENOSPC);
	wait_told(r, 1);
	assert_int_equal(pausing_resume(p, answer, &resumed[1]), 0); /* in vain */
	assert_int_equal(resumed[0].result, -ECANCELED);
	assert_int_equal(pausing_resume(p, NULL, NULL), -EBUSY);
	wait_told(r, 2);
	assert_string_equal(pausing_state_name(p), "resuming");
	fail_io(0);
	assert_int_equal(pausing_resume(p, answer, &resumed[2]), 0);
	wait_for_io(works);
	release_held();
	assert_true(serve(r, RIG_WAIT_MS, &resumed[2].there));
	assert_int_equal(resumed[2].result, 0);
	wait_for_io(!works);
	assert_string_equal(pausing_state_name(p), "running");
	vm_rig_free(r);
}

/* Its storage may hang for ever; the machine need not. */
static void a_stopped_disk_that_is_taken_out_holds_nobody(void **state)
{
	struct vm_rig *r = vm_rig_new();
	struct answer resumed = { 0 };
	char why[64];
	int code;

	wait_for_io(0);
	fail_io(ENOSPC);
	wait_paused(r);
	for (unsigned i = 0; i < 2; i++)
		if (disk_stop_holds(&r->disk[i], &code))
			disk_calls_close(&r->disk[i].calls);
	fail_io(0);
	assert_int_equal(pausing_resume(&r->m.pausing, answer, &resumed), 0);
	assert_true(serve(r, RIG_WAIT_MS, &resumed.there));
	serve(r, 50, NULL);
	assert_string_equal(pausing_state_name(&r->m.pausing), "running");
	assert_false(disk_stop_reason(&r->m, why, sizeof(why)));
	vm_rig_free(r);
}

static void a_stopped_machine_ends_at_once(void **state)
{
	struct vm_rig *r = vm_rig_new();
	const uint64_t begin_ms = clock_ms();

	wait_for_io(0);
	fail_io(ENOSPC);
	wait_paused(r);
	vm_request_end(&r->m.vm, VM_END_SIGNAL, 15);
	vm_rig_free(r);
	fail_io(0);
	assert_in_range(clock_ms() - begin_ms, 0, 5000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_moves_in_a_paused_machine),
		cmocka_unit_test(verified_io_survives_a_thousand_pauses),
		cmocka_unit_test(who_asks_for_what_is_or_is_under_way_is_told),
		cmocka_unit_test(a_pause_waits_for_storage_until_it_is_taken_back),
		cmocka_unit_test(a_pause_is_taken_back_at_any_moment),
		cmocka_unit_test(a_machine_ends_from_any_state),
		cmocka_unit_test(a_disk_that_is_taken_away_holds_no_pause_up),
		cmocka_unit_test_setup_teardown(
			a_disk_that_stops_pauses_the_machine_until_it_is_resumed, listen_begin,
			listen_end),
		cmocka_unit_test_setup_teardown(
			a_disk_that_stops_in_a_paused_machine_says_so_and_changes_nothing,
			listen_begin, listen_end),
		cmocka_unit_test_setup_teardown(a_disk_that_stops_beside_a_hung_one_is_resumed,
						listen_begin, listen_end),
		cmocka_unit_test_setup_teardown(a_stopped_disk_that_is_taken_out_holds_nobody,
						listen_begin, listen_end),
		cmocka_unit_test_setup_teardown(a_stopped_machine_ends_at_once, listen_begin,
						listen_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
