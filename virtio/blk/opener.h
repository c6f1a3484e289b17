/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How the files of disks are opened: by name, or by somebody who may when this process may not any
 * more (the broker, vmm/cli/broker.h). Regular files and block devices only; anything else is looked
 * at and left alone: a pipe would wait for its other end, and a device may do anything.
 */
#ifndef MVMM_BLK_OPENER_H
#define MVMM_BLK_OPENER_H

#include <stdint.h>
#include <sys/types.h>

/*
 * open: `flags` are O_RDONLY or O_RDWR, and perhaps O_CREAT | O_EXCL; or O_RDWR | O_TMPFILE for a file
 * without a name in the folder `path`, which can never be given one. A block device to be written is
 * opened with O_EXCL, which asks that the host has not mounted it. The descriptor (O_CLOEXEC), or
 * -errno; -EINVAL with a kind in *kind (S_IFMT bits): that is what it is.
 */
struct blk_opener {
	int (*open)(void *opaque, const char *path, int flags, mode_t *kind);
	void *opaque;
};

/* By name, as above. `path` begins at `dir` (AT_FDCWD); `resolve` as openat2(2) has it; 0 works on
 * any kernel. Any thread. */
int blk_open_at(int dir, const char *path, uint64_t resolve, int flags, mode_t *kind);

#endif
