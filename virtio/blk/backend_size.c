/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The size of an open image while it is in use: what the host's file or device has now, and how to
 * change a file's. Main, whose sandbox has few calls: lseek() tells the size of both kinds.
 */
#include "virtio/blk/backend_size.h"

#include <errno.h>
#include <unistd.h>

#include "vmm/log.h"

/* Room for what is added to sizes, here and in the kernel. */
#define MAX_SIZE (1ULL << 62)

int block_backend_probe_size(const struct block_backend *be, const char *path, uint64_t *bytes,
			     struct error *err)
{
	const off_t end = lseek(be->fd, 0, SEEK_END);
	uint32_t tail;

	if (end < 0)
		return error_set(err, errno, "disk '%s': cannot ask for its size", path);
	tail = end % be->block_size;
	*bytes = end - tail;
	if (!*bytes)
		return error_setx(err, EINVAL, "disk '%s': is empty (%u bytes)", path, tail);
	if (tail)
		log_warn("disk '%s': its last %u bytes are not a whole block of %u and stay hidden",
			 path, tail, be->block_size);
	return 0;
}

int block_backend_check_follow(const struct block_backend *be, const char *path, struct error *err)
{
	if (be->overlay)
		return error_setx(err, EINVAL, "disk '%s': has an overlay and keeps its size",
				  path);
	return 0;
}

int block_backend_check_size(const struct block_backend *be, const char *path, uint64_t bytes,
			     struct error *err)
{
	const int ret = block_backend_check_follow(be, path, err);

	if (ret)
		return ret;
	if (be->readonly)
		return error_setx(err, EROFS, "disk '%s': is read-only and only follows its file",
				  path);
	if (be->block_device)
		return error_setx(err, EINVAL,
				  "disk '%s': is a block device and only follows its size", path);
	if (!bytes || bytes % be->block_size || bytes > MAX_SIZE)
		return error_setx(err, EINVAL,
				  "disk '%s': %llu bytes are not a number of blocks of %u", path,
				  (unsigned long long)bytes, be->block_size);
	return 0;
}

int block_backend_set_size(const struct block_backend *be, const char *path, uint64_t bytes,
			   struct error *err)
{
	int ret;

	do {
		ret = ftruncate(be->fd, (off_t)bytes);
	} while (ret && errno == EINTR);
	if (!ret)
		return 0;
	ret = error_set(err, errno, "disk '%s': cannot make it %llu bytes", path,
			(unsigned long long)bytes);
	/* Else it is not the size that is wrong: whatever the host says, it has failed. */
	return ret == -EFBIG || ret == -EINVAL ? ret : -EIO;
}
