/* SPDX-License-Identifier: Apache-2.0 */
/* Limits with a clock that stands still until told: how many requests go in how much time. */
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

static void set(struct throttle *t, const struct throttle_limits *limits)
{
	memset(&buckets, 0, sizeof(buckets));
	throttle_init(t, &buckets, limits);
}

static struct throttle_limits limit(enum throttle_kind kind, uint64_t rate)
{
	struct throttle_limits limits = { 0 };

	limits.of[kind].rate = rate;
	return limits;
}

/* ---- a guest that keeps `depth` requests at a disk ------------------------------------------- */

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

static uint64_t lateness(struct load *l)
{
	l->seed = l->seed * 6364136223846793005ULL + 1442695040888963407ULL;
	return l->late ? (l->seed >> 33) % l->late : 0;
}

static unsigned first(const struct load *l)
{
	unsigned slot = 0;

	for (unsigned i = 1; i < l->depth; i++)
		if (l->arrival[i] < l->arrival[slot])
			slot = i;
	return slot;
}

/* The next request, as the disk's thread does it. */
static void step(struct load *l)
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

static void start(struct load *l, uint64_t now)
{
	for (unsigned i = 0; i < l->depth; i++)
		l->arrival[i] = now;
	l->granted = l->deadline = 0;
	step(l);
}

/* Requests that go from now until `end`; the next one has its claim. */
static uint64_t count_until(struct load *l, uint64_t end)
{
	uint64_t n = 0;

	for (; l->granted < end; n++)
		step(l);
	return n;
}

static void assert_near(uint64_t got, uint64_t want, double part)
{
	const double off = (double)got / (double)want - 1;

	if ((off > part || off < -part) && got != want + 1 && got + 1 != want)
		fail_msg("%lu, and not %lu", got, want);
}

static void a_limit_is_met_at_any_depth(void **state)
{
	static const unsigned depths[] = { 1, 32, 256 }, rates[] = { 50, 500, 5000, 15000 };
	struct throttle_limits limits;
	struct throttle t;

	for (unsigned i = 0; i < 3; i++) {
		for (unsigned j = 0; j < 4; j++) {
			struct load l = {
				.t = &t, .bytes = 4096, .depth = depths[i], .service = 30 * US
			};

			limits = limit(THROTTLE_IOPS, rates[j]);
			set(&t, &limits);
			start(&l, START);
			count_until(&l, START + SECOND);
			assert_near(count_until(&l, START + 11 * SECOND), 10 * rates[j], 0.001);
		}
	}
}

static void even_the_first_second_is_within_two_percent(void **state)
{
	const struct throttle_limits limits = limit(THROTTLE_IOPS, 5000);
	struct throttle t;
	struct load l = { .t = &t, .depth = 32, .service = 100 * US };

	set(&t, &limits);
	start(&l, START);
	assert_near(count_until(&l, START + SECOND), 5000, 0.02);
}

/* 10000 us late in every second would be one percent, were it ever lost. */
static void a_late_thread_loses_nothing(void **state)
{
	const struct throttle_limits limits = limit(THROTTLE_IOPS, 5000);
	struct throttle t;

	for (unsigned depth = 1; depth <= 256; depth *= 16) {
		struct load l = {
			.t = &t, .depth = depth, .service = 20 * US, .late = 300 * US, .seed = 7
		};

		set(&t, &limits);
		start(&l, START);
		count_until(&l, START + SECOND);
		assert_near(count_until(&l, START + 11 * SECOND), 50000, 0.001);
	}
}

/* Those that waited meanwhile go at once, and the schedule goes on where it was. */
static void a_thread_that_was_away_catches_up_with_who_waits(void **state)
{
	const struct throttle_limits limits = limit(THROTTLE_IOPS, 1000);
	const uint64_t away = 90 * MS;
	struct throttle t;
	uint64_t due, now;

	set(&t, &limits);
	for (due = START; due <= START;)
		due = throttle_claim(&t, THROTTLE_READ, 512, START);
	now = due + away;
	for (unsigned i = 1; i <= 90; i++) {
		due = throttle_claim(&t, THROTTLE_READ, 512, throttle_since(due, now));
		assert_true(due <= now);
	}
	due = throttle_claim(&t, THROTTLE_READ, 512, throttle_since(due, now));
	assert_int_equal(due, now + MS);
}

static void nobody_waits_for_more_than_a_tenth_of_a_second(void **state)
{
	assert_int_equal(throttle_since(START, START), START);
	assert_int_equal(throttle_since(START, START + 100 * MS), START);
	assert_int_equal(throttle_since(START, START + SECOND), START + 900 * MS);
}

static void an_idle_disk_earns_its_credit_and_no_more(void **state)
{
	const struct throttle_limits limits = limit(THROTTLE_IOPS, 5000);
	struct throttle t;
	struct load l = { .t = &t, .depth = 256, .service = 1 };

	set(&t, &limits);
	for (unsigned i = 1; i < 10; i++) {
		start(&l, START + i * 100 * SECOND);
		/* A hundredth of a second's worth, and one that goes when there is none. */
		assert_int_equal(count_until(&l, START + i * 100 * SECOND + 1), 51);
	}
}

/* ---- bytes ----------------------------------------------------------------------------------- */

static void bytes_are_limited_at_any_size(void **state)
{
	static const uint64_t sizes[] = { 512, 4096, 65536, 1 << 20 };
	struct throttle t;

	for (unsigned i = 0; i < 4; i++) {
		const struct throttle_limits limits = limit(THROTTLE_BPS, 100 << 20);
		struct load l = { .t = &t, .bytes = sizes[i], .depth = 32, .service = 50 * US };

		set(&t, &limits);
		start(&l, START);
		count_until(&l, START + SECOND);
		assert_near(count_until(&l, START + 11 * SECOND) * sizes[i], 1000ULL << 20, 0.002);
	}
}

static void a_request_of_more_than_a_second_goes_and_pays_afterwards(void **state)
{
	const struct throttle_limits limits = limit(THROTTLE_BPS, 1 << 20);
	struct throttle t;
	uint64_t due;

	set(&t, &limits);
	assert_true(throttle_claim(&t, THROTTLE_WRITE, 8 << 20, START) <= START);
	due = throttle_claim(&t, THROTTLE_WRITE, 512, START);
	assert_int_equal(due, START + 8 * SECOND - THROTTLE_CREDIT_NS);
}

static void fast_limits_are_met_as_well(void **state)
{
	const struct throttle_limits limits = limit(THROTTLE_BPS, 10000000000);
	struct throttle t;
	uint64_t due = 0;

	set(&t, &limits);
	throttle_claim(&t, THROTTLE_READ, 512, START);
	for (unsigned i = 0; i < 1000000; i++)
		due = throttle_claim(&t, THROTTLE_READ, 512, START);
	assert_near(due - START + THROTTLE_CREDIT_NS, 51200000, 0.001);
}

/* Nothing wraps: who owes for ever is still refused, and who is allowed everything is not. */
static void extreme_limits_stay_in_order(void **state)
{
	struct throttle_limits limits = limit(THROTTLE_BPS, 1);
	struct throttle t;
	uint64_t due;

	set(&t, &limits);
	assert_true(throttle_claim(&t, THROTTLE_READ, UINT32_MAX, START) <= START);
	due = START;
	for (unsigned i = 0; i < 128; i++) {
		const uint64_t next = throttle_claim(&t, THROTTLE_READ, UINT32_MAX, START);

		assert_true(next > due);
		due = next;
	}
	limits.of[THROTTLE_BPS] =
		(struct throttle_rate){ 1, THROTTLE_RATE_MAX, THROTTLE_LENGTH_MAX };
	set(&t, &limits);
	/* Two years' credit, at a second per byte. */
	for (unsigned i = 0; i < 1000; i++)
		assert_true(throttle_claim(&t, THROTTLE_READ, 65536, START) <= START);
	for (unsigned i = 0; i < 200; i++)
		due = throttle_claim(&t, THROTTLE_READ, 65536, START);
	assert_true(due > START);
	limits = limit(THROTTLE_IOPS, THROTTLE_RATE_MAX);
	set(&t, &limits);
	for (unsigned i = 0; i < 100000; i++)
		assert_true(throttle_claim(&t, THROTTLE_READ, 512, START) <= START);
}

