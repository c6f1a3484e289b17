/* SPDX-License-Identifier: Apache-2.0 */
/* Limits of a disk under test. */
#ifndef MVMM_TESTS_LIMITED_H
#define MVMM_TESTS_LIMITED_H

#include <time.h>

#include "tests/dataplane/rig.h"

static inline uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000ULL + ts.tv_nsec;
}

static inline struct throttle_limits limit(enum throttle_kind kind, uint64_t rate)
{
	struct throttle_limits limits = { 0 };

	limits.of[kind].rate = rate;
	return limits;
}

static inline struct throttle_buckets *buckets_of(struct rig *rig)
{
	return rig->config.buckets ? rig->config.buckets : &rig->buckets;
}

/* As main tells one thread, and with the others of a group the same. */
static inline int tell_limits(struct rig *rig, const struct throttle_limits *limits)
{
	const struct blk_command cmd = { .type = BLK_CMD_THROTTLE, .throttle = *limits };

	rig->config.limits = *limits;
	return blk_dataplane_send(rig->dp, &cmd, -1, RIG_WAIT_MS);
}

static inline int set_limits(struct rig *rig, const struct throttle_limits *limits)
{
	throttle_change(buckets_of(rig), &rig->config.limits, limits, now_ns());
	return tell_limits(rig, limits);
}

#endif
