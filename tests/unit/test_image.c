/* SPDX-License-Identifier: Apache-2.0 */
/* Which files may be booted from, and what a file that misbehaves leads to. */
#include "loader_test.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "loader/image.h"

static void assert_refused(const char *path, int code, const char *says)
{
	struct error err = { 0 };
	struct image img;
	int ret = image_open(&img, "initrd", path, &err);

	assert_int_equal(ret, -code);
	assert_error(ret, &err, says);
	assert_error(ret, &err, "initrd '");
	assert_int_equal(img.fd, -1);
}

static void what_is_not_a_regular_file_is_refused_by_its_kind(void **state)
{
	assert_refused("/nonexistent/file", ENOENT, "cannot open: No such file or directory");
	assert_refused("/", EINVAL, "is a directory");
	assert_refused("/dev/zero", EINVAL, "is a character device");
}

static void a_pipe_is_refused_without_waiting_for_a_writer(void **state)
{
	char dir[] = "/tmp/mvmm-test-XXXXXX";
	char path[64];

	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/pipe", dir);
	assert_int_equal(mkfifo(path, 0600), 0);
	alarm(5); /* a hang ends the program */
	assert_refused(path, EINVAL, "is a pipe");
	alarm(0);
	unlink(path);
	rmdir(dir);
}

static void an_empty_file_is_refused(void **state)
{
	struct test_file f = file_make("", 0);

	assert_refused(f.path, EINVAL, "is empty");
	file_close(&f);
}

static void a_long_path_does_not_hide_the_cause(void **state)
{
	char path[3000];

	memset(path, 'x', sizeof(path));
	for (size_t i = 0; i < sizeof(path); i += 200)
		path[i] = '/';
	path[sizeof(path) - 1] = '\0';
	assert_refused(path, ENOENT, "No such file or directory");
}

static void reads_do_not_leave_the_file(void **state)
{
	static const struct {
		uint64_t off;
		size_t len;
	} outside[] = {
		{ 0, 11 },	{ 10, 1 }, { 11, 0 }, { UINT64_MAX, 1 }, { UINT64_MAX - 4, 10 },
		{ 5, SIZE_MAX }
	};
	struct test_file f = file_make("0123456789", 10);
	struct error err = { 0 };
	struct image img;
	char buf[16] = "";

	assert_int_equal(image_open(&img, "kernel", f.path, &err), 0);
	assert_int_equal(image_read(&img, 3, buf, 7, &err), 0);
	assert_memory_equal(buf, "3456789", 7);
	assert_int_equal(image_read(&img, 10, buf, 0, &err), 0);
	for (size_t i = 0; i < sizeof(outside) / sizeof(outside[0]); i++)
		assert_error(image_read(&img, outside[i].off, buf, outside[i].len, &err), &err,
			     "truncated");
	image_close(&img);
	file_close(&f);
}

static void a_file_that_shrinks_is_an_error_and_not_a_crash(void **state)
{
	struct guest_memory mem = guest_alloc(1 * MIB, 0);
	uint8_t data[8192] = { 1 };
	struct test_file f = file_make(data, sizeof(data));
	struct error err = { 0 };
	struct image img;

	assert_int_equal(image_open(&img, "kernel", f.path, &err), 0);
	assert_int_equal(ftruncate(f.fd, 100), 0);
	assert_error(image_load(&img, 0, sizeof(data), &mem, 0, &err), &err, "became shorter");
	image_close(&img);
	file_close(&f);
	guest_free(&mem);
}

static void loads_only_into_guest_memory(void **state)
{
	struct guest_memory mem = guest_alloc(1 * MIB, 0);
	uint8_t data[8192] = { 1 };
	struct test_file f = file_make(data, sizeof(data));
	struct error err = { 0 };
	struct image img;

	assert_int_equal(image_open(&img, "kernel", f.path, &err), 0);
	assert_int_equal(image_load(&img, 0, sizeof(data), &mem, MIB - sizeof(data), &err), 0);
	assert_error(image_load(&img, 0, sizeof(data), &mem, MIB - sizeof(data) + 1, &err), &err,
		     "is not guest memory");
	assert_error(image_load(&img, 0, sizeof(data), &mem, UINT64_MAX - 100, &err), &err,
		     "is not guest memory");
	image_close(&img);
	file_close(&f);
	guest_free(&mem);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_not_a_regular_file_is_refused_by_its_kind),
		cmocka_unit_test(a_pipe_is_refused_without_waiting_for_a_writer),
		cmocka_unit_test(an_empty_file_is_refused),
		cmocka_unit_test(a_long_path_does_not_hide_the_cause),
		cmocka_unit_test(reads_do_not_leave_the_file),
		cmocka_unit_test(a_file_that_shrinks_is_an_error_and_not_a_crash),
		cmocka_unit_test(loads_only_into_guest_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
