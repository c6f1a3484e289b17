/* SPDX-License-Identifier: Apache-2.0 */
/*
 * When a request may go: the generic cell rate algorithm (ITU-T I.371, annex A), which is a leaky
 * bucket kept as one time, that from which the bucket has room again.
 *
 *	due	the bucket's time, moved on by each request by what it costs: units / rate
 *	a request may begin at `due`, however much it costs: who is too large pays afterwards
 *	due is never more than the bucket's credit in the past: who was idle may catch up that much
 *
 *	     credit
 *	|<---------->|
 *	+------------+---------------------> time
 *	floor        now       due ...      a request now begins at `due` (waits) and moves it
 *	   due ...   now                    ... begins at once
 *
 * A request *claims*: it moves `due` of every bucket that counts it, and begins at the latest of the
 * times that it found there. These are times of a schedule, whatever the clock says when the request
 * really goes: a thread that wakes up late is late once and adds nothing to the next one's time.
 *
 * A limit with bursts has two buckets: one of the rate, whose credit is the burst, and one of the
 * burst's own rate. Buckets of a group of disks are shared by their threads, and a bucket is one
 * word, so that no lock is needed.
 *
 * Pure arithmetic on times the caller gives, ns of CLOCK_MONOTONIC.
 */
#ifndef MVMM_THROTTLE_H
#define MVMM_THROTTLE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "virtio/blk/throttle_limits.h"

/* A bucket's time and credit are ticks: finer than a ns, which at 10 GB/s lasts for 10 bytes. */
#define THROTTLE_TICKS_PER_NS 16

/* The credit of every bucket: what a guest or a thread that was held up for so long may catch up
 * with. A hundredth of a second's worth, so that even the first second is within a percent. */
#define THROTTLE_CREDIT_NS 10000000

/* What a waiting request need not lose because the thread that should have sent it came late. */
#define THROTTLE_LATE_NS 100000000

enum throttle_dir { THROTTLE_READ, THROTTLE_WRITE, THROTTLE_DIRS };

/* What requests cost by one rate; the thread's own copy. */
struct throttle_cost {
	uint64_t step;	 /* ticks per unit, times 2^30; 0: no limit */
	uint64_t credit; /* ticks */
};

/* Of the rate, and of the burst's. */
enum { THROTTLE_SUSTAINED, THROTTLE_PEAK, THROTTLE_BUCKETS };

/* One disk's or one group's; all zero: full credit. */
struct throttle_buckets {
	_Atomic uint64_t due[THROTTLE_KINDS][THROTTLE_BUCKETS];
};

struct throttle {
	struct throttle_buckets *buckets; /* shared; outlive this */
	bool limits[THROTTLE_DIRS];	  /* anything counts requests of this direction */
	struct throttle_cost cost[THROTTLE_KINDS][THROTTLE_BUCKETS];
};

void throttle_init(struct throttle *t, struct throttle_buckets *buckets,
		   const struct throttle_limits *limits);

/* From now on these; claims made under the last ones are to be cancelled first. */
void throttle_set(struct throttle *t, const struct throttle_limits *limits);

/*
 * Claims for one request of `bytes` and returns when it may begin. `since`: from when on it waits,
 * which is now for one that has just come. For one that others went before that is when the last of
 * them should have gone, see throttle_since().
 */
uint64_t throttle_claim(struct throttle *t, enum throttle_dir dir, uint64_t bytes, uint64_t since);

/* Gives back a claim that was not used. */
void throttle_cancel(struct throttle *t, enum throttle_dir dir, uint64_t bytes);

static inline uint64_t throttle_since(uint64_t last_deadline, uint64_t now)
{
	if (now - last_deadline <= THROTTLE_LATE_NS)
		return last_deadline;
	return now > THROTTLE_LATE_NS ? now - THROTTLE_LATE_NS : 0;
}

/* Main, before it tells the threads of new limits: what is owed is owed in units, so that a debt of
 * the slow limit does not keep the fast one waiting. */
void throttle_change(struct throttle_buckets *buckets, const struct throttle_limits *from,
		     const struct throttle_limits *to, uint64_t now);

#endif
