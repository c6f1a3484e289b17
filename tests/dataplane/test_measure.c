/* SPDX-License-Identifier: Apache-2.0 */
/* What is measured of a disk, and that nothing is where nobody can ask. Clock and storage are the
 * test's. */
#include "tests/dataplane/slow.h"

#include <time.h>

#define MS 1000000ULL

/* ---- the clock of the disk's thread ---- */

static _Atomic uint64_t ahead_ns;
static _Atomic uint64_t tick_ns; /* per look */
static _Atomic unsigned looks;	 /* of a thread that is not the test's */

int clock_gettime(clockid_t id, struct timespec *ts)
{
	const long ret = syscall(SYS_clock_gettime, id, ts);
	uint64_t ns;

	if (gettid() == getpid())
		return (int)ret;
	looks++;
	ahead_ns += tick_ns;
	ns = ts->tv_sec * 1000000000ULL + ts->tv_nsec + ahead_ns;
	ts->tv_sec = (time_t)(ns / 1000000000);
	ts->tv_nsec = (long)(ns % 1000000000);
	return (int)ret;
}

/* ---- what it counts ---- */

static uint64_t measured(struct rig *rig, unsigned op)
{
	const struct blk_latency *l = &blk_dataplane_stats(rig->dp)->latency[op];
	uint64_t n = 0;

	for (unsigned i = 0; i < BLK_LATENCY_BUCKETS; i++)
		n += l->requests[i];
	return n;
}

static uint64_t total_ns(struct rig *rig, unsigned op)
{
	return blk_dataplane_stats(rig->dp)->latency[op].ns;
}

/* Of all that took longer than `ns`. */
static uint64_t longer(struct rig *rig, unsigned op, uint64_t ns)
{
	const struct blk_latency *l = &blk_dataplane_stats(rig->dp)->latency[op];
	uint64_t n = 0;

	for (unsigned i = blk_latency_bucket(ns); i < BLK_LATENCY_BUCKETS; i++)
		n += l->requests[i];
	return n;
}

static uint64_t depth(struct rig *rig)
{
	return blk_dataplane_stats(rig->dp)->in_flight;
}

static void wait_depth(struct rig *rig, uint64_t n)
{
	for (unsigned ms = 0; depth(rig) != n && ms < RIG_WAIT_MS; ms++)
		usleep(1000);
	assert_int_equal(depth(rig), n);
}

static void queue(struct rig *rig, unsigned n, uint32_t type)
{
	for (unsigned i = 0; i < n; i++) {
		struct rig_req r = rig_req(rig, 512);

		rig_queue(rig, 0, &r, type, 2 * i, 512, i);
	}
	rig_kick(rig, 0);
}

static void collect(struct rig *rig, unsigned n)
{
	struct fake_done done;

	while (n--)
		assert_true(rig_wait(rig, 0, &done));
}

/* ---- tests ---- */

static void buckets_have_their_bounds(void **state)
{
	assert_int_equal(blk_latency_bucket(0), 0);
	assert_int_equal(blk_latency_bucket(UINT64_MAX), BLK_LATENCY_BUCKETS - 1);
	for (unsigned i = 0; i < BLK_LATENCY_BUCKETS - 1; i++) {
		assert_int_equal(blk_latency_bucket(blk_latency_bound(i)), i);
		assert_int_equal(blk_latency_bucket(blk_latency_bound(i) + 1), i + 1);
	}
}

/* Storage has it for 200 ms of the test's clock. */
static void a_request_takes_from_the_ring_to_its_answer(void **state)
{
	struct rig *rig = rig_new((struct rig_config){ .measures = true, .no_look = true });

	hold_io(true);
	queue(rig, 3, VIRTIO_BLK_T_OUT);
	wait_held(3);
	wait_depth(rig, 3);
	assert_int_equal(measured(rig, BLK_OP_WRITE), 0);
	ahead_ns += 200 * MS;
	release_held();
	collect(rig, 3);
	wait_depth(rig, 0);
	assert_int_equal(measured(rig, BLK_OP_WRITE), 3);
	assert_int_equal(longer(rig, BLK_OP_WRITE, 200 * MS), 3);
	assert_true(total_ns(rig, BLK_OP_WRITE) >= 600 * MS);
	assert_int_equal(measured(rig, BLK_OP_READ), 0);
	hold_io(false);
	queue(rig, 2, VIRTIO_BLK_T_IN);
	queue(rig, 1, VIRTIO_BLK_T_FLUSH);
	collect(rig, 3);
	assert_int_equal(measured(rig, BLK_OP_READ), 2);
	assert_int_equal(measured(rig, BLK_OP_FLUSH), 1);
	assert_int_equal(measured(rig, BLK_OP_WRITE), 3);
	rig_free(rig);
}

