/* SPDX-License-Identifier: Apache-2.0 */
/* Requests that no driver should make: each is answered by its status byte, nothing else is touched,
 * and the ring goes on. H numbers are the cases of docs/security.md. */
#include <sys/stat.h>

#include "tests/dataplane/rig.h"

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

/* A status the device may not write to, or of no length: no byte of it is touched, and the request
 * is not done. In the second case the last writable byte there is takes the answer. */
static void H6_a_status_that_cannot_be_written_is_none(void **state)
{
	struct rig *rig = rig_new((struct rig_config){ 0 });
	struct rig_req r = rig_req(rig, 512);
	uint8_t *data = rig_ptr(rig, r.data), before[512], after[512];

	rig_peek(rig, 0, before, 512);
	memset(data, 0xee, 512);
	rig_header(rig, &r, VIRTIO_BLK_T_OUT, 0);
	assert_int_equal(rig_do_chain(rig,
				      (struct fake_buf[]){ { r.hdr, 16, 0 },
							   { r.data, 512, 0 },
							   { r.status, 1, 0 } },
				      3),
			 0);
	assert_int_equal(rig_do_chain(rig,
				      (struct fake_buf[]){ { r.hdr, 16, 0 },
							   { r.data, 512, 0 },
							   { r.status, 0, W } },
				      3),
			 0);
	rig_header(rig, &r, VIRTIO_BLK_T_IN, 0);
	assert_int_equal(rig_do_chain(rig,
				      (struct fake_buf[]){ { r.hdr, 16, 0 },
							   { r.data, 512, W },
							   { r.status, 0, W } },
				      3),
			 0);
	assert_int_equal(data[511], VIRTIO_BLK_S_IOERR);
	for (unsigned i = 0; i < 511; i++)
		assert_int_equal(data[i], 0xee);
	assert_int_equal(rig_status(rig, &r), 0xff);
	rig_peek(rig, 0, after, 512);
	assert_memory_equal(before, after, 512);
	rig_free(rig);
}

