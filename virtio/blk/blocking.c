/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Executes requests with blocking calls; see blocking.h.
 *
 * A worker's thread (and, for one non-waiting read, the disk's). Knows one open image and one
 * request. Never reads, changes and writes back: what O_DIRECT cannot take as it is goes through an
 * aligned buffer, and lengths it cannot take were refused by request.c.
 */
#include "virtio/blk/blocking.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "virtio/blk/iov.h"
#include "virtio/blk/overlay.h"

static int file_of(const struct blk_request *req, const struct block_backend *be)
{
	return req->from_base ? be->overlay->base_fd : be->fd;
}

/* One call's worth of a READ or WRITE, retried for EINTR only. End of file is an error: the guest
 * must not take what its buffer held before for data (a file cut short while we run). */
static ssize_t transfer(const struct blk_request *req, int fd, const struct iovec *iov, int n)
{
	const int flags = req->durable ? RWF_DSYNC : 0;
	ssize_t ret;

	do {
		ret = req->op == BLK_OP_WRITE ? pwritev2(fd, iov, n, req->offset, flags)
					      : preadv2(fd, iov, n, req->offset, 0);
	} while (ret < 0 && errno == EINTR);
	if (ret < 0)
		return -errno;
	return ret ? ret : -EIO;
}

/* The same through `bounce`, at most its size. */
static ssize_t transfer_bounced(const struct blk_request *req, int fd, void *bounce)
{
	struct iovec iov = { .iov_base = bounce, .iov_len = req->len };
	ssize_t ret;

	if (iov.iov_len > BLK_BOUNCE_SIZE)
		iov.iov_len = BLK_BOUNCE_SIZE;
	if (req->op == BLK_OP_WRITE)
		iov_read(req->iov, req->nseg, 0, bounce, iov.iov_len);
	ret = transfer(req, fd, &iov, 1);
	if (ret > 0 && req->op == BLK_OP_READ)
		iov_write(req->iov, req->nseg, 0, bounce, ret);
	return ret;
}

static int execute_rw(struct blk_request *req, const struct block_backend *be, void *bounce)
{
	const bool direct = !be->direct || blk_request_aligned(req, be);
	const int fd = file_of(req, be);
	ssize_t ret;

	while (req->len) {
		if (direct)
			ret = transfer(req, fd, req->iov, req->nseg);
		else
			ret = transfer_bounced(req, fd, bounce);
		if (ret < 0)
			return ret;
		blk_request_advance(req, ret);
	}
	return 0;
}

int blk_blocking_sync(const struct block_backend *be)
{
	int ret;

	do {
		ret = fdatasync(be->fd);
	} while (ret && errno == EINTR);
	return ret ? -errno : 0;
}

static int try_fallocate(const struct block_backend *be, int mode, uint64_t off, uint64_t len)
{
	int ret;

	do {
		ret = fallocate(be->fd, mode | FALLOC_FL_KEEP_SIZE, off, len);
	} while (ret && errno == EINTR);
	return ret ? -errno : 0;
}

static int punch_hole(const struct block_backend *be, uint64_t off, uint64_t len)
{
	if (be->overlay)
		blk_overlay_gives_space(be->overlay, off, len);
	return try_fallocate(be, FALLOC_FL_PUNCH_HOLE, off, len);
}

/* A device refuses parts of its blocks; a discard promises nothing, so they are left out. */
static int discard_device(const struct block_backend *be, uint64_t off, uint64_t len)
{
	const uint64_t mask = be->physical_block_size - 1;
	const uint64_t first = (off + mask) & ~mask, end = (off + len) & ~mask;
	uint64_t range[2] = { first, end - first };

	if (first >= end)
		return 0;
	return ioctl(be->fd, BLKDISCARD, range) ? -errno : 0;
}

static int discard(const struct block_backend *be, uint64_t off, uint64_t len)
{
	if (be->block_device)
		return discard_device(be, off, len);
	return punch_hole(be, off, len);
}

static int write_zeroes_slowly(const struct block_backend *be, uint64_t off, uint64_t len,
			       void *bounce)
{
	ssize_t ret;

	memset(bounce, 0, len < BLK_BOUNCE_SIZE ? len : BLK_BOUNCE_SIZE);
	while (len) {
		ret = pwrite(be->fd, bounce, len < BLK_BOUNCE_SIZE ? len : BLK_BOUNCE_SIZE, off);
		if (ret < 0 && errno == EINTR)
			continue;
		if (ret <= 0)
			return ret ? -errno : -EIO;
		off += ret;
		len -= ret;
	}
	return 0;
}

/* The host makes no zeroes here: not at all, or, being a device, not in parts of its blocks. */
static bool cannot_zero(const struct block_backend *be, int ret)
{
	return ret == -EOPNOTSUPP || (be->block_device && ret == -EINVAL);
}

/*
 * A hole reads as zeroes, but only UNMAP allows to make one (5.2.6.2). On block devices the same
 * two modes mean the same: Linux maps them to BLKZEROOUT with and without leave to unmap.
 */
static int write_zeroes(const struct block_backend *be, const struct blk_range *r, uint64_t len,
			void *bounce)
{
	int ret = -EOPNOTSUPP;

	if (r->unmap && be->can_discard)
		ret = punch_hole(be, r->offset, len);
	if (cannot_zero(be, ret))
		ret = try_fallocate(be, FALLOC_FL_ZERO_RANGE, r->offset, len);
	if (cannot_zero(be, ret))
		ret = write_zeroes_slowly(be, r->offset, len, bounce);
	return ret;
}

static int execute_ranges(const struct blk_request *req, const struct block_backend *be,
			  void *bounce)
{
	int ret = 0;

	for (unsigned i = 0; i < req->nseg && !ret; i++) {
		const struct blk_range *r = &req->range[i];
		const uint64_t len = (uint64_t)r->sectors * BLK_SECTOR_SIZE;

		if (!len)
			continue;
		if (req->op == BLK_OP_DISCARD)
			ret = discard(be, r->offset, len);
		else
			ret = write_zeroes(be, r, len, bounce);
	}
	/* Zeroes are a write and follow the writes' rule; a discard promises nothing. */
	if (!ret && req->durable && req->op == BLK_OP_WRITE_ZEROES)
		ret = blk_blocking_sync(be);
	return ret;
}

int blk_blocking_execute(struct blk_request *req, const struct block_backend *be, void *bounce)
{
	if (req->make_space) {
		blk_overlay_make_space(be->overlay, be->fd, req->offset, req->len);
		return 0;
	}
	switch (req->op) {
	case BLK_OP_READ:
	case BLK_OP_WRITE:
		return execute_rw(req, be, bounce);
	case BLK_OP_FLUSH:
		return blk_blocking_sync(be);
	default:
		return execute_ranges(req, be, bounce);
	}
}

ssize_t blk_blocking_read_cached(const struct blk_request *req, const struct block_backend *be)
{
	const ssize_t ret = preadv2(file_of(req, be), req->iov, req->nseg, req->offset, RWF_NOWAIT);

	return ret < 0 ? -errno : ret;
}
