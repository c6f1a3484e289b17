/* SPDX-License-Identifier: Apache-2.0 */
/* Requests read out of descriptor chains: what each type may ask for, and what direct I/O needs. H
 * numbers are the cases of the hostile-guest list. */
#include "tests/unit/blk_request_rig.h"

static void H13_unknown_types_are_unsupported(void **state)
{
	static const uint32_t types[] = {
		2, 3, 5, 7, 9, 10, 12, 14, 15, 0xffffffff, VIRTIO_BLK_T_BARRIER | VIRTIO_BLK_T_OUT
	};
	struct rig *rig = *state;

	for (unsigned i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		memset(&rig->chain, 0, sizeof(rig->chain));
		assert_int_equal(parse_rw(rig, types[i], 0, 512), VIRTIO_BLK_S_UNSUPP);
	}
}

static void H13_ranges_are_held_against_what_was_offered(void **state)
{
	static const struct {
		uint32_t type;
		uint64_t sector;
		uint32_t num, flags;
		int expect;
	} cases[] = {
		{ VIRTIO_BLK_T_DISCARD, 0, SECTORS, 0, BLK_START },
		{ VIRTIO_BLK_T_DISCARD, 0, 8, 1, VIRTIO_BLK_S_UNSUPP },
		{ VIRTIO_BLK_T_DISCARD, 0, 8, 1U << 31, VIRTIO_BLK_S_UNSUPP },
		{ VIRTIO_BLK_T_DISCARD, 1, SECTORS, 0, VIRTIO_BLK_S_IOERR },
		{ VIRTIO_BLK_T_DISCARD, SECTORS, 0, 0, BLK_START },
		{ VIRTIO_BLK_T_DISCARD, 0, UINT32_MAX, 0, VIRTIO_BLK_S_IOERR },
		{ VIRTIO_BLK_T_DISCARD, UINT64_MAX, 1, 0, VIRTIO_BLK_S_IOERR },
		{ VIRTIO_BLK_T_DISCARD, UINT64_MAX / 512, 8, 0, VIRTIO_BLK_S_IOERR },
		{ VIRTIO_BLK_T_WRITE_ZEROES, 8, 8, 0, BLK_START },
		{ VIRTIO_BLK_T_WRITE_ZEROES, 8, 8, 1, BLK_START },
		{ VIRTIO_BLK_T_WRITE_ZEROES, 8, 8, 2, VIRTIO_BLK_S_UNSUPP },
		{ VIRTIO_BLK_T_WRITE_ZEROES, SECTORS - 1, 2, 0, VIRTIO_BLK_S_IOERR },
	};
	struct rig *rig = *state;

	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		memset(&rig->chain, 0, sizeof(rig->chain));
		assert_int_equal(parse_range(rig, cases[i].type, cases[i].sector, cases[i].num,
					     cases[i].flags),
				 cases[i].expect);
	}
	assert_int_equal(rig->req.op, BLK_OP_WRITE_ZEROES);
}

static void H13_larger_ranges_than_offered_are_errors(void **state)
{
	struct rig *rig = *state;

	rig->be.size = 1ULL << 40;
	limits(rig, F_ALL, "");
	assert_int_equal(parse_range(rig, VIRTIO_BLK_T_DISCARD, 0, BLK_MAX_DISCARD_SECTORS, 0),
			 BLK_START);
	memset(&rig->chain, 0, sizeof(rig->chain));
	assert_int_equal(parse_range(rig, VIRTIO_BLK_T_DISCARD, 0, BLK_MAX_DISCARD_SECTORS + 1, 0),
			 VIRTIO_BLK_S_IOERR);
	memset(&rig->chain, 0, sizeof(rig->chain));
	assert_int_equal(parse_range(rig, VIRTIO_BLK_T_WRITE_ZEROES, 0, BLK_MAX_ZEROES_SECTORS + 1,
				     0),
			 VIRTIO_BLK_S_IOERR);
}

static void H13_the_number_of_ranges_is_bounded(void **state)
{
	struct virtio_blk_discard_write_zeroes seg[BLK_MAX_RANGES + 1];
	struct rig *rig = *state;

	for (unsigned i = 0; i <= BLK_MAX_RANGES; i++)
		seg[i] = (struct virtio_blk_discard_write_zeroes){ .sector = i, .num_sectors = 1 };
	assert_int_equal(parse_ranges(rig, VIRTIO_BLK_T_DISCARD, seg, 0), VIRTIO_BLK_S_IOERR);
	memset(&rig->chain, 0, sizeof(rig->chain));
	assert_int_equal(parse_ranges(rig, VIRTIO_BLK_T_DISCARD, seg, BLK_MAX_RANGES + 1),
			 VIRTIO_BLK_S_IOERR);
	memset(&rig->chain, 0, sizeof(rig->chain));
	assert_int_equal(parse_ranges(rig, VIRTIO_BLK_T_DISCARD, seg, BLK_MAX_RANGES), BLK_START);
	assert_int_equal(rig->req.nseg, BLK_MAX_RANGES);
	for (unsigned i = 0; i < BLK_MAX_RANGES; i++) {
		assert_int_equal(rig->req.range[i].offset, i * 512);
		assert_int_equal(rig->req.range[i].sectors, 1);
	}
}

