/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Images to be opened, and what was said of them. Host faults that a test cannot cause are made by
 * our own openat() and statx(), which the linker prefers to libc's: include it in exactly one file
 * of a program.
 */
#ifndef MVMM_TESTS_BACKEND_RIG_H
#define MVMM_TESTS_BACKEND_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "virtio/blk/backend_size.h"
#include "virtio/blk/overlay.h"

#include "virtio/blk/backend_size.h"
#include "virtio/blk/overlay.h"

static struct {
	int open_errno; /* what opening an image says; 0: the truth */
	bool dio;	/* statx() tells the following about direct I/O */
	uint32_t mem, offset;
	unsigned dio_of; /* only the n-th file that is asked about; 0: each */
	unsigned dio_seen;
} fault;

int openat(int dir, const char *path, int flags, ...)
{
	mode_t mode = 0;
	va_list ap;

	va_start(ap, flags);
	if (flags & O_CREAT)
		mode = va_arg(ap, mode_t);
	va_end(ap);
	if (fault.open_errno) {
		errno = fault.open_errno;
		return -1;
	}
	return syscall(SYS_openat, dir, path, flags, mode);
}

int statx(int dirfd, const char *restrict path, int flags, unsigned mask,
	  struct statx *restrict stx)
{
	const int ret = syscall(SYS_statx, dirfd, path, flags, mask, stx);

#ifdef STATX_DIOALIGN
	if (!ret && fault.dio && (!fault.dio_of || ++fault.dio_seen == fault.dio_of)) {
		stx->stx_mask |= STATX_DIOALIGN;
		stx->stx_dio_mem_align = fault.mem;
		stx->stx_dio_offset_align = fault.offset;
	}
#endif
	return ret;
}

struct rig {
	char dir[64];
	char path[96];
	struct disk_config config;
	struct block_backend be;
	struct error err;
	char said[1024]; /* on stderr, by the last open_image() */
};

static inline int setup(void **state)
{
	static struct rig rig;

	memset(&rig, 0, sizeof(rig));
	memset(&fault, 0, sizeof(fault));
	/* /var/tmp: a real file system with O_DIRECT, where /tmp may be a tmpfs. */
	snprintf(rig.dir, sizeof(rig.dir), "/var/tmp/mvmm-test-XXXXXX");
	if (!mkdtemp(rig.dir))
		return -1;
	snprintf(rig.path, sizeof(rig.path), "%s/disk.img", rig.dir);
	rig.config = (struct disk_config){
		.path = rig.path,
		.cache = DISK_AUTO,
		.aio = DISK_AUTO,
		.block_size = 512,
		.queue_size = 256,
		.aio_depth = 128,
		.cpu = -1,
	};
	*state = &rig;
	return 0;
}

static inline int teardown(void **state)
{
	struct rig *rig = *state;

	memset(&fault, 0, sizeof(fault));
	unlink(rig->path);
	return rmdir(rig->dir);
}

static inline void make_file(const struct rig *rig, uint64_t size)
{
	const int fd = open(rig->path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, size), 0);
	close(fd);
}

/* block_backend_open() with stderr caught in rig->said. */
static inline int open_image(struct rig *rig)
{
	int fds[2], saved, ret;
	ssize_t n;

	fflush(stderr);
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	saved = dup(STDERR_FILENO);
	dup2(fds[1], STDERR_FILENO);
	close(fds[1]);
	ret = block_backend_open(&rig->be, &rig->config, &rig->err);
	dup2(saved, STDERR_FILENO);
	close(saved);
	n = read(fds[0], rig->said, sizeof(rig->said) - 1);
	rig->said[n > 0 ? n : 0] = '\0';
	close(fds[0]);
	return ret;
}

static inline void expect_refused(struct rig *rig, int code, const char *says)
{
	assert_int_equal(open_image(rig), -code);
	if (!strstr(rig->err.text, says) || !strstr(rig->err.text, "disk.img"))
		fail_msg("\"%s\" does not say \"%s\"", rig->err.text, says);
	assert_null(strchr(rig->err.text, '\n'));
}

static inline void expect_open(struct rig *rig, enum disk_cache cache, enum disk_aio aio)
{
	if (open_image(rig))
		fail_msg("%s", rig->err.text);
	assert_int_equal(rig->be.cache, cache);
	assert_int_equal(rig->be.aio, aio);
	assert_int_equal(rig->be.direct, cache == DISK_CACHE_NONE);
	assert_int_equal(!!(fcntl(rig->be.fd, F_GETFL) & O_DIRECT), cache == DISK_CACHE_NONE);
}

static inline bool is_direct(int fd)
{
	return fcntl(fd, F_GETFL) & O_DIRECT;
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif
