/* SPDX-License-Identifier: Apache-2.0 */
/* Requests read out of descriptor chains: framing, limits, status and used length. H numbers are
 * the cases of the hostile-guest list. */
#include "tests/unit/blk_request_rig.h"

static void a_read_is_one_piece_between_header_and_status(void **state)
{
	struct rig *rig = *state;

	assert_int_equal(parse_rw(rig, VIRTIO_BLK_T_IN, 8, 4096), BLK_START);
	assert_int_equal(rig->req.op, BLK_OP_READ);
	assert_int_equal(rig->req.offset, 4096);
	assert_int_equal(rig->req.len, 4096);
	assert_int_equal(rig->req.nseg, 1);
	assert_ptr_equal(rig->req.iov[0].iov_base, rig->mem + DATA);
	assert_int_equal(rig->req.iov[0].iov_len, 4096);
	assert_ptr_equal(rig->req.status, rig->mem + STATUS);
}

static void a_write_takes_the_readable_part(void **state)
{
	struct rig *rig = *state;

	assert_int_equal(parse_rw(rig, VIRTIO_BLK_T_OUT, SECTORS - 1, 512), BLK_START);
	assert_int_equal(rig->req.op, BLK_OP_WRITE);
	assert_int_equal(rig->req.offset, (SECTORS - 1) * 512);
	assert_ptr_equal(rig->req.iov[0].iov_base, rig->mem + DATA);
}

static void H7_the_header_may_come_byte_by_byte(void **state)
{
	struct rig *rig = *state;
	const struct virtio_blk_outhdr hdr = { .type = VIRTIO_BLK_T_IN, .sector = 77 };

	memcpy(rig->mem + 100, &hdr, sizeof(hdr));
	for (unsigned i = 0; i < sizeof(hdr); i++)
		add(rig, false, 100 + i, 1);
	add(rig, true, DATA, 512);
	add(rig, true, STATUS, 1);
	assert_int_equal(parse(rig), BLK_START);
	assert_int_equal(rig->req.offset, 77 * 512);
}

static void H7_header_and_data_may_share_a_buffer(void **state)
{
	struct rig *rig = *state;

	header(rig, VIRTIO_BLK_T_OUT, 1);
	rig->chain.iov[0].iov_len += 1024;
	rig->chain.readable += 1024;
	add(rig, true, STATUS, 1);
	assert_int_equal(parse(rig), BLK_START);
	assert_int_equal(rig->req.len, 1024);
	assert_int_equal(rig->req.nseg, 1);
	assert_ptr_equal(rig->req.iov[0].iov_base, rig->mem + 16);
}

static void H7_the_status_may_share_a_buffer_with_data(void **state)
{
	struct rig *rig = *state;

	header(rig, VIRTIO_BLK_T_IN, 0);
	add(rig, true, DATA, 513);
	assert_int_equal(parse(rig), BLK_START);
	assert_int_equal(rig->req.len, 512);
	assert_int_equal(rig->req.iov[0].iov_len, 512);
	assert_ptr_equal(rig->req.status, rig->mem + DATA + 512);
}

static void many_segments_spill_and_few_do_not(void **state)
{
	struct rig *rig = *state;

	header(rig, VIRTIO_BLK_T_OUT, 0);
	for (unsigned i = 0; i < BLK_SEG_MAX; i++)
		add(rig, false, DATA + 300 * i, i % 2 ? 300 : 212);
	add(rig, true, STATUS, 1);
	assert_int_equal(parse(rig), BLK_START);
	assert_int_equal(rig->req.nseg, BLK_SEG_MAX);
	assert_ptr_equal(rig->req.iov, rig->spill);
	assert_int_equal(rig->req.len, BLK_SEG_MAX / 2 * 512);

	memset(&rig->chain, 0, sizeof(rig->chain));
	assert_int_equal(parse_rw(rig, VIRTIO_BLK_T_OUT, 0, 512), BLK_START);
	assert_ptr_equal(rig->req.iov, rig->req.inline_iov);
}

static void H6_without_a_status_byte_nothing_is_done(void **state)
{
	struct rig *rig = *state;

	header(rig, VIRTIO_BLK_T_OUT, 0);
	add(rig, false, DATA, 512);
	assert_int_equal(parse(rig), VIRTIO_BLK_S_IOERR);
	assert_null(rig->req.status);
	assert_int_equal(blk_request_finish(&rig->req, VIRTIO_BLK_S_IOERR), 0);
}

