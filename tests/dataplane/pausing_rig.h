/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A whole machine under load that can be paused: the real vCPU threads, disks and state machine on
 * the real loop. What runs in a KVM_RUN here is a driver that has random I/O done and checks it.
 *
 * What a driver knows is plain memory, which its vCPU's thread writes and the test reads while the
 * machine is paused; so does the guest's memory. TSan sees whether the pause orders the two.
 * Include it in exactly one file of a program.
 */
#ifndef MVMM_TESTS_PAUSING_RIG_H
#define MVMM_TESTS_PAUSING_RIG_H

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

static inline void begin(struct driver *d)
{
	for (unsigned i = 0; i < d->depth && !d->error; i++)
		if (!queue_one(d, i))
			d->error = "queue full";
	rig_kick(d->rig, d->q);
}

static inline void go_on(struct guest *g, const struct fake_done *done)
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

static inline int guest_run(struct guest *g)
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

static inline void vm_event(void *opaque, short revents)
{
	struct vm_rig *r = opaque;
	uint64_t count;

	if (read(r->m.vm.event_fd, &count, sizeof(count)) == sizeof(count))
		pausing_look(&r->m.pausing);
}

static inline void add_cpu(struct vm_rig *r, unsigned i)
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

static inline struct vm_rig *vm_rig_new(void)
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

static inline void vm_rig_free(struct vm_rig *r)
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

static inline void ring(void *opaque)
{
	*(bool *)opaque = true;
}

/* Serves the loop for so long, or until *done. */
static inline bool serve(struct vm_rig *r, uint64_t ms, const bool *done)
{
	bool late = false;
	struct loop_timer timer = { .expired = ring, .opaque = &late };

	loop_timer_set(&r->loop, &timer, clock_ms() + ms);
	while (!late && !(done && *done))
		loop_once(&r->loop);
	loop_timer_cancel(&r->loop, &timer);
	return done && *done;
}

/* From now on storage does not answer, and a request is with it. */
static inline void hold_some_io(struct vm_rig *r)
{
	hold_io(true);
	for (unsigned i = 0; i < RIG_WAIT_MS && !is_holding(); i++)
		serve(r, 1, NULL);
	assert_true(is_holding());
}

struct answer {
	bool there;
	int result;
};

static inline void answer(void *opaque, int result)
{
	struct answer *a = opaque;

	assert_false(a->there); /* only once */
	*a = (struct answer){ true, result };
}

static inline void pause_machine(struct vm_rig *r)
{
	struct answer a = { 0 };

	assert_int_equal(pausing_pause(&r->m.pausing, answer, &a), 0);
	assert_true(serve(r, RIG_WAIT_MS, &a.there));
	assert_int_equal(a.result, 0);
	assert_string_equal(pausing_state_name(&r->m.pausing), "paused");
	assert_true(vm_paused(&r->m.vm));
}

static inline void resume_machine(struct vm_rig *r)
{
	struct answer a = { 0 };

	assert_int_equal(pausing_resume(&r->m.pausing, answer, &a), 0);
	assert_true(serve(r, RIG_WAIT_MS, &a.there));
	assert_int_equal(a.result, 0);
	assert_string_equal(pausing_state_name(&r->m.pausing), "running");
}

static inline void wait_for_io(unsigned cpu)
{
	const unsigned before = atomic_load(&guest[cpu].now);

	for (unsigned i = 0; i < RIG_WAIT_MS && atomic_load(&guest[cpu].now) < before + DEPTH; i++)
		usleep(1000);
	assert_true(atomic_load(&guest[cpu].now) >= before + DEPTH);
}

static inline void wait_for_some_io(void)
{
	const unsigned before = atomic_load(&guest[0].now) + atomic_load(&guest[1].now);

	for (unsigned i = 0; i < RIG_WAIT_MS; i++, usleep(1000))
		if (atomic_load(&guest[0].now) + atomic_load(&guest[1].now) >= before + 10 * DEPTH)
			return;
	fail_msg("no I/O");
}

/* What is said while this lasts. */
static struct {
	int saved, fd;
} said = { -1, -1 };

static inline int listen_begin(void **state)
{
	said.saved = dup(STDERR_FILENO);
	said.fd = memfd_create("stderr", MFD_CLOEXEC);
	return dup2(said.fd, STDERR_FILENO) < 0;
}

/* Also after a failure, which then can be read. */
static inline int listen_end(void **state)
{
	fail_io(0);
	dup2(said.saved, STDERR_FILENO);
	close(said.saved);
	return close(said.fd);
}

static inline const char *heard(void)
{
	static char text[4096];
	const ssize_t n = pread(said.fd, text, sizeof(text) - 1, 0);

	text[n < 0 ? 0 : n] = '\0';
	return text;
}

static inline unsigned count(const char *text, const char *what)
{
	unsigned n = 0;

	while ((text = strstr(text, what))) {
		text += strlen(what);
		n++;
	}
	return n;
}

#endif