static void H13_half_a_range_is_an_error(void **state)
{
	struct rig *rig = *state;

	header(rig, VIRTIO_BLK_T_DISCARD, 0);
	add(rig, false, DATA, 24);
	add(rig, true, STATUS, 1);
	assert_int_equal(parse(rig), VIRTIO_BLK_S_IOERR);
}

static void H13_a_range_may_be_split_over_buffers(void **state)
{
	const struct virtio_blk_discard_write_zeroes seg = { 16, 32, 0 };
	struct rig *rig = *state;

	header(rig, VIRTIO_BLK_T_WRITE_ZEROES, 0);
	memcpy(rig->mem + DATA, &seg, sizeof(seg));
	for (unsigned i = 0; i < 16; i += 2)
		add(rig, false, DATA + i, 2);
	add(rig, true, STATUS, 1);
	assert_int_equal(parse(rig), BLK_START);
	assert_int_equal(rig->req.range[0].offset, 16 * 512);
	assert_int_equal(rig->req.range[0].sectors, 32);
	assert_false(rig->req.range[0].unmap);
}

static void H13_what_was_not_negotiated_is_unsupported(void **state)
{
	struct rig *rig = *state;

	limits(rig, 0, "");
	assert_int_equal(parse_range(rig, VIRTIO_BLK_T_DISCARD, 0, 8, 0), VIRTIO_BLK_S_UNSUPP);
	memset(&rig->chain, 0, sizeof(rig->chain));
	assert_int_equal(parse_range(rig, VIRTIO_BLK_T_WRITE_ZEROES, 0, 8, 0), VIRTIO_BLK_S_UNSUPP);
}

static void H14_a_readonly_disk_refuses_every_change(void **state)
{
	struct rig *rig = *state;

	rig->be.readonly = true;
	limits(rig, F_ALL, "");
	assert_int_equal(parse_rw(rig, VIRTIO_BLK_T_OUT, 0, 512), VIRTIO_BLK_S_IOERR);
	memset(&rig->chain, 0, sizeof(rig->chain));
	assert_int_equal(parse_range(rig, VIRTIO_BLK_T_DISCARD, 0, 8, 0), VIRTIO_BLK_S_IOERR);
	memset(&rig->chain, 0, sizeof(rig->chain));
	assert_int_equal(parse_range(rig, VIRTIO_BLK_T_WRITE_ZEROES, 0, 8, 0), VIRTIO_BLK_S_IOERR);
	memset(&rig->chain, 0, sizeof(rig->chain));
	assert_int_equal(parse_rw(rig, VIRTIO_BLK_T_IN, 0, 512), BLK_START);
}

static void H15_the_id_fills_what_room_there_is(void **state)
{
	static const size_t room[] = { 0, 1, 5, 19, 20, 21, 64 };
	struct rig *rig = *state;

	limits(rig, F_ALL, "abcdefghijklmnopqrst");
	for (unsigned i = 0; i < sizeof(room) / sizeof(room[0]); i++) {
		const size_t n = room[i] < 20 ? room[i] : 20;

		memset(&rig->chain, 0, sizeof(rig->chain));
		memset(rig->mem, 0xa5, sizeof(rig->mem));
		header(rig, VIRTIO_BLK_T_GET_ID, 0);
		if (room[i])
			add(rig, true, DATA, room[i]);
		add(rig, true, STATUS, 1);
		assert_int_equal(parse(rig), VIRTIO_BLK_S_OK);
		assert_memory_equal(rig->mem + DATA, "abcdefghijklmnopqrst", n);
		assert_int_equal(rig->mem[DATA + n], 0xa5);
		assert_int_equal(blk_request_finish(&rig->req, 0), room[i] <= 20 ? n + 1 : n);
	}
}

static void H15_the_id_is_padded_and_may_be_split(void **state)
{
	struct rig *rig = *state;

	header(rig, VIRTIO_BLK_T_GET_ID, 0);
	for (unsigned i = 0; i < 20; i += 5)
		add(rig, true, DATA + 10 * i, 5);
	add(rig, true, STATUS, 1);
	assert_int_equal(parse(rig), VIRTIO_BLK_S_OK);
	assert_memory_equal(rig->mem + DATA, "seria", 5);
	assert_memory_equal(rig->mem + DATA + 50, "l-012", 5);
	assert_memory_equal(rig->mem + DATA + 100, "3\0\0\0\0", 5);
	assert_memory_equal(rig->mem + DATA + 150, "\0\0\0\0\0", 5);
}

