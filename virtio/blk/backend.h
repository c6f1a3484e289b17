/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An open disk image: what the host says about it and how it may be used. Raw files and block
 * devices only; the format is never probed. Opened and locked by main, used by one dataplane.
 */
#ifndef MVMM_BLK_BACKEND_H
#define MVMM_BLK_BACKEND_H

#include <stdbool.h>
#include <stdint.h>

#include "virtio/blk/disk_config.h"
#include "virtio/blk/opener.h"
#include "vmm/error.h"

struct blk_overlay;

struct block_backend {
	int fd; /* with an overlay its file, and all below is about what the two have in common */
	bool readonly;
	bool direct; /* O_DIRECT is in force */
	bool block_device;
	enum disk_cache cache; /* what was decided, not what was asked */
	enum disk_aio aio;
	uint64_t size;		      /* bytes the guest sees: a multiple of block_size */
	uint32_t block_size;	      /* logical, as told to the guest: 512 or 4096 */
	uint32_t mem_align;	      /* buffers that O_DIRECT takes; 1 when buffered */
	uint32_t offset_align;	      /* offsets and lengths that O_DIRECT takes */
	uint32_t physical_block_size; /* what the host writes at once; 2^n times block_size */
	uint32_t optimal_io_size;     /* bytes, 0: not known */
	bool can_discard;	      /* FALLOC_FL_PUNCH_HOLE or BLKDISCARD */
	/* Identity, to refuse an image given twice; a device node's is the device's,
	 * an overlay's the base's. Known also of one
	 * that could not be locked. */
	uint64_t dev, ino;
	struct blk_overlay *overlay; /* NULL: none; owned */
};

/*
 * Opens, locks (QEMU's byte scheme: lock.h), probes. Falls back from cache=none,aio=native to
 * cache=writeback,aio=threads where O_DIRECT is not to be had, with one line of notice; refuses
 * when the user asked for it by name. Warns of qcow2 magic and of a hidden tail. With an overlay the
 * image is only read and shared with all who only read it; both files are used in the same way, the
 * better one that both allow.
 */
int block_backend_open(struct block_backend *be, const struct disk_config *config,
		       struct error *err);

/* The same with files that `by` opens; NULL: by name. On any thread: it waits for storage. */
int block_backend_open_by(struct block_backend *be, const struct disk_config *config,
			  const struct blk_opener *by, struct error *err);
void block_backend_close(const struct block_backend *be);

/* Are both the same file? */
static inline bool block_backend_is_same(const struct block_backend *a,
					 const struct block_backend *b)
{
	return a->dev == b->dev && a->ino == b->ino;
}

#endif
