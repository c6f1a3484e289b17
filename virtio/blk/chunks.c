/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The map of what is still to be copied; see chunks.h.
 *
 * The disk's thread. Knows numbers only: no file, no request, no job. Nothing here takes longer than
 * it takes to walk a few thousand words.
 */
#include "virtio/blk/chunks.h"

#include <string.h>

#define MAP_BITS (16ULL << 20)
/* Words one search looks at: 2 GiB of a disk in less than a microsecond. */
#define SEARCH_WORDS 512

unsigned blk_chunks_shift(uint64_t size)
{
	unsigned shift = BLK_CHUNK_MIN_SHIFT;

	while (shift < BLK_CHUNK_MAX_SHIFT && size >> shift > MAP_BITS)
		shift++;
	return shift;
}

static uint64_t count_chunks(uint64_t size, unsigned shift)
{
	return (size >> shift) + !!(size & ((1ULL << shift) - 1));
}

uint64_t blk_chunks_words(uint64_t size, unsigned shift)
{
	return (count_chunks(size, shift) + 63) / 64;
}

void blk_chunks_init(struct blk_chunks *c, uint64_t size, unsigned shift, uint64_t *clean)
{
	memset(c, 0, sizeof(*c));
	c->size = size;
	c->shift = shift;
	c->n = c->left = count_chunks(size, shift);
	c->clean = clean;
}

static bool is_todo(const struct blk_chunks *c, uint64_t chunk)
{
	return !(c->clean[chunk / 64] >> chunk % 64 & 1);
}

/* The bits of word `word` that stand for chunks `first` to `last`. */
static uint64_t mask_of(uint64_t word, uint64_t first, uint64_t last)
{
	uint64_t mask = ~0ULL;

	if (first / 64 == word)
		mask &= ~0ULL << first % 64;
	if (last / 64 == word)
		mask &= ~0ULL >> (63 - last % 64);
	return mask;
}

static void count_blocked(struct blk_chunks *c)
{
	c->blocked = 0;
	for (unsigned i = 0; i < c->nbusy; i++)
		c->blocked += is_todo(c, c->busy[i]);
}

void blk_chunks_mark(struct blk_chunks *c, uint64_t offset, uint64_t len)
{
	uint64_t first, last, mask, marked = 0;

	if (!len)
		return;
	first = offset >> c->shift;
	last = (offset + len - 1) >> c->shift;
	for (uint64_t w = first / 64; w <= last / 64; w++) {
		mask = mask_of(w, first, last) & c->clean[w];
		c->clean[w] &= ~mask;
		marked += __builtin_popcountll(mask);
	}
	c->left += marked;
	if (marked)
		count_blocked(c);
}

uint64_t blk_chunks_first(const struct blk_chunks *c, uint64_t offset, uint64_t len)
{
	uint64_t first, last, bits;

	if (!len)
		return BLK_CHUNK_NONE;
	first = offset >> c->shift;
	last = (offset + len - 1) >> c->shift;
	for (uint64_t w = first / 64; w <= last / 64; w++) {
		bits = ~c->clean[w] & mask_of(w, first, last);
		if (bits)
			return w * 64 + __builtin_ctzll(bits);
	}
	return BLK_CHUNK_NONE;
}

bool blk_chunks_is_busy(const struct blk_chunks *c, uint64_t offset, uint64_t len)
{
	if (!len)
		return false;
	for (unsigned i = 0; i < c->nbusy; i++)
		if (c->busy[i] >= offset >> c->shift &&
		    c->busy[i] <= (offset + len - 1) >> c->shift)
			return true;
	return false;
}

/* The bits of `word` without those of busy chunks. */
static uint64_t takeable(const struct blk_chunks *c, uint64_t word)
{
	uint64_t bits = ~c->clean[word] & mask_of(word, 0, c->n - 1);

	for (unsigned i = 0; bits && i < c->nbusy; i++)
		if (c->busy[i] / 64 == word)
			bits &= ~(1ULL << c->busy[i] % 64);
	return bits;
}

uint64_t blk_chunks_next(struct blk_chunks *c)
{
	uint64_t word, bits, chunk;

	if (!blk_chunks_some(c))
		return BLK_CHUNK_NONE;
	for (unsigned i = 0; i < SEARCH_WORDS; i++) {
		word = c->cursor / 64;
		bits = takeable(c, word) & ~0ULL << c->cursor % 64;
		chunk = bits ? word * 64 + __builtin_ctzll(bits) : BLK_CHUNK_NONE;
		c->cursor = bits ? chunk + 1 : (word + 1) * 64;
		if (c->cursor >= c->n)
			c->cursor = 0;
		if (bits)
			return chunk;
	}
	return BLK_CHUNK_NONE;
}

void blk_chunks_take(struct blk_chunks *c, uint64_t chunk)
{
	c->clean[chunk / 64] |= 1ULL << chunk % 64;
	c->left--;
	c->busy[c->nbusy++] = chunk;
}

void blk_chunks_release(struct blk_chunks *c, uint64_t chunk)
{
	unsigned i = 0;

	while (c->busy[i] != chunk)
		i++;
	c->busy[i] = c->busy[--c->nbusy];
	count_blocked(c);
}
