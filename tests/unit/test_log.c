/* SPDX-License-Identifier: Apache-2.0 */
/* Lines on stderr, and that a guest cannot make a flood of them; see vmm/log.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "vmm/log.h"

/* stderr as packets: one per write(2). */
struct capture {
	int saved;
	int fd;
};

static void capture_begin(struct capture *cap)
{
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, pair), 0);
	cap->saved = dup(STDERR_FILENO);
	dup2(pair[1], STDERR_FILENO);
	close(pair[1]);
	cap->fd = pair[0];
}

static void capture_end(struct capture *cap)
{
	dup2(cap->saved, STDERR_FILENO);
	close(cap->saved);
}

/* The next write(2) as a string, or NULL when there was none. */
static const char *next_line(struct capture *cap, char *buf, size_t size)
{
	ssize_t n = recv(cap->fd, buf, size - 1, 0);

	if (n <= 0)
		return NULL;
	buf[n] = 0;
	return buf;
}

static void each_line_is_one_write_with_the_name_in_front(void **state)
{
	struct capture cap;
	char buf[2048];

	capture_begin(&cap);
	log_error("a %d", 1);
	log_warn("b");
	log_info("c");
	capture_end(&cap);
	assert_string_equal(next_line(&cap, buf, sizeof(buf)), "mvmm: error: a 1\n");
	assert_string_equal(next_line(&cap, buf, sizeof(buf)), "mvmm: warning: b\n");
	assert_string_equal(next_line(&cap, buf, sizeof(buf)), "mvmm: c\n");
	assert_null(next_line(&cap, buf, sizeof(buf)));
	close(cap.fd);
}

static void verbose_lines_are_silent_unless_asked_for(void **state)
{
	struct capture cap;
	char buf[64];

	capture_begin(&cap);
	log_verbose("no");
	log_set_verbose(true);
	log_verbose("yes");
	log_set_verbose(false);
	log_verbose("no");
	capture_end(&cap);
	assert_string_equal(next_line(&cap, buf, sizeof(buf)), "mvmm: yes\n");
	assert_null(next_line(&cap, buf, sizeof(buf)));
	close(cap.fd);
}

static void a_long_line_is_cut_and_still_ends(void **state)
{
	struct capture cap;
	char text[4000], buf[4096];
	const char *line;

	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = 0;
	capture_begin(&cap);
	log_info("%s", text);
	capture_end(&cap);
	line = next_line(&cap, buf, sizeof(buf));
	assert_non_null(line);
	assert_in_range(strlen(line), 500, 1024);
	assert_int_equal(line[strlen(line) - 1], '\n');
	assert_ptr_equal(strchr(line, '\n'), line + strlen(line) - 1);
	close(cap.fd);
}

static void the_budget_of_a_window_is_bounded(void **state)
{
	struct log_limit limit = { 0 };
	unsigned taken = 0;

	for (unsigned i = 0; i < 1000; i++)
		taken += log_limit_take(&limit, 7) > 0;
	assert_int_equal(taken, LOG_GUEST_BURST);
}

static void the_last_line_of_a_budget_is_known_as_such(void **state)
{
	struct log_limit limit = { 0 };

	for (unsigned left = LOG_GUEST_BURST; left > 0; left--)
		assert_int_equal(log_limit_take(&limit, 7), left);
	assert_int_equal(log_limit_take(&limit, 7), 0);
}

static void a_new_window_brings_a_new_budget(void **state)
{
	struct log_limit limit = { 0 };

	for (unsigned i = 0; i < 100; i++)
		log_limit_take(&limit, 7);
	assert_int_equal(log_limit_take(&limit, 8), LOG_GUEST_BURST);
	/* A thread that read the clock before the change gets no budget of its own. */
	for (unsigned i = 0; i < 100; i++)
		log_limit_take(&limit, 8);
	assert_int_equal(log_limit_take(&limit, 7), 0);
	assert_int_equal(log_limit_take(&limit, 8), 0);
}

static void a_zeroed_limit_works_in_window_zero(void **state)
{
	struct log_limit limit = { 0 };

	assert_int_equal(log_limit_take(&limit, 0), LOG_GUEST_BURST);
}

static struct {
	struct log_limit limit;
	_Atomic unsigned taken;
} shared;

static void *take_many(void *opaque)
{
	for (unsigned i = 0; i < 2000; i++)
		shared.taken += log_limit_take(&shared.limit, 1 + i / 1000) > 0;
	return NULL;
}

/* Two windows; a thread on its way from one to the other may cost a line, never add more than its
 * own. */
static void threads_share_one_budget(void **state)
{
	pthread_t thread[4];

	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, take_many, NULL), 0);
	for (unsigned i = 0; i < 4; i++)
		pthread_join(thread[i], NULL);
	assert_in_range(shared.taken, LOG_GUEST_BURST, 2 * LOG_GUEST_BURST + 3);
	assert_in_range(shared.limit.lines, LOG_GUEST_BURST, LOG_GUEST_BURST + 3);
}

