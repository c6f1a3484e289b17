/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "vmm/cli/number.h"

static void sizes_take_suffixes_and_default_to_mib(void **state)
{
	static const struct {
		const char *text;
		uint64_t bytes;
	} good[] = {
		{ "256", 256ULL << 20 },  { "256M", 256ULL << 20 }, { "4g", 4ULL << 30 },
		{ "640K", 640ULL << 10 }, { "1T", 1ULL << 40 },	    { "0", 0 },
	};

	for (unsigned i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		uint64_t n = 1;

		assert_int_equal(number_parse_size(good[i].text, &n), 0);
		assert_int_equal(n, good[i].bytes);
	}
}

static void sizes_refuse_nonsense_and_overflow(void **state)
{
	static const char *const bad[] = { "",	  "M",	  "-1M",       "+1",
					   " 1",  "1.5G", "1MB",       "1MM",
					   "1 M", "0x1",  "16777216T", "99999999999999999999" };

	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		uint64_t n = 42;

		assert_true(number_parse_size(bad[i], &n) < 0);
		assert_int_equal(n, 42);
	}
}

static void bytes_take_suffixes_and_keep_to_their_range(void **state)
{
	uint64_t n = 42;

	assert_true(number_parse_bytes("1025", 1024, &n) < 0);
	assert_true(number_parse_bytes("2K", 1024, &n) < 0);
	assert_true(number_parse_bytes("K", 1024, &n) < 0);
	assert_true(number_parse_bytes("1KB", 1024, &n) < 0);
	assert_int_equal(n, 42);
	assert_int_equal(number_parse_bytes("1K", 1024, &n), 0);
	assert_int_equal(n, 1024);
	assert_int_equal(number_parse_bytes("1000", 1024, &n), 0);
	assert_int_equal(n, 1000);
	assert_int_equal(number_parse_bytes("0", 1024, &n), 0);
	assert_int_equal(n, 0);
}

static void numbers_keep_to_their_range(void **state)
{
	uint64_t n = 42;

	assert_int_equal(number_parse("1", 1, 4, &n), 0);
	assert_int_equal(n, 1);
	assert_int_equal(number_parse("0xf4", 1, 0xffff, &n), 0);
	assert_int_equal(n, 0xf4);
	n = 42;
	assert_true(number_parse("0", 1, 4, &n) < 0);
	assert_true(number_parse("5", 1, 4, &n) < 0);
	assert_true(number_parse("-1", 0, UINT64_MAX, &n) < 0);
	assert_true(number_parse("1x", 0, 4, &n) < 0);
	assert_true(number_parse("0x", 0, 4, &n) < 0);
	assert_true(number_parse("0x0x4", 0, 4, &n) < 0);
	assert_true(number_parse("f", 0, 100, &n) < 0);
	assert_int_equal(n, 42);
}

static void seconds_may_have_a_fraction(void **state)
{
	static const char *const bad[] = { "",	 "0",  "0.0", "-1",	   "1.",
					   ".5", "1s", "1e3", "9999999999" };
	uint64_t ms;

	assert_int_equal(number_parse_seconds("30", &ms), 0);
	assert_int_equal(ms, 30000);
	assert_int_equal(number_parse_seconds("0.25", &ms), 0);
	assert_int_equal(ms, 250);
	assert_int_equal(number_parse_seconds("1.0019", &ms), 0);
	assert_int_equal(ms, 1001);
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_true(number_parse_seconds(bad[i], &ms) < 0);
}

static void sizes_print_in_the_largest_whole_unit(void **state)
{
	char buf[24];

	assert_string_equal(number_format_size(256ULL << 20, buf), "256M");
	assert_string_equal(number_format_size(1536ULL << 20, buf), "1536M");
	assert_string_equal(number_format_size(1ULL << 40, buf), "1T");
	assert_string_equal(number_format_size(1ULL << 50, buf), "1024T");
	assert_string_equal(number_format_size(512, buf), "512");
	assert_string_equal(number_format_size(0, buf), "0");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sizes_take_suffixes_and_default_to_mib),
		cmocka_unit_test(sizes_refuse_nonsense_and_overflow),
		cmocka_unit_test(bytes_take_suffixes_and_keep_to_their_range),
		cmocka_unit_test(numbers_keep_to_their_range),
		cmocka_unit_test(seconds_may_have_a_fraction),
		cmocka_unit_test(sizes_print_in_the_largest_whole_unit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