static void H6_a_status_alone_is_answered(void **state)
{
	struct rig *rig = rig_new((struct rig_config){ 0 });
	struct rig_req r = rig_req(rig, 512);

	rig_header(rig, &r, VIRTIO_BLK_T_IN, 0);
	assert_int_equal(rig_do_chain(rig, (struct fake_buf[]){ { r.status, 1, W } }, 1), 1);
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

/* Guest memory is [1 MiB, 17 MiB) here. Around it, and where a machine has devices, nothing is read
 * or written for a request; the first and the last byte of memory are memory. */
static void H10_only_ram_is_read_and_written(void **state)
{
	struct rig *rig = rig_new((struct rig_config){ 0 });
	const gpa_t base = rig->guest.base, end = base + rig->guest.size;
	const gpa_t bad[] = { 0,	  base - 512, base - 1,	  end - 511,  end,
			      0xbffffe00, 0xc0000000, 0xc0003000, 0xd0000000, 0xe0000000,
			      0xfec00000, 0xfee00000, 0xfffffe00, 1ULL << 32, 1ULL << 62,
			      ~511ULL,	  ~0ULL };
	struct rig_req r = rig_req(rig, 512);
	uint8_t want[512];

	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		r.data = bad[i];
		assert_int_equal(rig_do(rig, &r, VIRTIO_BLK_T_IN, 1, 512), VIRTIO_BLK_S_IOERR);
		assert_int_equal(rig_do(rig, &r, VIRTIO_BLK_T_OUT, 1, 512), VIRTIO_BLK_S_IOERR);
	}
	assert_int_equal(rig_stat(&blk_dataplane_stats(rig->dp)->submits), 0);
	assert_false(atomic_load(&rig->status));
	rig_peek(rig, 9 * 512, want, 512);
	for (unsigned i = 0; i < 2; i++) {
		r.data = i ? end - 512 : base;
		assert_int_equal(rig_do(rig, &r, VIRTIO_BLK_T_IN, 9, 512), VIRTIO_BLK_S_OK);
		assert_memory_equal(rig_ptr(rig, r.data), want, 512);
	}
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

static void H13_ranges_beyond_what_was_offered_change_nothing(void **state)
{
	struct rig *rig = rig_new((struct rig_config){ .features = F_RANGES });
	struct rig_req r = rig_req(rig, 8192);
	struct virtio_blk_discard_write_zeroes *seg = rig_ptr(rig, r.data);
	static uint8_t before[RIG_SIZE], after[RIG_SIZE];
	struct stat st[2];

	rig_peek(rig, 0, before, RIG_SIZE);
	assert_int_equal(stat(rig->path, &st[0]), 0);
	for (unsigned i = 0; i < 512; i++)
		seg[i] = (struct virtio_blk_discard_write_zeroes){ 0, 1, 0 };
	for (unsigned n = BLK_MAX_RANGES + 1; n <= 512; n += 479) {
		assert_int_equal(rig_do(rig, &r, VIRTIO_BLK_T_DISCARD, 0, 16 * n),
				 VIRTIO_BLK_S_IOERR);
		assert_int_equal(rig_do(rig, &r, VIRTIO_BLK_T_WRITE_ZEROES, 0, 16 * n),
				 VIRTIO_BLK_S_IOERR);
	}
	/* The second of two is bad: the first is not done either. */
	for (unsigned i = 0; i < 4; i++) {
		static const uint64_t sector[] = { RIG_SECTORS, RIG_SECTORS - 1, UINT64_MAX,
						   1ULL << 55 };

		seg[1] = (struct virtio_blk_discard_write_zeroes){ sector[i], 2, 0 };
		assert_int_equal(rig_do(rig, &r, VIRTIO_BLK_T_WRITE_ZEROES, 0, 32),
				 VIRTIO_BLK_S_IOERR);
		assert_int_equal(rig_do(rig, &r, VIRTIO_BLK_T_DISCARD, 0, 32), VIRTIO_BLK_S_IOERR);
	}
	rig_peek(rig, 0, after, RIG_SIZE);
	assert_memory_equal(before, after, RIG_SIZE);
	assert_int_equal(stat(rig->path, &st[1]), 0);
	assert_int_equal(st[0].st_blocks, st[1].st_blocks);
	rig_free(rig);
}

static void H14_a_readonly_image_stays_as_it_is(void **state)
{
	struct rig *rig = rig_new((struct rig_config){ .readonly = true, .features = F_RANGES });
	struct rig_req r = rig_req(rig, 4096);
	struct virtio_blk_discard_write_zeroes *seg = rig_ptr(rig, r.data);
	static uint8_t content[2][RIG_SIZE];
	struct stat before, after;

	assert_int_equal(fcntl(rig->be.fd, F_GETFL) & O_ACCMODE, O_RDONLY);
	rig_peek(rig, 0, content[0], RIG_SIZE);
	assert_int_equal(stat(rig->path, &before), 0);
	assert_int_equal(rig_do(rig, &r, VIRTIO_BLK_T_OUT, 0, 4096), VIRTIO_BLK_S_IOERR);
	*seg = (struct virtio_blk_discard_write_zeroes){ 0, 8, 0 };
	assert_int_equal(rig_do(rig, &r, VIRTIO_BLK_T_DISCARD, 0, 16), VIRTIO_BLK_S_IOERR);
	assert_int_equal(rig_do(rig, &r, VIRTIO_BLK_T_WRITE_ZEROES, 0, 16), VIRTIO_BLK_S_IOERR);
	assert_int_equal(rig_do(rig, &r, VIRTIO_BLK_T_IN, 0, 4096), VIRTIO_BLK_S_OK);
	assert_int_equal(stat(rig->path, &after), 0);
	rig_peek(rig, 0, content[1], RIG_SIZE);
	assert_memory_equal(content[0], content[1], RIG_SIZE);
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(H6_chains_without_a_status_come_back_empty),
		cmocka_unit_test(H6_a_header_that_is_writable_is_no_header),
		cmocka_unit_test(H6_a_status_that_cannot_be_written_is_none),
		cmocka_unit_test(H6_a_status_alone_is_answered),
		cmocka_unit_test(H7_a_header_in_pieces_and_a_glued_status_work),
		cmocka_unit_test(H8_odd_lengths_are_refused_and_odd_pieces_are_not),
		cmocka_unit_test(H8_H10_buffers_larger_than_memory_are_refused),
		cmocka_unit_test(H10_only_ram_is_read_and_written),
		cmocka_unit_test(H9_sectors_outside_the_disk_reach_no_file),
		cmocka_unit_test(H13_unknown_and_malformed_commands_are_answered),
		cmocka_unit_test(H13_ranges_beyond_what_was_offered_change_nothing),
		cmocka_unit_test(H14_a_readonly_image_stays_as_it_is),
		cmocka_unit_test(H15_the_id_fits_any_room),
		cmocka_unit_test(H16_a_flush_with_sector_and_data_flushes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