static void by_workers_as_well(void **state)
{
	struct rig *rig = rig_new((struct rig_config){
		.measures = true, .cache = DISK_CACHE_WRITEBACK, .aio = DISK_AIO_THREADS });

	queue(rig, 5, VIRTIO_BLK_T_OUT);
	queue(rig, 4, VIRTIO_BLK_T_IN);
	collect(rig, 9);
	assert_int_equal(measured(rig, BLK_OP_WRITE), 5);
	assert_int_equal(measured(rig, BLK_OP_READ), 4);
	wait_depth(rig, 0);
	rig_free(rig);
}

/* A tick of the clock lies between the two looks, however soon the answer comes. */
static void assert_a_tick(struct rig *rig, uint32_t type, unsigned op)
{
	struct rig_req r = rig_req(rig, 4096);

	tick_ns = 50 * MS;
	assert_int_equal(rig_do(rig, &r, type, 0, 4096), VIRTIO_BLK_S_OK);
	assert_int_equal(longer(rig, op, 50 * MS), 1);
	tick_ns = 0;
	rig_free(rig);
}

static void what_is_taken_and_reaped_in_one_pass_has_taken_time(void **state)
{
	slow.lag_us = 20000;
	assert_a_tick(rig_new((struct rig_config){ .measures = true, .no_look = true }),
		      VIRTIO_BLK_T_OUT, BLK_OP_WRITE);
	slow.lag_us = 0;
}

static void so_has_what_is_read_from_the_page_cache(void **state)
{
	assert_a_tick(rig_new((struct rig_config){ .measures = true,
						   .no_look = true,
						   .cache = DISK_CACHE_WRITEBACK,
						   .aio = DISK_AIO_THREADS }),
		      VIRTIO_BLK_T_IN, BLK_OP_READ);
}

static void what_is_refused_counts_too(void **state)
{
	struct rig *rig = rig_new((struct rig_config){ .measures = true });
	struct rig_req r = rig_req(rig, 512);

	assert_int_equal(rig_do(rig, &r, VIRTIO_BLK_T_IN, RIG_SECTORS, 512), VIRTIO_BLK_S_IOERR);
	assert_int_equal(measured(rig, BLK_OP_READ), 1);
	rig_free(rig);
}

/* Two batches of eight. (How many the host gives back at once is its own affair.) */
static void the_clock_is_read_for_batches(void **state)
{
	struct rig *rig = rig_new(
		(struct rig_config){ .measures = true, .no_look = true, .queue_size = 256 });

	hold_io(true);
	looks = 0;
	queue(rig, 16, VIRTIO_BLK_T_OUT);
	wait_held(16);
	assert_int_equal(looks, 2);
	release_held();
	collect(rig, 16);
	rig_free(rig);
}

static void a_disk_that_nobody_asks_of_reads_no_clock(void **state)
{
	struct rig *rig = rig_new((struct rig_config){ .no_look = true });

	hold_io(true);
	looks = 0;
	queue(rig, 8, VIRTIO_BLK_T_OUT);
	wait_held(8);
	release_held();
	collect(rig, 8);
	hold_io(false);
	queue(rig, 8, VIRTIO_BLK_T_IN);
	collect(rig, 8);
	assert_int_equal(looks, 0);
	assert_int_equal(depth(rig), 0);
	assert_int_equal(measured(rig, BLK_OP_READ) + measured(rig, BLK_OP_WRITE), 0);
	rig_free(rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(buckets_have_their_bounds),
		cmocka_unit_test(a_request_takes_from_the_ring_to_its_answer),
		cmocka_unit_test(by_workers_as_well),
		cmocka_unit_test(what_is_taken_and_reaped_in_one_pass_has_taken_time),
		cmocka_unit_test(so_has_what_is_read_from_the_page_cache),
		cmocka_unit_test(what_is_refused_counts_too),
		cmocka_unit_test(the_clock_is_read_for_batches),
		cmocka_unit_test(a_disk_that_nobody_asks_of_reads_no_clock),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
