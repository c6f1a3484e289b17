/* SPDX-License-Identifier: Apache-2.0 */
/* What a disk may be copied to, and what is refused. */
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
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "virtio/blk/lock.h"
#include "virtio/blk/target.h"

#define SIZE (1 << 20)

static char dir[] = "/var/tmp/mvmm-target-XXXXXX";
static char path[64];
static const struct block_backend source = {
	.cache = DISK_CACHE_WRITEBACK, .aio = DISK_AIO_THREADS, .size = SIZE, .block_size = 512
};
static struct block_backend target;
static struct error err;
static bool zero;

/* ---- calls: ours, which the linker prefers to the C library's ----------------------------------- */

static struct {
	bool no_blocks;	  /* none is counted, as for small or unwritten data on some file systems */
	const char *late; /* somebody writes it to the file, just before it is locked */
	unsigned asked;	  /* calls that ask a server what it knows of a file */
} host;

int fstat(int fd, struct stat *st)
{
	const int ret = syscall(SYS_newfstatat, fd, "", st, AT_EMPTY_PATH);

	host.asked++;
	if (!ret && host.no_blocks)
		st->st_blocks = 0;
	return ret;
}

int statx(int dir_fd, const char *name, int flags, unsigned mask, struct statx *st)
{
	host.asked += !(flags & AT_STATX_DONT_SYNC);
	return syscall(SYS_statx, dir_fd, name, flags, mask, st);
}

int fcntl(int fd, int command, ...)
{
	const char *late = host.late;
	va_list args;
	long arg;

	va_start(args, command);
	arg = va_arg(args, long);
	va_end(args);
	if (command == F_OFD_SETLK && late) {
		host.late = NULL;
		if (pwrite(fd, late, strlen(late), 0) < 0)
			return -1;
	}
	return syscall(SYS_fcntl, fd, command, arg);
}

/* ---- a target ---------------------------------------------------------------------------------- */

static int setup(void **state)
{
	memset(&host, 0, sizeof(host));
	err.text[0] = '\0';
	zero = false;
	unlink(path);
	return 0;
}

static int group_setup(void **state)
{
	if (!mkdtemp(dir))
		return -1;
	snprintf(path, sizeof(path), "%s/target", dir);
	return 0;
}

static int group_teardown(void **state)
{
	unlink(path);
	return rmdir(dir);
}

static int file(off_t size, const char *data)
{
	const int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, size), 0);
	if (data)
		assert_int_equal(pwrite(fd, data, strlen(data), 0), strlen(data));
	return fd;
}

static int open_target(const struct block_backend *from)
{
	return blk_target_open(&target, path, from, NULL, &zero, &err);
}

static void is_taken(void)
{
	struct stat st;

	if (open_target(&source))
		fail_msg("%s", err.text);
	assert_true(zero);
	assert_int_equal(target.size, SIZE);
	assert_false(target.direct);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_size, SIZE);
	assert_int_equal(st.st_blocks, 0);
	block_backend_close(&target);
}

static void test_a_new_file_is_made_as_one_hole(void **state)
{
	is_taken();
}

static void test_an_empty_file_is_taken_and_one_of_holes(void **state)
{
	const off_t sizes[] = { 0, 4096, 3 * SIZE };

	for (unsigned i = 0; i < 3; i++) {
		close(file(sizes[i], NULL));
		is_taken();
		unlink(path);
	}
}

/* Nobody is asked whether he meant it, so nothing may be lost. */
static void is_refused_and_left_alone(int fd)
{
	char data[5] = "";

	assert_int_equal(open_target(&source), -EEXIST);
	assert_non_null(strstr(err.text, "exists and holds data"));
	assert_int_equal(lseek(fd, 0, SEEK_END), 3 * SIZE);
	assert_int_equal(pread(fd, data, 4, 0), 4);
	assert_string_equal(data, "data");
	close(fd);
}

