/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Carries out the end of a VM: vCPUs, disks, console, terminal, closing line, result, in this
 * order.
 *
 * Main runs it. A second thread, "ending", sleeps until there is an end; then it watches for a
 * further signal and for the time, because main waits inside others' calls meanwhile. It can end the
 * process at any moment and so touches nothing but the terminal, stderr and the result file. What the end is called and
 * numbered is result.c's business.
 */
#include "vmm/cli/ending.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "vmm/cli/clock.h"
#include "vmm/cli/report.h"
#include "vmm/log.h"
#include "vmm/thread_signals.h"

#define HURRY_MS	   900 /* all of a hurried end, closing line included, within a second */
#define PATIENT_MS	   30000
#define HURRY_DISKS_MS	   800
#define HURRY_CONSOLE_MS   50
#define PATIENT_CONSOLE_MS 5000
#define MIN_STDERR_MS	   20
#define LAST_WORDS_MS	   100
#define GUARD_STACK	   (64 * 1024)
/* timeout(1) signals the process and then its whole group: two signals for one wish. */
#define SAME_WISH_MS 100

static bool in_a_hurry(const struct ending *e)
{
	return e->res.end == VM_END_SIGNAL || e->res.end == VM_END_TIMEOUT ||
	       e->res.end == VM_END_QUIT;
}

/*
 * What stderr leads to may take nothing more: a pipe that nobody reads, a terminal stopped by
 * Ctrl-S. No end waits for that. Only our descriptor is turned away: the open file may be a
 * shell's.
 */
static void wait_for_stderr(const struct ending *e)
{
	struct pollfd pfd = { .fd = STDERR_FILENO, .events = POLLOUT };
	const int ms = clock_poll_timeout(e->limit, clock_ms());

	if (poll(&pfd, 1, ms > MIN_STDERR_MS ? ms : MIN_STDERR_MS) == 0)
		dup2(e->null_fd, STDERR_FILENO);
}

static void tell(struct ending *e)
{
	const int result_fd = e->machine->opt->result_fd;
	struct error err = { 0 };
	char line[256];

	terminal_close(e->term);
	wait_for_stderr(e);
	if (e->restart && e->res.end == VM_END_RESET)
		return; /* the parent tells of it */
	result_line(&e->res, line, sizeof(line));
	if (!e->quiet)
		log_info("%s", line);
	if (result_fd >= 0 && result_write(&e->res, result_fd, &err))
		log_error("%s", err.text);
}

/*
 * Ends the process now, whatever main is waiting for; the kernel cleans up. `sig` is the signal
 * that asked for it; 0: the end that was decided. `told` is the caller's.
 */
static void __attribute__((noreturn)) cut_short(struct ending *e, uint32_t sig)
{
	if (sig) {
		e->res.end = VM_END_SIGNAL;
		e->res.value = sig;
		e->limit = 0;
	}
	tell(e);
	_exit(result_status(&e->res));
}

/* The number of a signal that asks for more than the end that is under way, or 0. */
static uint32_t further_signal(struct ending *e)
{
	struct signalfd_siginfo info;

	if (read(e->signal_fd, &info, sizeof(info)) != sizeof(info))
		return 0;
	return e->by_signal && clock_ms() - e->decided < SAME_WISH_MS ? 0 : info.ssi_signo;
}

/* Main is telling already: it gets to finish, unless what it writes to holds it up. */
static void leave_to_main(struct ending *e)
{
	struct pollfd pfd = { .fd = e->done_fd, .events = POLLIN };

	if (poll(&pfd, 1, LAST_WORDS_MS) == 0)
		_exit(result_status(&e->res));
}

static void wait_for_end(const struct ending *e)
{
	uint64_t count;

	while (read(e->begin_fd, &count, sizeof(count)) < 0 && errno == EINTR)
		;
}

static void *guard_main(void *arg)
{
	struct ending *e = arg;
	struct pollfd pfd[2] = {
		{ .fd = e->signal_fd, .events = POLLIN },
		{ .fd = e->done_fd, .events = POLLIN },
	};

	prctl(PR_SET_NAME, "ending");
	thread_hook_enter(&e->hook);
	wait_for_end(e);
	for (;;) {
		int n = poll(pfd, 2, clock_poll_timeout(e->limit, clock_ms()));
		uint32_t sig = n > 0 && pfd[0].revents ? further_signal(e) : 0;

		if (n > 0 && pfd[1].revents)
			return NULL;
		if (n != 0 && !sig)
			continue;
		if (atomic_exchange(&e->told, true)) {
			leave_to_main(e);
			return NULL;
		}
		if (n == 0) {
			wait_for_stderr(e);
			log_warn("giving up on what does not end by itself");
		}
		cut_short(e, sig);
	}
}

