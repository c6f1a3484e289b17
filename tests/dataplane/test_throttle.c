/* SPDX-License-Identifier: Apache-2.0 */
/* Requests that wait for a limit: who waits for whom, and what becomes of them when the disk is
 * paused, reset, ended or given other limits. How fast it goes: test_throttle_rate.c. */
#include "tests/dataplane/driver.h"
#include "tests/dataplane/limited.h"
#include "tests/dataplane/slow.h"

/* Bytes per second: after one request of 4 KiB none goes for an hour. */
#define FOR_EVER 1

static struct rig *limited(struct throttle_limits limits)
{
	return rig_new(
		(struct rig_config){ .dir = "/dev/shm", .queue_size = 512, .limits = limits });
}

static void offer(struct rig *rig, uint32_t type, uint64_t cookie)
{
	struct rig_req r = rig_req(rig, 4096);
	const uint32_t len = type == VIRTIO_BLK_T_FLUSH ? 0 : 4096;

	assert_true(rig_queue(rig, 0, &r, type, 16 * cookie, len, cookie) >= 0);
}

static void queue(struct rig *rig, uint32_t type, uint64_t cookie)
{
	offer(rig, type, cookie);
	rig_kick(rig, 0);
}

static void expect(struct rig *rig, uint64_t cookie)
{
	struct fake_done done;

	assert_true(rig_wait(rig, 0, &done));
	assert_int_equal(done.cookie, cookie);
}

static void expect_nothing(struct rig *rig, unsigned ms)
{
	struct fake_done done;

	usleep(ms * 1000);
	assert_false(fake_queue_poll(&rig->drv[0], &done));
}

static uint64_t waited(const struct rig *rig)
{
	return rig_stat(&blk_dataplane_stats(rig->dp)->throttled);
}

/* Until `n` requests have had to wait. */
static void wait_waited(const struct rig *rig, uint64_t n)
{
	for (unsigned i = 0; waited(rig) < n; i++) {
		assert_true(i < RIG_WAIT_MS);
		usleep(1000);
	}
}

/* A disk that is at its limit, with request 0 done and 1 to `n` waiting. */
static struct rig *full(struct throttle_limits limits, uint32_t type, unsigned n)
{
	struct rig *rig = limited(limits);

	for (unsigned i = 0; i <= n; i++)
		offer(rig, type, i);
	rig_kick(rig, 0);
	expect(rig, 0);
	wait_waited(rig, n);
	return rig;
}

static void requests_wait_and_go_in_order(void **state)
{
	struct rig *rig = full(limit(THROTTLE_IOPS, 4), VIRTIO_BLK_T_IN, 5);

	for (unsigned i = 1; i <= 5; i++)
		expect(rig, i);
	assert_int_equal(waited(rig), 5);
	rig_free(rig);
}

static void what_is_not_limited_does_not_wait(void **state)
{
	struct rig *rig = limited(limit(THROTTLE_BPS_WR, FOR_EVER));

	for (unsigned i = 0; i < 50; i++) {
		queue(rig, VIRTIO_BLK_T_IN, i);
		expect(rig, i);
	}
	assert_int_equal(waited(rig), 0);
	rig_free(rig);
}

static void reads_and_flushes_pass_writes_that_wait(void **state)
{
	struct rig *rig = full(limit(THROTTLE_BPS_WR, FOR_EVER), VIRTIO_BLK_T_OUT, 10);

	queue(rig, VIRTIO_BLK_T_IN, 90);
	expect(rig, 90);
	queue(rig, VIRTIO_BLK_T_FLUSH, 91);
	expect(rig, 91);
	rig_free(rig);
}

/* More than aio-depth. */
static void a_long_line_of_writes_stops_neither_reads_nor_flushes(void **state)
{
	struct rig *rig = full(limit(THROTTLE_BPS_WR, FOR_EVER), VIRTIO_BLK_T_OUT, 150);

	for (unsigned i = 0; i < 5; i++) {
		queue(rig, VIRTIO_BLK_T_IN, 190);
		expect(rig, 190);
		queue(rig, VIRTIO_BLK_T_FLUSH, 191);
		expect(rig, 191);
	}
	rig_free(rig);
}

static void a_queue_full_of_writes_that_wait_stops_no_other_queue(void **state)
{
	struct rig *rig =
		rig_new((struct rig_config){ .dir = "/dev/shm",
					     .nqueues = 2,
					     .depth = 4,
					     .limits = limit(THROTTLE_BPS_WR, FOR_EVER) });
	struct rig_req r = rig_req(rig, 4096), other = rig_req(rig, 4096);
	struct fake_done done;
	uint64_t n = 0;

	while (rig_queue(rig, 0, &r, VIRTIO_BLK_T_OUT, 16 * n, 4096, n) >= 0)
		n++;
	rig_kick(rig, 0);
	assert_true(rig_wait(rig, 0, &done));
	wait_waited(rig, n - 1);
	for (unsigned i = 0; i < 5; i++) {
		assert_true(rig_queue(rig, 1, &other, VIRTIO_BLK_T_IN, 0, 4096, i) >= 0);
		rig_kick(rig, 1);
		assert_true(rig_wait(rig, 1, &done));
		assert_int_equal(done.cookie, i);
	}
	rig_free(rig);
}