static void a_host_that_has_just_booted_has_a_clock_too(void **state)
{
	struct throttle_limits limits = limit(THROTTLE_IOPS, 1);
	struct throttle t;

	set(&t, &limits);
	assert_int_equal(throttle_claim(&t, THROTTLE_READ, 0, 5), 0);
	assert_int_equal(throttle_claim(&t, THROTTLE_READ, 0, 5), SECOND + 5 - THROTTLE_CREDIT_NS);
	limits.of[THROTTLE_IOPS] = (struct throttle_rate){ 1, 101, 10 };
	set(&t, &limits);
	for (unsigned i = 0; i < 1000; i++)
		assert_true(throttle_claim(&t, THROTTLE_READ, 0, 5 + i * 10 * MS) <= i * 10 * MS);
}

/* ---- directions ------------------------------------------------------------------------------ */

static void what_is_not_limited_is_not_counted(void **state)
{
	static const struct {
		enum throttle_kind kind;
		bool read, write;
	} cases[] = {
		{ THROTTLE_IOPS, true, true },	   { THROTTLE_BPS, true, true },
		{ THROTTLE_IOPS_RD, true, false }, { THROTTLE_BPS_RD, true, false },
		{ THROTTLE_IOPS_WR, false, true }, { THROTTLE_BPS_WR, false, true },
	};
	struct throttle t;

	for (unsigned i = 0; i < 6; i++) {
		const struct throttle_limits limits = limit(cases[i].kind, 1);

		set(&t, &limits);
		assert_int_equal(t.limits[THROTTLE_READ], cases[i].read);
		assert_int_equal(t.limits[THROTTLE_WRITE], cases[i].write);
		for (unsigned dir = 0; dir < THROTTLE_DIRS; dir++) {
			throttle_claim(&t, dir, 512, START);
			if (!t.limits[dir])
				assert_int_equal(throttle_claim(&t, dir, 512, START), 0);
			else
				assert_true(throttle_claim(&t, dir, 512, START) > START);
		}
	}
}

static void every_limit_holds_beside_the_others(void **state)
{
	struct throttle_limits limits = { 0 };
	struct throttle t;
	struct load rd = {
		.t = &t, .dir = THROTTLE_READ, .bytes = 4096, .depth = 8, .service = US
	};
	struct load wr = {
		.t = &t, .dir = THROTTLE_WRITE, .bytes = 8192, .depth = 8, .service = US
	};
	uint64_t reads = 0, writes = 0;

	limits.of[THROTTLE_IOPS].rate = 1000;
	limits.of[THROTTLE_BPS_WR].rate = 8192 * 100;
	set(&t, &limits);
	start(&rd, START);
	start(&wr, START);
	for (uint64_t ms = 1; ms <= 10000; ms++) {
		reads += count_until(&rd, START + ms * MS);
		writes += count_until(&wr, START + ms * MS);
	}
	assert_near(writes, 1000, 0.02);
	assert_near(reads + writes, 10000, 0.02);
}

/* ---- bursts ---------------------------------------------------------------------------------- */

