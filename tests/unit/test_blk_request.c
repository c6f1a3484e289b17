/* SPDX-License-Identifier: Apache-2.0 */
/* Requests read out of descriptor chains: framing, limits, status and used length. H numbers are
 * the cases of the hostile-guest list. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "virtio/blk/iov.h"
#include "virtio/blk/request.h"

#define SECTORS 2048
#define F_ALL	(1ULL << VIRTIO_BLK_F_DISCARD | 1ULL << VIRTIO_BLK_F_WRITE_ZEROES)

struct rig {
	uint8_t mem[64 << 10];
	struct iovec spill[VIRTQ_MAX_CHAIN];
	struct block_backend be;
	struct blk_limits limits;
	struct desc_chain chain;
	struct blk_request req;
};

static void limits(struct rig *rig, uint64_t features, const char *serial)
{
	blk_limits_init(&rig->limits, &rig->be, rig->be.size, features, serial);
}

static int setup(void **state)
{
	static struct rig rig;

	memset(&rig, 0xa5, sizeof(rig));
	memset(&rig.chain, 0, sizeof(rig.chain));
	rig.req.spill = rig.spill;
	rig.be = (struct block_backend){
		.size = SECTORS * 512,
		.block_size = 512,
		.mem_align = 512,
		.offset_align = 512,
		.direct = true,
		.can_discard = true,
	};
	limits(&rig, F_ALL, "serial-0123");
	*state = &rig;
	return 0;
}

/* Appends a buffer at mem + off; writable ones come last, as virtq_pop() sees to it. */
static void add(struct rig *rig, bool writable, size_t off, size_t len)
{
	struct desc_chain *c = &rig->chain;

	c->iov[c->nreadable + c->nwritable] = (struct iovec){ rig->mem + off, len };
	if (writable) {
		c->nwritable++;
		c->writable += len;
	} else {
		c->nreadable++;
		c->readable += len;
	}
}

/* A header at mem + 0. */
static void header(struct rig *rig, uint32_t type, uint64_t sector)
{
	const struct virtio_blk_outhdr hdr = { .type = type, .sector = sector };

	memcpy(rig->mem, &hdr, sizeof(hdr));
	add(rig, false, 0, sizeof(hdr));
}

static int parse(struct rig *rig)
{
	return blk_request_parse(&rig->req, &rig->chain, &rig->limits);
}

#define DATA   4096 /* where data buffers lie in mem */
#define STATUS 60000

static int parse_rw(struct rig *rig, uint32_t type, uint64_t sector, size_t len)
{
	header(rig, type, sector);
	if (len)
		add(rig, type == VIRTIO_BLK_T_IN, DATA, len);
	add(rig, true, STATUS, 1);
	return parse(rig);
}

/* A range command with `n` ranges laid out at mem + DATA. */
static int parse_ranges(struct rig *rig, uint32_t type,
			const struct virtio_blk_discard_write_zeroes *seg, unsigned n)
{
	header(rig, type, 0);
	memcpy(rig->mem + DATA, seg, n * sizeof(*seg));
	if (n)
		add(rig, false, DATA, n * sizeof(*seg));
	add(rig, true, STATUS, 1);
	return parse(rig);
}

static int parse_range(struct rig *rig, uint32_t type, uint64_t sector, uint32_t num,
		       uint32_t flags)
{
	return parse_ranges(rig, type,
			    &(struct virtio_blk_discard_write_zeroes){ sector, num, flags }, 1);
}

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

#define T(name) cmocka_unit_test_setup(name, setup)

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
		T(used_length_counts_the_status_only_behind_complete_data),
		T(advance_leaves_the_rest),
		T(direct_io_needs_aligned_pieces),
		T(large_host_blocks_make_a_large_granule),
		T(zeroes_of_parts_of_large_host_blocks_are_refused),
		T(slices_skip_empty_pieces),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
