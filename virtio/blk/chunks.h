/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which parts of a disk are still to be copied: one bit per chunk. The disk's thread marks what the
 * guest writes and takes what it copies next; all in memory that the caller gives.
 *
 *	clean	not to be copied: zeroes, so all is at first, and what is not touched costs nothing
 *	busy	with the copier, which took its bit away: not to be taken a second time meanwhile
 */
#ifndef MVMM_BLK_CHUNKS_H
#define MVMM_BLK_CHUNKS_H

#include <stdbool.h>
#include <stdint.h>

#define BLK_CHUNK_MIN_SHIFT 16 /* 64 KiB: a small write costs no more than that to copy again */
#define BLK_CHUNK_MAX_SHIFT 20
#define BLK_CHUNKS_BUSY	    16

#define BLK_CHUNK_NONE UINT64_MAX

struct blk_chunks {
	uint64_t size; /* of the disk, bytes */
	unsigned shift;
	unsigned nbusy;
	uint64_t n;
	uint64_t *clean;  /* the caller's, blk_chunks_words() of them */
	uint64_t left;	  /* chunks to be copied */
	uint64_t blocked; /* of them, chunks that are busy */
	uint64_t cursor;  /* the chunk where the next search begins */
	uint64_t busy[BLK_CHUNKS_BUSY];
};

/* The chunk's size for a disk: small, unless that makes more than 2 MiB of bits. */
unsigned blk_chunks_shift(uint64_t size);

/* Words of a map with one bit per chunk. */
uint64_t blk_chunks_words(uint64_t size, unsigned shift);

/* `clean`: all zeroes. Everything is to be copied. */
void blk_chunks_init(struct blk_chunks *c, uint64_t size, unsigned shift, uint64_t *clean);

/* What is touched by [offset, offset + len), which lies within the disk, is to be copied. */
void blk_chunks_mark(struct blk_chunks *c, uint64_t offset, uint64_t len);

/* The first chunk in the range that is to be copied, or NONE. */
uint64_t blk_chunks_first(const struct blk_chunks *c, uint64_t offset, uint64_t len);

/* Whether the copier has a chunk of the range. */
bool blk_chunks_is_busy(const struct blk_chunks *c, uint64_t offset, uint64_t len);

/*
 * The next chunk that may be taken, after the one before, round and round; NONE when there is none,
 * or not within the part of the map that one call looks at: blk_chunks_some() tells.
 */
uint64_t blk_chunks_next(struct blk_chunks *c);

/* Whether anything may be taken. */
static inline bool blk_chunks_some(const struct blk_chunks *c)
{
	return c->left > c->blocked;
}

/* The copier begins with `chunk`, which is to be copied and not busy; at most BUSY at once. */
void blk_chunks_take(struct blk_chunks *c, uint64_t chunk);

/* The copier has done with it. */
void blk_chunks_release(struct blk_chunks *c, uint64_t chunk);

static inline uint64_t blk_chunk_offset(const struct blk_chunks *c, uint64_t chunk)
{
	return chunk << c->shift;
}

/* Bytes: the last one may be shorter. */
static inline uint32_t blk_chunk_len(const struct blk_chunks *c, uint64_t chunk)
{
	const uint64_t len = c->size - (chunk << c->shift);

	return len < 1ULL << c->shift ? len : 1ULL << c->shift;
}

#endif
