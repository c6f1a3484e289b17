/* SPDX-License-Identifier: Apache-2.0 */
/* The console: what is put comes out, in order, and a reader that stops or dies stops nobody else.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "devices/console.h"

#define PATIENCE_MS 10000 /* for what must happen; nothing waits this long on success */

struct fixture {
	struct console con;
	int fd[2];	/* pipe: the console writes [1] */
	unsigned found; /* calls of on_match */
};

static void on_match(void *opaque)
{
	struct fixture *f = opaque;

	f->found++;
}

static struct fixture *setup(const char *match, bool pipe_full)
{
	struct fixture *f = malloc(sizeof(*f));
	const char junk[4096] = { 0 };

	assert_non_null(f);
	f->found = 0;
	assert_int_equal(pipe(f->fd), 0);
	if (pipe_full) {
		assert_true(fcntl(f->fd[1], F_SETPIPE_SZ, sizeof(junk)) > 0);
		assert_int_equal(write(f->fd[1], junk, sizeof(junk)), sizeof(junk));
	}
	assert_int_equal(console_start(&f->con, f->fd[1], match, on_match, f, NULL, NULL), 0);
	return f;
}

static void teardown(struct fixture *f)
{
	for (int i = 0; i < 2; i++)
		if (f->fd[i] >= 0)
			close(f->fd[i]);
	free(f);
}

static void put(struct fixture *f, const char *text)
{
	for (; *text; text++)
		assert_true(console_put(&f->con, *text));
}

static void read_all(int fd, char *buf, size_t n)
{
	while (n) {
		ssize_t got = read(fd, buf, n);

		assert_true(got > 0);
		buf += got;
		n -= got;
	}
}

static void bytes_come_out_in_order(void **state)
{
	struct fixture *f = setup(NULL, false);
	char buf[6] = { 0 };

	put(f, "hello");
	read_all(f->fd[0], buf, 5);
	assert_string_equal(buf, "hello");
	assert_int_equal(console_stop(&f->con, PATIENCE_MS), 0);
	teardown(f);
}

static void stop_drains_what_is_pending(void **state)
{
	struct fixture *f = setup(NULL, false);
	char buf[20001];

	for (unsigned i = 0; i < 20000; i++)
		assert_true(console_put(&f->con, 'a' + i % 26));
	assert_int_equal(console_stop(&f->con, PATIENCE_MS), 0);
	read_all(f->fd[0], buf, 20000);
	for (unsigned i = 0; i < 20000; i++)
		assert_int_equal(buf[i], 'a' + i % 26);
	teardown(f);
}

#define STREAM_BYTES (6 * CONSOLE_RING + 123)

static void *check_stream(void *arg)
{
	const int fd = *(int *)arg;
	uintptr_t good = 0;
	uint8_t buf[1000];
	ssize_t n;

	while (good < STREAM_BYTES && (n = read(fd, buf, sizeof(buf))) > 0)
		for (ssize_t i = 0; i < n; i++, good++)
			if (buf[i] != (uint8_t)(good * 7 + (good >> 8)))
				return (void *)good;
	return (void *)good;
}

/* The producer is faster than the reader: it meets a full ring again and again, and no byte of the
 * several rings' worth is lost, doubled or out of place. */
static void nothing_is_lost_through_a_full_ring(void **state)
{
	struct fixture *f = setup(NULL, false);
	pthread_t reader;
	void *good;

	assert_int_equal(pthread_create(&reader, NULL, check_stream, &f->fd[0]), 0);
	for (uint32_t i = 0; i < STREAM_BYTES; i++)
		while (!console_put(&f->con, i * 7 + (i >> 8)))
			usleep(50);
	pthread_join(reader, &good);
	assert_int_equal((uintptr_t)good, STREAM_BYTES);
	assert_int_equal(console_stop(&f->con, PATIENCE_MS), 0);
	teardown(f);
}

static void ring_fills_when_nobody_reads(void **state)
{
	struct fixture *f = setup(NULL, true);

	for (unsigned i = 0; i < CONSOLE_RING; i++) {
		assert_false(console_full(&f->con));
		assert_true(console_put(&f->con, 'x'));
	}
	assert_true(console_full(&f->con));
	assert_false(console_put(&f->con, 'y'));
	close(f->fd[0]);
	f->fd[0] = -1;
	/* The broken pipe ends the wait: all that was pending is lost and counted. */
	assert_int_equal(console_stop(&f->con, PATIENCE_MS), CONSOLE_RING);
	teardown(f);
}

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000ULL + ts.tv_nsec / 1000000;
}

