/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opens a disk image and finds out what the host lets us do with it.
 *
 * Main's thread before the VM runs, later one that main has started for it. Knows files and block devices; no guest, no queue, no format:
 * the magic of qcow2 is looked at for a warning only.
 */
#include "virtio/blk/backend.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "virtio/blk/backend_size.h"
#include "virtio/blk/lock.h"
#include "virtio/blk/overlay.h"
#include "virtio/blk/request.h"
#include "vmm/log.h"

/* The largest alignment that is tried, and the largest block size of ours. */
#define MAX_ALIGN 4096

static int wrong_kind(const char *path, mode_t mode, struct error *err)
{
	const char *kind = "something else";

	if (S_ISDIR(mode))
		kind = "a directory";
	else if (S_ISFIFO(mode))
		kind = "a pipe";
	else if (S_ISCHR(mode))
		kind = "a character device";
	else if (S_ISSOCK(mode))
		kind = "a socket";
	return error_setx(err, EINVAL, "disk '%s': is %s, not an image or block device", path,
			  kind);
}

/* The image itself, whatever the guest may do to the disk. */
static bool only_reads(const struct disk_config *config)
{
	return config->readonly || config->overlay;
}

static int open_failed(const struct disk_config *config, int code, struct error *err)
{
	const char *path = config->path;

	if (code == EXDEV)
		return error_setx(err, code, "disk '%s': not in a folder that may be opened", path);
	if (code == ETIME)
		return error_setx(err, code,
				  "disk '%s': not opened in time: its storage, or that of a file "
				  "asked for before, does not answer",
				  path);
	if (code == EBUSY)
		return error_setx(err, code,
				  "disk '%s': the host itself uses this device (is it mounted?)",
				  path);
	if (!only_reads(config) && (code == EACCES || code == EPERM || code == EROFS))
		return error_set(err, code,
				 "disk '%s': cannot open for writing ('readonly' needs only "
				 "reading)",
				 path);
	return error_set(err, code, "disk '%s': cannot open", path);
}

static int open_image(struct block_backend *be, const struct disk_config *config,
		      const struct blk_opener *by, struct error *err)
{
	const int flags = only_reads(config) ? O_RDONLY : O_RDWR;
	mode_t kind = 0;

	be->fd = by ? by->open(by->opaque, config->path, flags, &kind)
		    : blk_open_at(AT_FDCWD, config->path, 0, flags, &kind);
	if (be->fd >= 0)
		return 0;
	return kind ? wrong_kind(config->path, kind, err) : open_failed(config, -be->fd, err);
}

static int identify(struct block_backend *be, const struct disk_config *config, struct error *err)
{
	struct stat st;

	if (fstat(be->fd, &st))
		return error_set(err, errno, "disk '%s': cannot stat", config->path);
	be->dev = S_ISBLK(st.st_mode) ? st.st_rdev : st.st_dev;
	be->ino = S_ISBLK(st.st_mode) ? 0 : st.st_ino;
	return 0;
}

static int lock_image(const struct block_backend *be, const struct disk_config *config,
		      struct error *err)
{
	const int ret = blk_image_lock(be->fd, !only_reads(config));

	if (ret == -EAGAIN)
		return error_setx(err, EAGAIN,
				  "image '%s' is locked by another process (mvmm or QEMU): %s",
				  config->path,
				  only_reads(config)
					  ? "it is being written"
					  : "it is in use, and writers share with nobody");
	if (ret)
		log_warn("disk '%s': cannot be locked (%s); nothing keeps others from writing it",
			 config->path, strerror(-ret));
	return 0;
}

static int probe_file(struct block_backend *be, const struct disk_config *config,
		      const struct stat *st, struct error *err)
{
	if (st->st_blksize > (blksize_t)be->physical_block_size)
		be->physical_block_size = MAX_ALIGN;
	return 0;
}

static int probe_device(struct block_backend *be, const struct disk_config *config,
			const struct stat *st, struct error *err)
{
	int logical;
	unsigned physical;

	be->block_device = true;
	if (ioctl(be->fd, BLKSSZGET, &logical))
		return error_set(err, errno, "disk '%s': cannot ask the device for its block size",
				 config->path);
	be->offset_align = logical;
	if (!ioctl(be->fd, BLKPBSZGET, &physical) && physical > be->physical_block_size)
		be->physical_block_size = physical;
	if (ioctl(be->fd, BLKIOOPT, &be->optimal_io_size))
		be->optimal_io_size = 0;
	return 0;
}

