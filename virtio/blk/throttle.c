/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The arithmetic of limits; see throttle.h.
 *
 * Claims and cancels are the disks' threads', changes are main's. Knows no clock, no request and no
 * thread.
 *
 * Ordering: a bucket's time is all that it says; nothing is read by way of it, so relaxed accesses
 * do. That it is moved by a compare and swap is what keeps two threads from being given the same
 * place. Buckets of one claim are moved one after the other; another thread in between changes who of
 * the two is first in which, and no sum.
 */
#include "virtio/blk/throttle.h"

#include <string.h>

#define TICKS_PER_SECOND (1000000000ULL * THROTTLE_TICKS_PER_NS)
#define STEP_SHIFT	 30 /* as many as fit beside TICKS_PER_SECOND */
#define CREDIT_TICKS	 (1ULL * THROTTLE_CREDIT_NS * THROTTLE_TICKS_PER_NS)

/* No cost or debt is longer: three days, and one of every disk of a group still fits 64 bits. */
#define COST_MAX (1ULL << 52)

/* No credit is longer, two years, and ticks begin so long before the clock: a host that has just
 * booted can give credit as well. */
#define CREDIT_MAX (1ULL << 60)

_Static_assert(TICKS_PER_SECOND <= UINT64_MAX >> STEP_SHIFT, "a step fits");

static uint64_t to_ticks(uint64_t ns)
{
	return CREDIT_MAX + ns * THROTTLE_TICKS_PER_NS;
}

/* Rounded up: no request begins too early. */
static uint64_t to_ns(uint64_t ticks)
{
	if (ticks <= CREDIT_MAX)
		return 0;
	return (ticks - CREDIT_MAX + THROTTLE_TICKS_PER_NS - 1) / THROTTLE_TICKS_PER_NS;
}

static const char *const names[THROTTLE_KINDS] = {
	[THROTTLE_IOPS] = "iops", [THROTTLE_IOPS_RD] = "iops-rd", [THROTTLE_IOPS_WR] = "iops-wr",
	[THROTTLE_BPS] = "bps",	  [THROTTLE_BPS_RD] = "bps-rd",	  [THROTTLE_BPS_WR] = "bps-wr",
};

const char *throttle_kind_name(enum throttle_kind kind)
{
	return names[kind];
}

const char *throttle_rate_fault(const struct throttle_rate *r)
{
	if (r->max && !r->rate)
		return "-max goes with a limit only";
	if (r->max && r->max < r->rate)
		return "-max is lower than the limit";
	if (r->length && !r->max)
		return "-max-length goes with -max only";
	return NULL;
}

bool throttle_rate_equal(const struct throttle_rate *a, const struct throttle_rate *b)
{
	return a->rate == b->rate && a->max == b->max && (a->length ?: 1) == (b->length ?: 1);
}

bool throttle_limits_any(const struct throttle_limits *limits)
{
	for (unsigned i = 0; i < THROTTLE_KINDS; i++)
		if (limits->of[i].rate)
			return true;
	return false;
}

/*
 * A burst at `max` from full credit moves `due` by max/rate seconds in every second, and ends when
 * it has caught up with the clock: after credit / (max/rate - 1). The quotients are no more than
 * 2^40 and the product with seconds and ticks can be too much for 64 bits; it need not be exact.
 */
static uint64_t burst_credit(const struct throttle_rate *r)
{
	const double ratio = (double)r->max / (double)r->rate;
	const double ticks = (ratio - 1) * (r->length ?: 1) * (double)TICKS_PER_SECOND;

	return ticks < (double)(CREDIT_MAX - CREDIT_TICKS) ? (uint64_t)ticks + CREDIT_TICKS
							   : CREDIT_MAX;
}

static void set_cost(struct throttle_cost cost[THROTTLE_BUCKETS], const struct throttle_rate *r)
{
	memset(cost, 0, THROTTLE_BUCKETS * sizeof(*cost));
	if (!r->rate)
		return;
	cost[THROTTLE_SUSTAINED].step = (TICKS_PER_SECOND << STEP_SHIFT) / r->rate;
	cost[THROTTLE_SUSTAINED].credit = CREDIT_TICKS;
	if (!r->max)
		return;
	cost[THROTTLE_SUSTAINED].credit = burst_credit(r);
	cost[THROTTLE_PEAK].step = (TICKS_PER_SECOND << STEP_SHIFT) / r->max;
	cost[THROTTLE_PEAK].credit = CREDIT_TICKS;
}

void throttle_set(struct throttle *t, const struct throttle_limits *limits)
{
	memset(t->limits, 0, sizeof(t->limits));
	for (unsigned i = 0; i < THROTTLE_KINDS; i++) {
		set_cost(t->cost[i], &limits->of[i]);
		if (!limits->of[i].rate)
			continue;
		t->limits[THROTTLE_READ] |= i != THROTTLE_IOPS_WR && i != THROTTLE_BPS_WR;
		t->limits[THROTTLE_WRITE] |= i != THROTTLE_IOPS_RD && i != THROTTLE_BPS_RD;
	}
}

