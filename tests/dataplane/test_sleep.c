/* SPDX-License-Identifier: Apache-2.0 */
/* A thread that sleeps while storage takes its time is woken by a completion, a kick and a command
 * alike, whether the requests in flight ring an eventfd or are silent (aio_native.h). */
#include "tests/dataplane/slow.h"

static void queue_read(struct rig *rig, uint64_t cookie)
{
	struct rig_req r = rig_req(rig, 4096);

	assert_true(rig_queue(rig, 0, &r, VIRTIO_BLK_T_IN, 16 * cookie, 4096, cookie) >= 0);
	rig_kick(rig, 0);
}

static void expect(struct rig *rig, uint64_t cookie)
{
	struct fake_done done;

	assert_true(rig_wait(rig, 0, &done));
	assert_int_equal(done.cookie, cookie);
}

/* Until the thread sleeps: nothing but we wakes it, if it need not look by itself. */
static void wait_asleep(struct rig *rig)
{
	const struct blk_stats *stats = blk_dataplane_stats(rig->dp);
	uint64_t before;

	do {
		before = rig_stat(&stats->sleeps);
		usleep(5000);
	} while (!before || (!slow.no_poll && rig_stat(&stats->sleeps) != before));
}

/* One request stays with the kernel; a second comes and goes; a command; then the first is done. */
static void everything_wakes(struct rig *rig, uint64_t first)
{
	hold_io(true);
	queue_read(rig, first);
	wait_held(1);
	wait_asleep(rig);
	hold_io(false);
	queue_read(rig, first + 1);
	expect(rig, first + 1);
	wait_asleep(rig);
	assert_int_equal(rig_send(rig, BLK_CMD_RESUME), 0);
	wait_asleep(rig);
	release_held();
	expect(rig, first);
}

static void all_ways_to_wake(struct rig_config config)
{
	struct rig *rig = rig_new(config);

	/* The first request of all is silent; after a sleep with one in flight they ring, and after a
	 * sleep without they are silent again. */
	for (uint64_t i = 0; i < 12; i += 2)
		everything_wakes(rig, i);
	rig_free(rig);
}

static void everything_wakes_a_thread_with_requests_in_flight(void **state)
{
	all_ways_to_wake((struct rig_config){ .features = F_EVENT });
	all_ways_to_wake((struct rig_config){ .no_look = true });
}

static void everything_wakes_it_where_aio_cannot_poll(void **state)
{
	slow.no_poll = true;
	all_ways_to_wake((struct rig_config){ .features = F_EVENT });
	all_ways_to_wake((struct rig_config){ .no_look = true });
	slow.no_poll = false;
}

static void a_sleep_with_requests_in_flight_is_a_sleep(void **state)
{
	struct rig *rig = rig_new((struct rig_config){ 0 });
	const struct blk_stats *stats = blk_dataplane_stats(rig->dp);
	unsigned looks = 0;
	uint64_t before;

	hold_io(true);
	queue_read(rig, 1);
	wait_held(1);
	do { /* it may not have had a CPU to fall asleep on */
		before = rig_stat(&stats->sleeps);
		usleep(50000);
	} while (rig_stat(&stats->sleeps) != before && ++looks < 100);
	assert_in_range(looks, 0, 99);
	release_held();
	expect(rig, 1);
	rig_free(rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(everything_wakes_a_thread_with_requests_in_flight),
		cmocka_unit_test(everything_wakes_it_where_aio_cannot_poll),
		cmocka_unit_test(a_sleep_with_requests_in_flight_is_a_sleep),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
