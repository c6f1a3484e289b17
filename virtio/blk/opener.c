/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opens what may be an image: see opener.h. Main, the thread that opens for it, or the broker. Must not
 * know what becomes of the descriptor.
 */
#include "virtio/blk/opener.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdbool.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define NEW_FILE_MODE 0666 /* less the umask */
#define TEMP_MODE     0600

/* The flag has O_DIRECTORY in it, so that old kernels fail instead of doing something else. */
static bool is_temp(int flags)
{
	return (flags & O_TMPFILE) == O_TMPFILE;
}

static mode_t mode_of(int flags)
{
	if (is_temp(flags))
		return TEMP_MODE;
	return flags & O_CREAT ? NEW_FILE_MODE : 0;
}

static int open_once(int dir, const char *path, uint64_t resolve, int flags)
{
	const struct open_how how = {
		.flags = flags | O_CLOEXEC,
		.mode = mode_of(flags),
		.resolve = resolve,
	};
	const long fd = resolve ? syscall(SYS_openat2, dir, path, &how, sizeof(how))
				: openat(dir, path, (int)how.flags, (mode_t)how.mode);

	return fd < 0 ? -errno : (int)fd;
}

/* O_PATH opens nothing but the name. */
static int look(int dir, const char *path, uint64_t resolve, struct stat *st)
{
	const int fd = open_once(dir, path, resolve, O_PATH);
	int ret;

	if (fd < 0)
		return fd;
	ret = fstat(fd, st) ? -errno : 0;
	close(fd);
	return ret;
}

/* What was looked at may have been replaced since: it must be the same. */
static int settle(int fd, const struct stat *st, int flags)
{
	struct stat now;

	if (fstat(fd, &now))
		return -errno;
	if (now.st_dev != st->st_dev || now.st_ino != st->st_ino)
		return -ESTALE;
	return S_ISREG(now.st_mode) && fcntl(fd, F_SETFL, flags) ? -errno : 0;
}

/* A pipe that has taken the place of a file would wait without O_NONBLOCK. */
static int kind_flags(const struct stat *st, int flags)
{
	if (S_ISREG(st->st_mode))
		return O_NONBLOCK;
	return (flags & O_ACCMODE) == O_RDONLY ? 0 : O_EXCL;
}

static int open_known(int dir, const char *path, uint64_t resolve, int flags, const struct stat *st)
{
	const int fd = open_once(dir, path, resolve, flags | kind_flags(st, flags));
	int ret;

	if (fd < 0)
		return fd;
	ret = settle(fd, st, flags);
	if (ret)
		close(fd);
	return ret ? ret : fd;
}

int blk_open_at(int dir, const char *path, uint64_t resolve, int flags, mode_t *kind)
{
	struct stat st;
	int ret;

	*kind = 0;
	if (flags & O_CREAT || is_temp(flags))
		return open_once(dir, path, resolve, flags | O_EXCL);
	ret = look(dir, path, resolve, &st);
	if (ret)
		return ret;
	if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode)) {
		*kind = st.st_mode & S_IFMT;
		return -EINVAL;
	}
	return open_known(dir, path, resolve, flags, &st);
}
