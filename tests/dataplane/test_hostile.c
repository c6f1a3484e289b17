/* SPDX-License-Identifier: Apache-2.0 */
/* A driver that lies: what the thread must answer to it, and that it goes on afterwards. H numbers
 * are the cases of the hostile-guest list. */
#include <sys/stat.h>

#include "tests/dataplane/rig.h"
#include "tests/dataplane/slow.h"

static void expect_needs_reset(struct rig *rig)
{
	struct pollfd pfd = { .fd = rig->config_fd, .events = POLLIN };

	assert_int_equal(poll(&pfd, 1, RIG_WAIT_MS), 1);
	assert_true(atomic_load(&rig->status));
}

/* What a driver does about NEEDS_RESET, and that the disk then works. */
static void expect_recovery(struct rig *rig)
{
	struct rig_req r = rig_req(rig, 512);
	uint64_t count;

	assert_int_equal(rig_send(rig, BLK_CMD_RESET), 0);
	atomic_store(&rig->status, 0);
	assert_true(read(rig->config_fd, &count, sizeof(count)) > 0);
	while (read(rig->irq_fd[0], &count, sizeof(count)) > 0)
		;
	fake_queue_reset(&rig->drv[0]);
	assert_int_equal(rig_start(rig), 0);
	assert_int_equal(rig_do(rig, &r, VIRTIO_BLK_T_IN, 0, 512), VIRTIO_BLK_S_OK);
}

static void H1_a_jumping_index_stops_the_device_until_reset(void **state)
{
	struct rig *rig = rig_new((struct rig_config){ .features = F_EVENT });

	fake_queue_set_avail_idx(&rig->drv[0], 1000);
	rig_ring(rig->kick_fd[0]);
	expect_needs_reset(rig);
	expect_recovery(rig);
	rig_free(rig);
}

static void H4_a_head_offered_twice_in_one_batch_stops_the_device(void **state)
{
	struct rig *rig = rig_new((struct rig_config){ 0 });
	struct rig_req r = rig_req(rig, 512);

	assert_int_equal(rig_send(rig, BLK_CMD_PAUSE), 0);
	fake_queue_offer(&rig->drv[0], rig_queue(rig, 0, &r, VIRTIO_BLK_T_IN, 0, 512, 0));
	rig_kick(rig, 0);
	assert_int_equal(rig_send(rig, BLK_CMD_RESUME), 0);
	expect_needs_reset(rig);
	expect_recovery(rig);
	rig_free(rig);
}

/* CVE-2026-45782: the first one is still on its way to the disk. */
static void H4_a_head_offered_again_while_in_flight_stops_the_device(void **state)
{
	struct rig *rig = rig_new((struct rig_config){ 0 });
	struct rig_req r = rig_req(rig, 512);
	struct fake_done done;
	int head;

	hold_io(true);
	head = rig_queue(rig, 0, &r, VIRTIO_BLK_T_IN, 0, 512, 0);
	rig_kick(rig, 0);
	wait_held(1);
	fake_queue_offer(&rig->drv[0], head);
	rig_kick(rig, 0);
	expect_needs_reset(rig);
	release_held();
	assert_int_equal(rig_send(rig, BLK_CMD_RESET), 0);
	/* What ended now was not put into a ring that was not to be touched. */
	assert_false(fake_queue_poll(&rig->drv[0], &done));
	assert_int_equal(rig_status(rig, &r), 0xff);
	expect_recovery(rig);
	rig_free(rig);
}

