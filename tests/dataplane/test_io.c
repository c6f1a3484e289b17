/* SPDX-License-Identifier: Apache-2.0 */
/* A disk that works: data, every kind of request, depth, batches, kicks and interrupts. */
#include <sys/stat.h>

#include "tests/dataplane/driver.h"
#include "tests/dataplane/rig.h"

/* ---- data ------------------------------------------------------------------------------------ */

static void random_io(struct rig_config config, unsigned depth, unsigned requests)
{
	struct rig *rig = rig_new(config);
	struct driver *d[RIG_QUEUES];
	pthread_t thread[RIG_QUEUES];

	for (unsigned q = 0; q < rig->config.nqueues; q++)
		d[q] = driver_new(rig, q, depth, requests);
	for (unsigned q = 0; q < rig->config.nqueues; q++)
		assert_int_equal(pthread_create(&thread[q], NULL, drive, d[q]), 0);
	for (unsigned q = 0; q < rig->config.nqueues; q++)
		pthread_join(thread[q], NULL);
	for (unsigned q = 0; q < rig->config.nqueues; q++) {
		if (d[q]->error)
			fail_msg("queue %u: %s", q, d[q]->error);
		free(d[q]);
	}
	rig_free(rig);
}

static void data_survives_native_aio(void **state)
{
	random_io((struct rig_config){ .features = F_EVENT | F_INDIRECT }, 32, 2000);
	random_io((struct rig_config){ .dir = "/dev/shm" }, 32, 2000);
}

static void data_survives_one_request_at_a_time(void **state)
{
	random_io((struct rig_config){ .features = F_EVENT, .dir = "/dev/shm" }, 1, 500);
}

static void data_survives_workers_with_direct_io(void **state)
{
	random_io((struct rig_config){ .aio = DISK_AIO_THREADS, .features = F_EVENT }, 32, 1000);
}

static void data_survives_workers_and_the_page_cache(void **state)
{
	random_io((struct rig_config){ .aio = DISK_AIO_THREADS,
				       .cache = DISK_CACHE_WRITEBACK,
				       .features = F_INDIRECT },
		  32, 2000);
}

static void data_survives_four_queues(void **state)
{
	random_io((struct rig_config){ .nqueues = 4, .features = F_EVENT | F_INDIRECT }, 16, 500);
	random_io((struct rig_config){ .nqueues = 4,
				       .aio = DISK_AIO_THREADS,
				       .cache = DISK_CACHE_WRITEBACK },
		  16, 500);
}

static void data_survives_a_pool_smaller_than_the_queue(void **state)
{
	random_io((struct rig_config){ .depth = 3, .features = F_EVENT }, 40, 1000);
	random_io((struct rig_config){ .depth = 1, .nqueues = 2, .dir = "/dev/shm" }, 20, 300);
}

static void data_survives_writethrough(void **state)
{
	random_io((struct rig_config){ .writethrough = true, .dir = "/dev/shm" }, 8, 300);
	random_io((struct rig_config){ .writethrough = true,
				       .aio = DISK_AIO_THREADS,
				       .dir = "/dev/shm" },
		  8, 300);
}

/* ---- one request ----------------------------------------------------------------------------- */

static void many_segments_are_one_request(void **state)
{
	struct rig *rig = rig_new((struct rig_config){ .features = F_INDIRECT });
	struct rig_req r = rig_req(rig, 126 * 512);
	struct fake_buf buf[128] = { { r.hdr, 16, 0 } };
	struct fake_done done;
	uint8_t back[126 * 512];

	for (unsigned i = 0; i < 126; i++) {
		/* Backwards, so that no two pieces follow each other. */
		buf[1 + i] = (struct fake_buf){ r.data + (125 - i) * 512, 512, 0 };
		memset(rig_ptr(rig, buf[1 + i].gpa), i, 512);
	}
	buf[127] = (struct fake_buf){ r.status, 1, W };
	rig_header(rig, &r, VIRTIO_BLK_T_OUT, 8);
	fake_queue_add_indirect(&rig->drv[0], buf, 128, 1);
	rig_kick(rig, 0);
	assert_true(rig_wait(rig, 0, &done));
	assert_int_equal(rig_status(rig, &r), VIRTIO_BLK_S_OK);
	rig_peek(rig, 4096, back, sizeof(back));
	for (unsigned i = 0; i < 126; i++)
		assert_int_equal(back[i * 512], i);
	rig_free(rig);
}

