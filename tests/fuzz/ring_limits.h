/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Time and limits in the ring target: a clock that only the script moves, the timer that wakes the
 * device, and how much the device may send by the limits it has.
 */
#ifndef MVMM_TESTS_FUZZ_RING_LIMITS_H
#define MVMM_TESTS_FUZZ_RING_LIMITS_H

#include <sys/timerfd.h>

#include "tests/fuzz/ring_model.h"
#include "virtio/blk/throttle.h"

#define PACE_BEGIN 3600000000000ULL
/* What a limit makes up for, at most. */
#define PACE_SLACK ((THROTTLE_CREDIT_NS + THROTTLE_LATE_NS) / 1e9)

static struct {
	uint64_t now;	/* ns of CLOCK_MONOTONIC */
	uint64_t timer; /* when it will fire; 0: it is not set */
	bool fired;	/* the next sleep ends at once */
	bool counts;	/* the device has these limits: */
	struct throttle_limits limits;
	uint64_t since;
	double sent[THROTTLE_KINDS], last[THROTTLE_KINDS]; /* units; of the last request */
} pace;

static inline void pace_init(void)
{
	memset(&pace, 0, sizeof(pace));
	pace.now = PACE_BEGIN;
}

/* New limits are on their way. */
static inline void pace_change(void)
{
	pace.counts = false;
}

static inline void pace_changed(const struct throttle_limits *limits)
{
	pace.counts = true;
	pace.limits = *limits;
	pace.since = pace.now;
	memset(pace.sent, 0, sizeof(pace.sent));
}

static inline void pace_fire(void)
{
	if (!pace.timer || pace.timer > pace.now)
		return;
	pace.timer = 0;
	pace.fired = true;
}

static inline void pace_pass(uint64_t ns)
{
	pace.now += ns;
	pace_fire();
}

/* Who is too large pays afterwards, so the last one need not have fitted. */
static inline void pace_check(enum throttle_kind kind)
{
	const struct throttle_rate *r = &pace.limits.of[kind];
	const double seconds = (double)(pace.now - pace.since) / 1e9 + PACE_SLACK;
	const double before = (pace.sent[kind] - pace.last[kind]) * (1 - 1e-6) - 1;
	const double burst = r->max ? (double)(r->max - r->rate) * (r->length ?: 1) : 0;

	if (!r->rate)
		return;
	fuzz_check(before <= (double)r->rate * seconds + burst, "%s=%llu: %.0f in %.3f s",
		   throttle_kind_name(kind), (unsigned long long)r->rate, before, seconds);
	fuzz_check(!r->max || before <= (double)r->max * seconds, "%s-max=%llu: %.0f in %.3f s",
		   throttle_kind_name(kind), (unsigned long long)r->max, before, seconds);
}

static inline void pace_count(enum throttle_kind kind, double units)
{
	pace.sent[kind] += units;
	pace.last[kind] = units;
	pace_check(kind);
}

/* A request begins; of zeroes, whose number the model does not know, only that it does. */
static inline void pace_sent(const struct flight *f)
{
	const bool read = f->type == VIRTIO_BLK_T_IN, write = f->type == VIRTIO_BLK_T_OUT;
	const double bytes =
		read	? (double)(f->chain.writable - 1)
		: write ? (double)(f->chain.readable - sizeof(struct virtio_blk_outhdr))
			: 0;

	if (!pace.counts || !f->known)
		return;
	if (!read && !write && f->type != VIRTIO_BLK_T_DISCARD &&
	    f->type != VIRTIO_BLK_T_WRITE_ZEROES)
		return;
	pace_count(THROTTLE_IOPS, 1);
	pace_count(read ? THROTTLE_IOPS_RD : THROTTLE_IOPS_WR, 1);
	pace_count(THROTTLE_BPS, bytes);
	pace_count(read ? THROTTLE_BPS_RD : THROTTLE_BPS_WR, bytes);
}

/* What it promises is decided then, too. */
static inline void flight_begins(struct flight *f)
{
	if (f->sent)
		return;
	f->sent = true;
	f->durable = model.durable_now;
	pace_sent(f);
}

/* The device waits for its limits, until `deadline`. */
static inline void pace_check_sleep(uint64_t deadline)
{
	fuzz_check(pace.fired || (pace.timer && pace.timer <= deadline),
		   "the device sleeps longer than its limits say");
}

uint64_t __wrap_dataplane_now(void);

uint64_t __wrap_dataplane_now(void)
{
	return pace.now;
}

int timerfd_create(clockid_t clock, int flags)
{
	return 1000000; /* nothing the kernel knows */
}

int timerfd_settime(int fd, int flags, const struct itimerspec *at, struct itimerspec *old)
{
	pace.timer = (uint64_t)at->it_value.tv_sec * 1000000000 + (uint64_t)at->it_value.tv_nsec;
	fuzz_check(pace.timer && flags == TFD_TIMER_ABSTIME, "the timer is set to nothing");
	pace_fire();
	return 0;
}

#endif