static void a_burst_lasts_as_long_as_it_says(void **state)
{
	struct throttle_limits limits = { 0 };
	struct throttle t;
	struct load l = { .t = &t, .depth = 64, .service = US };

	limits.of[THROTTLE_IOPS] = (struct throttle_rate){ 1000, 4000, 10 };
	set(&t, &limits);
	start(&l, START);
	for (unsigned i = 1; i <= 10; i++)
		assert_near(count_until(&l, START + i * SECOND), 4000, 0.015);
	for (unsigned i = 11; i <= 20; i++)
		assert_near(count_until(&l, START + i * SECOND), 1000, 0.025);
	/* Three seconds of idleness are worth one of burst. */
	start(&l, START + 23 * SECOND);
	assert_near(count_until(&l, START + 24 * SECOND), 4000, 0.02);
	assert_near(count_until(&l, START + 25 * SECOND), 1000, 0.02);
}

static void a_burst_without_a_length_lasts_a_second(void **state)
{
	struct throttle_limits limits = { 0 };
	struct throttle t;
	struct load l = { .t = &t, .depth = 64, .service = US };

	limits.of[THROTTLE_IOPS] = (struct throttle_rate){ 1000, 3000, 0 };
	set(&t, &limits);
	start(&l, START);
	assert_near(count_until(&l, START + SECOND), 3000, 0.015);
	assert_near(count_until(&l, START + 2 * SECOND), 1000, 0.025);
}

/* ---- groups ---------------------------------------------------------------------------------- */

/* In the order of time, as threads on CPUs of their own would. */
static void run_group(struct load *l, unsigned n, uint64_t end, uint64_t *count)
{
	for (;;) {
		unsigned next = 0;

		for (unsigned i = 1; i < n; i++)
			if (l[i].granted < l[next].granted)
				next = i;
		if (l[next].granted >= end)
			return;
		count[next]++;
		step(&l[next]);
	}
}

static void disks_of_a_group_share_it_evenly(void **state)
{
	const struct throttle_limits limits = limit(THROTTLE_IOPS, 3000);
	struct throttle t[3];
	struct load l[3];
	uint64_t count[3] = { 0 };

	memset(&buckets, 0, sizeof(buckets));
	for (unsigned i = 0; i < 3; i++) {
		throttle_init(&t[i], &buckets, &limits);
		/* Whatever their depth. */
		l[i] = (struct load){ .t = &t[i], .depth = 1 + 100 * i, .service = 20 * US };
		start(&l[i], START);
	}
	run_group(l, 3, START + 10 * SECOND, count);
	assert_near(count[0] + count[1] + count[2], 30000, 0.005);
	for (unsigned i = 0; i < 3; i++)
		assert_near(count[i], 10000, 0.05);
}

static void a_disk_has_the_group_to_itself_while_the_others_are_idle(void **state)
{
	const struct throttle_limits limits = limit(THROTTLE_IOPS, 3000);
	struct throttle t[2];
	struct load l = { .t = &t[1], .depth = 16, .service = 20 * US };

	memset(&buckets, 0, sizeof(buckets));
	throttle_init(&t[0], &buckets, &limits);
	throttle_init(&t[1], &buckets, &limits);
	throttle_claim(&t[0], THROTTLE_READ, 512, START);
	start(&l, START);
	assert_near(count_until(&l, START + 10 * SECOND), 30000, 0.005);
}

#define CLAIMS 100000

static void *claim_many(void *arg)
{
	struct throttle *t = arg;

	for (unsigned i = 0; i < CLAIMS; i++) {
		throttle_claim(t, i % 2 ? THROTTLE_READ : THROTTLE_WRITE, 4096, START);
		if (i % 4 == 0) {
			throttle_claim(t, THROTTLE_READ, 4096, START);
			throttle_cancel(t, THROTTLE_READ, 4096);
		}
	}
	return NULL;
}

