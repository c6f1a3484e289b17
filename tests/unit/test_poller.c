/* SPDX-License-Identifier: Apache-2.0 */
/* The window of a disk's look for work: grows with what it earns, shrinks with what it does not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "virtio/blk/poller.h"

#define MAX_NS 50000
#define SHORT  20000   /* a sleep that a look would have saved */
#define LONG   1000000 /* one that no look would */

static struct blk_poller poller;

static int setup(void **state)
{
	blk_poller_init(&poller, MAX_NS);
	return 0;
}

static void slept(uint64_t ns)
{
	blk_poller_slept(&poller, 1000, 1000 + ns);
}

static void test_a_new_disk_does_not_look(void **state)
{
	assert_int_equal(blk_poller_window(&poller, 1), 0);
}

static void test_short_sleeps_open_the_window_up_to_its_maximum(void **state)
{
	uint32_t before = 0;

	slept(SHORT);
	assert_int_equal(blk_poller_window(&poller, 1), BLK_POLL_START_NS);
	for (int i = 0; i < 20; i++) {
		before = poller.window_ns;
		slept(SHORT);
		assert_true(poller.window_ns >= before);
		assert_true(poller.window_ns <= MAX_NS);
	}
	assert_int_equal(poller.window_ns, MAX_NS);
}

static void test_long_sleeps_close_it_within_a_few(void **state)
{
	for (int i = 0; i < 20; i++)
		slept(SHORT);
	for (int i = 0; i < 3; i++)
		slept(LONG);
	assert_int_equal(blk_poller_window(&poller, 1), 0);
}

static void test_one_long_sleep_among_short_ones_does_not(void **state)
{
	for (int i = 0; i < 20; i++)
		slept(SHORT);
	slept(LONG);
	assert_true(blk_poller_window(&poller, 1) > 0);
}

static void test_a_sleep_that_an_old_event_ended_says_nothing(void **state)
{
	for (int i = 0; i < 20; i++)
		slept(500);
	assert_int_equal(blk_poller_window(&poller, 1), 0);
}

static void test_a_maximum_of_0_never_looks(void **state)
{
	blk_poller_init(&poller, 0);
	for (int i = 0; i < 20; i++)
		slept(0);
	assert_int_equal(blk_poller_window(&poller, 1), 0);
}

static void test_a_maximum_below_the_first_window_is_kept(void **state)
{
	blk_poller_init(&poller, 3000);
	slept(2500);
	slept(2500);
	assert_int_equal(blk_poller_window(&poller, 1), 3000);
}

static void test_a_wanted_cpu_closes_it_for_a_while(void **state)
{
	slept(SHORT);
	blk_poller_contended(&poller, 1000000);
	slept(SHORT);
	assert_int_equal(blk_poller_window(&poller, 1000000 + BLK_POLL_BACKOFF_NS - 1), 0);
	assert_true(blk_poller_window(&poller, 1000000 + BLK_POLL_BACKOFF_NS) > 0);
}

static void test_the_while_doubles_up_to_a_bound_and_shrinks_when_alone(void **state)
{
	uint64_t now = 0, pause = 0;

	for (int i = 0; i < 30; i++) {
		blk_poller_contended(&poller, now);
		assert_true(poller.resume_ns - now >= pause);
		pause = poller.resume_ns - now;
		now = poller.resume_ns;
	}
	assert_true(pause >= BLK_POLL_BACKOFF_MAX);
	assert_true(pause < 2ULL * BLK_POLL_BACKOFF_MAX);
	for (int i = 0; i < 30; i++)
		blk_poller_alone(&poller);
	blk_poller_contended(&poller, now);
	assert_int_equal(poller.resume_ns - now, BLK_POLL_BACKOFF_NS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_a_new_disk_does_not_look, setup),
		cmocka_unit_test_setup(test_short_sleeps_open_the_window_up_to_its_maximum, setup),
		cmocka_unit_test_setup(test_long_sleeps_close_it_within_a_few, setup),
		cmocka_unit_test_setup(test_one_long_sleep_among_short_ones_does_not, setup),
		cmocka_unit_test_setup(test_a_sleep_that_an_old_event_ended_says_nothing, setup),
		cmocka_unit_test_setup(test_a_maximum_of_0_never_looks, setup),
		cmocka_unit_test_setup(test_a_maximum_below_the_first_window_is_kept, setup),
		cmocka_unit_test_setup(test_a_wanted_cpu_closes_it_for_a_while, setup),
		cmocka_unit_test_setup(test_the_while_doubles_up_to_a_bound_and_shrinks_when_alone,
				       setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