/* Buffers that O_DIRECT does not take, longer than one bounce buffer. */
static void unaligned(struct rig_config config)
{
	struct rig *rig = rig_new(config);
	const uint32_t len = 300 << 10;
	struct rig_req r = rig_req(rig, len + 4096);
	uint8_t *data, *back = malloc(len);

	r.data += 3;
	data = rig_ptr(rig, r.data);
	for (uint32_t i = 0; i < len; i++)
		data[i] = i * 7 + (i >> 10);
	assert_int_equal(rig_do(rig, &r, VIRTIO_BLK_T_OUT, 1, len), VIRTIO_BLK_S_OK);
	rig_peek(rig, 512, back, len);
	assert_memory_equal(back, data, len);
	memset(data, 0, len);
	assert_int_equal(rig_do(rig, &r, VIRTIO_BLK_T_IN, 1, len), VIRTIO_BLK_S_OK);
	assert_memory_equal(back, data, len);
	free(back);
	rig_free(rig);
}

static void unaligned_buffers_bounce(void **state)
{
	unaligned((struct rig_config){ 0 });
	unaligned((struct rig_config){ .aio = DISK_AIO_THREADS });
	unaligned((struct rig_config){ .aio = DISK_AIO_THREADS, .cache = DISK_CACHE_WRITEBACK });
}

static void flush_is_answered_in_every_mode(void **state)
{
	static const struct rig_config configs[] = {
		{ 0 },
		{ .aio = DISK_AIO_THREADS },
		{ .aio = DISK_AIO_THREADS, .cache = DISK_CACHE_WRITEBACK },
		{ .aio = DISK_AIO_THREADS, .cache = DISK_CACHE_UNSAFE },
		{ .readonly = true },
	};

	for (unsigned i = 0; i < 5; i++) {
		struct rig *rig = rig_new(configs[i]);
		struct rig_req r = rig_req(rig, 0);

		assert_int_equal(rig_do(rig, &r, VIRTIO_BLK_T_FLUSH, 0, 0), VIRTIO_BLK_S_OK);
		assert_int_equal(rig_stat(&blk_dataplane_stats(rig->dp)->requests[BLK_OP_FLUSH]),
				 1);
		rig_free(rig);
	}
}

static void the_serial_is_told(void **state)
{
	struct rig *rig = rig_new((struct rig_config){ 0 });
	struct rig_req r = rig_req(rig, 20);

	assert_int_equal(rig_do(rig, &r, VIRTIO_BLK_T_GET_ID, 0, 20), VIRTIO_BLK_S_OK);
	assert_string_equal(rig_ptr(rig, r.data), "rig-0815");
	rig_free(rig);
}

static uint8_t do_range(struct rig *rig, const struct rig_req *r, uint32_t type, uint64_t sector,
			uint32_t num, uint32_t flags)
{
	struct virtio_blk_discard_write_zeroes *seg = rig_ptr(rig, r->data);

	*seg = (struct virtio_blk_discard_write_zeroes){ sector, num, flags };
	return rig_do(rig, r, type, 0, sizeof(*seg));
}

static bool all_bytes(const uint8_t *p, size_t len, uint8_t value)
{
	for (size_t i = 0; i < len; i++)
		if (p[i] != value)
			return false;
	return true;
}

static uint64_t blocks_of(const struct rig *rig)
{
	struct stat st;

	assert_int_equal(stat(rig->path, &st), 0);
	return st.st_blocks;
}

static void a_discard_gives_space_back(void **state)
{
	struct rig *rig = rig_new((struct rig_config){ .features = F_RANGES });
	struct rig_req r = rig_req(rig, 16);
	const uint64_t before = blocks_of(rig);

	assert_int_equal(do_range(rig, &r, VIRTIO_BLK_T_DISCARD, 0, RIG_SECTORS / 2, 0),
			 VIRTIO_BLK_S_OK);
	assert_true(blocks_of(rig) <= before / 2 + 64);
	rig_free(rig);
}

