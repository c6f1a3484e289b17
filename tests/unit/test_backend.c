/* SPDX-License-Identifier: Apache-2.0 */
/* Opening images: what is refused, what is said, which engine is chosen. Host faults that a test
 * cannot cause are made by our own openat() and statx(), which the linker prefers to libc's. */
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

static int setup(void **state)
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

static int teardown(void **state)
{
	struct rig *rig = *state;

	memset(&fault, 0, sizeof(fault));
	unlink(rig->path);
	return rmdir(rig->dir);
}

static void make_file(const struct rig *rig, uint64_t size)
{
	const int fd = open(rig->path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, size), 0);
	close(fd);
}

/* block_backend_open() with stderr caught in rig->said. */
static int open_image(struct rig *rig)
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

static void expect_refused(struct rig *rig, int code, const char *says)
{
	assert_int_equal(open_image(rig), -code);
	if (!strstr(rig->err.text, says) || !strstr(rig->err.text, "disk.img"))
		fail_msg("\"%s\" does not say \"%s\"", rig->err.text, says);
	assert_null(strchr(rig->err.text, '\n'));
}

static void expect_open(struct rig *rig, enum disk_cache cache, enum disk_aio aio)
{
	if (open_image(rig))
		fail_msg("%s", rig->err.text);
	assert_int_equal(rig->be.cache, cache);
	assert_int_equal(rig->be.aio, aio);
	assert_int_equal(rig->be.direct, cache == DISK_CACHE_NONE);
	assert_int_equal(!!(fcntl(rig->be.fd, F_GETFL) & O_DIRECT), cache == DISK_CACHE_NONE);
}

static void a_missing_image_is_refused(void **state)
{
	expect_refused(*state, ENOENT, "cannot open: No such file");
}

static void a_directory_is_refused(void **state)
{
	struct rig *rig = *state;

	assert_int_equal(mkdir(rig->path, 0700), 0);
	expect_refused(rig, EINVAL, "is a directory");
	rmdir(rig->path);
}

static void a_pipe_is_refused_and_not_waited_for(void **state)
{
	struct rig *rig = *state;

	assert_int_equal(mkfifo(rig->path, 0600), 0);
	expect_refused(rig, EINVAL, "is a pipe");
}

static void a_socket_is_refused(void **state)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	struct rig *rig = *state;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", rig->path);
	assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	expect_refused(rig, EINVAL, "is a socket");
	close(fd);
}

static void a_character_device_is_refused(void **state)
{
	struct rig *rig = *state;

	assert_int_equal(symlink("/dev/zero", rig->path), 0);
	expect_refused(rig, EINVAL, "is a character device");
}

static void an_empty_image_is_refused(void **state)
{
	struct rig *rig = *state;

	make_file(rig, 0);
	expect_refused(rig, EINVAL, "is empty");
	make_file(rig, 511);
	expect_refused(rig, EINVAL, "is empty (511 bytes)");
	make_file(rig, 4095);
	rig->config.block_size = 4096;
	expect_refused(rig, EINVAL, "is empty");
}

static void an_image_that_may_only_be_read_suggests_readonly(void **state)
{
	static const int codes[] = { EACCES, EROFS, EPERM };
	struct rig *rig = *state;

	make_file(rig, 4096);
	for (unsigned i = 0; i < 3; i++) {
		fault.open_errno = codes[i];
		rig->config.readonly = false;
		expect_refused(rig, codes[i], "'readonly'");
		rig->config.readonly = true;
		expect_refused(rig, codes[i], "cannot open");
		assert_null(strstr(rig->err.text, "'readonly'"));
	}
}

static void a_device_the_host_uses_is_refused(void **state)
{
	struct rig *rig = *state;

	make_file(rig, 4096);
	fault.open_errno = EBUSY;
	expect_refused(rig, EBUSY, "mounted");
}

static void an_image_in_use_is_refused(void **state)
{
	struct rig *rig = *state;
	struct block_backend first;

	make_file(rig, 4096);
	expect_open(rig, DISK_CACHE_NONE, DISK_AIO_NATIVE);
	first = rig->be;
	expect_refused(rig, EAGAIN, "locked by another process (mvmm or QEMU)");
	rig->config.readonly = true;
	expect_refused(rig, EAGAIN, "being written");
	block_backend_close(&first);
	expect_open(rig, DISK_CACHE_NONE, DISK_AIO_NATIVE);
	block_backend_close(&rig->be);
}

