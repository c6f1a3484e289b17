/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What stands in for the kernel in explored threads (linked with --wrap, see the Makefile): eventfds
 * with epoll's edges, futexes, the clock, Linux AIO's calls.
 *
 * It promises no more than manual pages do: a call orders the thread's memory only where one thread
 * hands something to another through it. That real system calls are full fences by accident is not
 * to be relied on.
 */
#include <errno.h>
#include <linux/futex.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "tests/model/explore.h"
#include "tests/model/explore_priv.h"

ssize_t __real_write(int fd, const void *p, size_t n);
ssize_t __real_read(int fd, void *p, size_t n);

ssize_t __wrap_write(int fd, const void *p, size_t n);
ssize_t __wrap_read(int fd, void *p, size_t n);
int __wrap_eventfd(unsigned initial, int flags);
int __wrap_poll(struct pollfd *fds, nfds_t n, int timeout);
int __wrap_epoll_wait(int epfd, struct epoll_event *list, int max, int timeout);
long __wrap_syscall(long number, ...);
int __wrap_clock_gettime(clockid_t clock, struct timespec *ts);
int __wrap_sched_yield(void);
int __wrap_close(int fd);
int __real_close(int fd);

static struct view wakers; /* what those had seen who woke futexes */

/* ---- eventfds -------------------------------------------------------------------------------- */

void events_reset(void)
{
	memset(&wakers, 0, sizeof(wakers));
	for (unsigned i = 0; i < nevents; i++) {
		events[i].rung = events[i].edge = false;
		memset(&events[i].view, 0, sizeof(events[i].view));
	}
}

static void merge_view(struct view *into, const struct view *from)
{
	for (unsigned i = 0; i < MAX_LOCATIONS; i++)
		into->ts[i] = from->ts[i] > into->ts[i] ? from->ts[i] : into->ts[i];
}

void model_watch(int fd, uint32_t data)
{
	struct event *event = event_of(fd);

	event->watched = true;
	event->data = data;
}

void model_signal(int fd)
{
	struct event *event = event_of(fd);

	thread_pause(NULL, NULL);
	thread_traces("rings", -1, fd - FIRST_FD, NULL);
	me->visible = true;
	event->rung = event->edge = true;
	merge_view(&event->view, &me->now);
}

/* Who is told of an edge has seen what its ringers had. */
static void take_edge(struct event *event)
{
	event->edge = false;
	thread_learns(me, &event->view);
	if (event->watched)
		memset(&event->view, 0, sizeof(event->view)); /* nobody else waits for it */
}

static bool has_edge(void *arg)
{
	return ((struct event *)arg)->edge;
}

void model_wait_event(int fd)
{
	struct event *event = event_of(fd);

	thread_pause(has_edge, event);
	take_edge(event);
	thread_traces("wakes by", -1, fd - FIRST_FD, NULL);
	thread_noticed(fd);
}

void model_wait(bool (*ready)(void *arg), void *arg)
{
	thread_pause(ready, arg);
}

ssize_t __wrap_write(int fd, const void *p, size_t n)
{
	if (!event_of(fd))
		return __real_write(fd, p, n);
	model_signal(fd);
	return n;
}

ssize_t __wrap_read(int fd, void *p, size_t n)
{
	const uint64_t one = 1;
	struct event *event = event_of(fd);

	if (!event)
		return __real_read(fd, p, n);
	thread_pause(NULL, NULL);
	thread_noticed(event->rung);
	if (!event->rung) {
		errno = EAGAIN;
		return -1;
	}
	thread_learns(me, &event->view);
	event->rung = false;
	memcpy(p, &one, sizeof(one));
	return sizeof(one);
}

int __wrap_eventfd(unsigned initial, int flags)
{
	return model_eventfd();
}

int __wrap_close(int fd)
{
	return event_of(fd) ? 0 : __real_close(fd);
}

struct poll_set {
	struct pollfd *fds;
	nfds_t n;
};

static bool any_rung(void *arg)
{
	const struct poll_set *set = arg;

	for (nfds_t i = 0; i < set->n; i++)
		if (set->fds[i].fd >= 0 && event_of(set->fds[i].fd)->rung)
			return true;
	return false;
}

