/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rules of copying a disk in use; see copy.h.
 *
 * The disk's thread. Knows no file, no request and no engine.
 */
#include "virtio/blk/copy.h"

#include <string.h>

void blk_copy_init(struct blk_copy *copy, enum blk_copy_mode mode, uint64_t size, bool junk,
		   uint64_t *clean, uint64_t *filled)
{
	memset(copy, 0, sizeof(*copy));
	copy->mode = mode;
	copy->junk = junk;
	copy->filled = filled;
	blk_chunks_init(&copy->chunks, size, blk_chunks_shift(size), clean);
}

bool blk_copy_must_wait(const struct blk_copy *copy, uint64_t offset, uint64_t len)
{
	return copy->mode == BLK_COPY_BACKUP &&
	       (blk_chunks_first(&copy->chunks, offset, len) != BLK_CHUNK_NONE ||
		blk_chunks_is_busy(&copy->chunks, offset, len));
}

void blk_copy_begin(struct blk_copy *copy, uint64_t chunk)
{
	blk_chunks_take(&copy->chunks, chunk);
	copy->pending++;
}

/* A chunk of a MIRROR stays with the copier until it is written: were it taken again meanwhile, the
 * older data could arrive last. One of a BACKUP is never marked again. */
bool blk_copy_was_read(struct blk_copy *copy, uint64_t chunk, bool zeroes)
{
	const bool write = !zeroes || blk_copy_has_filled(copy, chunk);

	if (write)
		copy->filled[chunk / 64] |= 1ULL << chunk % 64;
	if (!write || copy->mode == BLK_COPY_BACKUP)
		blk_chunks_release(&copy->chunks, chunk);
	copy->pending -= !write;
	return write;
}

void blk_copy_was_written(struct blk_copy *copy, uint64_t chunk)
{
	if (copy->mode == BLK_COPY_MIRROR)
		blk_chunks_release(&copy->chunks, chunk);
	copy->pending--;
}
