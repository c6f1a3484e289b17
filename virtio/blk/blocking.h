/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A request done by system calls that may block: what a worker does. READ and WRITE of any memory
 * alignment, FLUSH, DISCARD, WRITE_ZEROES.
 */
#ifndef MVMM_BLK_BLOCKING_H
#define MVMM_BLK_BLOCKING_H

#include "virtio/blk/backend.h"
#include "virtio/blk/request.h"

/* Chunks in which buffers pass that O_DIRECT does not take; also the zeroes that are written where
 * the host cannot make any. A multiple of every alignment there is. */
#define BLK_BOUNCE_SIZE (128U << 10)

/*
 * Does the whole request, or as much as goes: blk_request_advance() has been called for the part of
 * a READ or WRITE that is done. 0 or -errno. `bounce`: BLK_BOUNCE_SIZE bytes, page aligned, the
 * caller's own. A worker's thread.
 */
int blk_blocking_execute(struct blk_request *req, const struct block_backend *be, void *bounce);

/* Makes all that was written durable. 0 or -errno. */
int blk_blocking_sync(const struct block_backend *be);

/* READ from the host's page cache as far as it is there. Bytes, or -EAGAIN, or -EOPNOTSUPP where
 * the file system cannot say. Never waits for the disk: the disk's thread may call it. */
ssize_t blk_blocking_read_cached(const struct blk_request *req, const struct block_backend *be);

#endif