static void H16_flush_ignores_sector_and_data(void **state)
{
	struct rig *rig = *state;

	header(rig, VIRTIO_BLK_T_FLUSH, UINT64_MAX);
	add(rig, false, DATA, 100);
	add(rig, true, DATA, 100);
	add(rig, true, STATUS, 1);
	assert_int_equal(parse(rig), BLK_START);
	assert_int_equal(rig->req.op, BLK_OP_FLUSH);
}

static void flush_without_a_volatile_cache_is_done_at_once(void **state)
{
	struct rig *rig = *state;

	rig->be.cache = DISK_CACHE_UNSAFE;
	limits(rig, F_ALL, "");
	assert_int_equal(parse_rw(rig, VIRTIO_BLK_T_FLUSH, 0, 0), VIRTIO_BLK_S_OK);
	memset(&rig->chain, 0, sizeof(rig->chain));
	rig->be.cache = DISK_CACHE_NONE;
	rig->be.readonly = true;
	limits(rig, F_ALL, "");
	assert_int_equal(parse_rw(rig, VIRTIO_BLK_T_FLUSH, 0, 0), VIRTIO_BLK_S_OK);
}

static void direct_io_needs_aligned_pieces(void **state)
{
	static const struct {
		size_t off[2], len[2];
		bool aligned;
	} cases[] = {
		{ { 0, 1024 }, { 512, 512 }, true },
		{ { 8, 1024 }, { 512, 512 }, false },
		{ { 0, 1028 }, { 512, 512 }, false },
		{ { 0, 1024 }, { 256, 256 }, false },
	};
	struct rig *rig = *state;

	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint8_t *base = (uint8_t *)(((uintptr_t)rig->mem + 4095) & ~4095ULL);
		struct iovec iov[2] = {
			{ base + cases[i].off[0], cases[i].len[0] },
			{ base + cases[i].off[1], cases[i].len[1] },
		};

		rig->req.offset = 512;
		rig->req.iov = iov;
		rig->req.nseg = 2;
		assert_int_equal(blk_request_aligned(&rig->req, &rig->be), cases[i].aligned);
	}
}

static void large_host_blocks_make_a_large_granule(void **state)
{
	struct rig *rig = *state;

	rig->be.block_size = rig->be.offset_align = 4096;
	limits(rig, F_ALL, "");
	assert_int_equal(parse_rw(rig, VIRTIO_BLK_T_IN, 0, 512), VIRTIO_BLK_S_IOERR);
	memset(&rig->chain, 0, sizeof(rig->chain));
	assert_int_equal(parse_rw(rig, VIRTIO_BLK_T_IN, 1, 4096), VIRTIO_BLK_S_IOERR);
	memset(&rig->chain, 0, sizeof(rig->chain));
	assert_int_equal(parse_rw(rig, VIRTIO_BLK_T_IN, 8, 4096), BLK_START);
}

static void zeroes_of_parts_of_large_host_blocks_are_refused(void **state)
{
	struct rig *rig = *state;

	rig->be.block_size = rig->be.offset_align = 4096;
	limits(rig, F_ALL, "");
	assert_int_equal(parse_range(rig, VIRTIO_BLK_T_WRITE_ZEROES, 8, 1, 0), VIRTIO_BLK_S_IOERR);
	memset(&rig->chain, 0, sizeof(rig->chain));
	assert_int_equal(parse_range(rig, VIRTIO_BLK_T_WRITE_ZEROES, 1, 8, 0), VIRTIO_BLK_S_IOERR);
	memset(&rig->chain, 0, sizeof(rig->chain));
	assert_int_equal(parse_range(rig, VIRTIO_BLK_T_WRITE_ZEROES, 8, 8, 0), BLK_START);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(H13_unknown_types_are_unsupported),
		T(H13_ranges_are_held_against_what_was_offered),
		T(H13_larger_ranges_than_offered_are_errors),
		T(H13_the_number_of_ranges_is_bounded),
		T(H13_half_a_range_is_an_error),
		T(H13_a_range_may_be_split_over_buffers),
		T(H13_what_was_not_negotiated_is_unsupported),
		T(H14_a_readonly_disk_refuses_every_change),
		T(H15_the_id_fills_what_room_there_is),
		T(H15_the_id_is_padded_and_may_be_split),
		T(H16_flush_ignores_sector_and_data),
		T(flush_without_a_volatile_cache_is_done_at_once),
		T(direct_io_needs_aligned_pieces),
		T(large_host_blocks_make_a_large_granule),
		T(zeroes_of_parts_of_large_host_blocks_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
