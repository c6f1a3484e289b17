/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests that wait for a limit (throttle.h), and the timer that ends the wait.
 *
 * The disk's thread. Reads and writes wait in a line each, in the order in which they came. Only the
 * first of a line holds a claim: so a new limit is met at once, disks of a group take turns, and
 * nothing needs to be taken back from those behind it. What waits holds a request of the pool, and
 * is as much in flight as it is with an engine; but it outlasts a pause, and a reset forgets it.
 */
#include <sys/timerfd.h>

#include "virtio/blk/dataplane_priv.h"

/* -1: nothing counts it. A discard is one write of no bytes: it moves none, and would pay for a disk's
 * whole size. Zeroes may have to be written, and for the guest they are. */
static int direction(const struct blk_request *req)
{
	switch (req->op) {
	case BLK_OP_READ:
		return THROTTLE_READ;
	case BLK_OP_WRITE:
	case BLK_OP_DISCARD:
	case BLK_OP_WRITE_ZEROES:
		return THROTTLE_WRITE;
	default:
		return -1;
	}
}

static uint64_t bytes(const struct blk_request *req)
{
	uint64_t n = 0;

	if (req->op == BLK_OP_READ || req->op == BLK_OP_WRITE)
		return req->total;
	for (unsigned i = 0; req->op == BLK_OP_WRITE_ZEROES && i < req->nseg; i++)
		n += (uint64_t)req->range[i].sectors * BLK_SECTOR_SIZE;
	return n;
}

static void claim(struct blk_dataplane *dp, unsigned dir, const struct blk_request *req,
		  uint64_t since)
{
	dp->line[dir].deadline = throttle_claim(&dp->throttle, dir, bytes(req), since);
}

static void join_line(struct blk_dataplane *dp, struct blk_line *line, struct blk_request *req)
{
	blk_list_add(&line->waiting, req);
	dp->parked++;
	stat_add(&dp->stats.throttled, 1);
}

bool dataplane_must_wait(struct blk_dataplane *dp, struct blk_request *req)
{
	const int dir = direction(req);
	struct blk_line *line;
	uint64_t now;

	if (dir < 0)
		return false;
	line = &dp->line[dir];
	if (!line->waiting.first) {
		if (!dp->throttle.limits[dir])
			return false;
		now = dataplane_now();
		claim(dp, dir, req, now);
		if (line->deadline <= now)
			return false;
	}
	join_line(dp, line, req);
	return true;
}

/* The one behind it has waited, no need to know since when: it gets at most what we are late. */
static struct blk_request *leave_line(struct blk_dataplane *dp, unsigned dir, uint64_t now)
{
	struct blk_line *line = &dp->line[dir];
	struct blk_request *req = blk_list_take(&line->waiting);

	dp->parked--;
	if (line->waiting.first)
		claim(dp, dir, line->waiting.first, throttle_since(line->deadline, now));
	return req;
}

struct blk_request *dataplane_next_due(struct blk_dataplane *dp)
{
	uint64_t now = 0;

	if (!dataplane_has_room(dp))
		return NULL;
	for (unsigned dir = 0; dir < THROTTLE_DIRS; dir++) {
		if (!dp->line[dir].waiting.first)
			continue;
		now = now ? now : dataplane_now();
		if (dp->line[dir].deadline <= now)
			return leave_line(dp, dir, now);
	}
	/* Without a limit nobody need ask again. */
	dp->throttled =
		now || dp->throttle.limits[THROTTLE_READ] || dp->throttle.limits[THROTTLE_WRITE];
	return NULL;
}

bool dataplane_next_deadline(const struct blk_dataplane *dp, uint64_t *deadline)
{
	bool any = false;

	if (!dataplane_serving(dp) || !dataplane_has_room(dp))
		return false;
	for (unsigned dir = 0; dir < THROTTLE_DIRS; dir++) {
		const struct blk_line *line = &dp->line[dir];

		if (!line->waiting.first)
			continue;
		if (!any || line->deadline < *deadline)
			*deadline = line->deadline;
		any = true;
	}
	return any;
}

/*
 * The timer's descriptor is in the epoll set, edge-triggered and never read. To set it is a system
 * call, so a deadline that it has is left alone, and one that nobody waits for any more: it wakes us
 * once too often. In the past, it wakes at once.
 */
void dataplane_set_timer(struct blk_dataplane *dp)
{
	struct itimerspec at = { 0 };
	uint64_t deadline;

	if (!dataplane_next_deadline(dp, &deadline) || deadline == dp->timer_at)
		return;
	dp->timer_at = deadline;
	at.it_value.tv_sec = (time_t)(deadline / 1000000000);
	at.it_value.tv_nsec = (long)(deadline % 1000000000);
	if (!deadline)
		at.it_value.tv_nsec = 1; /* all zero would disarm it */
	timerfd_settime(dp->timer_fd, TFD_TIMER_ABSTIME, &at, NULL);
}

void dataplane_set_limits(struct blk_dataplane *dp, const struct throttle_limits *limits)
{
	const uint64_t now = dataplane_now();

	for (unsigned dir = 0; dir < THROTTLE_DIRS; dir++)
		if (dp->line[dir].waiting.first)
			throttle_cancel(&dp->throttle, dir, bytes(dp->line[dir].waiting.first));
	throttle_set(&dp->throttle, limits);
	for (unsigned dir = 0; dir < THROTTLE_DIRS; dir++)
		if (dp->line[dir].waiting.first)
			claim(dp, dir, dp->line[dir].waiting.first, now);
	dp->throttled = true;
}

void dataplane_forget_lines(struct blk_dataplane *dp)
{
	for (unsigned dir = 0; dir < THROTTLE_DIRS; dir++) {
		struct blk_request_list *waiting = &dp->line[dir].waiting;
		struct blk_request *req;

		if (waiting->first)
			throttle_cancel(&dp->throttle, dir, bytes(waiting->first));
		while ((req = blk_list_take(waiting))) {
			dp->parked--;
			dataplane_forget(dp, req);
		}
	}
}
