/* SPDX-License-Identifier: Apache-2.0 */
/* Limits that several disks share, and limits that change while requests wait. */
#include "tests/unit/throttle_rig.h"

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