static void H6_chains_without_a_status_come_back_empty(void **state)
{
	struct rig *rig = rig_new((struct rig_config){ 0 });
	struct rig_req r = rig_req(rig, 512);
	uint8_t before[512], after[512];

	rig_peek(rig, 0, before, 512);
	memset(rig_ptr(rig, r.data), 0xee, 512);
	rig_header(rig, &r, VIRTIO_BLK_T_OUT, 0);
	/* Header and data only; header alone; writable before readable. */
	assert_int_equal(rig_do_chain(rig,
				      (struct fake_buf[]){ { r.hdr, 16, 0 }, { r.data, 512, 0 } },
				      2),
			 0);
	assert_int_equal(rig_do_chain(rig, (struct fake_buf[]){ { r.hdr, 16, 0 } }, 1), 0);
	assert_int_equal(rig_do_chain(rig,
				      (struct fake_buf[]){ { r.status, 1, W },
							   { r.hdr, 16, 0 },
							   { r.data, 512, 0 } },
				      3),
			 0);
	assert_int_equal(rig_status(rig, &r), 0xff);
	rig_peek(rig, 0, after, 512);
	assert_memory_equal(before, after, 512);
	assert_false(atomic_load(&rig->status));
	rig_free(rig);
}

static void H6_a_header_that_is_writable_is_no_header(void **state)
{
	struct rig *rig = rig_new((struct rig_config){ 0 });
	struct rig_req r = rig_req(rig, 512);

	rig_header(rig, &r, VIRTIO_BLK_T_IN, 0);
	rig_do_chain(rig,
		     (struct fake_buf[]){
			     { r.hdr, 16, W }, { r.data, 512, W }, { r.status, 1, W } },
		     3);
	assert_int_equal(rig_status(rig, &r), VIRTIO_BLK_S_IOERR);
	rig_free(rig);
}

static void H7_a_header_in_pieces_and_a_glued_status_work(void **state)
{
	struct rig *rig = rig_new((struct rig_config){ 0 });
	struct rig_req r = rig_req(rig, 1024);
	struct fake_buf buf[17];
	uint8_t want[512];

	rig_header(rig, &r, VIRTIO_BLK_T_IN, 9);
	for (unsigned i = 0; i < 16; i++)
		buf[i] = (struct fake_buf){ r.hdr + i, 1, 0 };
	buf[16] = (struct fake_buf){ r.data, 513, W };
	((uint8_t *)rig_ptr(rig, r.data))[512] = 0xff;
	assert_int_equal(rig_do_chain(rig, buf, 17), 513);
	rig_peek(rig, 9 * 512, want, 512);
	assert_memory_equal(rig_ptr(rig, r.data), want, 512);
	assert_int_equal(((uint8_t *)rig_ptr(rig, r.data))[512], VIRTIO_BLK_S_OK);
	rig_free(rig);
}

static void H8_odd_lengths_are_refused_and_odd_pieces_are_not(void **state)
{
	struct rig *rig = rig_new((struct rig_config){ 0 });
	struct rig_req r = rig_req(rig, 4096);
	struct fake_buf buf[128] = { { r.hdr, 16, 0 } };
	uint8_t want[512];

	assert_int_equal(rig_do(rig, &r, VIRTIO_BLK_T_IN, 0, 511), VIRTIO_BLK_S_IOERR);
	assert_int_equal(rig_do(rig, &r, VIRTIO_BLK_T_OUT, 0, 513), VIRTIO_BLK_S_IOERR);
	assert_int_equal(rig_do(rig, &r, VIRTIO_BLK_T_IN, 0, 0), VIRTIO_BLK_S_OK);
	/* 125 single bytes and 387 more. */
	for (unsigned i = 0; i < 125; i++)
		buf[1 + i] = (struct fake_buf){ r.data + 2 * i, 1, W };
	buf[126] = (struct fake_buf){ r.data + 1000, 387, W };
	buf[127] = (struct fake_buf){ r.status, 1, W };
	rig_header(rig, &r, VIRTIO_BLK_T_IN, 3);
	assert_int_equal(rig_do_chain(rig, buf, 128), 513);
	assert_int_equal(rig_status(rig, &r), VIRTIO_BLK_S_OK);
	rig_peek(rig, 3 * 512, want, 512);
	assert_memory_equal(rig_ptr(rig, r.data + 1000), want + 125, 387);
	rig_free(rig);
}