static void zeroes(struct rig_config config)
{
	struct rig *rig = rig_new(config);
	struct rig_req r = rig_req(rig, 16);
	static uint8_t back[1 << 20];

	for (uint32_t flags = 0; flags < 2; flags++) {
		const uint64_t sector = 8 + 1024 * flags;

		assert_int_equal(do_range(rig, &r, VIRTIO_BLK_T_WRITE_ZEROES, sector, 1000, flags),
				 VIRTIO_BLK_S_OK);
		rig_peek(rig, sector * 512, back, 1001 * 512);
		assert_true(all_bytes(back, 1000 * 512, 0));
		assert_false(all_bytes(back + 1000 * 512, 512, 0));
	}
	rig_free(rig);
}

/* tmpfs knows no FALLOC_FL_ZERO_RANGE: there they are written. */
static void zeroes_are_zeroes_whatever_the_host_can_do(void **state)
{
	zeroes((struct rig_config){ .features = F_RANGES });
	zeroes((struct rig_config){ .features = F_RANGES, .dir = "/dev/shm" });
	zeroes((struct rig_config){ .features = F_RANGES,
				    .writethrough = true,
				    .aio = DISK_AIO_THREADS,
				    .cache = DISK_CACHE_WRITEBACK });
}

/* ---- kicks, batches, interrupts -------------------------------------------------------------- */

static void queue_reads(struct rig *rig, struct rig_req *r, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		r[i] = rig_req(rig, 512);
		assert_true(rig_queue(rig, 0, &r[i], VIRTIO_BLK_T_IN, i, 512, i) >= 0);
	}
}

static void wait_all(struct rig *rig, unsigned n)
{
	struct fake_done done;

	while (n--)
		assert_true(rig_wait(rig, 0, &done));
}

static void what_was_queued_before_start_needs_no_kick(void **state)
{
	struct rig *rig = rig_new_stopped((struct rig_config){ .features = F_EVENT });
	struct rig_req r[4];

	queue_reads(rig, r, 4);
	fake_queue_publish(&rig->drv[0]);
	assert_int_equal(rig_start(rig), 0);
	wait_all(rig, 4);
	rig_free(rig);
}

static void a_kick_before_start_does_no_harm(void **state)
{
	struct rig *rig = rig_new_stopped((struct rig_config){ 0 });
	struct rig_req r[1];

	for (unsigned i = 0; i < 1000; i++)
		rig_ring(rig->kick_fd[0]);
	assert_int_equal(rig_start(rig), 0);
	queue_reads(rig, r, 1);
	rig_kick(rig, 0);
	wait_all(rig, 1);
	rig_free(rig);
}

/* Queued while paused, so that the thread finds them together. */
/* `n` reads that wait when the disk starts to look. Without EVENT_IDX each publication interrupts. */
static void read_waiting(unsigned n, unsigned submits)
{
	struct rig *rig = rig_new((struct rig_config){ .dir = "/dev/shm" });
	const struct blk_stats *s = blk_dataplane_stats(rig->dp);
	struct rig_req r[32];

	assert_int_equal(rig_send(rig, BLK_CMD_PAUSE), 0);
	queue_reads(rig, r, n);
	rig_kick(rig, 0);
	assert_int_equal(rig_send(rig, BLK_CMD_RESUME), 0);
	/* The driver does not look meanwhile: it would turn interrupts off, now and then in time. */
	for (unsigned i = 0; i < 5000 && rig_stat(&s->requests[BLK_OP_READ]) < n; i++)
		usleep(1000);
	assert_int_equal(rig_send(rig, BLK_CMD_PAUSE), 0);
	wait_all(rig, n);
	assert_int_equal(rig_stat(&s->requests[BLK_OP_READ]), n);
	assert_int_equal(rig_stat(&s->bytes_read), n * 512);
	assert_int_equal(rig_stat(&s->submits), submits);
	/* tmpfs completes inside io_submit(), so one pass sees the whole batch done. */
	assert_int_equal(rig_stat(&s->interrupts), submits);
	rig_free(rig);
}

static void a_batch_is_submitted_once_and_interrupts_once(void **state)
{
	read_waiting(8, 1);
}

static void a_long_queue_goes_in_parts_that_the_guest_can_follow(void **state)
{
	read_waiting(32, 4);
}