static void readonly_images_are_shared_and_opened_for_reading(void **state)
{
	struct rig *rig = *state;
	struct block_backend first;

	make_file(rig, 4096);
	rig->config.readonly = true;
	expect_open(rig, DISK_CACHE_NONE, DISK_AIO_NATIVE);
	first = rig->be;
	expect_open(rig, DISK_CACHE_NONE, DISK_AIO_NATIVE);
	assert_int_equal(fcntl(rig->be.fd, F_GETFL) & O_ACCMODE, O_RDONLY);
	assert_true(rig->be.readonly);
	assert_false(rig->be.can_discard);
	assert_true(first.dev == rig->be.dev && first.ino == rig->be.ino);
	block_backend_close(&rig->be);
	block_backend_close(&first);
}

static void a_tail_is_hidden_with_a_warning_and_kept(void **state)
{
	struct rig *rig = *state;
	char tail[37] = "the tail of somebody's file", now[37] = "";
	int fd;

	make_file(rig, 1000000 - 1000000 % 512);
	fd = open(rig->path, O_RDWR | O_CLOEXEC);
	assert_int_equal(pwrite(fd, tail, sizeof(tail), 1000000 - 1000000 % 512), sizeof(tail));
	expect_open(rig, DISK_CACHE_NONE, DISK_AIO_NATIVE);
	assert_int_equal(rig->be.size, 1000000 - 1000000 % 512);
	assert_non_null(strstr(rig->said, "last 37 bytes"));
	/* The probe for discard must not have touched it. */
	assert_int_equal(pread(fd, now, sizeof(now), rig->be.size), sizeof(now));
	assert_memory_equal(now, tail, sizeof(tail));
	close(fd);
	block_backend_close(&rig->be);
}

static void whole_images_are_opened_without_a_word(void **state)
{
	struct rig *rig = *state;

	make_file(rig, 1 << 20);
	expect_open(rig, DISK_CACHE_NONE, DISK_AIO_NATIVE);
	assert_string_equal(rig->said, "");
	assert_int_equal(rig->be.size, 1 << 20);
	assert_true(rig->be.can_discard);
	assert_int_equal(rig->be.physical_block_size, 4096);
	block_backend_close(&rig->be);
}

static bool is_open(const char *path)
{
	char name[32], target[128];

	for (int fd = 0; fd < 256; fd++) {
		snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
		memset(target, 0, sizeof(target));
		if (readlink(name, target, sizeof(target) - 1) > 0 && !strcmp(target, path))
			return true;
	}
	return false;
}

