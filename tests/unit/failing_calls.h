/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The calls by which the monitor gets something of its host - memory, descriptors, threads, what files
 * and KVM say - and one of them that fails, with all that follow if wanted. Included by one file of a
 * program that is linked with --wrap for each (`failing_wrap` in the Makefile): what the monitor's
 * objects call comes here, what the C library calls itself does not.
 *
 * host_ioctl(), the includer's, stands for ioctl(2), and another file for /dev/kvm.
 */
#ifndef MVMM_TESTS_FAILING_CALLS_H
#define MVMM_TESTS_FAILING_CALLS_H

#include <errno.h>
#include <fcntl.h>
#include <libaio.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>

static struct {
	unsigned at;		    /* this one fails; 0: none */
	bool on;		    /* and what follows */
	atomic_uint n;		    /* calls so far */
	_Atomic(const char *) name; /* of the first that failed */
	atomic_long mapped;	    /* bytes */
} failing;

/* From here on, the calls being counted anew. `at` 0: none fails. */
static inline void failing_begin(unsigned at, bool on)
{
	failing.at = at;
	failing.on = on;
	failing.name = NULL;
	failing.n = 0;
}

static inline bool failing_now(const char *name, int error)
{
	const unsigned n = ++failing.n;

	if (!failing.at || (failing.on ? n < failing.at : n != failing.at))
		return false;
	if (n == failing.at)
		failing.name = name;
	errno = error;
	return true;
}

static int host_ioctl(int fd, unsigned long request, void *arg);

#define FAILING(type, name, params, args, error, failed)                                           \
	type __real_##name params;                                                                 \
	type __wrap_##name params;                                                                 \
	type __wrap_##name params                                                                  \
	{                                                                                          \
		return failing_now(#name, error) ? (failed) : __real_##name args;                  \
	}

/* clang-format off */
FAILING(void *, malloc, (size_t size), (size), ENOMEM, NULL)
FAILING(void *, calloc, (size_t n, size_t size), (n, size), ENOMEM, NULL)
FAILING(void *, aligned_alloc, (size_t align, size_t size), (align, size), ENOMEM, NULL)
FAILING(char *, strdup, (const char *text), (text), ENOMEM, NULL)
FAILING(FILE *, open_memstream, (char **text, size_t *size), (text, size), ENOMEM, NULL)
FAILING(int, pthread_create, (pthread_t *thread, const pthread_attr_t *attr,
	void *(*start)(void *), void *arg), (thread, attr, start, arg), EAGAIN, EAGAIN)
FAILING(int, eventfd, (unsigned value, int flags), (value, flags), EMFILE, -1)
FAILING(int, timerfd_create, (int clock, int flags), (clock, flags), EMFILE, -1)
FAILING(int, epoll_create1, (int flags), (flags), EMFILE, -1)
FAILING(int, socketpair, (int domain, int type, int protocol, int *fds),
	(domain, type, protocol, fds), EMFILE, -1)
FAILING(int, mkostemp, (char *path, int flags), (path, flags), EMFILE, -1)
FAILING(int, io_setup, (int n, io_context_t *ctx), (n, ctx), EAGAIN, -EAGAIN)
FAILING(int, madvise, (void *at, size_t len, int advice), (at, len, advice), ENOMEM, -1)
FAILING(int, stat, (const char *path, struct stat *st), (path, st), EIO, -1)
FAILING(int, fstat, (int fd, struct stat *st), (fd, st), EIO, -1)
FAILING(int, statx, (int dir, const char *path, int flags, unsigned mask, struct statx *st),
	(dir, path, flags, mask, st), ENOSYS, -1)
FAILING(int, fstatfs, (int fd, struct statfs *st), (fd, st), EIO, -1)
FAILING(off_t, lseek, (int fd, off_t off, int whence), (fd, off, whence), EIO, -1)
FAILING(ssize_t, pread, (int fd, void *buf, size_t len, off_t off), (fd, buf, len, off), EIO, -1)
FAILING(int, ftruncate, (int fd, off_t size), (fd, size), EIO, -1)
FAILING(int, fallocate, (int fd, int mode, off_t off, off_t len), (fd, mode, off, len), EIO, -1)
/* clang-format on */

void *__real_mmap(void *at, size_t len, int prot, int flags, int fd, off_t off);
void *__wrap_mmap(void *at, size_t len, int prot, int flags, int fd, off_t off);
int __real_munmap(void *at, size_t len);
int __wrap_munmap(void *at, size_t len);
int __real_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...);
int __real_openat(int dir, const char *path, int flags, ...);
int __wrap_openat(int dir, const char *path, int flags, ...);
int __real_fcntl(int fd, int command, ...);
int __wrap_fcntl(int fd, int command, ...);
int __wrap_asprintf(char **text, const char *format, ...);
int __wrap_ioctl(int fd, unsigned long request, ...);

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define __SANITIZE_THREAD__ 1
#endif
#endif

/* True: a program that counts threads and forks has nothing to say. */
static inline bool failing_skipped(void)
{
#ifdef __SANITIZE_THREAD__
	puts("1..0 # SKIP ThreadSanitizer has threads of its own, and forks badly");
	return true;
#else
	return false;
#endif
}

/* The one that may follow */
#define ARGUMENT(last)                                                                             \
	({                                                                                         \
		va_list ap;                                                                        \
		void *following;                                                                   \
                                                                                                   \
		va_start(ap, last);                                                                \
		following = va_arg(ap, void *);                                                    \
		va_end(ap);                                                                        \
		following;                                                                         \
	})

void *__wrap_mmap(void *at, size_t len, int prot, int flags, int fd, off_t off)
{
	void *map = MAP_FAILED;

	if (!failing_now("mmap", ENOMEM))
		map = __real_mmap(at, len, prot, flags, fd, off);
	if (map != MAP_FAILED)
		failing.mapped += (long)len;
	return map;
}

int __wrap_munmap(void *at, size_t len)
{
	failing.mapped -= (long)len;
	return __real_munmap(at, len);
}

int __wrap_open(const char *path, int flags, ...)
{
	void *mode = ARGUMENT(flags);

	if (failing_now("open", EMFILE))
		return -1;
	if (!strcmp(path, "/dev/kvm"))
		path = "/dev/null";
	return __real_open(path, flags, (mode_t)(uintptr_t)mode);
}

int __wrap_openat(int dir, const char *path, int flags, ...)
{
	void *mode = ARGUMENT(flags);

	if (failing_now("openat", EMFILE))
		return -1;
	return __real_openat(dir, path, flags, (mode_t)(uintptr_t)mode);
}

int __wrap_fcntl(int fd, int command, ...)
{
	void *arg = ARGUMENT(command);

	return failing_now("fcntl", ENOLCK) ? -1 : __real_fcntl(fd, command, arg);
}

int __wrap_asprintf(char **text, const char *format, ...)
{
	va_list ap;
	int ret = -1;

	va_start(ap, format);
	if (!failing_now("asprintf", ENOMEM))
		ret = vasprintf(text, format, ap);
	va_end(ap);
	return ret;
}

int __wrap_ioctl(int fd, unsigned long request, ...)
{
	void *arg = ARGUMENT(request);

	return failing_now("ioctl", ENOMEM) ? -1 : host_ioctl(fd, request, arg);
}

#endif