static void writes_pass_reads_that_wait(void **state)
{
	struct rig *rig = full(limit(THROTTLE_BPS_RD, FOR_EVER), VIRTIO_BLK_T_IN, 10);

	for (unsigned i = 90; i < 95; i++) {
		queue(rig, VIRTIO_BLK_T_OUT, i);
		expect(rig, i);
	}
	rig_free(rig);
}

static void what_identifies_the_disk_or_is_refused_is_not_counted(void **state)
{
	struct rig *rig = full(limit(THROTTLE_BPS, FOR_EVER), VIRTIO_BLK_T_IN, 1);
	struct rig_req r = rig_req(rig, 4096);

	assert_int_equal(rig_do(rig, &r, VIRTIO_BLK_T_GET_ID, 0, 20), VIRTIO_BLK_S_OK);
	assert_int_equal(rig_do(rig, &r, VIRTIO_BLK_T_IN, RIG_SECTORS, 4096), VIRTIO_BLK_S_IOERR);
	assert_int_equal(rig_do(rig, &r, 4711, 0, 4096), VIRTIO_BLK_S_UNSUPP);
	rig_free(rig);
}

/* Three times one range of 1 MiB, of which the first need not wait. The time begins before it, because
 * who comes late makes up for it. */
static uint64_t time_ranges(uint32_t type, struct throttle_limits limits)
{
	struct rig *rig = rig_new((struct rig_config){ .features = F_RANGES, .limits = limits });
	const struct virtio_blk_discard_write_zeroes range = { .num_sectors = 2048 };
	struct rig_req r = rig_req(rig, sizeof(range));
	uint64_t from;

	memcpy(rig_ptr(rig, r.data), &range, sizeof(range));
	from = now_ns();
	for (unsigned i = 0; i < 3; i++)
		rig_do(rig, &r, type, 0, sizeof(range));
	from = now_ns() - from;
	rig_free(rig);
	return from;
}

static void discards_and_zeroes_are_writes_and_zeroes_have_bytes(void **state)
{
	assert_true(time_ranges(VIRTIO_BLK_T_DISCARD, limit(THROTTLE_IOPS_WR, 10)) >= 180000000);
	assert_true(time_ranges(VIRTIO_BLK_T_WRITE_ZEROES, limit(THROTTLE_IOPS_WR, 10)) >=
		    180000000);
	assert_true(time_ranges(VIRTIO_BLK_T_WRITE_ZEROES, limit(THROTTLE_BPS_WR, 10 << 20)) >=
		    180000000);
	assert_true(time_ranges(VIRTIO_BLK_T_DISCARD, limit(THROTTLE_BPS_WR, 1)) < 5000000000);
}

/* More than the pool holds, so that the ring keeps the rest. */
static void a_pool_that_waits_to_the_last_request_goes_on(void **state)
{
	struct rig *rig = rig_new((struct rig_config){ .dir = "/dev/shm",
						       .depth = 4,
						       .slots = 4,
						       .features = F_EVENT,
						       .limits = limit(THROTTLE_IOPS, 200) });

	for (unsigned i = 0; i < 20; i++)
		queue(rig, VIRTIO_BLK_T_IN, i);
	for (unsigned i = 0; i < 20; i++)
		expect(rig, i);
	rig_free(rig);
}

/* ---- commands -------------------------------------------------------------------------------- */

static void a_pause_keeps_what_waits(void **state)
{
	struct rig *rig = full(limit(THROTTLE_IOPS, 20), VIRTIO_BLK_T_OUT, 10);

	assert_int_equal(rig_send(rig, BLK_CMD_PAUSE), 0);
	while (fake_queue_poll(&rig->drv[0], &(struct fake_done){ 0 }))
		;
	expect_nothing(rig, 200);
	assert_int_equal(rig_send(rig, BLK_CMD_RESUME), 0);
	for (struct fake_done done = { 0 }; done.cookie != 10;)
		assert_true(rig_wait(rig, 0, &done));
	rig_free(rig);
}

