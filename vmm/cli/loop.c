/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One poll(2) over all watches, asleep until the first deadline. Main; must not know what it is that
 * becomes ready.
 *
 * The set is built anew in each lap: it is small, and so whoever owns a watch changes its descriptor
 * and events without asking. Places in the table are not used again within a lap, so that what
 * poll(2) has found is never taken for somebody else's.
 */
#include "vmm/cli/loop.h"

#include <errno.h>
#include <poll.h>
#include <stddef.h>

#include "vmm/cli/clock.h"

int loop_add(struct loop *loop, struct loop_watch *watch)
{
	if (watch->at)
		return 0;
	if (loop->nwatches == LOOP_MAX_WATCHES)
		return -ENOSPC;
	loop->watch[loop->nwatches++] = watch;
	watch->at = loop->nwatches;
	return 0;
}

void loop_remove(struct loop *loop, struct loop_watch *watch)
{
	if (!watch->at)
		return;
	loop->watch[watch->at - 1] = NULL;
	loop->holes = true;
	watch->at = 0;
}

static void close_holes(struct loop *loop)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < loop->nwatches; i++) {
		if (!loop->watch[i])
			continue;
		loop->watch[kept++] = loop->watch[i];
		loop->watch[kept - 1]->at = kept;
	}
	loop->nwatches = kept;
	loop->holes = false;
}

void loop_timer_cancel(struct loop *loop, struct loop_timer *timer)
{
	struct loop_timer **at = &loop->timers;

	if (!timer->armed)
		return;
	while (*at != timer)
		at = &(*at)->next;
	*at = timer->next;
	timer->armed = false;
}

/* Never due in the lap it is set in: a timer that sets itself to the past holds nobody up. */
void loop_timer_set(struct loop *loop, struct loop_timer *timer, uint64_t when)
{
	struct loop_timer **at = &loop->timers;

	loop_timer_cancel(loop, timer);
	if (when == CLOCK_NEVER)
		return;
	timer->when = when > loop->now ? when : loop->now + 1;
	while (*at && (*at)->when <= timer->when)
		at = &(*at)->next;
	timer->next = *at;
	timer->armed = true;
	*at = timer;
}

static void run_timers(struct loop *loop)
{
	loop->now = clock_ms();
	while (loop->timers && loop->timers->when <= loop->now) {
		struct loop_timer *timer = loop->timers;

		loop_timer_cancel(loop, timer);
		timer->expired(timer->opaque);
	}
}

static void run_watches(struct loop *loop, const struct pollfd *pfd, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		struct loop_watch *watch = loop->watch[i];

		if (watch && pfd[i].revents)
			watch->ready(watch->opaque, pfd[i].revents);
	}
}

void loop_once(struct loop *loop)
{
	struct pollfd pfd[LOOP_MAX_WATCHES];
	const uint64_t first = loop->timers ? loop->timers->when : CLOCK_NEVER;
	unsigned n;

	if (loop->holes)
		close_holes(loop);
	n = loop->nwatches;
	for (unsigned i = 0; i < n; i++)
		pfd[i] = (struct pollfd){ .fd = loop->watch[i]->fd,
					  .events = loop->watch[i]->events };
	/* EINTR: SIGCONT came by. */
	if (poll(pfd, n, clock_poll_timeout(first, clock_ms())) > 0)
		run_watches(loop, pfd, n);
	run_timers(loop);
}
