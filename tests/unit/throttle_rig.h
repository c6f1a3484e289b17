/* SPDX-License-Identifier: Apache-2.0 */
/* Limits with a clock that stands still until told, and a guest that keeps so many requests at a
 * disk. */
#ifndef MVMM_TESTS_THROTTLE_RIG_H
#define MVMM_TESTS_THROTTLE_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <pthread.h>

#include "virtio/blk/throttle.h"

#define US     1000ULL
#define MS     1000000ULL
#define SECOND 1000000000ULL
#define START  (1000 * SECOND) /* the host has been up for a while */
#define DEPTH  256

static struct throttle_buckets buckets;

static inline void set(struct throttle *t, const struct throttle_limits *limits)
{
	memset(&buckets, 0, sizeof(buckets));
	throttle_init(t, &buckets, limits);
}

static inline struct throttle_limits limit(enum throttle_kind kind, uint64_t rate)
{
	struct throttle_limits limits = { 0 };

	limits.of[kind].rate = rate;
	return limits;
}

struct load {
	struct throttle *t;
	enum throttle_dir dir;
	uint64_t bytes;
	unsigned depth;
	uint64_t service; /* ns, of the storage and of the guest's own turn */
	uint64_t late;	  /* the thread wakes up to so many ns after a deadline */
	uint64_t arrival[DEPTH];
	uint64_t granted, deadline; /* the last one's */
	uint64_t seed;
};

static inline uint64_t lateness(struct load *l)
{
	l->seed = l->seed * 6364136223846793005ULL + 1442695040888963407ULL;
	return l->late ? (l->seed >> 33) % l->late : 0;
}

static inline unsigned first(const struct load *l)
{
	unsigned slot = 0;

	for (unsigned i = 1; i < l->depth; i++)
		if (l->arrival[i] < l->arrival[slot])
			slot = i;
	return slot;
}

/* The next request, as the disk's thread does it. */
static inline void step(struct load *l)
{
	const unsigned slot = first(l);
	const uint64_t arrival = l->arrival[slot];
	uint64_t since = arrival;

	if (arrival <= l->granted)
		since = throttle_since(l->deadline, l->granted);
	l->deadline = throttle_claim(l->t, l->dir, l->bytes, since);
	if (l->deadline > arrival && l->deadline > l->granted)
		l->granted = l->deadline + lateness(l);
	else if (arrival > l->granted)
		l->granted = arrival;
	l->arrival[slot] = l->granted + l->service;
}

static inline void start(struct load *l, uint64_t now)
{
	for (unsigned i = 0; i < l->depth; i++)
		l->arrival[i] = now;
	l->granted = l->deadline = 0;
	step(l);
}

/* Requests that go from now until `end`; the next one has its claim. */
static inline uint64_t count_until(struct load *l, uint64_t end)
{
	uint64_t n = 0;

	for (; l->granted < end; n++)
		step(l);
	return n;
}

static inline void assert_near(uint64_t got, uint64_t want, double part)
{
	const double off = (double)got / (double)want - 1;

	if ((off > part || off < -part) && got != want + 1 && got + 1 != want)
		fail_msg("%lu, and not %lu", got, want);
}

#endif
