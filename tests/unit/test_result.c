/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "vmm/cli/result.h"

/* The table of the manual page. */
static void each_reason_has_its_status(void **state)
{
	static const struct {
		enum vm_end end;
		uint32_t value;
		int status;
	} table[] = {
		{ VM_END_POWEROFF, 0, 0 },	 { VM_END_QUIT, 0, 0 },
		{ VM_END_HOST_ERROR, EIO, 1 },	 { VM_END_RESET, 0, 32 },
		{ VM_END_CRASH, 0, 33 },	 { VM_END_PANIC, 0, 34 },
		{ VM_END_HALTED, 0, 35 },	 { VM_END_TIMEOUT, 0, 36 },
		{ VM_END_SIGNAL, 15, 143 },	 { VM_END_DEBUG_EXIT, 0, 1 },
		{ VM_END_DEBUG_EXIT, 0x10, 33 }, { VM_END_DEBUG_EXIT, 0xffffffff, 255 },
	};

	for (unsigned i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		struct result res = { .end = table[i].end, .value = table[i].value };

		assert_int_equal(result_status(&res), table[i].status);
	}
}

static void the_closing_line_says_the_same(void **state)
{
	struct result res = { .end = VM_END_POWEROFF };
	char line[256];

	result_line(&res, line, sizeof(line));
	assert_string_equal(line, "guest powered off (exit status 0)");

	res = (struct result){ .end = VM_END_SIGNAL, .value = 15, .name = "a", .dropped = 12 };
	result_line(&res, line, sizeof(line));
	assert_string_equal(line,
			    "a: ended by SIGTERM (exit status 143, 12 console bytes dropped)");

	res = (struct result){ .end = VM_END_DEBUG_EXIT, .value = 0x10 };
	result_line(&res, line, sizeof(line));
	assert_string_equal(line, "guest wrote 0x10 to the debug-exit port (exit status 33)");
}

static void a_short_buffer_cuts_the_closing_line(void **state)
{
	struct result res = { .end = VM_END_POWEROFF, .name = "a-name" };
	char line[8];

	result_line(&res, line, sizeof(line));
	assert_string_equal(line, "a-name:");
}

/* Status 33 is a crash or a 16 on the debug-exit port: the reason tells. */
static void json_tells_colliding_statuses_apart(void **state)
{
	struct result crash = { .end = VM_END_CRASH };
	struct result exit16 = { .end = VM_END_DEBUG_EXIT, .value = 16 };
	char line[512];

	assert_true(result_json(&crash, line, sizeof(line)) > 0);
	assert_non_null(strstr(line, "{\"reason\":\"crash\",\"status\":33,\"value\":0"));
	assert_true(result_json(&exit16, line, sizeof(line)) > 0);
	assert_non_null(strstr(line, "{\"reason\":\"debug-exit\",\"status\":33,\"value\":16"));
}

static void json_is_one_escaped_line(void **state)
{
	struct result res = { .end = VM_END_SIGNAL,
			      .value = 2,
			      .name = "a \"b\" \\ \t\x01",
			      .run_ms = 1234,
			      .dropped = 5,
			      .stuck = 1 };
	char line[512];
	int len = result_json(&res, line, sizeof(line));

	assert_int_equal(len, strlen(line));
	assert_string_equal(line, "{\"reason\":\"signal\",\"status\":130,\"value\":2,\"signal\":"
				  "\"SIGINT\","
				  "\"name\":\"a \\\"b\\\" \\\\ \\u0009\\u0001\",\"run_ms\":1234,"
				  "\"console_dropped\":5,\"disk_errors\":0,\"disks_stuck\":1}\n");
	assert_int_equal(result_json(&res, line, 20), -ENOSPC);
}

/* RFC 8259, 8.1: a reader may refuse the whole line otherwise, and a file name is any bytes. */
static void json_is_utf8_whatever_a_name_is(void **state)
{
	struct result res = { .end = VM_END_HOST_ERROR,
			      .message = "\xff a\xc3\xa9\xe2\x82\xac\xf0\x9f\x92\xbe "
					 "\xc0\x80 \xed\xa0\x80 \xf4\x90\x80\x80 \xe2\x82" };
	char line[512];

	assert_true(result_json(&res, line, sizeof(line)) > 0);
	assert_non_null(strstr(line, "\"message\":\"\\ufffd a\xc3\xa9\xe2\x82\xac\xf0\x9f\x92\xbe "
				     "\\ufffd\\ufffd \\ufffd\\ufffd\\ufffd "
				     "\\ufffd\\ufffd\\ufffd\\ufffd \\ufffd\\ufffd\""));
}

struct folder {
	char dir[32];
	char path[64];
};

static int make_folder(void **state)
{
	struct folder *f = calloc(1, sizeof(*f));

	strcpy(f->dir, "/tmp/mvmm-test-XXXXXX");
	if (!mkdtemp(f->dir))
		return -1;
	snprintf(f->path, sizeof(f->path), "%s/result", f->dir);
	*state = f;
	return 0;
}

