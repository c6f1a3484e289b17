/* SPDX-License-Identifier: Apache-2.0 */
/* The image that a disk is copied to: made or taken, and held to the disk's own. */
#ifndef MVMM_BLK_TARGET_H
#define MVMM_BLK_TARGET_H

#include <stdbool.h>

#include "virtio/blk/backend.h"
#include "vmm/error.h"

/*
 * Makes `path` a file of the source's size, all of it a hole; or takes one that is empty (of no bytes
 * or of holes alone), or a block device that is large enough, whatever it holds: then *zero is false.
 * A file with data is refused (-EEXIST). It is locked, and used as the source is: with direct I/O, or
 * buffered. `by` opens it, NULL: by name. On any thread: it waits for storage.
 */
int blk_target_open(struct block_backend *target, const char *path,
		    const struct block_backend *source, const struct blk_opener *by, bool *zero,
		    struct error *err);

/* Whether its file was removed meanwhile: then it would end with the VM. */
bool blk_target_has_vanished(const struct block_backend *target);

#endif