/* Where a thread left behind finds its console: it is never freed. */
static struct fixture *volatile left_behind;

static void stop_leaves_a_stuck_thread_behind(void **state)
{
	struct fixture *f = left_behind = setup(NULL, true);
	struct irq_line line = { .fd = eventfd(0, EFD_NONBLOCK) };
	char buf[4096];
	uint64_t count;
	uint64_t begin;

	put(f, "never written");
	console_drop(&f->con, '!');
	console_want_space(&f->con, &line);
	while (!atomic_load(&f->con.writing))
		usleep(100);
	begin = now_ms();
	assert_int_equal(console_stop(&f->con, 20), strlen("never written") + 1);
	assert_in_range(now_ms() - begin, 20, PATIENCE_MS / 2);
	/* Storage answers after all: the thread sees that it is too late and touches nothing. */
	read_all(f->fd[0], buf, sizeof(buf));
	read_all(f->fd[0], buf, 1);
	while (atomic_load(&f->con.writing))
		usleep(100);
	usleep(5000);
	assert_int_equal(atomic_load(&f->con.tail), 0);
	assert_true(read(line.fd, &count, sizeof(count)) < 0);
	close(line.fd);
}

static void closed_pipe_breaks_the_console_only(void **state)
{
	struct fixture *f = setup("ouch", false);

	close(f->fd[0]);
	f->fd[0] = -1;
	put(f, "x");
	while (!atomic_load(&f->con.broken))
		usleep(100);
	for (unsigned i = 0; i < 2 * CONSOLE_RING; i++)
		assert_true(console_put(&f->con, 'y'));
	put(f, "ouch");
	assert_int_equal(f->found, 1);
	assert_int_equal(console_stop(&f->con, PATIENCE_MS), 1 + 2 * CONSOLE_RING + 4);
	teardown(f);
}