void throttle_init(struct throttle *t, struct throttle_buckets *buckets,
		   const struct throttle_limits *limits)
{
	t->buckets = buckets;
	throttle_set(t, limits);
}

static uint64_t cost_of(uint64_t units, const struct throttle_cost *cost)
{
	const unsigned __int128 ticks = (unsigned __int128)units * cost->step >> STEP_SHIFT;

	return ticks < COST_MAX ? (uint64_t)ticks : COST_MAX;
}

/* Returns where the bucket's time was, or would have been but for idleness that is not credited. */
static uint64_t claim(_Atomic uint64_t *due, const struct throttle_cost *cost, uint64_t units,
		      uint64_t since)
{
	const uint64_t floor = to_ticks(since) - cost->credit;
	const uint64_t ticks = cost_of(units, cost);
	uint64_t old = atomic_load_explicit(due, memory_order_relaxed), from;

	do {
		from = old > floor ? old : floor;
	} while (!atomic_compare_exchange_weak_explicit(due, &old, from + ticks,
							memory_order_relaxed,
							memory_order_relaxed));
	return from;
}

/* The kinds that count a request of either direction. */
static const uint8_t counts[THROTTLE_DIRS][4] = {
	[THROTTLE_READ] = { THROTTLE_IOPS, THROTTLE_IOPS_RD, THROTTLE_BPS, THROTTLE_BPS_RD },
	[THROTTLE_WRITE] = { THROTTLE_IOPS, THROTTLE_IOPS_WR, THROTTLE_BPS, THROTTLE_BPS_WR },
};

static uint64_t units_of(enum throttle_kind kind, uint64_t bytes)
{
	return kind >= THROTTLE_BPS ? bytes : 1;
}

uint64_t throttle_claim(struct throttle *t, enum throttle_dir dir, uint64_t bytes, uint64_t since)
{
	uint64_t begin = 0, from;

	for (unsigned i = 0; i < 4; i++) {
		const enum throttle_kind kind = counts[dir][i];

		for (unsigned b = 0; b < THROTTLE_BUCKETS && t->cost[kind][b].step; b++) {
			from = claim(&t->buckets->due[kind][b], &t->cost[kind][b],
				     units_of(kind, bytes), since);
			begin = from > begin ? from : begin;
		}
	}
	return to_ns(begin);
}

/* Others may have claimed since: they keep their places, and who comes next gets what we give. Where
 * main has changed the limit in between, we may give too much; no bucket keeps more than its credit. */
void throttle_cancel(struct throttle *t, enum throttle_dir dir, uint64_t bytes)
{
	for (unsigned i = 0; i < 4; i++) {
		const enum throttle_kind kind = counts[dir][i];

		for (unsigned b = 0; b < THROTTLE_BUCKETS && t->cost[kind][b].step; b++) {
			_Atomic uint64_t *due = &t->buckets->due[kind][b];
			const uint64_t ticks = cost_of(units_of(kind, bytes), &t->cost[kind][b]);
			uint64_t old = atomic_load_explicit(due, memory_order_relaxed);

			while (!atomic_compare_exchange_weak_explicit(due, &old,
								      old > ticks ? old - ticks : 0,
								      memory_order_relaxed,
								      memory_order_relaxed))
				;
		}
	}
}

/* A bucket that is new begins with full credit. */
static uint64_t rescaled(uint64_t due, uint64_t now, uint64_t from, uint64_t to)
{
	double debt;

	if (!from || !to)
		return 0;
	if (due <= now)
		return due;
	debt = (double)(due - now) * (double)to / (double)from;
	return now + (debt < (double)COST_MAX ? (uint64_t)debt : COST_MAX);
}

void throttle_change(struct throttle_buckets *buckets, const struct throttle_limits *from,
		     const struct throttle_limits *to, uint64_t now)
{
	struct throttle_cost old_cost[THROTTLE_BUCKETS], new_cost[THROTTLE_BUCKETS];

	for (unsigned kind = 0; kind < THROTTLE_KINDS; kind++) {
		set_cost(old_cost, &from->of[kind]);
		set_cost(new_cost, &to->of[kind]);
		for (unsigned b = 0; b < THROTTLE_BUCKETS; b++) {
			_Atomic uint64_t *due = &buckets->due[kind][b];
			uint64_t old = atomic_load_explicit(due, memory_order_relaxed);

			while (!atomic_compare_exchange_weak_explicit(due, &old,
								      rescaled(old, to_ticks(now),
									       old_cost[b].step,
									       new_cost[b].step),
								      memory_order_relaxed,
								      memory_order_relaxed))
				;
		}
	}
}