static void H6_an_empty_chain_has_no_status(void **state)
{
	struct rig *rig = *state;

	assert_int_equal(parse(rig), VIRTIO_BLK_S_IOERR);
	assert_int_equal(blk_request_finish(&rig->req, VIRTIO_BLK_S_IOERR), 0);
}

static void H6_a_short_header_is_an_error(void **state)
{
	struct rig *rig = *state;

	header(rig, VIRTIO_BLK_T_FLUSH, 0);
	rig->chain.iov[0].iov_len = rig->chain.readable = 15;
	add(rig, true, STATUS, 1);
	assert_int_equal(parse(rig), VIRTIO_BLK_S_IOERR);
	assert_int_equal(blk_request_finish(&rig->req, VIRTIO_BLK_S_IOERR), 1);
	assert_int_equal(rig->mem[STATUS], VIRTIO_BLK_S_IOERR);
}

static void H6_a_lone_status_is_answered(void **state)
{
	struct rig *rig = *state;

	add(rig, true, STATUS, 1);
	assert_int_equal(parse(rig), VIRTIO_BLK_S_IOERR);
	assert_ptr_equal(rig->req.status, rig->mem + STATUS);
}

static void H8_lengths_that_are_no_sectors_are_errors(void **state)
{
	static const size_t bad[] = { 1, 511, 513, 1000 };
	struct rig *rig = *state;

	for (unsigned i = 0; i < 4; i++) {
		memset(&rig->chain, 0, sizeof(rig->chain));
		assert_int_equal(parse_rw(rig, VIRTIO_BLK_T_IN, 0, bad[i]), VIRTIO_BLK_S_IOERR);
		memset(&rig->chain, 0, sizeof(rig->chain));
		assert_int_equal(parse_rw(rig, VIRTIO_BLK_T_OUT, 0, bad[i]), VIRTIO_BLK_S_IOERR);
	}
}

static void H8_no_data_is_done_at_once(void **state)
{
	struct rig *rig = *state;

	assert_int_equal(parse_rw(rig, VIRTIO_BLK_T_IN, 5, 0), VIRTIO_BLK_S_OK);
	assert_int_equal(blk_request_finish(&rig->req, VIRTIO_BLK_S_OK), 1);
}

static void H8_more_than_4_GiB_is_an_error_not_a_remainder(void **state)
{
	struct rig *rig = *state;

	rig->be.size = 1ULL << 40;
	limits(rig, F_ALL, "");
	header(rig, VIRTIO_BLK_T_IN, 0);
	add(rig, true, DATA, (1ULL << 32) - 512);
	add(rig, true, DATA, 1024);
	add(rig, true, STATUS, 1);
	assert_int_equal(parse(rig), VIRTIO_BLK_S_IOERR);
}

static void H8_the_largest_request_still_fits_the_used_length(void **state)
{
	struct rig *rig = *state;

	rig->be.size = 1ULL << 40;
	limits(rig, F_ALL, "");
	header(rig, VIRTIO_BLK_T_IN, 0);
	add(rig, true, DATA, (1ULL << 32) - 512);
	add(rig, true, STATUS, 1);
	assert_int_equal(parse(rig), BLK_START);
	blk_request_advance(&rig->req, rig->req.len);
	assert_int_equal(blk_request_finish(&rig->req, 0), UINT32_MAX - 511 + 1);
}

static void H9_sectors_outside_the_disk_are_errors(void **state)
{
	static const uint64_t bad[] = { SECTORS,    SECTORS + 1,      1ULL << 55,
					UINT64_MAX, UINT64_MAX / 512, SECTORS - 1 };
	struct rig *rig = *state;

	for (unsigned i = 0; i < 6; i++) {
		memset(&rig->chain, 0, sizeof(rig->chain));
		assert_int_equal(parse_rw(rig, VIRTIO_BLK_T_IN, bad[i], 1024), VIRTIO_BLK_S_IOERR);
	}
	memset(&rig->chain, 0, sizeof(rig->chain));
	assert_int_equal(parse_rw(rig, VIRTIO_BLK_T_IN, SECTORS - 2, 1024), BLK_START);
}

