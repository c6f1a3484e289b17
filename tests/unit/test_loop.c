/* SPDX-License-Identifier: Apache-2.0 */
/* Main's loop: who is called, when, and who is not any more. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "vmm/cli/clock.h"
#include "vmm/cli/loop.h"

#define WATCHES 3

static struct loop loop;

static struct event {
	struct loop_watch watch;
	struct loop_timer timer;
	unsigned called;
	unsigned turn; /* of all calls, which this one was */
	short revents;
	struct event *victim; /* what its callback removes, if anything */
	uint64_t again;	      /* when its timer sets itself to */
} event[WATCHES];

static unsigned calls;

static void ready(void *opaque, short revents)
{
	struct event *e = opaque;

	e->called++;
	e->turn = ++calls;
	e->revents = revents;
	if (e->victim) {
		loop_remove(&loop, &e->victim->watch);
		loop_timer_cancel(&loop, &e->victim->timer);
	}
}

static void expired(void *opaque)
{
	struct event *e = opaque;

	ready(e, 0);
	if (e->again)
		loop_timer_set(&loop, &e->timer, e->again);
}

static int setup(void **state)
{
	memset(&loop, 0, sizeof(loop));
	memset(event, 0, sizeof(event));
	calls = 0;
	for (int i = 0; i < WATCHES; i++) {
		int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

		event[i].watch = (struct loop_watch){
			.fd = fd, .events = POLLIN, .ready = ready, .opaque = &event[i]
		};
		event[i].timer = (struct loop_timer){ .expired = expired, .opaque = &event[i] };
	}
	return 0;
}

static int teardown(void **state)
{
	for (int i = 0; i < WATCHES; i++)
		close(event[i].watch.fd);
	return 0;
}

static void ring(int i)
{
	assert_int_equal(eventfd_write(event[i].watch.fd, 1), 0);
}

static void add_all(void)
{
	for (int i = 0; i < WATCHES; i++)
		assert_int_equal(loop_add(&loop, &event[i].watch), 0);
}

/* A lap that has something due at once, so that it cannot sleep. */
static void lap(void)
{
	static struct event now;

	now.timer = (struct loop_timer){ .expired = expired, .opaque = &now };
	loop_timer_set(&loop, &now.timer, clock_ms());
	loop_once(&loop);
	loop_timer_cancel(&loop, &now.timer);
}

static void test_only_the_ready_are_called_and_told_why(void **state)
{
	add_all();
	ring(1);
	loop_once(&loop);
	assert_int_equal(event[0].called, 0);
	assert_int_equal(event[1].called, 1);
	assert_int_equal(event[1].revents, POLLIN);
	assert_int_equal(event[2].called, 0);
}

static void test_descriptor_and_events_may_change_at_any_time(void **state)
{
	const int fd = event[0].watch.fd;

	add_all();
	ring(0);
	event[0].watch.fd = -1;
	lap();
	assert_int_equal(event[0].called, 0);
	event[0].watch.fd = fd;
	event[0].watch.events = POLLOUT;
	loop_once(&loop);
	assert_int_equal(event[0].revents, POLLOUT);
}

static void test_who_is_removed_by_another_is_not_called_though_ready(void **state)
{
	add_all();
	event[0].victim = &event[1];
	for (int i = 0; i < WATCHES; i++)
		ring(i);
	loop_once(&loop);
	assert_int_equal(event[0].called, 1);
	assert_int_equal(event[1].called, 0);
	assert_int_equal(event[2].called, 1);
	loop_once(&loop);
	assert_int_equal(event[1].called, 0);
	assert_int_equal(event[2].called, 2);
}

static void test_one_may_remove_itself_and_come_back(void **state)
{
	add_all();
	event[2].victim = &event[2];
	ring(2);
	loop_once(&loop);
	lap();
	assert_int_equal(event[2].called, 1);
	event[2].victim = NULL;
	assert_int_equal(loop_add(&loop, &event[2].watch), 0);
	assert_int_equal(loop_add(&loop, &event[2].watch), 0);
	loop_once(&loop);
	assert_int_equal(event[2].called, 2);
}

static void test_a_full_loop_says_so_and_has_room_again(void **state)
{
	static struct loop_watch many[LOOP_MAX_WATCHES];

	for (unsigned i = 0; i < LOOP_MAX_WATCHES; i++) {
		many[i].fd = -1;
		assert_int_equal(loop_add(&loop, &many[i]), 0);
	}
	assert_int_equal(loop_add(&loop, &event[0].watch), -ENOSPC);
	loop_remove(&loop, &many[7]);
	lap();
	assert_int_equal(loop_add(&loop, &event[0].watch), 0);
	ring(0);
	loop_once(&loop);
	assert_int_equal(event[0].called, 1);
}

static void test_timers_come_in_their_order_and_not_before(void **state)
{
	const uint64_t start = clock_ms();

	loop_timer_set(&loop, &event[1].timer, start + 40);
	loop_timer_set(&loop, &event[0].timer, start + 20);
	while (!event[0].called)
		loop_once(&loop);
	assert_true(clock_ms() >= start + 20);
	while (!event[1].called) /* unless both have been due before this thread had its turn */
		loop_once(&loop);
	assert_true(clock_ms() >= start + 40);
	assert_int_equal(event[0].called, 1);
	assert_int_equal(event[0].turn, 1);
	assert_int_equal(event[1].turn, 2);
}

static void test_a_timer_is_moved_and_cancelled(void **state)
{
	const uint64_t start = clock_ms();

	loop_timer_set(&loop, &event[0].timer, start + 10);
	loop_timer_set(&loop, &event[0].timer, start + 10000);
	loop_timer_set(&loop, &event[1].timer, start + 10);
	loop_timer_set(&loop, &event[1].timer, CLOCK_NEVER);
	loop_timer_set(&loop, &event[2].timer, start + 30);
	while (!event[2].called)
		loop_once(&loop);
	assert_int_equal(event[0].called, 0);
	assert_int_equal(event[1].called, 0);
	assert_true(event[0].timer.armed);
	assert_false(event[1].timer.armed);
}

static void test_a_timer_set_to_the_past_comes_once_per_lap(void **state)
{
	add_all();
	event[0].again = 1;
	event[0].victim = NULL;
	loop_timer_set(&loop, &event[0].timer, 1);
	loop_once(&loop);
	assert_int_equal(event[0].called, 1);
	loop_once(&loop);
	assert_int_equal(event[0].called, 2);
}

static void test_a_timer_may_cancel_the_next_that_is_due(void **state)
{
	loop_timer_set(&loop, &event[0].timer, 1);
	loop_timer_set(&loop, &event[1].timer, 1);
	event[0].victim = &event[1];
	lap();
	assert_int_equal(event[0].called, 1);
	assert_int_equal(event[1].called, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_only_the_ready_are_called_and_told_why),
		TEST(test_descriptor_and_events_may_change_at_any_time),
		TEST(test_who_is_removed_by_another_is_not_called_though_ready),
		TEST(test_one_may_remove_itself_and_come_back),
		TEST(test_a_full_loop_says_so_and_has_room_again),
		TEST(test_timers_come_in_their_order_and_not_before),
		TEST(test_a_timer_is_moved_and_cancelled),
		TEST(test_a_timer_set_to_the_past_comes_once_per_lap),
		TEST(test_a_timer_may_cancel_the_next_that_is_due),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