static void H8_H10_buffers_larger_than_memory_are_refused(void **state)
{
	struct rig *rig = rig_new((struct rig_config){ 0 });
	struct rig_req r = rig_req(rig, 512);

	rig_header(rig, &r, VIRTIO_BLK_T_IN, 0);
	rig_do_chain(rig,
		     (struct fake_buf[]){ { r.hdr, 16, 0 },
					  { r.data, 0xfffffe00, W },
					  { r.data, 0x400, W },
					  { r.status, 1, W } },
		     4);
	assert_int_equal(rig_status(rig, &r), VIRTIO_BLK_S_IOERR);
	rig_header(rig, &r, VIRTIO_BLK_T_OUT, 0);
	rig_do_chain(rig,
		     (struct fake_buf[]){ { r.hdr, 16, 0 },
					  { rig->guest.base + rig->guest.size - 256, 512, 0 },
					  { r.status, 1, W } },
		     3);
	assert_int_equal(rig_status(rig, &r), VIRTIO_BLK_S_IOERR);
	rig_free(rig);
}

static void H9_sectors_outside_the_disk_reach_no_file(void **state)
{
	static const uint64_t bad[] = { RIG_SECTORS, RIG_SECTORS - 1, 1ULL << 55, UINT64_MAX };
	struct rig *rig = rig_new((struct rig_config){ 0 });
	struct rig_req r = rig_req(rig, 1024);
	struct stat st;

	for (unsigned i = 0; i < 4; i++) {
		assert_int_equal(rig_do(rig, &r, VIRTIO_BLK_T_IN, bad[i], 1024),
				 VIRTIO_BLK_S_IOERR);
		assert_int_equal(rig_do(rig, &r, VIRTIO_BLK_T_OUT, bad[i], 1024),
				 VIRTIO_BLK_S_IOERR);
	}
	assert_int_equal(rig_stat(&blk_dataplane_stats(rig->dp)->submits), 0);
	assert_int_equal(stat(rig->path, &st), 0);
	assert_int_equal(st.st_size, RIG_SIZE);
	rig_free(rig);
}

/* The disk's content lands on rings, header and status of the request itself. What the ring then
 * says is nonsense, and so is the answer; the thread must not care, and a reset must cure it. */
static void H11_reads_over_the_ring_itself_do_no_harm(void **state)
{
	const struct rig_config config = { .dir = "/dev/shm" };

	for (unsigned i = 0; i < 4; i++) {
		struct rig *rig = rig_new(config);
		struct rig_req r = rig_req(rig, 512);
		const gpa_t over[] = { rig->drv[0].config.desc, rig->drv[0].config.avail,
				       rig->drv[0].config.used, r.hdr & ~511ULL };

		r.data = over[i];
		assert_true(rig_queue(rig, 0, &r, VIRTIO_BLK_T_IN, 8 * (200 + i), 512, 0) >= 0);
		rig_kick(rig, 0);
		for (unsigned k = 0; k < 50; k++) {
			rig_ring(rig->kick_fd[0]);
			usleep(100);
		}
		assert_int_equal(rig_send(rig, BLK_CMD_RESET), 0);
		atomic_store(&rig->status, 0);
		rig_ring(rig->config_fd);
		expect_recovery(rig);
		rig_free(rig);
	}
}

#ifndef MVMM_TSAN /* a guest that races with itself is a race */
/* A second vCPU: rewrites descriptors, ring and headers while they are being read. */
struct flipper {
	pthread_t thread;
	struct rig *rig;
	gpa_t hdr;
	_Atomic bool stop;
};

static void *flip_run(void *arg)
{
	struct flipper *f = arg;
	struct fake_queue *q = &f->rig->drv[0];
	volatile struct vring_desc *desc = q->desc;
	volatile struct virtio_blk_outhdr *hdr = rig_ptr(f->rig, f->hdr);
	const gpa_t mask = f->rig->guest.size - 1;
	uint64_t x = 88172645463325252ULL;

	while (!f->stop) {
		const unsigned i = x % q->config.size;

		x ^= x << 13, x ^= x >> 7, x ^= x << 17;
		desc[i].addr = x & 0xf000 ? f->rig->guest.base + (x >> 20 & mask) : f->hdr;
		desc[i].len = x & 0x100 ? 16 : x >> 50;
		desc[i].flags = x >> 40 & 7;
		desc[i].next = x >> 30 & 63;
		q->avail->ring[i] = x >> 25 & 63;
		hdr->type = x >> 33 & 15;
		hdr->sector = x >> 41 & 0xfff;
	}
	return NULL;
}

