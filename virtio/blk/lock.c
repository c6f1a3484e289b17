/* SPDX-License-Identifier: Apache-2.0 */
/*
 * QEMU's image locks (block/file-posix.c, raw_apply_lock_bytes() and raw_check_lock_bytes()).
 *
 * Main's thread, before the image is used. Knows one descriptor and no format.
 *
 * Every right has a number. Who has right n holds a shared lock on byte 100 + n; who does not want
 * others to have it holds one on byte 200 + n. Shared locks never collide, so everybody first takes
 * theirs and then looks whether an exclusive lock *would* be granted on the opposite byte. Two who
 * start at once see each other and both give up, which is the safe way round.
 *
 * The locks are open file description locks: a fork or a close elsewhere does not lose them.
 */
#include "virtio/blk/lock.h"

#include <errno.h>
#include <fcntl.h>

#define HELD_BASE     100
#define UNSHARED_BASE 200

/* Numbers of QEMU's BLK_PERM_* bits. */
enum { RIGHT_READ = 0, RIGHT_WRITE = 1, RIGHT_RESIZE = 3 };

/* Over a network somebody may have to be asked, and a signal may come meanwhile. */
static int lock_call(int fd, int command, struct flock *lock)
{
	int ret;

	do {
		ret = fcntl(fd, command, lock);
	} while (ret && errno == EINTR);
	return ret ? -errno : 0;
}

static int take_shared(int fd, off_t byte)
{
	struct flock lock = {
		.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1
	};

	return lock_call(fd, F_OFD_SETLK, &lock);
}

/* -EAGAIN when another open file has any lock on `byte`. */
static int check_free(int fd, off_t byte)
{
	struct flock lock = {
		.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1
	};
	const int ret = lock_call(fd, F_OFD_GETLK, &lock);

	if (ret)
		return ret;
	return lock.l_type == F_UNLCK ? 0 : -EAGAIN;
}

/* `fn` on the byte of every right in the set. */
static int for_each(int fd, off_t base, unsigned rights, int (*fn)(int fd, off_t byte))
{
	int ret = 0;

	for (unsigned n = 0; rights && !ret; n++, rights >>= 1)
		if (rights & 1)
			ret = fn(fd, base + n);
	return ret;
}

int blk_image_lock(int fd, bool writer)
{
	const unsigned held = 1U << RIGHT_READ | (writer ? 1U << RIGHT_WRITE : 0);
	/* Nobody else writes, nor resizes what the guest was told the size of. */
	const unsigned unshared = 1U << RIGHT_WRITE | 1U << RIGHT_RESIZE;
	int ret;

	ret = for_each(fd, HELD_BASE, held, take_shared);
	if (!ret)
		ret = for_each(fd, UNSHARED_BASE, unshared, take_shared);
	if (!ret)
		ret = for_each(fd, UNSHARED_BASE, held, check_free);
	if (!ret)
		ret = for_each(fd, HELD_BASE, unshared, check_free);
	return ret;
}