int __wrap_poll(struct pollfd *fds, nfds_t n, int timeout)
{
	struct poll_set set = { fds, n };
	int count = 0;

	thread_pause(any_rung, &set);
	for (nfds_t i = 0; i < n; i++) {
		const bool rung = fds[i].fd >= 0 && event_of(fds[i].fd)->rung;

		fds[i].revents = rung ? POLLIN : 0;
		count += rung;
		thread_noticed(rung);
	}
	return count;
}

static bool any_edge(void *arg)
{
	for (unsigned i = 0; i < nevents; i++)
		if (events[i].watched && events[i].edge)
			return true;
	return false;
}

bool model_epoll_ready(void)
{
	return any_edge(NULL);
}

/* Everything watched is edge-triggered: see dataplane_loop.c. */
int __wrap_epoll_wait(int epfd, struct epoll_event *list, int max, int timeout)
{
	int count = 0;

	thread_pause(timeout ? any_edge : NULL, NULL);
	me->slept = true;
	for (unsigned i = 0; i < nevents && count < max; i++) {
		thread_noticed(events[i].watched && events[i].edge);
		if (!events[i].watched || !events[i].edge)
			continue;
		take_edge(&events[i]);
		thread_traces("wakes by", -1, i, NULL);
		list[count++] =
			(struct epoll_event){ .events = EPOLLIN, .data.u32 = events[i].data };
	}
	return count;
}

/* ---- futexes --------------------------------------------------------------------------------- */

static bool was_woken(void *arg)
{
	return !((struct model_thread *)arg)->futex_wait;
}

/* Futex calls on one word are in order (futex(2)): who waits has seen what the wakers before had. But
 * what its comparison sees of other threads' stores is up to those. */
static long futex_wait(const uint32_t *word, uint32_t seen)
{
	static struct site look = { .file = __FILE__, .function = "futex_wait", .kind = SITE_LOAD };
	thread_pause(NULL, NULL);
	thread_learns(me, &wakers);
	if ((uint32_t)model_load(word, sizeof(*word), &look) != seen) {
		thread_traces("stays up", -1, seen, NULL);
		errno = EAGAIN;
		return -1;
	}
	thread_traces("sleeps on", -1, seen, NULL);
	me->futex_wait = true;
	thread_pause(was_woken, me);
	return 0;
}

/* The first that waits; the workers are all alike. */
static long futex_wake(int wanted)
{
	int woken = 0;

	thread_pause(NULL, NULL);
	me->visible = true;
	merge_view(&wakers, &me->now);
	for (unsigned i = 0; i < nthreads && woken < wanted; i++) {
		woken += threads[i].futex_wait;
		threads[i].futex_wait = false;
	}
	thread_noticed(woken);
	thread_traces("wakes", -1, woken, NULL);
	return woken;
}

long __wrap_syscall(long number, ...)
{
	const uint32_t *word;
	uint32_t value;
	va_list ap;
	int op;

	va_start(ap, number);
	word = va_arg(ap, const uint32_t *);
	op = va_arg(ap, int);
	value = va_arg(ap, uint32_t);
	va_end(ap);
	if (number != SYS_futex)
		model_fail("an unknown system call: %ld", number);
	return op == FUTEX_WAIT_PRIVATE ? futex_wait(word, value) : futex_wake((int)value);
}

/* ---- time ------------------------------------------------------------------------------------ */

#define US     1000ULL
#define SECOND 1000000000ULL

static uint64_t now;

/*
 * The disk's thread asks for the time only to know how long it has looked for work or slept. So time
 * goes by there and nowhere else, by as much as makes a difference to poller.h: a sleep that was none,
 * a short one, a long one; a look that ends by itself or because others want the CPU.
 */
static uint64_t time_passed(struct model_thread *t)
{
	static const uint64_t sleeps[] = { 1 * US, 10 * US, 1 * SECOND },
			      looks[] = { 60 * US, 200 * US };
	unsigned which;

	if (!t->slept && !t->blind)
		return 0;
	which = model_choose(t->slept ? 3 : 2);
	thread_noticed(which);
	return t->slept ? sleeps[which] : looks[which];
}

uint64_t *model_clock(void)
{
	return &now;
}

int __wrap_clock_gettime(clockid_t clock, struct timespec *ts)
{
	now += time_passed(me);
	me->slept = me->blind = false;
	ts->tv_sec = now / SECOND;
	ts->tv_nsec = now % SECOND;
	return 0;
}

int __wrap_sched_yield(void)
{
	return 0;
}

const struct view *model_wakers(void)
{
	return &wakers;
}
