/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opens what a disk is copied to; see target.h. A thread that main has started for it. Knows files; no
 * job and no guest.
 */
#include "virtio/blk/target.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/stat.h>
#include <unistd.h>

#include "virtio/blk/lock.h"

/* An opener in front of the one that opens. */
struct maker {
	const struct blk_opener *by;
	uint64_t size;
	bool zero;
};

static int open_by(const struct maker *m, const char *path, int flags, mode_t *kind)
{
	if (m->by)
		return m->by->open(m->by->opaque, path, flags, kind);
	return blk_open_at(AT_FDCWD, path, 0, flags, kind);
}

/* Some file systems count no blocks for data that is there: small, or not yet written back. */
static bool has_data(int fd, const struct stat *st)
{
	return st->st_size && (st->st_blocks || lseek(fd, 0, SEEK_DATA) >= 0 || errno != ENXIO);
}

/* Locked before its size is changed: an empty image may be somebody's. And only what was looked at
 * afterwards stays as it is: he may have filled it and gone. */
static int make_empty(struct maker *m, int fd)
{
	struct stat st;
	int ret;

	if (fstat(fd, &st))
		return -errno;
	if (S_ISBLK(st.st_mode))
		return 0;
	if (has_data(fd, &st))
		return -EEXIST;
	ret = blk_image_lock(fd, true);
	if (ret == -EAGAIN)
		return ret;
	if (fstat(fd, &st))
		return -errno;
	if (has_data(fd, &st))
		return -EEXIST;
	/* As it is, if it can be: without locks it may be the target of another job. */
	if (st.st_size != (off_t)m->size && ftruncate(fd, (off_t)m->size))
		return -errno;
	m->zero = true;
	return 0;
}

static int make(void *opaque, const char *path, int flags, mode_t *kind)
{
	struct maker *m = opaque;
	int fd, ret;

	fd = open_by(m, path, O_RDWR | O_CREAT | O_EXCL, kind);
	if (fd == -EEXIST)
		fd = open_by(m, path, O_RDWR, kind);
	if (fd < 0)
		return fd;
	ret = make_empty(m, fd);
	if (!ret)
		return fd;
	close(fd);
	return ret;
}

static int check(const struct block_backend *target, const char *path,
		 const struct block_backend *source, struct error *err)
{
	if (target->size < source->size)
		return error_setx(err, ENOSPC,
				  "'%s': %" PRIu64 " bytes are too few for a disk of %" PRIu64,
				  path, target->size, source->size);
	if (target->direct != source->direct)
		return error_setx(err, EINVAL, "'%s': direct I/O works on one of the two only",
				  path);
	return 0;
}

static int explain(int ret, const char *path, struct error *err)
{
	if (ret == -EEXIST)
		return error_setx(err, EEXIST,
				  "'%s': exists and holds data; name a new file, an empty one, or "
				  "a block device",
				  path);
	if (ret == -EAGAIN)
		return error_setx(err, EAGAIN, "'%s': is locked by another process (mvmm or QEMU)",
				  path);
	return ret;
}

int blk_target_open(struct block_backend *target, const char *path,
		    const struct block_backend *source, const struct blk_opener *by, bool *zero,
		    struct error *err)
{
	struct maker maker = { .by = by, .size = source->size };
	const struct blk_opener opener = { make, &maker };
	const struct disk_config config = {
		.path = (char *)path,
		.cache = source->cache,
		.aio = source->aio,
		.block_size = source->block_size,
	};
	int ret;

	ret = block_backend_open_by(target, &config, &opener, err);
	if (ret)
		return explain(ret, path, err);
	ret = check(target, path, source, err);
	if (ret) {
		block_backend_close(target);
		return ret;
	}
	target->size = source->size;
	target->readonly = source->readonly;
	*zero = maker.zero;
	return 0;
}

/* Of what the kernel knows: a server that does not answer must not hold up who asks. */
bool blk_target_has_vanished(const struct block_backend *target)
{
	struct statx st;

	return !statx(target->fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_NLINK, &st) &&
	       st.stx_mask & STATX_NLINK && !st.stx_nlink;
}
