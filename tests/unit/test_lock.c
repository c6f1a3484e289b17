/* SPDX-License-Identifier: Apache-2.0 */
/* Image locks: among ourselves, and with QEMU itself where it is installed. */
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
#include <sys/wait.h>
#include <unistd.h>

#include "virtio/blk/lock.h"

struct rig {
	char path[64];
};

static int setup(void **state)
{
	static struct rig rig;
	int fd;

	snprintf(rig.path, sizeof(rig.path), "/tmp/mvmm-test-lock-XXXXXX");
	fd = mkstemp(rig.path);
	if (fd < 0 || ftruncate(fd, 1 << 20))
		return -1;
	close(fd);
	*state = &rig;
	return 0;
}

static int teardown(void **state)
{
	struct rig *rig = *state;

	return unlink(rig->path);
}

/* An open file of its own, locked; *result says how that went. */
static int open_locked(const struct rig *rig, bool writer, int *result)
{
	const int fd = open(rig->path, (writer ? O_RDWR : O_RDONLY) | O_CLOEXEC);

	assert_true(fd >= 0);
	*result = blk_image_lock(fd, writer);
	return fd;
}

static void expect_pair(const struct rig *rig, bool first, bool second, int expect)
{
	int a, b, ret;

	a = open_locked(rig, first, &ret);
	assert_int_equal(ret, 0);
	b = open_locked(rig, second, &ret);
	assert_int_equal(ret, expect);
	close(b);
	close(a);
}

static void two_writers_exclude_each_other(void **state)
{
	expect_pair(*state, true, true, -EAGAIN);
}

static void a_writer_and_a_reader_exclude_each_other(void **state)
{
	expect_pair(*state, true, false, -EAGAIN);
	expect_pair(*state, false, true, -EAGAIN);
}

static void readers_share(void **state)
{
	expect_pair(*state, false, false, 0);
}

static void a_lock_ends_with_its_file(void **state)
{
	const struct rig *rig = *state;
	int fd, ret;

	fd = open_locked(rig, true, &ret);
	assert_int_equal(ret, 0);
	close(fd);
	fd = open_locked(rig, true, &ret);
	assert_int_equal(ret, 0);
	close(fd);
}

static void a_whole_file_lock_of_somebody_else_counts(void **state)
{
	struct flock all = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	const struct rig *rig = *state;
	int other = open(rig->path, O_RDWR | O_CLOEXEC), fd, ret;

	assert_int_equal(fcntl(other, F_OFD_SETLK, &all), 0);
	fd = open_locked(rig, false, &ret);
	assert_int_equal(ret, -EAGAIN);
	close(fd);
	close(other);
}

/* Exit status of qemu-io reading (or, writable, opening) the image. */
static int qemu_io(const struct rig *rig, bool writable)
{
	char cmd[200];

	snprintf(cmd, sizeof(cmd), "qemu-io %s -f raw -c 'read 0 512' %s >/dev/null 2>&1",
		 writable ? "" : "-r", rig->path);
	return system(cmd);
}

static void need_qemu(void)
{
	if (system("command -v qemu-io >/dev/null 2>&1"))
		skip();
}

static void qemu_keeps_out_of_an_image_we_write(void **state)
{
	const struct rig *rig = *state;
	int fd, ret;

	need_qemu();
	assert_int_equal(qemu_io(rig, true), 0);
	fd = open_locked(rig, true, &ret);
	assert_int_equal(ret, 0);
	assert_int_not_equal(qemu_io(rig, true), 0);
	close(fd);
	assert_int_equal(qemu_io(rig, true), 0);
}

static void qemu_reads_with_us_but_does_not_write(void **state)
{
	const struct rig *rig = *state;
	int fd, ret;

	need_qemu();
	fd = open_locked(rig, false, &ret);
	assert_int_equal(ret, 0);
	assert_int_equal(qemu_io(rig, false), 0);
	assert_int_not_equal(qemu_io(rig, true), 0);
	close(fd);
}

/* A qemu-io that holds the image open until *fd is closed. Its prompt says that it has it. */
static pid_t qemu_io_hold(const struct rig *rig, bool writable, int *fd)
{
	int in[2], out[2];
	char c = 0;
	pid_t pid;

	assert_int_equal(pipe2(in, O_CLOEXEC), 0);
	assert_int_equal(pipe2(out, O_CLOEXEC), 0);
	pid = fork();
	if (!pid) {
		dup2(in[0], STDIN_FILENO);
		dup2(out[1], STDOUT_FILENO);
		execlp("qemu-io", "qemu-io", "-f", "raw", rig->path, writable ? NULL : "-r", NULL);
		_exit(127);
	}
	close(in[0]);
	close(out[1]);
	while (c != '>' && read(out[0], &c, 1) == 1)
		;
	assert_int_equal(c, '>');
	close(out[0]);
	*fd = in[1];
	return pid;
}

static void expect_beside_qemu(const struct rig *rig, bool qemu_writes, bool we_write, int expect)
{
	int hold, fd, ret;
	pid_t pid = qemu_io_hold(rig, qemu_writes, &hold);

	fd = open_locked(rig, we_write, &ret);
	close(fd);
	close(hold);
	waitpid(pid, NULL, 0);
	assert_int_equal(ret, expect);
}

static void we_keep_out_of_an_image_qemu_writes(void **state)
{
	need_qemu();
	expect_beside_qemu(*state, true, true, -EAGAIN);
	expect_beside_qemu(*state, true, false, -EAGAIN);
}

static void we_read_beside_a_qemu_that_reads(void **state)
{
	need_qemu();
	expect_beside_qemu(*state, false, false, 0);
}

static void a_pipe_has_no_locks(void **state)
{
	int fd[2], ret;

	assert_int_equal(pipe2(fd, O_CLOEXEC), 0);
	ret = blk_image_lock(fd[1], false);
	close(fd[0]);
	close(fd[1]);
	assert_true(ret < 0 && ret != -EAGAIN);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(two_writers_exclude_each_other),
		T(a_writer_and_a_reader_exclude_each_other),
		T(readers_share),
		T(a_lock_ends_with_its_file),
		T(a_whole_file_lock_of_somebody_else_counts),
		T(qemu_keeps_out_of_an_image_we_write),
		T(qemu_reads_with_us_but_does_not_write),
		T(we_keep_out_of_an_image_qemu_writes),
		T(we_read_beside_a_qemu_that_reads),
		T(a_pipe_has_no_locks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
