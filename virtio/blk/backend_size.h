/* SPDX-License-Identifier: Apache-2.0 */
/* The size of an image in use. All of it main's; the messages name `path`. */
#ifndef MVMM_BLK_BACKEND_SIZE_H
#define MVMM_BLK_BACKEND_SIZE_H

#include "virtio/blk/backend.h"

/* What the guest would see of the file or device as it is now: whole blocks, with a warning of a
 * hidden tail. -EINVAL: nothing at all. */
int block_backend_probe_size(const struct block_backend *be, const char *path, uint64_t *bytes,
			     struct error *err);

/* Whether the disk may follow its file or device: -EINVAL with an overlay. */
int block_backend_check_follow(const struct block_backend *be, const char *path, struct error *err);

/* Whether the image may be made that large: -EROFS, or -EINVAL (a device, an overlay, an odd size). */
int block_backend_check_size(const struct block_backend *be, const char *path, uint64_t bytes,
			     struct error *err);

/* Makes the file so large. What is cut off is gone; what is added reads as zeroes. */
int block_backend_set_size(const struct block_backend *be, const char *path, uint64_t bytes,
			   struct error *err);

#endif