static void threads_never_get_the_same_place(void **state)
{
	struct throttle_limits limits = limit(THROTTLE_IOPS, 1000);
	struct throttle t[3];
	pthread_t id[3];

	memset(&buckets, 0, sizeof(buckets));
	limits.of[THROTTLE_BPS].rate = 4096000;
	throttle_init(&t[0], &buckets, &limits);
	throttle_claim(&t[0], THROTTLE_READ, 4096, START); /* full credit is a floor */
	for (unsigned i = 0; i < 3; i++) {
		throttle_init(&t[i], &buckets, &limits);
		assert_int_equal(pthread_create(&id[i], NULL, claim_many, &t[i]), 0);
	}
	for (unsigned i = 0; i < 3; i++)
		pthread_join(id[i], NULL);
	assert_int_equal(throttle_claim(&t[0], THROTTLE_READ, 4096, START),
			 START - THROTTLE_CREDIT_NS + (3 * CLAIMS + 1) * MS);
}

/* ---- changes --------------------------------------------------------------------------------- */

static void a_cancelled_claim_costs_nothing(void **state)
{
	struct throttle_limits limits = limit(THROTTLE_BPS, 1 << 20);
	struct throttle t;
	uint64_t due;

	limits.of[THROTTLE_IOPS_RD].rate = 10;
	set(&t, &limits);
	for (due = START; due <= START;)
		due = throttle_claim(&t, THROTTLE_READ, 1 << 20, START);
	throttle_cancel(&t, THROTTLE_READ, 1 << 20);
	assert_int_equal(throttle_claim(&t, THROTTLE_READ, 1 << 20, START), due);
}

/* As a thread does it: main changes, the thread cancels what waits, sets, claims again. */
static uint64_t change(struct throttle *t, const struct throttle_limits *from,
		       const struct throttle_limits *to, uint64_t now)
{
	throttle_change(&buckets, from, to, now);
	throttle_cancel(t, THROTTLE_READ, 4096);
	throttle_set(t, to);
	return throttle_claim(t, THROTTLE_READ, 4096, now);
}

static void a_new_limit_is_met_at_once(void **state)
{
	const struct throttle_limits slow = limit(THROTTLE_IOPS, 1);
	const struct throttle_limits fast = limit(THROTTLE_IOPS, 5000);
	struct throttle t;
	uint64_t due;

	set(&t, &slow);
	for (due = START; due <= START;)
		due = throttle_claim(&t, THROTTLE_READ, 4096, START);
	due = change(&t, &slow, &fast, START + 1);
	assert_true(due <= START + MS);
	due = change(&t, &fast, &slow, START + 2);
	assert_true(due <= START + SECOND);
	/* And it is met for good. */
	assert_true(throttle_claim(&t, THROTTLE_READ, 4096, START + 2) >= START + SECOND / 2);
}

static void no_change_forgives_a_debt(void **state)
{
	const struct throttle_limits a = limit(THROTTLE_BPS, 1 << 20);
	const struct throttle_limits b = limit(THROTTLE_BPS, 2 << 20);
	struct throttle t;

	set(&t, &a);
	throttle_claim(&t, THROTTLE_READ, 10 << 20, START);
	throttle_change(&buckets, &a, &b, START);
	throttle_set(&t, &b);
	assert_near(throttle_claim(&t, THROTTLE_READ, 4096, START) - START, 5 * SECOND, 0.01);
}

static void a_limit_that_is_taken_away_holds_nothing_up(void **state)
{
	const struct throttle_limits slow = limit(THROTTLE_IOPS, 1), none = { 0 };
	struct throttle t;

	set(&t, &slow);
	for (unsigned i = 0; i < 5; i++)
		throttle_claim(&t, THROTTLE_READ, 4096, START);
	assert_true(change(&t, &slow, &none, START) <= START);
	assert_false(t.limits[THROTTLE_READ]);
	/* What it was owed is forgotten when it comes back. */
	throttle_change(&buckets, &none, &slow, START);
	throttle_set(&t, &slow);
	assert_true(throttle_claim(&t, THROTTLE_READ, 4096, START) <= START);
}