static void H10_a_buffer_outside_ram_is_an_error(void **state)
{
	struct rig *rig = *state;

	header(rig, VIRTIO_BLK_T_IN, 0);
	add(rig, true, DATA, 512);
	rig->chain.iov[1].iov_base = NULL;
	rig->chain.bad_address = true;
	add(rig, true, STATUS, 1);
	assert_int_equal(parse(rig), VIRTIO_BLK_S_IOERR);
	assert_ptr_equal(rig->req.status, rig->mem + STATUS);
}

static void H10_a_status_outside_ram_is_no_status(void **state)
{
	struct rig *rig = *state;

	header(rig, VIRTIO_BLK_T_IN, 0);
	add(rig, true, DATA, 512);
	add(rig, true, STATUS, 1);
	rig->chain.iov[2].iov_base = NULL;
	rig->chain.bad_address = true;
	assert_int_equal(parse(rig), VIRTIO_BLK_S_IOERR);
	assert_int_equal(blk_request_finish(&rig->req, VIRTIO_BLK_S_IOERR), 0);
}

/* virtio 1.2, 2.7.8.2: len bytes from the start of the writable buffers have been written. */
static void used_length_counts_the_status_only_behind_complete_data(void **state)
{
	struct rig *rig = *state;

	parse_rw(rig, VIRTIO_BLK_T_IN, 0, 4096);
	assert_int_equal(blk_request_finish(&rig->req, VIRTIO_BLK_S_IOERR), 0);
	blk_request_advance(&rig->req, 1024);
	assert_int_equal(blk_request_finish(&rig->req, VIRTIO_BLK_S_IOERR), 1024);
	blk_request_advance(&rig->req, 3072);
	assert_int_equal(blk_request_finish(&rig->req, VIRTIO_BLK_S_OK), 4097);
	assert_int_equal(rig->mem[STATUS], VIRTIO_BLK_S_OK);
}

static void advance_leaves_the_rest(void **state)
{
	struct rig *rig = *state;

	header(rig, VIRTIO_BLK_T_IN, 2);
	add(rig, true, DATA, 1024);
	add(rig, true, DATA + 2048, 1024);
	add(rig, true, STATUS, 1);
	assert_int_equal(parse(rig), BLK_START);
	blk_request_advance(&rig->req, 1536);
	assert_int_equal(rig->req.nseg, 1);
	assert_ptr_equal(rig->req.iov[0].iov_base, rig->mem + DATA + 2048 + 512);
	assert_int_equal(rig->req.iov[0].iov_len, 512);
	assert_int_equal(rig->req.offset, 1024 + 1536);
	assert_int_equal(rig->req.len, 512);
}

static void slices_skip_empty_pieces(void **state)
{
	uint8_t b[64];
	const struct iovec iov[] = { { b, 4 }, { b + 8, 0 }, { b + 16, 4 }, { b + 32, 4 } };
	struct iovec out[4];

	assert_int_equal(iov_slice(out, iov, 4, 4, 4), 1);
	assert_ptr_equal(out[0].iov_base, b + 16);
	assert_int_equal(iov_slice(out, iov, 4, 2, 100), 3);
	assert_int_equal(out[0].iov_len, 2);
	assert_int_equal(iov_slice(out, iov, 4, 12, 1), 0);
	assert_ptr_equal(iov_last_byte(iov, 2), b + 3);
	assert_null(iov_last_byte(iov + 1, 1));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_read_is_one_piece_between_header_and_status),
		T(a_write_takes_the_readable_part),
		T(H7_the_header_may_come_byte_by_byte),
		T(H7_header_and_data_may_share_a_buffer),
		T(H7_the_status_may_share_a_buffer_with_data),
		T(many_segments_spill_and_few_do_not),
		T(H6_without_a_status_byte_nothing_is_done),
		T(H6_an_empty_chain_has_no_status),
		T(H6_a_short_header_is_an_error),
		T(H6_a_lone_status_is_answered),
		T(H8_lengths_that_are_no_sectors_are_errors),
		T(H8_no_data_is_done_at_once),
		T(H8_more_than_4_GiB_is_an_error_not_a_remainder),
		T(H8_the_largest_request_still_fits_the_used_length),
		T(H9_sectors_outside_the_disk_are_errors),
		T(H10_a_buffer_outside_ram_is_an_error),
		T(H10_a_status_outside_ram_is_no_status),
		T(used_length_counts_the_status_only_behind_complete_data),
		T(advance_leaves_the_rest),
		T(slices_skip_empty_pieces),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