/* With one slot, requests run one after another: the writer that comes last owns the sector. */
static void a_busy_queue_does_not_starve_the_other_of_slots(void **state)
{
	struct rig *rig =
		rig_new((struct rig_config){ .dir = "/dev/shm", .nqueues = 2, .depth = 1 });
	struct rig_req busy = rig_req(rig, 512), r[32], other = rig_req(rig, 512);
	struct fake_done done;
	uint8_t found;

	memset(rig_ptr(rig, busy.data), 'b', 512);
	memset(rig_ptr(rig, other.data), 'o', 512);
	assert_int_equal(rig_send(rig, BLK_CMD_PAUSE), 0);
	for (unsigned i = 0; i < 32; i++) {
		r[i] = rig_req(rig, 0);
		r[i].data = busy.data;
		assert_true(rig_queue(rig, 0, &r[i], VIRTIO_BLK_T_OUT, 0, 512, i) >= 0);
	}
	assert_true(rig_queue(rig, 1, &other, VIRTIO_BLK_T_OUT, 0, 512, 99) >= 0);
	rig_kick(rig, 0);
	rig_kick(rig, 1);
	assert_int_equal(rig_send(rig, BLK_CMD_RESUME), 0);
	wait_all(rig, 32);
	assert_true(rig_wait(rig, 1, &done));
	rig_peek(rig, 0, &found, 1);
	assert_int_equal(found, 'b');
	rig_free(rig);
}

static void no_interrupt_is_sent_that_was_not_wanted(void **state)
{
	static const uint64_t features[] = { 0, F_EVENT };

	for (unsigned i = 0; i < 2; i++) {
		struct rig *rig = rig_new((struct rig_config){ .features = features[i] });
		struct rig_req r[8];
		struct fake_done done;

		fake_queue_disable_interrupts(&rig->drv[0]);
		queue_reads(rig, r, 8);
		rig_kick(rig, 0);
		for (unsigned n = 0; n < 8;)
			if (fake_queue_poll(&rig->drv[0], &done))
				n++;
		assert_int_equal(rig_send(rig, BLK_CMD_PAUSE), 0);
		assert_int_equal(rig_stat(&blk_dataplane_stats(rig->dp)->interrupts), 0);
		rig_free(rig);
	}
}

/* H20: the thread must neither spin for ever nor lose what comes after. */
static void a_storm_of_kicks_on_an_empty_ring_is_harmless(void **state)
{
	struct rig *rig = rig_new((struct rig_config){ .features = F_EVENT });
	struct rig_req r[1];

	for (unsigned i = 0; i < 20000; i++)
		rig_ring(rig->kick_fd[0]);
	queue_reads(rig, r, 1);
	rig_kick(rig, 0);
	wait_all(rig, 1);
	rig_free(rig);
}

static void queues_that_are_not_ready_are_left_alone(void **state)
{
	struct rig *rig = rig_new_stopped((struct rig_config){ .nqueues = 2 });
	struct rig_req r[2];

	rig->drv[1].config.ready = false;
	assert_int_equal(rig_start(rig), 0);
	rig_ring(rig->kick_fd[1]);
	queue_reads(rig, r, 2);
	rig_kick(rig, 0);
	wait_all(rig, 2);
	rig_free(rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(data_survives_native_aio),
		cmocka_unit_test(data_survives_one_request_at_a_time),
		cmocka_unit_test(data_survives_workers_with_direct_io),
		cmocka_unit_test(data_survives_workers_and_the_page_cache),
		cmocka_unit_test(data_survives_four_queues),
		cmocka_unit_test(data_survives_a_pool_smaller_than_the_queue),
		cmocka_unit_test(data_survives_writethrough),
		cmocka_unit_test(many_segments_are_one_request),
		cmocka_unit_test(unaligned_buffers_bounce),
		cmocka_unit_test(flush_is_answered_in_every_mode),
		cmocka_unit_test(the_serial_is_told),
		cmocka_unit_test(a_discard_gives_space_back),
		cmocka_unit_test(zeroes_are_zeroes_whatever_the_host_can_do),
		cmocka_unit_test(what_was_queued_before_start_needs_no_kick),
		cmocka_unit_test(a_kick_before_start_does_no_harm),
		cmocka_unit_test(a_batch_is_submitted_once_and_interrupts_once),
		cmocka_unit_test(a_long_queue_goes_in_parts_that_the_guest_can_follow),
		cmocka_unit_test(a_busy_queue_does_not_starve_the_other_of_slots),
		cmocka_unit_test(no_interrupt_is_sent_that_was_not_wanted),
		cmocka_unit_test(a_storm_of_kicks_on_an_empty_ring_is_harmless),
		cmocka_unit_test(queues_that_are_not_ready_are_left_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