/* What a guest could have written into its disk: 1 TiB, and a file of the host behind it. */
static void a_qcow2_header_is_content_and_warned_of(void **state)
{
	/* Big endian: magic, version 2, backing file at 104, its length, clusters of 64 KiB, size */
	uint8_t header[512] = "QFI\xfb\0\0\0\2\0\0\0\0\0\0\0\x68\0\0\0\0"
			      "\0\0\0\x10\0\0\1\0\0\0\0\0";
	struct rig *rig = *state;
	char secret[128], *as_read = aligned_alloc(4096, 4096);
	int fd;

	snprintf(secret, sizeof(secret), "%s/secret", rig->dir);
	header[19] = strlen(secret);
	make_file(rig, 1 << 20);
	fd = open(secret, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	close(fd);
	fd = open(rig->path, O_RDWR | O_CLOEXEC);
	assert_int_equal(pwrite(fd, header, sizeof(header), 0), sizeof(header));
	assert_int_equal(pwrite(fd, secret, strlen(secret), 104), strlen(secret));
	close(fd);
	expect_open(rig, DISK_CACHE_NONE, DISK_AIO_NATIVE);
	assert_non_null(strstr(rig->said, "qcow2"));
	assert_non_null(strstr(rig->said, "qemu-img convert -O raw "));
	assert_int_equal(rig->be.size, 1 << 20);
	assert_true(is_open(rig->path) && !is_open(secret));
	assert_int_equal(pread(rig->be.fd, as_read, 4096, 0), 4096);
	assert_memory_equal(as_read, header, 104);
	free(as_read);
	block_backend_close(&rig->be);
	unlink(secret);
}

static void the_engine_is_what_was_asked_for(void **state)
{
	static const struct {
		int cache, aio;
		enum disk_cache got_cache;
		enum disk_aio got_aio;
	} cases[] = {
		{ DISK_AUTO, DISK_AUTO, DISK_CACHE_NONE, DISK_AIO_NATIVE },
		{ DISK_CACHE_NONE, DISK_AUTO, DISK_CACHE_NONE, DISK_AIO_NATIVE },
		{ DISK_CACHE_NONE, DISK_AIO_THREADS, DISK_CACHE_NONE, DISK_AIO_THREADS },
		{ DISK_AUTO, DISK_AIO_NATIVE, DISK_CACHE_NONE, DISK_AIO_NATIVE },
		{ DISK_AUTO, DISK_AIO_THREADS, DISK_CACHE_NONE, DISK_AIO_THREADS },
		{ DISK_CACHE_WRITEBACK, DISK_AUTO, DISK_CACHE_WRITEBACK, DISK_AIO_THREADS },
		{ DISK_CACHE_UNSAFE, DISK_AIO_THREADS, DISK_CACHE_UNSAFE, DISK_AIO_THREADS },
	};
	struct rig *rig = *state;

	make_file(rig, 1 << 20);
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		rig->config.cache = cases[i].cache;
		rig->config.aio = cases[i].aio;
		expect_open(rig, cases[i].got_cache, cases[i].got_aio);
		assert_string_equal(rig->said, "");
		block_backend_close(&rig->be);
	}
}

static void native_aio_without_direct_io_is_refused(void **state)
{
	struct rig *rig = *state;

	make_file(rig, 1 << 20);
	rig->config.cache = DISK_CACHE_WRITEBACK;
	rig->config.aio = DISK_AIO_NATIVE;
	expect_refused(rig, EINVAL, "aio=native needs cache=none");
}

static void without_direct_io_there_is_a_fallback_and_a_notice(void **state)
{
	struct rig *rig = *state;

	make_file(rig, 1 << 20);
	fault.dio = true; /* 0 and 0: statx()'s way of saying no */
	expect_open(rig, DISK_CACHE_WRITEBACK, DISK_AIO_THREADS);
	assert_non_null(strstr(rig->said, "using cache=writeback,aio=threads"));
	assert_int_equal(rig->be.mem_align, 1);
	assert_int_equal(rig->be.offset_align, 1);
	block_backend_close(&rig->be);
}

static void what_was_named_is_not_replaced(void **state)
{
	struct rig *rig = *state;

	make_file(rig, 1 << 20);
	fault.dio = true;
	rig->config.cache = DISK_CACHE_NONE;
	expect_refused(rig, EINVAL, "cannot use cache=none");
	rig->config.cache = DISK_AUTO;
	rig->config.aio = DISK_AIO_NATIVE;
	expect_refused(rig, EINVAL, "cannot use aio=native");
}

static void host_blocks_larger_than_the_guests_fall_back(void **state)
{
	struct rig *rig = *state;

	make_file(rig, 1 << 20);
	fault.dio = true;
	fault.mem = 512;
	fault.offset = 4096;
	expect_open(rig, DISK_CACHE_WRITEBACK, DISK_AIO_THREADS);
	assert_non_null(strstr(rig->said, "block-size="));
	block_backend_close(&rig->be);
	rig->config.block_size = 4096;
	expect_open(rig, DISK_CACHE_NONE, DISK_AIO_NATIVE);
	assert_int_equal(rig->be.offset_align, 4096);
	assert_string_equal(rig->said, "");
	block_backend_close(&rig->be);
}

static bool is_direct(int fd)
{
	return fcntl(fd, F_GETFL) & O_DIRECT;
}