static void H12_nothing_read_twice_can_be_turned_against_us(void **state)
{
	const uint64_t features = F_EVENT | F_INDIRECT | F_RANGES;
	struct rig *rig = rig_new((struct rig_config){ .dir = "/dev/shm", .features = features });
	struct flipper f = { .rig = rig, .hdr = fake_guest_alloc(&rig->guest, 16, 16) };
	unsigned resets = 0;

	assert_int_equal(pthread_create(&f.thread, NULL, flip_run, &f), 0);
	for (unsigned i = 0; i < 50000 && resets < 100; i++) {
		fake_queue_set_avail_idx(&rig->drv[0], rig->drv[0].avail_idx + 1 + i % 5);
		rig_ring(rig->kick_fd[0]);
		usleep(20);
		if (!atomic_load(&rig->status))
			continue;
		assert_int_equal(rig_send(rig, BLK_CMD_RESET), 0);
		atomic_store(&rig->status, 0);
		fake_queue_reset(&rig->drv[0]);
		assert_int_equal(rig_start(rig), 0);
		resets++;
	}
	f.stop = true;
	pthread_join(f.thread, NULL);
	assert_true(resets > 10);
	rig_ring(rig->config_fd);
	expect_recovery(rig);
	rig_free(rig);
}
#endif

static void H13_unknown_and_malformed_commands_are_answered(void **state)
{
	static const uint32_t types[] = { 2, 3, 5, 7, 14, 0xffffffff };
	struct rig *rig = rig_new((struct rig_config){ .features = F_RANGES });
	struct rig_req r = rig_req(rig, 4096);
	struct virtio_blk_discard_write_zeroes *seg = rig_ptr(rig, r.data);

	for (unsigned i = 0; i < 6; i++)
		assert_int_equal(rig_do(rig, &r, types[i], 0, 512), VIRTIO_BLK_S_UNSUPP);
	*seg = (struct virtio_blk_discard_write_zeroes){ 0, UINT32_MAX, 0 };
	assert_int_equal(rig_do(rig, &r, VIRTIO_BLK_T_DISCARD, 0, 16), VIRTIO_BLK_S_IOERR);
	assert_int_equal(rig_do(rig, &r, VIRTIO_BLK_T_DISCARD, 0, 0), VIRTIO_BLK_S_IOERR);
	assert_int_equal(rig_do(rig, &r, VIRTIO_BLK_T_DISCARD, 0, 15), VIRTIO_BLK_S_IOERR);
	*seg = (struct virtio_blk_discard_write_zeroes){ 0, 8, 0x80 };
	assert_int_equal(rig_do(rig, &r, VIRTIO_BLK_T_WRITE_ZEROES, 0, 16), VIRTIO_BLK_S_UNSUPP);
	assert_int_equal(rig_stat(&blk_dataplane_stats(rig->dp)->errors), 10);
	rig_free(rig);
}

static void H14_a_readonly_image_stays_as_it_is(void **state)
{
	struct rig *rig = rig_new((struct rig_config){ .readonly = true, .features = F_RANGES });
	struct rig_req r = rig_req(rig, 4096);
	struct virtio_blk_discard_write_zeroes *seg = rig_ptr(rig, r.data);
	struct stat before, after;

	assert_int_equal(stat(rig->path, &before), 0);
	assert_int_equal(rig_do(rig, &r, VIRTIO_BLK_T_OUT, 0, 4096), VIRTIO_BLK_S_IOERR);
	*seg = (struct virtio_blk_discard_write_zeroes){ 0, 8, 0 };
	assert_int_equal(rig_do(rig, &r, VIRTIO_BLK_T_DISCARD, 0, 16), VIRTIO_BLK_S_IOERR);
	assert_int_equal(rig_do(rig, &r, VIRTIO_BLK_T_WRITE_ZEROES, 0, 16), VIRTIO_BLK_S_IOERR);
	assert_int_equal(rig_do(rig, &r, VIRTIO_BLK_T_IN, 0, 4096), VIRTIO_BLK_S_OK);
	assert_int_equal(stat(rig->path, &after), 0);
	assert_memory_equal(&before.st_mtim, &after.st_mtim, sizeof(before.st_mtim));
	assert_int_equal(before.st_blocks, after.st_blocks);
	rig_free(rig);
}