static int create_guard(struct ending *e)
{
	pthread_attr_t attr;
	sigset_t blocked, old;
	int ret;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, GUARD_STACK);
	thread_signals(&blocked);
	pthread_sigmask(SIG_SETMASK, &blocked, &old);
	ret = pthread_create(&e->guard, &attr, guard_main, e);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	return ret;
}

/* Without a guard (no thread to be had) the end is the same, only not to be hurried. */
int ending_prepare(struct ending *e, const struct thread_hook *hook, struct error *err)
{
	e->hook = *hook;
	e->null_fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
	e->begin_fd = eventfd(0, EFD_CLOEXEC);
	e->done_fd = eventfd(0, EFD_CLOEXEC);
	if (e->begin_fd < 0 || e->done_fd < 0)
		return error_set(err, errno, "cannot create an eventfd");
	e->guarded = !create_guard(e);
	if (e->guarded)
		thread_hook_created(&e->hook);
	return 0;
}

static void signal_fd(int fd)
{
	const uint64_t one = 1;

	while (write(fd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
}

static void guard_stop(struct ending *e)
{
	signal_fd(e->done_fd);
	pthread_join(e->guard, NULL);
}

static bool disk_ends(struct machine_disk *disk, int timeout_ms)
{
	if (!disk->ended)
		disk->ended = !virtio_blk_shutdown(&disk->blk, timeout_ms);
	return disk->ended;
}

/* A copy's target may be the one: main cannot tell. */
static void tell_stuck(const struct machine_disk *disk)
{
	const struct copying *c = &disk->copying;
	const bool copies = copying_under_way(c);

	log_warn("disk '%s': I/O still in flight, its storage%s%s%s does not answer",
		 machine_disk_path(disk), copies ? " or that of '" : "", copies ? c->target : "",
		 copies ? "'" : "");
}

/* All are asked before any is waited for, so that a dead one takes no time from the living. */
static void drain_disks(struct ending *e, uint64_t deadline)
{
	struct machine *m = e->machine;

	for (unsigned i = 0; i < m->ndisks; i++)
		disk_ends(m->disk[i], 0);
	for (unsigned i = 0; i < m->ndisks; i++) {
		if (disk_ends(m->disk[i], clock_poll_timeout(deadline, clock_ms())))
			continue;
		e->res.stuck++;
		tell_stuck(m->disk[i]);
	}
	for (unsigned i = 0; i < m->ndisks; i++)
		copying_cut_short(&m->disk[i]->copying);
}

static void decide(struct ending *e)
{
	e->res.end = vm_end_reason(&e->machine->vm, &e->res.value);
	e->by_signal = e->res.end == VM_END_SIGNAL;
	e->res.name = e->machine->opt->name;
	e->decided = clock_ms();
	e->res.run_ms = e->decided - e->started;
	e->limit = e->decided + (in_a_hurry(e) ? HURRY_MS : 2 * PATIENT_MS);
}

int ending_run(struct ending *e)
{
	const bool verbose = e->machine->opt->verbose;
	bool hurry;

	decide(e);
	hurry = in_a_hurry(e);
	signal_fd(e->begin_fd);
	vm_stop_vcpus(&e->machine->vm);
	if (verbose)
		report_vcpus(e->machine);
	drain_disks(e, e->decided + (hurry ? HURRY_DISKS_MS : PATIENT_MS));
	if (verbose)
		report_disks(e->machine);
	e->res.disk_errors = report_failed_requests(e->machine);
	e->res.dropped =
		console_stop(&e->machine->console, hurry ? HURRY_CONSOLE_MS : PATIENT_CONSOLE_MS);
	if (atomic_exchange(&e->told, true))
		for (;;)
			pause(); /* the guard is telling, and ends the process */
	if (e->res.stuck)
		cut_short(e, 0); /* its thread still uses guest memory */
	tell(e);
	if (e->guarded)
		guard_stop(e);
	return result_status(&e->res);
}