static void test_a_file_with_data_is_refused_and_left_alone(void **state)
{
	is_refused_and_left_alone(file(3 * SIZE, "data"));
}

static void test_data_that_has_no_blocks_is_data(void **state)
{
	host.no_blocks = true;
	is_refused_and_left_alone(file(3 * SIZE, "data"));
}

static void test_data_that_comes_before_the_lock_is_data(void **state)
{
	host.late = "data";
	is_refused_and_left_alone(file(3 * SIZE, NULL));
}

static void test_an_empty_image_that_is_in_use_is_left_alone(void **state)
{
	const int fd = file(3 * SIZE, NULL);

	assert_int_equal(blk_image_lock(fd, true), 0);
	assert_int_equal(open_target(&source), -EAGAIN);
	assert_non_null(strstr(err.text, "is locked by another process"));
	assert_int_equal(lseek(fd, 0, SEEK_END), 3 * SIZE);
	close(fd);
}

static void test_the_target_is_locked(void **state)
{
	int fd;

	assert_int_equal(open_target(&source), 0);
	fd = open(path, O_RDWR | O_CLOEXEC);
	assert_int_equal(blk_image_lock(fd, true), -EAGAIN);
	block_backend_close(&target);
	close(fd);
}

/* Main asks, while the guest waits. */
static void test_whether_its_file_has_vanished_is_asked_of_no_server(void **state)
{
	assert_int_equal(open_target(&source), 0);
	host.asked = 0;
	assert_false(blk_target_has_vanished(&target));
	assert_int_equal(unlink(path), 0);
	assert_true(blk_target_has_vanished(&target));
	assert_int_equal(host.asked, 0);
	block_backend_close(&target);
}

static void test_a_readonly_disks_target_is_one_as_well(void **state)
{
	struct block_backend from = source;

	from.readonly = true;
	assert_int_equal(open_target(&from), 0);
	assert_true(target.readonly);
	assert_int_equal(pwrite(target.fd, "x", 1, 0), 1);
	block_backend_close(&target);
}

static void test_what_is_no_image_is_refused(void **state)
{
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_int_equal(open_target(&source), -EINVAL);
	assert_non_null(strstr(err.text, "is a pipe"));
	unlink(path);
	assert_int_equal(mkdir(path, 0700), 0);
	assert_int_equal(open_target(&source), -EINVAL);
	assert_non_null(strstr(err.text, "is a directory"));
	rmdir(path);
}

static void test_direct_io_is_had_as_the_disk_has_it(void **state)
{
	struct block_backend from = source;
	int ret;

	from.cache = DISK_CACHE_NONE;
	from.aio = DISK_AIO_NATIVE;
	from.direct = true;
	ret = open_target(&from);
	if (ret == -EINVAL)
		skip(); /* none on this file system, and so said */
	assert_int_equal(ret, 0);
	assert_true(target.direct);
	assert_int_equal(target.aio, DISK_AIO_NATIVE);
	block_backend_close(&target);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_a_new_file_is_made_as_one_hole, setup),
		cmocka_unit_test_setup(test_an_empty_file_is_taken_and_one_of_holes, setup),
		cmocka_unit_test_setup(test_a_file_with_data_is_refused_and_left_alone, setup),
		cmocka_unit_test_setup(test_data_that_has_no_blocks_is_data, setup),
		cmocka_unit_test_setup(test_data_that_comes_before_the_lock_is_data, setup),
		cmocka_unit_test_setup(test_an_empty_image_that_is_in_use_is_left_alone, setup),
		cmocka_unit_test_setup(test_the_target_is_locked, setup),
		cmocka_unit_test_setup(test_whether_its_file_has_vanished_is_asked_of_no_server,
				       setup),
		cmocka_unit_test_setup(test_a_readonly_disks_target_is_one_as_well, setup),
		cmocka_unit_test_setup(test_what_is_no_image_is_refused, setup),
		cmocka_unit_test_setup(test_direct_io_is_had_as_the_disk_has_it, setup),
	};

	return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