/* Fixes the size: a file that grows or shrinks later changes nothing for the guest, unless main says so
 * (backend_size.h). */
static int probe_kind(struct block_backend *be, const struct disk_config *config, struct error *err)
{
	struct stat st;
	int ret;

	if (fstat(be->fd, &st))
		return error_set(err, errno, "disk '%s': cannot stat", config->path);
	if (S_ISBLK(st.st_mode))
		ret = probe_device(be, config, &st, err);
	else if (S_ISREG(st.st_mode))
		ret = probe_file(be, config, &st, err);
	else
		ret = wrong_kind(config->path, st.st_mode, err);
	if (ret)
		return ret;
	return block_backend_probe_size(be, config->path, &be->size, err);
}

static void warn_of_format(const struct block_backend *be, const struct disk_config *config)
{
	char magic[4];

	if (pread(be->fd, magic, sizeof(magic), 0) == sizeof(magic) &&
	    !memcmp(magic, "QFI\xfb", sizeof(magic)))
		log_warn("disk '%s': begins like a qcow2 image, but is used as a raw one; if it is "
			 "one: qemu-img convert -O raw %s NEW",
			 config->path, config->path);
}

/* What statx() says about direct I/O (Linux 6.1). False: it says nothing. */
static bool ask_alignment(int fd, uint32_t *mem, uint32_t *offset)
{
#ifdef STATX_DIOALIGN
	struct statx stx;

	if (statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &stx) || !(stx.stx_mask & STATX_DIOALIGN))
		return false;
	*mem = stx.stx_dio_mem_align;
	*offset = stx.stx_dio_offset_align;
	return true;
#else
	return false;
#endif
}

/* The smallest read that works tells; also whether O_DIRECT works at all. */
static int try_alignment(int fd, uint32_t *mem, uint32_t *offset)
{
	_Alignas(MAX_ALIGN) uint8_t buf[MAX_ALIGN];

	for (uint32_t align = BLK_SECTOR_SIZE; align <= MAX_ALIGN; align *= 2) {
		if (pread(fd, buf, align, 0) >= 0) {
			*mem = *offset = align;
			return 0;
		}
		if (errno != EINVAL)
			return -errno;
	}
	return -EINVAL;
}

static int set_direct(int fd, bool on)
{
	const int flags = fcntl(fd, F_GETFL);

	if (flags < 0 || fcntl(fd, F_SETFL, on ? flags | O_DIRECT : flags & ~O_DIRECT))
		return -errno;
	return 0;
}

static int file_goes_direct(int fd, uint32_t *mem, uint32_t *offset)
{
	const int ret = set_direct(fd, true);

	if (ret)
		return ret;
	if (!ask_alignment(fd, mem, offset))
		return try_alignment(fd, mem, offset);
	return *offset ? 0 : -EINVAL; /* statx()'s way of saying no */
}

/* One more file, whose blocks and buffers the disk's must suit. */
static int add_direct(struct block_backend *be, int fd)
{
	uint32_t mem = 0, offset = 0;
	const int ret = file_goes_direct(fd, &mem, &offset);

	if (ret)
		return ret;
	if (mem > be->mem_align)
		be->mem_align = mem;
	if (offset > be->offset_align)
		be->offset_align = offset;
	return 0;
}

/* Switches to O_DIRECT, or stays buffered and says why not: -errno, -ERANGE when the host needs
 * larger blocks than the guest has. With an overlay: both files, or neither. */
static int go_direct(struct block_backend *be)
{
	int ret = add_direct(be, be->fd);

	if (!ret && be->overlay)
		ret = add_direct(be, be->overlay->base_fd);
	if (!ret && be->offset_align > be->block_size)
		ret = -ERANGE;
	be->direct = !ret;
	if (!ret)
		return 0;
	set_direct(be->fd, false);
	if (be->overlay)
		set_direct(be->overlay->base_fd, false);
	be->mem_align = be->offset_align = 1;
	return ret;
}

/* What the user named of cache= and aio= is done or refused, never replaced. */
static int choose_engine(struct block_backend *be, const struct disk_config *config,
			 struct error *err)
{
	const bool buffered =
		config->cache == DISK_CACHE_WRITEBACK || config->cache == DISK_CACHE_UNSAFE;
	const char *why;
	int ret;

