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
 * The maps belong to the disk's thread. Main makes and frees them.
 */
#ifndef MVMM_BLK_OVERLAY_H
#define MVMM_BLK_OVERLAY_H

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
	size_t mapped;	  /* bytes of all maps; touched where written */
	uint32_t align;	  /* what both files take; no run begins or ends elsewhere */
};

/* Maps for a disk of `size` bytes, all of it in the base, whose descriptor is the overlay's from then
 * on. */
int blk_overlay_create(struct blk_overlay **out, int base_fd, uint64_t size);
void blk_overlay_destroy(struct blk_overlay *ov);

/* A file without a name in `dir` (NULL: $TMPDIR, or /var/tmp), a hole of `size` bytes. `by` opens it,
 * NULL: we do. A descriptor or -errno. */
int blk_overlay_file(const char *dir, uint64_t size, const struct blk_opener *by,
		     struct error *err);

/*
 * Of a request that goes to an engine: decides which file it is about. A READ of which only the
 * beginning lies in one file is cut there. Once decided, a part that was cut off stays with its file,
 * however often it is sent.
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

#endif
