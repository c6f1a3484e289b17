/* SPDX-License-Identifier: Apache-2.0 */
/* The map of what is still to be copied: edges, words, the order of the search. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "virtio/blk/chunks.h"

#define SHIFT BLK_CHUNK_MIN_SHIFT
#define CHUNK (1ULL << SHIFT)

static uint64_t map[4096];
static struct blk_chunks c;

/* Nothing is to be copied until it is marked. */
static void with(uint64_t size)
{
	assert_true(blk_chunks_words(size, SHIFT) <= 4096);
	blk_chunks_init(&c, size, SHIFT, map);
	memset(map, 0xff, sizeof(map));
	c.left = 0;
}

static void test_a_map_takes_at_most_two_megabytes_up_to_16_TiB(void **state)
{
	assert_int_equal(blk_chunks_shift(512), BLK_CHUNK_MIN_SHIFT);
	assert_int_equal(blk_chunks_shift(1ULL << 40), BLK_CHUNK_MIN_SHIFT);
	assert_int_equal(blk_chunks_shift((1ULL << 40) + CHUNK), BLK_CHUNK_MIN_SHIFT + 1);
	assert_int_equal(blk_chunks_shift(1ULL << 44), BLK_CHUNK_MAX_SHIFT);
	assert_int_equal(blk_chunks_shift(1ULL << 50), BLK_CHUNK_MAX_SHIFT);
	assert_int_equal(blk_chunks_words(1ULL << 44, BLK_CHUNK_MAX_SHIFT), 2 << 20 >> 3);
}

static void test_the_last_chunk_may_be_short(void **state)
{
	with(5 * CHUNK + 512);
	assert_int_equal(c.n, 6);
	assert_int_equal(blk_chunk_len(&c, 4), CHUNK);
	assert_int_equal(blk_chunk_len(&c, 5), 512);
	blk_chunks_mark(&c, 0, c.size);
	assert_int_equal(c.left, 6);
	assert_int_equal(~map[0], 0x3f);
	with(64 * CHUNK);
	assert_int_equal(c.n, 64);
	blk_chunks_mark(&c, 0, c.size);
	assert_int_equal(c.left, 64);
}

/* The bits behind the last chunk are none. The map of a disk of any size is not touched for that. */
static void test_at_first_all_is_to_be_copied(void **state)
{
	const uint64_t none[1] = { 0 };
	uint64_t one[1] = { 0 };

	blk_chunks_init(&c, 3 * CHUNK, SHIFT, one);
	assert_memory_equal(one, none, sizeof(none));
	assert_int_equal(c.left, 3);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(blk_chunks_next(&c), i);
		blk_chunks_take(&c, i);
	}
	assert_int_equal(blk_chunks_next(&c), BLK_CHUNK_NONE);
	assert_int_equal(c.left, 0);
	blk_chunks_release(&c, 1);
	assert_int_equal(blk_chunks_next(&c), BLK_CHUNK_NONE);
}

static void test_a_mark_covers_what_is_touched_and_counts_it_once(void **state)
{
	with(200 * CHUNK);
	blk_chunks_mark(&c, 5 * CHUNK, 0);
	assert_int_equal(c.left, 0);
	blk_chunks_mark(&c, 5 * CHUNK - 1, 2);
	assert_int_equal(c.left, 2);
	assert_int_equal(~map[0], 3ULL << 4);
	blk_chunks_mark(&c, 0, 6 * CHUNK);
	assert_int_equal(c.left, 6);
	blk_chunks_mark(&c, 63 * CHUNK, 130 * CHUNK);
	assert_int_equal(c.left, 136);
	assert_int_equal(~map[1], ~0ULL);
	assert_int_equal(~map[3], 1);
	assert_int_equal(blk_chunks_first(&c, 6 * CHUNK, 57 * CHUNK), BLK_CHUNK_NONE);
	assert_int_equal(blk_chunks_first(&c, 6 * CHUNK, 57 * CHUNK + 1), 63);
	assert_int_equal(blk_chunks_first(&c, 6 * CHUNK, 0), BLK_CHUNK_NONE);
}

static void test_what_is_busy_is_not_found_again(void **state)
{
	with(200 * CHUNK);
	blk_chunks_mark(&c, 70 * CHUNK, 2 * CHUNK);
	assert_int_equal(blk_chunks_next(&c), 70);
	blk_chunks_take(&c, 70);
	assert_int_equal(c.left, 1);
	assert_true(blk_chunks_is_busy(&c, 69 * CHUNK, 2 * CHUNK));
	assert_false(blk_chunks_is_busy(&c, 69 * CHUNK, CHUNK));
	assert_false(blk_chunks_is_busy(&c, 71 * CHUNK, CHUNK));
	blk_chunks_mark(&c, 70 * CHUNK, 1);
	assert_int_equal(c.blocked, 1);
	assert_int_equal(blk_chunks_next(&c), 71);
	blk_chunks_take(&c, 71);
	assert_false(blk_chunks_some(&c));
	assert_int_equal(blk_chunks_next(&c), BLK_CHUNK_NONE);
	blk_chunks_release(&c, 70);
	assert_true(blk_chunks_some(&c));
	assert_int_equal(blk_chunks_next(&c), 70);
	blk_chunks_take(&c, 70);
	blk_chunks_release(&c, 71);
	blk_chunks_release(&c, 70);
	assert_int_equal(c.left + c.blocked + c.nbusy, 0);
}

/* A chunk that is written all the time does not keep the others waiting. */
static void test_the_search_goes_round(void **state)
{
	uint64_t chunk;

	with(64 * CHUNK);
	blk_chunks_mark(&c, 0, 3 * CHUNK);
	for (unsigned i = 0; i < 9; i++) {
		chunk = blk_chunks_next(&c);
		assert_int_equal(chunk, i % 3);
		blk_chunks_take(&c, chunk);
		blk_chunks_release(&c, chunk);
		blk_chunks_mark(&c, chunk * CHUNK, 1);
	}
}

/* 16 GiB between the two: no search takes long, and the next one goes on. */
static void test_a_search_ends_before_it_takes_long(void **state)
{
	const uint64_t last = 4096 * 64 - 1;
	unsigned calls = 0;

	with((last + 1) * CHUNK);
	blk_chunks_mark(&c, last * CHUNK, 1);
	while (blk_chunks_next(&c) == BLK_CHUNK_NONE)
		assert_true(++calls < 16);
	assert_true(calls > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_map_takes_at_most_two_megabytes_up_to_16_TiB),
		cmocka_unit_test(test_the_last_chunk_may_be_short),
		cmocka_unit_test(test_at_first_all_is_to_be_copied),
		cmocka_unit_test(test_a_mark_covers_what_is_touched_and_counts_it_once),
		cmocka_unit_test(test_what_is_busy_is_not_found_again),
		cmocka_unit_test(test_the_search_goes_round),
		cmocka_unit_test(test_a_search_ends_before_it_takes_long),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