static void a_reset_forgets_what_waits(void **state)
{
	struct rig *rig = full(limit(THROTTLE_BPS, FOR_EVER), VIRTIO_BLK_T_OUT, 10);
	struct rig_req r;

	for (unsigned round = 0; round < 3; round++) {
		assert_int_equal(rig_send(rig, BLK_CMD_RESET), 0);
		fake_queue_reset(&rig->drv[0]);
		assert_int_equal(rig_start(rig), 0);
		for (unsigned i = 0; i < 64; i++)
			queue(rig, VIRTIO_BLK_T_OUT, i % 10 + 1);
		wait_waited(rig, 10 + 64 * (round + 1));
	}
	assert_int_equal(rig_send(rig, BLK_CMD_RESET), 0);
	fake_queue_reset(&rig->drv[0]);
	/* Every request of the pool is free, and the image as it was made. */
	assert_int_equal(set_limits(rig, &(struct throttle_limits){ 0 }), 0);
	assert_int_equal(rig_start(rig), 0);
	r = rig_req(rig, 512);
	for (unsigned i = 1; i <= 10; i++) {
		assert_int_equal(rig_do(rig, &r, VIRTIO_BLK_T_IN, 16 * i, 512), VIRTIO_BLK_S_OK);
		assert_int_equal(*(uint8_t *)rig_ptr(rig, r.data), 2 * i);
	}
	rig_free(rig);
}

static void a_reset_gives_the_claims_back(void **state)
{
	struct rig *rig = full(limit(THROTTLE_IOPS, 2), VIRTIO_BLK_T_OUT, 20);
	const uint64_t from = now_ns();

	for (unsigned round = 0; round < 20; round++) {
		assert_int_equal(rig_send(rig, BLK_CMD_RESET), 0);
		fake_queue_reset(&rig->drv[0]);
		assert_int_equal(rig_start(rig), 0);
		queue(rig, VIRTIO_BLK_T_OUT, 1);
	}
	expect(rig, 1);
	assert_true(now_ns() - from < 5000000000);
	rig_free(rig);
}

static void a_disk_ends_with_requests_that_wait(void **state)
{
	rig_free(full(limit(THROTTLE_BPS, FOR_EVER), VIRTIO_BLK_T_OUT, 50));
}

static void a_cache_switched_off_does_not_wait_for_who_waits(void **state)
{
	struct rig *rig = full(limit(THROTTLE_BPS_WR, FOR_EVER), VIRTIO_BLK_T_OUT, 2);
	const struct blk_command off = { .type = BLK_CMD_SET_WCE, .writeback = false };

	assert_int_equal(blk_dataplane_send(rig->dp, &off, -1, RIG_WAIT_MS), 0);
	expect_nothing(rig, 0);
	rig_free(rig);
}

static void limits_that_are_lifted_let_all_go(void **state)
{
	struct rig *rig = full(limit(THROTTLE_BPS, FOR_EVER), VIRTIO_BLK_T_IN, 50);

	assert_int_equal(set_limits(rig, &(struct throttle_limits){ 0 }), 0);
	for (unsigned i = 1; i <= 50; i++)
		expect(rig, i);
	queue(rig, VIRTIO_BLK_T_IN, 60);
	expect(rig, 60);
	assert_int_equal(waited(rig), 50);
	rig_free(rig);
}

/* aio-depth is what the host may have, however many may go; while it has that, nobody is to spin. */
static void who_may_go_waits_for_room_with_the_host(void **state)
{
	struct rig *rig = rig_new((struct rig_config){ .dir = "/dev/shm",
						       .queue_size = 512,
						       .depth = 4,
						       .limits = limit(THROTTLE_BPS, FOR_EVER) });
	const struct throttle_limits fast = limit(THROTTLE_IOPS, 1000000);
	uint64_t looks;

	queue(rig, VIRTIO_BLK_T_IN, 0);
	expect(rig, 0);
	for (unsigned i = 1; i <= 150; i++)
		queue(rig, VIRTIO_BLK_T_IN, i);
	wait_waited(rig, 150);
	hold_io(true);
	assert_int_equal(set_limits(rig, &fast), 0);
	wait_held(4);
	looks = rig_stat(&blk_dataplane_stats(rig->dp)->hits);
	expect_nothing(rig, 50);
	wait_held(4);
	assert_in_range(rig_stat(&blk_dataplane_stats(rig->dp)->hits), looks, looks + 10);
	release_held();
	for (unsigned i = 1; i <= 150; i++)
		expect(rig, i);
	rig_free(rig);
}

static void limits_that_are_raised_let_the_first_go_at_once(void **state)
{
	const struct throttle_limits fast = limit(THROTTLE_BPS, 500 * 4096);
	struct rig *rig = full(limit(THROTTLE_BPS, FOR_EVER), VIRTIO_BLK_T_IN, 50);
	const uint64_t from = now_ns();

	assert_int_equal(set_limits(rig, &fast), 0);
	for (unsigned i = 1; i <= 50; i++)
		expect(rig, i);
	assert_true(now_ns() - from >= 80000000);
	rig_free(rig);
}

