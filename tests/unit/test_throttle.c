/* SPDX-License-Identifier: Apache-2.0 */
/* Limits with a clock that stands still until told: how many requests go in how much time. */
#include "tests/unit/throttle_rig.h"

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
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
