/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A throw-away overlay: the guest writes to an unlinked file of the same size, full of holes, and
 * the image below (the base) is only read. One bit per sector says which of the two holds it:
 *
 *	overlay	|....WW..WWWWWWWW....|	written, or discarded, or made zeroes
 *	base	|bbbb--bb--------bbbb|
 *
 * Nothing is ever copied up: a sector is the smallest thing that a request can be about, whatever
 * block size the driver was told. Bits only go from base to overlay, and only when the data is
 * there: a request in flight that was told "base" reads what was before, one that was told "overlay"
 * stays right for ever.
 *
 * These maps belong to the disk's thread. Main makes and frees them. A third one, of what the host
 * was asked for blocks for, is the workers', and the disk's thread looks at it: overlay_space.c.
 */
#ifndef MVMM_BLK_OVERLAY_H
#define MVMM_BLK_OVERLAY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "virtio/blk/opener.h"
#include "vmm/error.h"

struct blk_request;

/* What one bit stands for, in the fine map and the coarse one. */
#define BLK_OVERLAY_SECTOR 512ULL
#define BLK_OVERLAY_CHUNK  (1ULL << 20)

struct blk_overlay {
	int base_fd;	  /* the image, read only; owned */
	uint64_t *sector; /* a bit per sector: the overlay holds it */
	uint64_t *whole;  /* a bit per chunk: the overlay holds all of it, whatever `sector` says */
	_Atomic uint64_t *space; /* a bit per chunk: the host was asked for blocks for all of it */
	size_t mapped;		 /* bytes of all maps; touched where written */
	uint64_t size;		 /* of the disk, bytes */
	uint32_t align;		 /* what both files take; no run begins or ends elsewhere */
	bool reserves;		 /* a chunk has its blocks before the first write to it goes */
};

/* Maps for a disk of `size` bytes, all of it in the base, whose descriptor is the overlay's from then
 * on. */
int blk_overlay_create(struct blk_overlay **out, int base_fd, uint64_t size);
void blk_overlay_destroy(struct blk_overlay *ov);

/* A file without a name in `dir` (NULL: $TMPDIR, or /var/tmp), a hole of `size` bytes. `by` opens it,
 * NULL: we do. A descriptor or -errno. */
int blk_overlay_file(const char *dir, uint64_t size, const struct blk_opener *by,
		     struct error *err);

/* Whether writes to a new file on this file system wait for blocks that it could have been asked for
 * before. Not in memory, where asking takes as much of it as writing. */
bool blk_overlay_fd_reserves(int fd);

/*
 * Of a request that goes to an engine: decides which file it is about. A READ of which only the
 * beginning lies in one file is cut there. Once decided, a part that was cut off stays with its file,
 * however often it is sent. A WRITE for which a worker should make space first is marked.
 */
void blk_overlay_place(const struct blk_overlay *ov, struct blk_request *req);

/* A request has been done and is about to be acknowledged: what it wrote is the overlay's. */
void blk_overlay_landed(struct blk_overlay *ov, const struct blk_request *req);

/* How many of the `len` bytes at `offset` lie in the same file as the first of them. */
uint64_t blk_overlay_run(const struct blk_overlay *ov, uint64_t offset, uint64_t len,
			 bool *from_base);

/* The overlay holds these bytes from now on, but for parts of blocks of `align` bytes at their ends:
 * discards are not held to blocks, and promise nothing. */
void blk_overlay_cover(struct blk_overlay *ov, uint64_t offset, uint64_t len);

/* ---- overlay_space.c; `len` is not 0 ---- */

static inline bool blk_overlay_chunk_has_space(const struct blk_overlay *ov, uint64_t chunk)
{
	return atomic_load_explicit(&ov->space[chunk / 64], memory_order_relaxed) >> chunk % 64 & 1;
}

/* The disk's thread: the host was asked for all chunks of this range. */
static inline bool blk_overlay_has_space(const struct blk_overlay *ov, uint64_t offset,
					 uint64_t len)
{
	const uint64_t last = (offset + len - 1) / BLK_OVERLAY_CHUNK;

	for (uint64_t chunk = offset / BLK_OVERLAY_CHUNK; chunk <= last; chunk++)
		if (!blk_overlay_chunk_has_space(ov, chunk))
			return false;
	return true;
}

/* A worker: asks the host for the blocks of all chunks of this range, `fd` being the overlay's file. */
void blk_overlay_make_space(struct blk_overlay *ov, int fd, uint64_t offset, uint64_t len);

/* A worker is about to give this range back. Who writes to a chunk of which only a part was given
 * does not get that part again before he needs it. */
void blk_overlay_gives_space(struct blk_overlay *ov, uint64_t offset, uint64_t len);

#endif