static void limits_come_to_a_disk_that_had_none(void **state)
{
	const struct throttle_limits hundred = limit(THROTTLE_IOPS, 100);
	struct rig *rig = limited((struct throttle_limits){ 0 });
	uint64_t from;

	queue(rig, VIRTIO_BLK_T_IN, 0);
	expect(rig, 0);
	assert_int_equal(set_limits(rig, &hundred), 0);
	from = now_ns();
	for (unsigned i = 1; i <= 20; i++) {
		queue(rig, VIRTIO_BLK_T_IN, i);
		expect(rig, i);
	}
	/* Two at once, and eighteen at ten milliseconds each. */
	assert_true(now_ns() - from >= 180000000);
	rig_free(rig);
}

/* ---- storms ---------------------------------------------------------------------------------- */

static struct throttle_limits any_limits(struct driver *d)
{
	static const uint64_t iops[] = { 0, 3000, 20000, 500000 }, bps[] = { 0, 30 << 20, 1 << 30 };
	struct throttle_limits limits = { 0 };

	limits.of[THROTTLE_IOPS].rate = iops[next_random(d) % 4];
	limits.of[THROTTLE_IOPS_RD].rate = iops[next_random(d) % 4];
	limits.of[THROTTLE_BPS_WR].rate = bps[next_random(d) % 3];
	limits.of[THROTTLE_BPS].rate = bps[next_random(d) % 3];
	if (limits.of[THROTTLE_IOPS].rate && next_random(d) % 2)
		limits.of[THROTTLE_IOPS].max = 2 * limits.of[THROTTLE_IOPS].rate;
	return limits;
}

/* Limits, pauses and resumes as fast as the thread takes them, under I/O that is verified. */
static void storm(struct rig_config config, unsigned requests)
{
	struct throttle_buckets shared = { 0 };
	struct driver *d, *dice = calloc(1, sizeof(*dice));
	struct throttle_limits limits, last = { 0 };
	pthread_t thread;
	struct rig *rig;

	config.buckets = &shared;
	rig = rig_new(config);
	d = driver_new(rig, 0, 32, requests);
	dice->seed = 5;
	assert_int_equal(pthread_create(&thread, NULL, drive, d), 0);
	for (unsigned i = 0; !atomic_load(&d->finished); i++) {
		limits = any_limits(dice);
		throttle_change(&shared, &last, &limits, now_ns());
		last = limits;
		assert_int_equal(tell_limits(rig, &limits), 0);
		if (i % 3 == 0) {
			assert_int_equal(rig_send(rig, BLK_CMD_PAUSE), 0);
			assert_int_equal(rig_send(rig, BLK_CMD_RESUME), 0);
		}
		usleep(next_random(dice) % 2000);
	}
	pthread_join(thread, NULL);
	if (d->error)
		fail_msg("%s", d->error);
	rig_free(rig);
	free(dice);
	free(d);
}

static void limits_change_under_verified_io(void **state)
{
	storm((struct rig_config){ .dir = "/dev/shm", .features = F_EVENT }, 10000);
	storm((struct rig_config){ .dir = "/dev/shm", .no_look = true, .depth = 8 }, 5000);
	storm((struct rig_config){ .cache = DISK_CACHE_WRITEBACK, .aio = DISK_AIO_THREADS }, 5000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(requests_wait_and_go_in_order),
		cmocka_unit_test(what_is_not_limited_does_not_wait),
		cmocka_unit_test(reads_and_flushes_pass_writes_that_wait),
		cmocka_unit_test(a_long_line_of_writes_stops_neither_reads_nor_flushes),
		cmocka_unit_test(a_queue_full_of_writes_that_wait_stops_no_other_queue),
		cmocka_unit_test(writes_pass_reads_that_wait),
		cmocka_unit_test(what_identifies_the_disk_or_is_refused_is_not_counted),
		cmocka_unit_test(discards_and_zeroes_are_writes_and_zeroes_have_bytes),
		cmocka_unit_test(a_pool_that_waits_to_the_last_request_goes_on),
		cmocka_unit_test(a_pause_keeps_what_waits),
		cmocka_unit_test(a_reset_forgets_what_waits),
		cmocka_unit_test(a_reset_gives_the_claims_back),
		cmocka_unit_test(a_disk_ends_with_requests_that_wait),
		cmocka_unit_test(a_cache_switched_off_does_not_wait_for_who_waits),
		cmocka_unit_test(limits_that_are_lifted_let_all_go),
		cmocka_unit_test(who_may_go_waits_for_room_with_the_host),
		cmocka_unit_test(limits_that_are_raised_let_the_first_go_at_once),
		cmocka_unit_test(limits_come_to_a_disk_that_had_none),
		cmocka_unit_test(limits_change_under_verified_io),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