/* Any number of disks, and of others that only read it, may share the image. */
static void an_overlay_only_reads_its_image(void **state)
{
	struct rig *rig = *state;
	struct block_backend first, second;
	struct stat base, file;

	make_file(rig, (1 << 20) + 37);
	rig->config.overlay = true;
	expect_open(rig, DISK_CACHE_NONE, DISK_AIO_NATIVE);
	first = rig->be;
	expect_open(rig, DISK_CACHE_NONE, DISK_AIO_NATIVE);
	assert_int_equal(fcntl(rig->be.overlay->base_fd, F_GETFL) & O_ACCMODE, O_RDONLY);
	assert_true(is_direct(rig->be.overlay->base_fd) && is_direct(rig->be.fd));
	assert_false(rig->be.readonly);
	assert_true(rig->be.can_discard);
	assert_int_equal(rig->be.size, 1 << 20);
	assert_int_equal(fstat(rig->be.fd, &file), 0);
	assert_int_equal(file.st_size, 1 << 20);
	assert_int_equal(stat(rig->path, &base), 0);
	assert_true(rig->be.dev == base.st_dev && rig->be.ino == base.st_ino);
	assert_true(file.st_ino != base.st_ino);
	assert_int_equal(block_backend_check_size(&rig->be, rig->path, 2 << 20, &rig->err),
			 -EINVAL);
	assert_non_null(strstr(rig->err.text, "keeps its size"));
	second = rig->be;
	block_backend_close(&first);
	rig->config.overlay = false;
	expect_refused(rig, EAGAIN, "in use");
	block_backend_close(&second);
}

static void an_overlay_waits_for_no_writer(void **state)
{
	struct rig *rig = *state;
	struct block_backend writer;

	make_file(rig, 1 << 20);
	expect_open(rig, DISK_CACHE_NONE, DISK_AIO_NATIVE);
	writer = rig->be;
	rig->config.overlay = true;
	expect_refused(rig, EAGAIN, "being written");
	block_backend_close(&writer);
}

/* Also when only one of the two cannot. */
static void both_files_of_an_overlay_are_direct_or_none(void **state)
{
	struct rig *rig = *state;

	make_file(rig, 1 << 20);
	rig->config.overlay = true;
	for (fault.dio_of = 1; fault.dio_of <= 2; fault.dio_of++) {
		fault.dio = true;
		fault.dio_seen = 0;
		expect_open(rig, DISK_CACHE_WRITEBACK, DISK_AIO_THREADS);
		assert_non_null(strstr(rig->said, "using cache=writeback,aio=threads"));
		assert_false(is_direct(rig->be.overlay->base_fd));
		assert_int_equal(rig->be.offset_align, 1);
		block_backend_close(&rig->be);
	}
}

/* The stricter rule of both, and no run of either file that breaks it. */
static void an_overlay_obeys_the_stricter_file(void **state)
{
	struct rig *rig = *state;

	make_file(rig, 1 << 20);
	rig->config.overlay = true;
	rig->config.block_size = 4096;
	for (fault.dio_of = 1; fault.dio_of <= 2; fault.dio_of++) {
		fault.dio = true;
		fault.dio_seen = 0;
		fault.mem = 1024;
		fault.offset = 4096;
		expect_open(rig, DISK_CACHE_NONE, DISK_AIO_NATIVE);
		assert_int_equal(rig->be.mem_align, 1024);
		assert_int_equal(rig->be.offset_align, 4096);
		assert_int_equal(rig->be.overlay->align, 4096);
		block_backend_close(&rig->be);
	}
}

static void an_overlay_without_a_place_is_refused(void **state)
{
	struct rig *rig = *state;
	const int before = dup(0);

	make_file(rig, 1 << 20);
	rig->config.overlay = true;
	rig->config.overlay_dir = (char *)"/not/there";
	expect_refused(rig, ENOENT, "cannot create an overlay in '/not/there'");
	close(before);
	assert_int_equal(dup(0), before); /* nothing is left open */
	close(before);
	rig->config.overlay = false;
	expect_open(rig, DISK_CACHE_NONE, DISK_AIO_NATIVE);
	block_backend_close(&rig->be);
}

static void a_hard_link_is_the_same_image(void **state)
{
	struct rig *rig = *state;
	struct block_backend first;
	char link_path[128];

	make_file(rig, 4096);
	rig->config.readonly = true;
	snprintf(link_path, sizeof(link_path), "%s/other.img", rig->dir);
	assert_int_equal(link(rig->path, link_path), 0);
	expect_open(rig, DISK_CACHE_NONE, DISK_AIO_NATIVE);
	first = rig->be;
	rig->config.path = link_path;
	expect_open(rig, DISK_CACHE_NONE, DISK_AIO_NATIVE);
	assert_true(first.dev == rig->be.dev && first.ino == rig->be.ino);
	block_backend_close(&rig->be);
	block_backend_close(&first);
	unlink(link_path);
}

