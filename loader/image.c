/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Kernel and initrd files: open, read, complain. Runs on main, before there are vCPUs; knows guest
 * memory but no file format.
 */
#include "loader/image.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vmm/x86/layout.h"

#define MIB ((uint64_t)1 << 20)

int image_error(const struct image *img, struct error *err, int code, const char *fmt, ...)
{
	char msg[320];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(msg, sizeof(msg), fmt, ap);
	va_end(ap);
	/* The cause matters more than a path that is longer than the message. */
	return error_setx(err, code, "%s '%.160s': %s", img->what, img->path, msg);
}

static const char *file_kind(mode_t mode)
{
	if (S_ISDIR(mode))
		return "a directory";
	if (S_ISFIFO(mode))
		return "a pipe";
	if (S_ISCHR(mode))
		return "a character device";
	if (S_ISBLK(mode))
		return "a block device";
	return "a socket";
}

static int image_check(struct image *img, struct error *err)
{
	struct stat st;

	if (fstat(img->fd, &st) < 0)
		return error_set(err, errno, "%s '%.160s': cannot stat", img->what, img->path);
	if (!S_ISREG(st.st_mode))
		return image_error(img, err, EINVAL, "is %s, a regular file is needed",
				   file_kind(st.st_mode));
	if (st.st_size == 0)
		return image_error(img, err, EINVAL, "is empty");
	img->size = st.st_size;
	return 0;
}

int image_open(struct image *img, const char *what, const char *path, struct error *err)
{
	int ret;

	*img = (struct image){ .what = what, .path = path };
	/* O_NONBLOCK: the open of a pipe without a writer would wait for ever. */
	img->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (img->fd < 0)
		return error_set(err, errno, "%s '%.160s': cannot open", what, path);
	ret = image_check(img, err);
	if (ret)
		image_close(img);
	return ret;
}

void image_close(struct image *img)
{
	if (img->fd >= 0)
		close(img->fd);
	img->fd = -1;
}

int image_read(const struct image *img, uint64_t off, void *buf, size_t len, struct error *err)
{
	uint8_t *p = buf;
	ssize_t n;

	if (off > img->size || len > img->size - off)
		return image_error(img, err, EINVAL,
				   "is truncated: %zu bytes at offset %" PRIu64
				   " are needed, the file ends at %" PRIu64,
				   len, off, img->size);
	while (len) {
		n = pread(img->fd, p, len, off);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return error_set(err, errno, "%s '%.160s': cannot read", img->what,
					 img->path);
		if (n == 0)
			return image_error(img, err, EIO, "became shorter while it was read");
		p += n;
		off += n;
		len -= n;
	}
	return 0;
}

int image_load(const struct image *img, uint64_t off, uint64_t len, const struct guest_memory *mem,
	       gpa_t gpa, struct error *err)
{
	void *dst = guest_memory_ptr(mem, gpa, len);

	if (!dst)
		return image_error(img, err, EFAULT,
				   "[%#" PRIx64 ", +%#" PRIx64 ") is not guest memory", gpa, len);
	return image_read(img, off, dst, len, err);
}

int image_too_large(const struct image *img, const struct guest_memory *mem, gpa_t end,
		    struct error *err)
{
	if (end > X86_HOLE)
		return image_error(img, err, EFBIG,
				   "needs memory up to %#" PRIx64
				   ", but RAM below 4 GiB ends at %#llx",
				   end, X86_HOLE);
	return image_error(img, err, EFBIG,
			   "too large for %" PRIu64 " MiB of guest memory: use --memory %" PRIu64
			   "M or more",
			   mem->size / MIB, (end + MIB - 1) / MIB);
}
