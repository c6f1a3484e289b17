/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How a disk is copied that is being written meanwhile: the rules, without the I/O. The disk's
 * thread asks them at every step of the copier and of the guest's writes; they never wait.
 *
 * MIRROR	the target shall become what the source is *at the end*
 *		- a guest's write marks its chunks when it goes to the engine, and again when the
 *		  engine has ended it, well or not
 *		- the copier takes a chunk's mark away before it reads, and has no chunk twice at once
 *		- when nothing is marked, nothing is with the copier and no write is under way, both
 *		  are equal
 * BACKUP	the target shall become what the source is *at the beginning*
 *		- all chunks are marked while no write is under way
 *		- a guest's write waits while one of its chunks is marked or being read; what was read
 *		  is safe in the copier's buffer
 *
 * Each of these is needed: tests/unit/test_copy_races.c takes them away one at a time, and finds what
 * is lost. The mark at the beginning of a write is the one without which no data would be lost; it is
 * what makes the figures true. Without it a chunk would be called equal that is being written.
 */
#ifndef MVMM_BLK_COPY_H
#define MVMM_BLK_COPY_H

#include "virtio/blk/chunks.h"

enum blk_copy_mode { BLK_COPY_MIRROR, BLK_COPY_BACKUP };

struct blk_copy {
	enum blk_copy_mode mode;
	unsigned pending; /* chunks with the copier, until they are at the target */
	struct blk_chunks chunks;
	bool junk;	  /* the target may hold anything anywhere */
	uint64_t *filled; /* a bit per chunk: it was given other than zeroes there */
};

/*
 * All of the disk is to be copied. `clean` and `filled`: blk_chunks_words() each, the caller's, all
 * zeroes. `junk`: the target is not known to hold nothing but zeroes.
 */
void blk_copy_init(struct blk_copy *copy, enum blk_copy_mode mode, uint64_t size, bool junk,
		   uint64_t *clean, uint64_t *filled);

/* A range that the guest writes, discards or zeroes, on its way to the engine. */
static inline void blk_copy_write_begins(struct blk_copy *copy, uint64_t offset, uint64_t len)
{
	if (copy->mode == BLK_COPY_MIRROR)
		blk_chunks_mark(&copy->chunks, offset, len);
}

/* The engine has ended it. Before the guest is told. */
static inline void blk_copy_write_ended(struct blk_copy *copy, uint64_t offset, uint64_t len)
{
	if (copy->mode == BLK_COPY_MIRROR)
		blk_chunks_mark(&copy->chunks, offset, len);
}

/* Asked before blk_copy_write_begins(), and again when the copier has read a chunk. */
bool blk_copy_must_wait(const struct blk_copy *copy, uint64_t offset, uint64_t len);

/* The copier begins to read `chunk`: of blk_chunks_next(), or one that a write waits for. */
void blk_copy_begin(struct blk_copy *copy, uint64_t chunk);

/* Whether the target was given this chunk before, or may hold anything: it has blocks there. */
static inline bool blk_copy_has_filled(const struct blk_copy *copy, uint64_t chunk)
{
	return copy->junk || copy->filled[chunk / 64] >> chunk % 64 & 1;
}

/* It has read it. False: it is done with it, because both hold zeroes. True: it is to be written. */
bool blk_copy_was_read(struct blk_copy *copy, uint64_t chunk, bool zeroes);

/* It has written it. */
void blk_copy_was_written(struct blk_copy *copy, uint64_t chunk);

/* Source and target are equal, or, of a MIRROR, will be when all writes under way have ended and this
 * is true once more. */
static inline bool blk_copy_is_done(const struct blk_copy *copy)
{
	return !copy->chunks.left && !copy->pending;
}

#endif