static void guest_messages_stop_and_say_so(void **state)
{
	struct log_limit limit = { 0 };
	unsigned lines = 0, notices = 0;
	struct capture cap;
	const char *line;
	char buf[256];

	capture_begin(&cap);
	for (unsigned i = 0; i < 1000; i++)
		log_guest(&limit, "broken ring");
	capture_end(&cap);
	while ((line = next_line(&cap, buf, sizeof(buf)))) {
		assert_int_equal(strncmp(line, "mvmm: guest: broken ring", 24), 0);
		notices += strstr(line, "held back") != NULL;
		lines++;
	}
	/* The clock may have gone into the next window once. */
	assert_true(lines == LOG_GUEST_BURST || lines == 2 * LOG_GUEST_BURST);
	assert_int_equal(notices, lines / LOG_GUEST_BURST);
	close(cap.fd);
}

/* Set-up notices of a boot that follows many, and then what its guest causes. */
static void held_back_is_all_but_errors_and_then_guests_only(void **state)
{
	struct log_limit limit = { 0 };
	struct capture cap;
	char buf[256];

	capture_begin(&cap);
	log_hold_back();
	log_warn("no");
	log_info("no");
	log_error("yes");
	log_go_on();
	log_warn("yes");
	log_guest(&limit, "perhaps"); /* if the clock has gone into the next window */
	capture_end(&cap);
	assert_string_equal(next_line(&cap, buf, sizeof(buf)), "mvmm: error: yes\n");
	assert_string_equal(next_line(&cap, buf, sizeof(buf)), "mvmm: warning: yes\n");
	assert_true(!limit.window == !next_line(&cap, buf, sizeof(buf)));
	close(cap.fd);
}

static bool is_empty(int fd)
{
	struct pollfd pfd = { .fd = fd, .events = POLLIN };

	return poll(&pfd, 1, 0) == 0;
}

/* F20: a full pipe. What cannot be said in time is lost, and what comes later is not. */
static void a_reader_that_has_stopped_holds_nobody_up(void **state)
{
	const int saved = dup(STDERR_FILENO);
	char buf[65536] = "";
	time_t begin;
	int fd[2];

	assert_int_equal(pipe(fd), 0);
	fcntl(fd[0], F_SETFL, O_NONBLOCK);
	assert_int_equal(fcntl(fd[1], F_SETPIPE_SZ, sizeof(buf)), sizeof(buf));
	assert_int_equal(write(fd[1], buf, sizeof(buf)), sizeof(buf));
	dup2(fd[1], STDERR_FILENO);
	begin = time(NULL);
	log_info("lost");
	log_raw(buf, 10000);
	assert_true(time(NULL) - begin < 5);
	while (!is_empty(fd[0]))
		assert_true(read(fd[0], buf, sizeof(buf)) > 0);
	log_info("heard");
	dup2(saved, STDERR_FILENO);
	assert_int_equal(read(fd[0], buf, sizeof(buf)), 12);
	assert_memory_equal(buf, "mvmm: heard\n", 12);
	close(saved);
	close(fd[0]);
	close(fd[1]);
}

/* Main may have a line for each of 31 disks, every second. */
static void nobody_waits_for_a_reader_that_was_waited_for_in_vain(void **state)
{
	const int saved = dup(STDERR_FILENO);
	time_t begin;
	int fd[2];

	assert_int_equal(pipe2(fd, O_NONBLOCK), 0);
	while (write(fd[1], "", 1) == 1)
		;
	dup2(fd[1], STDERR_FILENO);
	begin = time(NULL);
	for (unsigned i = 0; i < 100; i++)
		log_info("lost");
	dup2(saved, STDERR_FILENO);
	assert_true(time(NULL) - begin < 5);
	close(saved);
	close(fd[0]);
	close(fd[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_line_is_one_write_with_the_name_in_front),
		cmocka_unit_test(verbose_lines_are_silent_unless_asked_for),
		cmocka_unit_test(a_long_line_is_cut_and_still_ends),
		cmocka_unit_test(the_budget_of_a_window_is_bounded),
		cmocka_unit_test(the_last_line_of_a_budget_is_known_as_such),
		cmocka_unit_test(a_new_window_brings_a_new_budget),
		cmocka_unit_test(a_zeroed_limit_works_in_window_zero),
		cmocka_unit_test(threads_share_one_budget),
		cmocka_unit_test(guest_messages_stop_and_say_so),
		cmocka_unit_test(a_reader_that_has_stopped_holds_nobody_up),
		cmocka_unit_test(held_back_is_all_but_errors_and_then_guests_only),
		cmocka_unit_test(nobody_waits_for_a_reader_that_was_waited_for_in_vain),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
