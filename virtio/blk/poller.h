/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How long a disk's thread looks for work before it sleeps. Being woken costs more than most work,
 * for the guest too, whose doorbells are silent while we look. But a look that finds nothing takes
 * the CPU from somebody, so the window grows only with what it earns:
 *
 *	a sleep shorter than max	a longer look would have saved it: double the window
 *	a sleep longer than max		no look would have: halve it, down to nothing
 *	somebody else wants this CPU	nothing is earned by looking: stop for a while, longer each
 *					time, and shorter again when nobody does
 *
 * Pure arithmetic on times the caller gives; one owner, the disk's thread.
 */
#ifndef MVMM_BLK_POLLER_H
#define MVMM_BLK_POLLER_H

#include <stdbool.h>
#include <stdint.h>

#define BLK_POLL_START_NS    8000   /* the first window: a little more than a wake-up costs */
#define BLK_POLL_STALE_NS    2000   /* the shortest sleep there is */
#define BLK_POLL_BACKOFF_NS  200000 /* the first pause when the CPU is wanted elsewhere */
#define BLK_POLL_BACKOFF_MAX 128000000

struct blk_poller {
	uint32_t max_ns;     /* 0: never look */
	uint32_t window_ns;  /* now */
	uint32_t backoff_ns; /* the next pause */
	uint64_t resume_ns;  /* no looking before this time */
};

static inline void blk_poller_init(struct blk_poller *p, uint32_t max_ns)
{
	*p = (struct blk_poller){ .max_ns = max_ns, .backoff_ns = BLK_POLL_BACKOFF_NS };
}

/* How long to look from `now` on; 0: not at all. */
static inline uint32_t blk_poller_window(const struct blk_poller *p, uint64_t now)
{
	return now >= p->resume_ns ? p->window_ns : 0;
}

/* Nobody wanted the CPU when it was offered. (That a look found work says nothing about others, and
 * to be wrong about them is dear: the scheduler takes a whole slice from who gives way.) */
static inline void blk_poller_alone(struct blk_poller *p)
{
	if (p->backoff_ns > BLK_POLL_BACKOFF_NS)
		p->backoff_ns /= 2;
}

/* The thread slept from `from` to `now`. A sleep that was none (what we found by looking had also
 * rung an eventfd, which ends the next sleep at once) says nothing. */
static inline void blk_poller_slept(struct blk_poller *p, uint64_t from, uint64_t now)
{
	const uint32_t start = p->max_ns < BLK_POLL_START_NS ? p->max_ns : BLK_POLL_START_NS;

	if (now - from < BLK_POLL_STALE_NS)
		return;
	if (now - from > p->max_ns)
		p->window_ns = p->window_ns / 2 >= start ? p->window_ns / 2 : 0;
	else if (p->window_ns)
		p->window_ns = p->window_ns < p->max_ns / 2 ? p->window_ns * 2 : p->max_ns;
	else
		p->window_ns = start;
}

/* Somebody else ran, or wanted to, while we looked. What the window has earned stays: it is not why
 * we stop. */
static inline void blk_poller_contended(struct blk_poller *p, uint64_t now)
{
	p->resume_ns = now + p->backoff_ns;
	if (p->backoff_ns < BLK_POLL_BACKOFF_MAX)
		p->backoff_ns *= 2;
}

#endif
