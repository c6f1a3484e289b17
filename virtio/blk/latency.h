/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How long requests take, from the ring and back, counted by powers of two. The disk's thread counts;
 * anyone may look: relaxed loads, each number right by itself. Nothing is published through them, so
 * they pair with nothing; who wants a total adds up what he has read.
 */
#ifndef MVMM_BLK_LATENCY_H
#define MVMM_BLK_LATENCY_H

#include <stdatomic.h>
#include <stdint.h>

/* Up to 1.024 us, up to twice that, ... up to 8.6 s; and the last one: longer. */
#define BLK_LATENCY_BUCKETS 25

struct blk_latency {
	_Atomic uint64_t requests[BLK_LATENCY_BUCKETS];
	_Atomic uint64_t ns; /* all of them took together */
};

/* The longest that bucket `i`, any but the last, has. */
static inline uint64_t blk_latency_bound(unsigned i)
{
	return 1024ULL << i;
}

static inline unsigned blk_latency_bucket(uint64_t ns)
{
	const unsigned i = ns <= 1024 ? 0 : 64 - __builtin_clzll((ns - 1) >> 10);

	return i < BLK_LATENCY_BUCKETS ? i : BLK_LATENCY_BUCKETS - 1;
}

#endif
