/* SPDX-License-Identifier: Apache-2.0 */
/* Locks an image file the way QEMU does, so that neither two mvmm nor mvmm and QEMU write one
 * image. */
#ifndef MVMM_BLK_LOCK_H
#define MVMM_BLK_LOCK_H

#include <stdbool.h>

/*
 * Takes the locks of a writer, or of a reader that wants nobody else to write. They go away with
 * the open file (`fd` and its duplicates). 0; -EAGAIN when somebody holds what we must not share;
 * another -errno where the file system has no such locks. Main.
 */
int blk_image_lock(int fd, bool writer);

#endif
