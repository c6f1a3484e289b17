/* SPDX-License-Identifier: Apache-2.0 */
/* The benchmark guest's histogram, as plain C. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "guest/bench/hist.c"

static void every_value_is_near_its_bucket(void **state)
{
	for (uint64_t v = 0; v < 1ULL << 62; v += v / 7 + 1) {
		uint64_t middle = hist_value(hist_bucket(v));
		uint64_t off = middle > v ? middle - v : v - middle;

		assert_in_range(hist_bucket(v), 0, HIST_BUCKETS - 1);
		if (off * 32 > v)
			fail_msg("%llu became %llu", (unsigned long long)v,
				 (unsigned long long)middle);
	}
	assert_in_range(hist_bucket(UINT64_MAX), 0, HIST_BUCKETS - 1);
}

static void buckets_follow_one_another(void **state)
{
	for (uint64_t v = 1; v < 100000; v++) {
		unsigned step = hist_bucket(v) - hist_bucket(v - 1);

		if (step > 1)
			fail_msg("%u buckets between %llu and its neighbour", step,
				 (unsigned long long)v);
	}
}

static void percentiles_are_ranks(void **state)
{
	static struct hist h;

	memset(&h, 0, sizeof(h));
	assert_int_equal(hist_percentile(&h, 500), 0);
	for (unsigned v = 1; v <= 1000; v++)
		hist_add(&h, v);
	assert_int_equal(h.total, 1000);
	assert_int_equal(h.max, 1000);
	assert_int_equal(hist_percentile(&h, 1), 1);
	assert_in_range(hist_percentile(&h, 500), 490, 510);
	assert_in_range(hist_percentile(&h, 990), 975, 1000);
	assert_int_equal(hist_percentile(&h, 1000), 1000);
}

static void no_percentile_passes_the_maximum(void **state)
{
	static struct hist h;

	memset(&h, 0, sizeof(h));
	hist_add(&h, 1024); /* the first value of a bucket whose middle lies above */
	assert_int_equal(hist_percentile(&h, 999), 1024);
}

static void sums_are_those_of_both(void **state)
{
	static struct hist a, b;

	memset(&a, 0, sizeof(a));
	memset(&b, 0, sizeof(b));
	hist_add(&a, 10);
	hist_add(&b, 10);
	hist_add(&b, 30);
	hist_merge(&a, &b);
	assert_int_equal(a.total, 3);
	assert_int_equal(a.sum, 50);
	assert_int_equal(a.max, 30);
	assert_int_equal(a.count[10], 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_value_is_near_its_bucket),
		cmocka_unit_test(buckets_follow_one_another),
		cmocka_unit_test(percentiles_are_ranks),
		cmocka_unit_test(no_percentile_passes_the_maximum),
		cmocka_unit_test(sums_are_those_of_both),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
