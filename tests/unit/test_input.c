/* SPDX-License-Identifier: Apache-2.0 */
/* From stdin to the UART: order, back-pressure, keys, and ends that must not make main spin. */
#include <errno.h>
#include <fcntl.h>
#include <linux/serial_reg.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

#include "vmm/cli/input.h"

struct fixture {
	struct bus pio;
	struct console con;
	struct serial uart;
	struct terminal term;
	struct input in;
	int fd[2];
	unsigned actions;
	enum escape_action last;
};

static void on_escape(void *opaque, enum escape_action action)
{
	struct fixture *f = opaque;

	f->actions++;
	f->last = action;
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	const struct irq_line none = { .fd = -1 };

	if (!f || pipe(f->fd))
		return -1;
	*state = f;
	if (console_start(&f->con, -1, NULL, NULL, NULL, NULL, NULL) ||
	    serial_init(&f->uart, &f->pio, 0, none, &f->con, NULL) ||
	    terminal_open(&f->term, f->fd[0]))
		return -1;
	bus_write(&f->pio, UART_FCR, "\x01", 1);
	input_init(&f->in, f->fd[0], &f->term, &f->uart, on_escape, f);
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	terminal_close(&f->term);
	serial_destroy(&f->uart);
	console_stop(&f->con, 0);
	close(f->fd[0]);
	if (f->fd[1] >= 0)
		close(f->fd[1]);
	free(f);
	return 0;
}

/* One turn of main's loop: false when there was nothing to do. */
static bool turn(struct fixture *f)
{
	struct pollfd pfd[2] = {
		{ .fd = input_poll_fd(&f->in), .events = POLLIN },
		{ .fd = f->uart.space_fd, .events = POLLIN },
	};

	if (poll(pfd, 2, 0) <= 0)
		return false;
	if (pfd[0].revents)
		input_read(&f->in);
	if (pfd[1].revents)
		input_flush(&f->in);
	return true;
}

static void type(struct fixture *f, const void *keys, size_t len)
{
	assert_int_equal(write(f->fd[1], keys, len), len);
}

/* What the guest finds in its UART now. */
static size_t guest_reads(struct fixture *f, char *buf)
{
	size_t n = 0;
	uint8_t lsr;

	for (;;) {
		bus_read(&f->pio, UART_LSR, &lsr, 1);
		if (!(lsr & UART_LSR_DR))
			return n;
		bus_read(&f->pio, UART_RX, buf + n++, 1);
	}
}

static void keys_reach_the_guest(void **state)
{
	struct fixture *f = *state;
	char buf[SERIAL_FIFO];

	type(f, "ls\r", 3);
	assert_true(turn(f));
	assert_false(turn(f));
	assert_int_equal(guest_reads(f, buf), 3);
	assert_memory_equal(buf, "ls\r", 3);
}

static void long_input_waits_for_the_guest_in_order(void **state)
{
	struct fixture *f = *state;
	char sent[1000], got[1000 + SERIAL_FIFO];
	size_t n = 0;

	for (unsigned i = 0; i < sizeof(sent); i++)
		sent[i] = 2 + i % 251; /* without Ctrl-A */
	type(f, sent, sizeof(sent));
	while (n < sizeof(sent)) {
		size_t some;

		while (turn(f))
			; /* main sleeps while the guest does not read */
		some = guest_reads(f, got + n);
		assert_in_range(some, 1, SERIAL_FIFO);
		n += some;
	}
	assert_int_equal(n, sizeof(sent));
	assert_memory_equal(got, sent, sizeof(sent));
	assert_false(turn(f));
}

static void keys_for_us_are_taken_out(void **state)
{
	struct fixture *f = *state;
	char buf[SERIAL_FIFO];

	type(f, "a\x01hb\x01\x01\x01q", 8);
	turn(f);
	assert_int_equal(f->actions, 1);
	assert_int_equal(f->last, ESCAPE_HELP);
	assert_int_equal(guest_reads(f, buf), 3);
	assert_memory_equal(buf, "ab\x01", 3);
}