static int remove_folder(void **state)
{
	struct folder *f = *state;

	unlink(f->path);
	/* Fails, and with it the test, if anything else was left behind. */
	if (rmdir(f->dir))
		return -1;
	free(f);
	return 0;
}

/* Opened at the start, it is a new file, still empty: a reader of the old one keeps that. */
static void a_result_is_a_new_file_with_one_line(void **state)
{
	struct folder *f = *state;
	struct result res = { .end = VM_END_POWEROFF };
	char line[256] = "", expected[256];
	struct stat before, after;
	int old = open(f->path, O_CREAT | O_WRONLY, 0600), fd;

	assert_true(old >= 0);
	assert_int_equal(write(old, "old", 3), 3);
	assert_int_equal(fstat(old, &before), 0);
	fd = result_open(f->path, NULL);
	assert_true(fd >= 0);
	assert_int_equal(stat(f->path, &after), 0);
	assert_int_not_equal(before.st_ino, after.st_ino);
	assert_int_equal(after.st_size, 0);
	assert_int_equal(result_write(&res, fd, NULL), 0);
	close(fd);
	close(old);
	fd = open(f->path, O_RDONLY);
	assert_true(read(fd, line, sizeof(line) - 1) > 0);
	close(fd);
	result_json(&res, expected, sizeof(expected));
	assert_string_equal(line, expected);
}

static void a_pipe_is_written_to_and_stays(void **state)
{
	struct folder *f = *state;
	struct result res = { .end = VM_END_POWEROFF };
	char line[256] = "";
	struct stat st;
	int reader, fd;

	assert_int_equal(mkfifo(f->path, 0600), 0);
	/* Its reader may come later. */
	fd = result_open(f->path, NULL);
	assert_true(fd >= 0);
	reader = open(f->path, O_RDONLY | O_NONBLOCK);
	assert_int_equal(result_write(&res, fd, NULL), 0);
	close(fd);
	assert_true(read(reader, line, sizeof(line) - 1) > 0);
	assert_non_null(strstr(line, "\"poweroff\""));
	close(reader);
	assert_int_equal(stat(f->path, &st), 0);
	assert_true(S_ISFIFO(st.st_mode));
}

/* /dev/stdout is one, and may lead to a file with the console's output. */
static void a_link_is_followed_and_stays(void **state)
{
	struct folder *f = *state;
	struct result res = { .end = VM_END_POWEROFF };
	char target[96], text[256] = "";
	struct stat st;
	int fd, result;

	snprintf(target, sizeof(target), "%s/target", f->dir);
	fd = open(target, O_CREAT | O_RDWR, 0600);
	assert_int_equal(write(fd, "console", 7), 7);
	assert_int_equal(symlink(target, f->path), 0);
	result = result_open(f->path, NULL);
	assert_true(result >= 0);
	assert_int_equal(result_write(&res, result, NULL), 0);
	close(result);
	assert_true(pread(fd, text, sizeof(text) - 1, 0) > 0);
	close(fd);
	unlink(target);
	assert_int_equal(strncmp(text, "console{\"reason\"", 16), 0);
	assert_int_equal(lstat(f->path, &st), 0);
	assert_true(S_ISLNK(st.st_mode));
}

static void a_check_leaves_an_old_result_alone(void **state)
{
	struct folder *f = *state;

	close(open(f->path, O_CREAT | O_WRONLY, 0600));
	assert_int_equal(result_check(f->path, NULL), 0);
	assert_int_equal(access(f->path, F_OK), 0);
}

static void a_place_that_cannot_be_written_is_found_at_the_start(void **state)
{
	struct folder *f = *state;
	struct error err = { 0 };
	char path[96];

	snprintf(path, sizeof(path), "%s/no/such", f->dir);
	assert_int_equal(result_open(path, &err), -ENOENT);
	assert_non_null(strstr(err.text, path));
	assert_int_equal(result_open(f->dir, &err), -EISDIR);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_reason_has_its_status),
		cmocka_unit_test(the_closing_line_says_the_same),
		cmocka_unit_test(a_short_buffer_cuts_the_closing_line),
		cmocka_unit_test(json_tells_colliding_statuses_apart),
		cmocka_unit_test(json_is_one_escaped_line),
		cmocka_unit_test(json_is_utf8_whatever_a_name_is),
		cmocka_unit_test_setup_teardown(a_result_is_a_new_file_with_one_line, make_folder,
						remove_folder),
		cmocka_unit_test_setup_teardown(a_check_leaves_an_old_result_alone, make_folder,
						remove_folder),
		cmocka_unit_test_setup_teardown(a_pipe_is_written_to_and_stays, make_folder,
						remove_folder),
		cmocka_unit_test_setup_teardown(a_link_is_followed_and_stays, make_folder,
						remove_folder),
		cmocka_unit_test_setup_teardown(
			a_place_that_cannot_be_written_is_found_at_the_start, make_folder,
			remove_folder),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