static void H15_the_id_fits_any_room(void **state)
{
	struct rig *rig = rig_new((struct rig_config){ 0 });
	struct rig_req r = rig_req(rig, 64);
	uint8_t *data = rig_ptr(rig, r.data);

	memset(data, 0xaa, 64);
	assert_int_equal(rig_do(rig, &r, VIRTIO_BLK_T_GET_ID, 0, 3), VIRTIO_BLK_S_OK);
	assert_memory_equal(data, "rig\xaa", 4);
	assert_int_equal(rig_do(rig, &r, VIRTIO_BLK_T_GET_ID, 0, 64), VIRTIO_BLK_S_OK);
	assert_memory_equal(data, "rig-0815\0\0\0\0\0\0\0\0\0\0\0\0\xaa", 21);
	assert_int_equal(rig_do(rig, &r, VIRTIO_BLK_T_GET_ID, 0, 0), VIRTIO_BLK_S_OK);
	rig_free(rig);
}

static void H16_a_flush_with_sector_and_data_flushes(void **state)
{
	struct rig *rig = rig_new((struct rig_config){ 0 });
	struct rig_req r = rig_req(rig, 512);

	assert_int_equal(rig_do(rig, &r, VIRTIO_BLK_T_FLUSH, 12345, 512), VIRTIO_BLK_S_OK);
	assert_int_equal(rig_stat(&blk_dataplane_stats(rig->dp)->submits), 1);
	rig_free(rig);
}

static void other_queues_of_a_broken_device_stop_too(void **state)
{
	struct rig *rig = rig_new((struct rig_config){ .nqueues = 2 });
	struct rig_req r = rig_req(rig, 512);
	struct fake_done done;

	fake_queue_set_avail_idx(&rig->drv[1], 500);
	rig_ring(rig->kick_fd[1]);
	expect_needs_reset(rig);
	rig_queue(rig, 0, &r, VIRTIO_BLK_T_IN, 0, 512, 0);
	rig_kick(rig, 0);
	usleep(20000);
	assert_false(fake_queue_poll(&rig->drv[0], &done));
	fake_queue_reset(&rig->drv[1]);
	expect_recovery(rig);
	rig_free(rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(H1_a_jumping_index_stops_the_device_until_reset),
		cmocka_unit_test(H4_a_head_offered_twice_in_one_batch_stops_the_device),
		cmocka_unit_test(H4_a_head_offered_again_while_in_flight_stops_the_device),
		cmocka_unit_test(H6_chains_without_a_status_come_back_empty),
		cmocka_unit_test(H6_a_header_that_is_writable_is_no_header),
		cmocka_unit_test(H7_a_header_in_pieces_and_a_glued_status_work),
		cmocka_unit_test(H8_odd_lengths_are_refused_and_odd_pieces_are_not),
		cmocka_unit_test(H8_H10_buffers_larger_than_memory_are_refused),
		cmocka_unit_test(H9_sectors_outside_the_disk_reach_no_file),
		cmocka_unit_test(H11_reads_over_the_ring_itself_do_no_harm),
#ifndef MVMM_TSAN
		cmocka_unit_test(H12_nothing_read_twice_can_be_turned_against_us),
#endif
		cmocka_unit_test(H13_unknown_and_malformed_commands_are_answered),
		cmocka_unit_test(H14_a_readonly_image_stays_as_it_is),
		cmocka_unit_test(H15_the_id_fits_any_room),
		cmocka_unit_test(H16_a_flush_with_sector_and_data_flushes),
		cmocka_unit_test(other_queues_of_a_broken_device_stop_too),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