static void full_disk_breaks_the_console_only(void **state)
{
	struct fixture *f = setup(NULL, false);
	struct console *con = malloc(sizeof(*con));
	int fd = open("/dev/full", O_WRONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(console_start(con, fd, NULL, NULL, NULL, NULL, NULL), 0);
	for (unsigned i = 0; i < 100; i++)
		assert_true(console_put(con, 'x'));
	assert_int_equal(console_stop(con, PATIENCE_MS), 100);
	assert_true(atomic_load(&con->broken));
	close(fd);
	free(con);
	assert_int_equal(console_stop(&f->con, PATIENCE_MS), 0);
	teardown(f);
}

static void non_blocking_descriptor_loses_nothing(void **state)
{
	struct fixture *f = setup(NULL, true);
	char buf[4096];

	assert_int_equal(fcntl(f->fd[1], F_SETFL, O_NONBLOCK), 0);
	for (unsigned i = 0; i < 4096; i++)
		assert_true(console_put(&f->con, 'z'));
	usleep(2000);
	read_all(f->fd[0], buf, sizeof(buf)); /* the junk */
	read_all(f->fd[0], buf, sizeof(buf));
	for (unsigned i = 0; i < sizeof(buf); i++)
		assert_int_equal(buf[i], 'z');
	assert_int_equal(console_stop(&f->con, PATIENCE_MS), 0);
	teardown(f);
}

static void space_is_signalled_once(void **state)
{
	struct fixture *f = setup(NULL, true);
	struct irq_line line = { .fd = eventfd(0, 0) };
	char buf[4096];
	uint64_t count;

	while (console_put(&f->con, 'x'))
		;
	assert_true(console_want_space(&f->con, &line));
	for (unsigned i = 0; i < 4; i++)
		read_all(f->fd[0], buf, sizeof(buf));
	assert_int_equal(read(line.fd, &count, sizeof(count)), sizeof(count));
	assert_int_equal(count, 1);
	assert_false(console_full(&f->con));
	assert_false(console_want_space(&f->con, &line));
	close(f->fd[0]);
	f->fd[0] = -1;
	console_stop(&f->con, PATIENCE_MS);
	close(line.fd);
	teardown(f);
}

static void without_a_descriptor_bytes_are_only_matched(void **state)
{
	struct fixture *f = malloc(sizeof(*f));

	f->found = 0;
	assert_int_equal(console_start(&f->con, -1, "boom", on_match, f, NULL, NULL), 0);
	for (unsigned i = 0; i < 2 * CONSOLE_RING; i++)
		assert_true(console_put(&f->con, 'x'));
	put(f, "boom");
	assert_int_equal(f->found, 1);
	assert_int_equal(console_stop(&f->con, 0), 0);
	free(f);
}

/* Feeds `text` to a matcher in memory; how often it found `match`. */
static unsigned matches(const char *match, const char *text)
{
	struct fixture *f = malloc(sizeof(*f));
	unsigned found;

	f->found = 0;
	assert_int_equal(console_start(&f->con, -1, match, on_match, f, NULL, NULL), 0);
	put(f, text);
	found = f->found;
	free(f);
	return found;
}

static void panic_is_found_in_the_stream(void **state)
{
	const char *panic = "Kernel panic - not syncing";

	assert_int_equal(matches(panic, "[ 1.0] Kernel panic - not syncing: VFS\r\n"), 1);
	assert_int_equal(matches(panic, "Kernel panic - not synKernel panic - not syncing"), 1);
	assert_int_equal(matches(panic, "KKernel panic - not syncing"), 1);
	assert_int_equal(matches(panic, "Kernel panic - not\r\nsyncing"), 0);
	assert_int_equal(matches(panic, "kernel panic - not syncing"), 0);
}

/* A failed match may hold the beginning of the next one. */
static void match_restarts_inside_a_failed_one(void **state)
{
	assert_int_equal(matches("aab", "aaab"), 1);
	assert_int_equal(matches("abab!", "abababab!"), 1);
	assert_int_equal(matches("abacabad", "abacabacabad"), 1);
	assert_int_equal(matches("aaaa", "aaabaaa"), 0);
	assert_int_equal(matches("x", "x"), 1);
	assert_int_equal(matches("\xff\xfe", "\xff\xff\xfe"), 1);
}

static void match_is_reported_once(void **state)
{
	assert_int_equal(matches("panic", "panic panic panicpanic"), 1);
	assert_int_equal(matches("aa", "aaaaaa"), 1);
}

static void no_match_wanted_none_reported(void **state)
{
	assert_int_equal(matches(NULL, "anything"), 0);
	assert_int_equal(matches("", "anything"), 0);
}

static void match_sees_dropped_bytes(void **state)
{
	struct fixture *f = setup("panic", true);

	while (console_put(&f->con, 'x'))
		;
	for (const char *c = "panic"; *c; c++)
		console_drop(&f->con, *c);
	assert_int_equal(f->found, 1);
	close(f->fd[0]);
	f->fd[0] = -1;
	console_stop(&f->con, PATIENCE_MS);
	teardown(f);
}

static void thread_has_a_name_and_blocks_signals(void **state)
{
	struct fixture *f = setup(NULL, false);
	char name[16] = "";

	/* The thread names itself: give it the moment it needs. */
	for (unsigned i = 0; i < 1000 && strcmp(name, "console"); i++) {
		usleep(100);
		assert_int_equal(pthread_getname_np(f->con.thread, name, sizeof(name)), 0);
	}
	assert_string_equal(name, "console");
	/* Unblocked it would kill this process. */
	assert_int_equal(pthread_kill(f->con.thread, SIGUSR1), 0);
	put(f, "x");
	read_all(f->fd[0], name, 1);
	assert_int_equal(console_stop(&f->con, PATIENCE_MS), 0);
	teardown(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bytes_come_out_in_order),
		cmocka_unit_test(stop_drains_what_is_pending),
		cmocka_unit_test(nothing_is_lost_through_a_full_ring),
		cmocka_unit_test(ring_fills_when_nobody_reads),
		cmocka_unit_test(stop_leaves_a_stuck_thread_behind),
		cmocka_unit_test(closed_pipe_breaks_the_console_only),
		cmocka_unit_test(full_disk_breaks_the_console_only),
		cmocka_unit_test(non_blocking_descriptor_loses_nothing),
		cmocka_unit_test(space_is_signalled_once),
		cmocka_unit_test(without_a_descriptor_bytes_are_only_matched),
		cmocka_unit_test(panic_is_found_in_the_stream),
		cmocka_unit_test(match_restarts_inside_a_failed_one),
		cmocka_unit_test(match_is_reported_once),
		cmocka_unit_test(no_match_wanted_none_reported),
		cmocka_unit_test(match_sees_dropped_bytes),
		cmocka_unit_test(thread_has_a_name_and_blocks_signals),
	};

	signal(SIGPIPE, SIG_IGN);
	alarm(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