static void quit_works_while_the_guest_reads_nothing(void **state)
{
	struct fixture *f = *state;
	char keys[SERIAL_FIFO + 10];

	memset(keys, 'k', sizeof(keys));
	memcpy(keys + sizeof(keys) - 2, "\x01x", 2);
	type(f, keys, sizeof(keys));
	turn(f);
	assert_int_equal(f->actions, 1);
	assert_int_equal(f->last, ESCAPE_QUIT);
}

static void prefix_and_letter_may_come_apart(void **state)
{
	struct fixture *f = *state;

	type(f, "\x01", 1);
	turn(f);
	type(f, "x", 1);
	turn(f);
	assert_int_equal(f->last, ESCAPE_QUIT);
}

static void break_key_breaks(void **state)
{
	struct fixture *f = *state;
	uint8_t lsr;

	type(f,
	     "\x01"
	     "b",
	     2);
	turn(f);
	bus_read(&f->pio, UART_LSR, &lsr, 1);
	assert_true(lsr & UART_LSR_BI);
	assert_int_equal(f->actions, 0);
}

static void end_of_file_is_read_once(void **state)
{
	struct fixture *f = *state;
	char buf[SERIAL_FIFO];

	type(f, "bye", 3);
	close(f->fd[1]);
	f->fd[1] = -1;
	assert_true(turn(f));
	assert_int_equal(guest_reads(f, buf), 3);
	assert_true(turn(f));
	assert_false(turn(f)); /* a hung-up pipe would be readable for ever */
	assert_int_equal(input_poll_fd(&f->in), -1);
}

static void dev_null_ends_at_once(void **state)
{
	struct fixture *f = *state;
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

	input_init(&f->in, fd, &f->term, &f->uart, on_escape, f);
	assert_true(turn(f));
	assert_false(turn(f));
	close(fd);
}

/* Always readable, as poll(2) sees it: only the guest may set the pace. */
static void regular_file_is_fed_at_the_guests_pace(void **state)
{
	struct fixture *f = *state;
	FILE *file = tmpfile();
	char buf[SERIAL_FIFO];
	size_t n = 0;

	assert_non_null(file);
	for (unsigned i = 0; i < 300; i++)
		fputc('f', file);
	rewind(file);
	input_init(&f->in, fileno(file), &f->term, &f->uart, on_escape, f);
	while (n < 300) {
		for (unsigned i = 0; turn(f); i++)
			assert_in_range(i, 0, 3);
		n += guest_reads(f, buf);
	}
	while (turn(f))
		;
	assert_int_equal(f->in.fd, -1);
	fclose(file);
}

static void no_input_is_never_polled(void **state)
{
	struct fixture *f = *state;

	input_init(&f->in, -1, &f->term, &f->uart, on_escape, f);
	assert_int_equal(input_poll_fd(&f->in), -1);
	input_read(&f->in);
	assert_false(turn(f));
}

static void non_blocking_stdin_is_not_its_end(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(fcntl(f->fd[0], F_SETFL, O_NONBLOCK), 0);
	input_read(&f->in);
	assert_int_equal(input_poll_fd(&f->in), f->fd[0]);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(keys_reach_the_guest),
		TEST(long_input_waits_for_the_guest_in_order),
		TEST(keys_for_us_are_taken_out),
		TEST(quit_works_while_the_guest_reads_nothing),
		TEST(prefix_and_letter_may_come_apart),
		TEST(break_key_breaks),
		TEST(end_of_file_is_read_once),
		TEST(dev_null_ends_at_once),
		TEST(regular_file_is_fed_at_the_guests_pace),
		TEST(no_input_is_never_polled),
		TEST(non_blocking_stdin_is_not_its_end),
	};

	alarm(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