/* A change now and then under load: what goes is what the limits of each second allow. */
static void limits_that_change_under_load_are_met(void **state)
{
	struct throttle_limits now_limits = limit(THROTTLE_IOPS, 1000), next;
	struct throttle t;
	struct load l = { .t = &t, .depth = 64, .service = 50 * US };
	uint64_t total = 0, want = 0;

	set(&t, &now_limits);
	start(&l, START);
	for (unsigned i = 0; i < 40; i++) {
		const uint64_t end = START + (i + 1) * SECOND / 2;

		total += count_until(&l, end);
		want += now_limits.of[THROTTLE_IOPS].rate / 2;
		next = limit(THROTTLE_IOPS, i % 2 ? 1000 : 5000);
		throttle_change(&buckets, &now_limits, &next, end);
		throttle_set(&t, &next);
		now_limits = next;
	}
	assert_near(total, want, 0.01);
}

/* ---- what the user says ---------------------------------------------------------------------- */

static void senseless_limits_are_named(void **state)
{
	const struct throttle_rate good[] = { { 0, 0, 0 }, { 5, 0, 0 }, { 5, 5, 0 }, { 5, 6, 7 } };
	const struct throttle_rate bad[] = { { 0, 5, 0 }, { 6, 5, 0 }, { 5, 0, 7 }, { 0, 0, 7 } };

	for (unsigned i = 0; i < 4; i++) {
		assert_null(throttle_rate_fault(&good[i]));
		assert_non_null(throttle_rate_fault(&bad[i]));
	}
}

static void limits_are_compared_by_what_they_mean(void **state)
{
	const struct throttle_rate a = { 5, 6, 0 }, b = { 5, 6, 1 }, c = { 5, 6, 2 };
	struct throttle_limits limits = { 0 };

	assert_true(throttle_rate_equal(&a, &b));
	assert_false(throttle_rate_equal(&a, &c));
	assert_false(throttle_limits_any(&limits));
	limits.of[THROTTLE_BPS_WR].rate = 1;
	assert_true(throttle_limits_any(&limits));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_limit_is_met_at_any_depth),
		cmocka_unit_test(even_the_first_second_is_within_two_percent),
		cmocka_unit_test(a_late_thread_loses_nothing),
		cmocka_unit_test(a_thread_that_was_away_catches_up_with_who_waits),
		cmocka_unit_test(nobody_waits_for_more_than_a_tenth_of_a_second),
		cmocka_unit_test(an_idle_disk_earns_its_credit_and_no_more),
		cmocka_unit_test(bytes_are_limited_at_any_size),
		cmocka_unit_test(a_request_of_more_than_a_second_goes_and_pays_afterwards),
		cmocka_unit_test(fast_limits_are_met_as_well),
		cmocka_unit_test(extreme_limits_stay_in_order),
		cmocka_unit_test(a_host_that_has_just_booted_has_a_clock_too),
		cmocka_unit_test(what_is_not_limited_is_not_counted),
		cmocka_unit_test(every_limit_holds_beside_the_others),
		cmocka_unit_test(a_burst_lasts_as_long_as_it_says),
		cmocka_unit_test(a_burst_without_a_length_lasts_a_second),
		cmocka_unit_test(disks_of_a_group_share_it_evenly),
		cmocka_unit_test(a_disk_has_the_group_to_itself_while_the_others_are_idle),
		cmocka_unit_test(threads_never_get_the_same_place),
		cmocka_unit_test(a_cancelled_claim_costs_nothing),
		cmocka_unit_test(a_new_limit_is_met_at_once),
		cmocka_unit_test(no_change_forgives_a_debt),
		cmocka_unit_test(a_limit_that_is_taken_away_holds_nothing_up),
		cmocka_unit_test(limits_that_change_under_load_are_met),
		cmocka_unit_test(senseless_limits_are_named),
		cmocka_unit_test(limits_are_compared_by_what_they_mean),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