static void the_size_of_an_image_in_use_is_followed(void **state)
{
	struct rig *rig = *state;
	uint64_t bytes;

	make_file(rig, 1 << 20);
	expect_open(rig, DISK_CACHE_NONE, DISK_AIO_NATIVE);
	make_file(rig, (3 << 20) + 100);
	assert_int_equal(block_backend_probe_size(&rig->be, rig->path, &bytes, &rig->err), 0);
	assert_int_equal(bytes, 3 << 20);
	assert_int_equal(rig->be.size, 1 << 20);
	make_file(rig, 100);
	assert_int_equal(block_backend_probe_size(&rig->be, rig->path, &bytes, &rig->err), -EINVAL);
	assert_non_null(strstr(rig->err.text, "is empty (100 bytes)"));
	block_backend_close(&rig->be);
}

static void the_size_of_an_image_in_use_is_changed(void **state)
{
	struct rig *rig = *state;
	struct stat st;

	make_file(rig, 1 << 20);
	expect_open(rig, DISK_CACHE_NONE, DISK_AIO_NATIVE);
	assert_int_equal(block_backend_check_size(&rig->be, rig->path, 2 << 20, &rig->err), 0);
	assert_int_equal(block_backend_set_size(&rig->be, rig->path, 2 << 20, &rig->err), 0);
	assert_int_equal(stat(rig->path, &st), 0);
	assert_int_equal(st.st_size, 2 << 20);
	assert_int_equal(block_backend_set_size(&rig->be, rig->path, 512, &rig->err), 0);
	assert_int_equal(stat(rig->path, &st), 0);
	assert_int_equal(st.st_size, 512);
	block_backend_close(&rig->be);
}

static void sizes_that_no_image_can_have_are_refused(void **state)
{
	static const uint64_t odd[] = { 0, 1, 511, 513, (1ULL << 62) + 512, -512ULL };
	struct rig *rig = *state;

	make_file(rig, 1 << 20);
	expect_open(rig, DISK_CACHE_NONE, DISK_AIO_NATIVE);
	for (unsigned i = 0; i < sizeof(odd) / sizeof(odd[0]); i++)
		assert_int_equal(block_backend_check_size(&rig->be, rig->path, odd[i], &rig->err),
				 -EINVAL);
	rig->be.block_device = true;
	assert_int_equal(block_backend_check_size(&rig->be, rig->path, 512, &rig->err), -EINVAL);
	assert_non_null(strstr(rig->err.text, "only follows"));
	rig->be.block_device = false;
	rig->be.readonly = true;
	assert_int_equal(block_backend_check_size(&rig->be, rig->path, 512, &rig->err), -EROFS);
	block_backend_close(&rig->be);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_missing_image_is_refused),
		T(a_directory_is_refused),
		T(a_pipe_is_refused_and_not_waited_for),
		T(a_socket_is_refused),
		T(a_character_device_is_refused),
		T(an_empty_image_is_refused),
		T(an_image_that_may_only_be_read_suggests_readonly),
		T(a_device_the_host_uses_is_refused),
		T(an_image_in_use_is_refused),
		T(readonly_images_are_shared_and_opened_for_reading),
		T(a_tail_is_hidden_with_a_warning_and_kept),
		T(whole_images_are_opened_without_a_word),
		T(a_qcow2_header_is_content_and_warned_of),
		T(the_engine_is_what_was_asked_for),
		T(native_aio_without_direct_io_is_refused),
		T(without_direct_io_there_is_a_fallback_and_a_notice),
		T(what_was_named_is_not_replaced),
		T(host_blocks_larger_than_the_guests_fall_back),
		T(an_overlay_only_reads_its_image),
		T(an_overlay_waits_for_no_writer),
		T(both_files_of_an_overlay_are_direct_or_none),
		T(an_overlay_obeys_the_stricter_file),
		T(an_overlay_without_a_place_is_refused),
		T(a_hard_link_is_the_same_image),
		T(the_size_of_an_image_in_use_is_followed),
		T(the_size_of_an_image_in_use_is_changed),
		T(sizes_that_no_image_can_have_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