	be->cache = buffered ? (enum disk_cache)config->cache : DISK_CACHE_NONE;
	be->aio = buffered || config->aio == DISK_AIO_THREADS ? DISK_AIO_THREADS : DISK_AIO_NATIVE;
	if (buffered && config->aio == DISK_AIO_NATIVE)
		return error_setx(err, EINVAL, "disk '%s': aio=native needs cache=none",
				  config->path);
	ret = buffered ? 0 : go_direct(be);
	if (be->direct || buffered)
		return 0;
	why = ret == -ERANGE ? "the host's blocks are larger than the guest's: see block-size="
			     : strerror(-ret);
	if (config->cache == DISK_CACHE_NONE || config->aio == DISK_AIO_NATIVE)
		return error_setx(err, -ret, "disk '%s': cannot use %s: %s", config->path,
				  config->cache == DISK_CACHE_NONE ? "cache=none" : "aio=native",
				  why);
	log_info("disk '%s': no direct I/O (%s); using cache=writeback,aio=threads", config->path,
		 why);
	be->cache = DISK_CACHE_WRITEBACK;
	be->aio = DISK_AIO_THREADS;
	return 0;
}

/* The ioctl is refused for its odd offset, the call does nothing; where the host could not discard
 * at all they say so instead. */
static bool probe_discard(const struct block_backend *be)
{
	uint64_t nowhere[2] = { 1, 1 };
	off_t end;

	if (be->readonly)
		return false;
	if (be->block_device)
		return !ioctl(be->fd, BLKDISCARD, nowhere) || errno != EOPNOTSUPP;
	/* Behind the file's own end, not the guest's: a hidden tail is the user's. */
	end = lseek(be->fd, 0, SEEK_END);
	if (end < 0)
		return false;
	end = (end + MAX_ALIGN - 1) & ~(off_t)(MAX_ALIGN - 1);
	return !fallocate(be->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, end, MAX_ALIGN);
}

/* Puts the file that is written before the image; from here on `fd` is that file's. */
static int add_overlay(struct block_backend *be, const struct disk_config *config,
		       const struct blk_opener *by, struct error *err)
{
	struct error why;
	const int fd = blk_overlay_file(config->overlay_dir, be->size, by, &why);
	struct stat st;
	int ret;

	if (fd < 0)
		return error_setx(err, -fd, "disk '%s': %s", config->path, why.text);
	ret = blk_overlay_create(&be->overlay, be->fd, be->size);
	if (ret) {
		close(fd);
		return error_set(err, -ret, "disk '%s': no memory for an overlay", config->path);
	}
	be->fd = fd;
	be->block_device = false;
	if (!fstat(fd, &st) && st.st_blksize > (blksize_t)be->physical_block_size)
		be->physical_block_size = MAX_ALIGN;
	return 0;
}

/* What the engine means for it: only of io_submit() nothing may wait for blocks. */
static void settle_overlay(struct block_backend *be)
{
	if (be->offset_align > be->overlay->align)
		be->overlay->align = be->offset_align;
	be->overlay->reserves = be->aio == DISK_AIO_NATIVE && blk_overlay_fd_reserves(be->fd);
}

int block_backend_open_by(struct block_backend *be, const struct disk_config *config,
			  const struct blk_opener *by, struct error *err)
{
	int ret;

	memset(be, 0, sizeof(*be));
	be->readonly = config->readonly;
	be->block_size = config->block_size;
	be->physical_block_size = config->block_size;
	be->mem_align = be->offset_align = 1;
	ret = open_image(be, config, by, err);
	if (ret)
		return ret;
	ret = identify(be, config, err);
	if (!ret)
		ret = lock_image(be, config, err);
	if (!ret)
		ret = probe_kind(be, config, err);
	if (ret)
		goto err_files;
	warn_of_format(be, config);
	ret = config->overlay ? add_overlay(be, config, by, err) : 0;
	if (!ret)
		ret = choose_engine(be, config, err);
	if (ret)
		goto err_files;
	if (!be->direct)
		be->offset_align = 1;
	if (be->overlay)
		settle_overlay(be);
	be->can_discard = probe_discard(be);
	return 0;
err_files:
	block_backend_close(be);
	return ret;
}

int block_backend_open(struct block_backend *be, const struct disk_config *config,
		       struct error *err)
{
	return block_backend_open_by(be, config, NULL, err);
}

void block_backend_close(const struct block_backend *be)
{
	close(be->fd);
	if (be->overlay)
		blk_overlay_destroy(be->overlay);
}
