/* SPDX-License-Identifier: Apache-2.0 */
/* What a guest sends through the UART: when it is told of room, and what a full console does. */
#include "tests/unit/serial_rig.h"

static void bytes_reach_the_console(void **state)
{
	struct fixture *f = *state;
	char buf[5];

	for (const char *c = "hello"; *c; c++) {
		assert_int_equal(in(f, UART_LSR), EMPTY);
		out(f, UART_TX, *c);
	}
	for (unsigned i = 0; i < sizeof(buf); i++)
		assert_int_equal(read(f->fd[0], buf + i, 1), 1);
	assert_memory_equal(buf, "hello", 5);
	assert_int_equal(pulses(f), 0);
}

static void divisor_is_not_output(void **state)
{
	struct fixture *f = *state;

	out(f, UART_LCR, UART_LCR_DLAB);
	out(f, UART_DLL, 'x');
	out(f, UART_LCR, 0);
	out(f, UART_TX, 'y');
	assert_true(readable(f->fd[0], PATIENCE_MS));
	assert_int_equal(console_stop(&f->con, PATIENCE_MS), 0);
	assert_int_equal(atomic_load(&f->con.head), 1);
}

static void sending_interrupts_once_per_burst(void **state)
{
	struct fixture *f = *state;

	out(f, UART_IER, UART_IER_THRI);
	assert_int_equal(pulses(f), 1);
	for (unsigned burst = 0; burst < 3; burst++) {
		assert_int_equal(iir(f), UART_IIR_THRI);
		for (unsigned i = 0; i < 16; i++)
			out(f, UART_TX, 'x');
		assert_int_equal(pulses(f), 1);
	}
	assert_int_equal(iir(f), UART_IIR_THRI);
	assert_int_equal(iir(f), UART_IIR_NO_INT);
}

/* The edge at enabling may have met a masked line: the first byte makes another. */
static void first_byte_after_enabling_interrupts_again(void **state)
{
	struct fixture *f = *state;

	out(f, UART_IER, UART_IER_THRI);
	assert_int_equal(pulses(f), 1);
	for (unsigned i = 0; i < 2; i++) {
		out(f, UART_TX, 'x');
		assert_int_equal(pulses(f), 1);
		out(f, UART_IER, UART_IER_THRI);
	}
}

static void console_driver_polls_without_interrupts(void **state)
{
	struct fixture *f = *state;

	out(f, UART_IER, UART_IER_THRI | UART_IER_RDI);
	iir(f);
	pulses(f);
	out(f, UART_IER, 0);
	for (unsigned i = 0; i < 100; i++)
		out(f, UART_TX, 'x');
	assert_int_equal(pulses(f), 0);
	assert_int_equal(iir(f), UART_IIR_NO_INT);
	out(f, UART_IER, UART_IER_THRI | UART_IER_RDI);
	assert_int_equal(pulses(f), 1);
	assert_int_equal(iir(f), UART_IIR_THRI);
}

/*
 * Fills the ring; LSR, read before each byte as drivers do, says so. The console's thread is stuck
 * with the first byte alone, so that reading the pipe's junk makes room for exactly one.
 */
static void fill_console(struct fixture *f)
{
	unsigned n = 0;

	while (in(f, UART_LSR) & UART_LSR_THRE) {
		out(f, UART_TX, 'x');
		while (!n && !atomic_load(&f->con.writing))
			usleep(100);
		n++;
	}
	assert_int_equal(n, CONSOLE_RING);
}

/* As if the console had been full for a second. */
static void let_a_second_pass(struct fixture *f)
{
	assert_int_not_equal(f->uart.full_since, 0);
	f->uart.full_since -= SERIAL_FULL_NS;
}

static void full_console_clears_thre(void **state)
{
	struct fixture *f = *state;

	fill_console(f);
	assert_int_equal(in(f, UART_LSR) & EMPTY, 0);
	out(f, UART_TX, 'y'); /* a driver that does not wait loses the byte, and nothing else */
	assert_int_equal(in(f, UART_LSR) & EMPTY, 0);
	assert_int_equal(atomic_load(&f->con.dropped), 1);
}

static void after_a_second_bytes_are_dropped(void **state)
{
	struct fixture *f = *state;

	fill_console(f);
	let_a_second_pass(f);
	for (unsigned i = 0; i < 1000; i++) {
		assert_int_equal(in(f, UART_LSR), EMPTY);
		out(f, UART_TX, 'y');
	}
	assert_int_equal(atomic_load(&f->con.dropped), 1000);
}

static void read_pipe(struct fixture *f, unsigned bytes)
{
	char buf[PIPE_BYTES];

	while (bytes) {
		ssize_t n = read(f->fd[0], buf, bytes < sizeof(buf) ? bytes : sizeof(buf));

		assert_true(n > 0);
		bytes -= n;
	}
}

static void wait_for_room(struct fixture *f)
{
	while (console_full(&f->con))
		usleep(100);
}

/* The second begins anew each time the console fills up, be it by one byte. */
static void reader_that_comes_back_ends_the_dropping(void **state)
{
	struct fixture *f = *state;

	fill_console(f);
	let_a_second_pass(f);
	out(f, UART_TX, 'y');
	assert_int_equal(atomic_load(&f->con.dropped), 1);
	read_pipe(f, PIPE_BYTES);
	wait_for_room(f);
	assert_int_equal(in(f, UART_LSR), EMPTY);
	out(f, UART_TX, 'z');
	assert_int_equal(in(f, UART_LSR) & EMPTY, 0);
	assert_int_equal(atomic_load(&f->con.dropped), 1);
}

/* What a guest that sleeps till THRE's interrupt lives on: enabled after and before the ring
 * filled. */
static void room_in_the_console_interrupts(void **state)
{
	struct fixture *f = *state;

	fill_console(f);
	out(f, UART_IER, UART_IER_THRI);
	assert_int_equal(pulses(f), 0);
	assert_int_equal(iir(f), UART_IIR_NO_INT);
	read_pipe(f, PIPE_BYTES);
	assert_true(readable(f->irq.fd, PATIENCE_MS));
	assert_int_equal(iir(f), UART_IIR_THRI);
	assert_true(in(f, UART_LSR) & UART_LSR_THRE);
	pulses(f);

	out(f, UART_TX, 'y');
	assert_false(in(f, UART_LSR) & UART_LSR_THRE);
	assert_int_equal(iir(f), UART_IIR_NO_INT);
	assert_int_equal(pulses(f), 0);
	read_pipe(f, 1);
	assert_true(readable(f->irq.fd, PATIENCE_MS));
	assert_int_equal(iir(f), UART_IIR_THRI);
}

static void room_interrupts_nobody_who_did_not_ask(void **state)
{
	struct fixture *f = *state;

	fill_console(f);
	read_pipe(f, PIPE_BYTES);
	wait_for_room(f);
	assert_false(readable(f->irq.fd, 1));
}

static void tick_interrupts_after_a_second(void **state)
{
	struct fixture *f = *state;

	fill_console(f);
	out(f, UART_IER, UART_IER_THRI);
	serial_tick(&f->uart);
	assert_int_equal(pulses(f), 0);
	let_a_second_pass(f);
	serial_tick(&f->uart);
	assert_int_equal(pulses(f), 1);
	assert_int_equal(iir(f), UART_IIR_THRI);
	out(f, UART_TX, 'y');
	assert_int_equal(pulses(f), 1); /* dropped at once, and the next may come */
	assert_int_equal(iir(f), UART_IIR_THRI);
	serial_tick(&f->uart);
	assert_int_equal(pulses(f), 0);
}

/* Enough interrupt-driven output for many full rings, against a reader in fits and starts: if one
 * interrupt were lost, this would never end. */
static void *slow_reader(void *arg)
{
	struct fixture *f = arg;
	char buf[3000];
	uintptr_t total = 0;
	ssize_t n;

	while (total < PIPE_BYTES + 4 * CONSOLE_RING &&
	       (n = read(f->fd[0], buf, sizeof(buf))) > 0) {
		total += n;
		if (total % 5 == 0)
			usleep(100);
	}
	return (void *)total;
}

static void interrupt_driven_output_never_stalls(void **state)
{
	struct fixture *f = *state;
	unsigned sent = 0;
	pthread_t reader;
	void *total;

	fifo_on(f);
	assert_int_equal(pthread_create(&reader, NULL, slow_reader, f), 0);
	out(f, UART_IER, UART_IER_THRI);
	while (sent < 4 * CONSOLE_RING) {
		assert_true(readable(f->irq.fd, PATIENCE_MS));
		pulses(f);
		while (iir(f) == UART_IIR_THRI)
			for (unsigned i = 0; i < 16 && in(f, UART_LSR) & UART_LSR_THRE; i++, sent++)
				out(f, UART_TX, 'x');
	}
	pthread_join(reader, &total);
	assert_true((uintptr_t)total >= PIPE_BYTES + 4 * CONSOLE_RING);
	assert_int_equal(atomic_load(&f->con.dropped), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(bytes_reach_the_console),
		TEST(divisor_is_not_output),
		TEST(sending_interrupts_once_per_burst),
		TEST(first_byte_after_enabling_interrupts_again),
		TEST(console_driver_polls_without_interrupts),
		BLOCKED(full_console_clears_thre),
		BLOCKED(after_a_second_bytes_are_dropped),
		BLOCKED(reader_that_comes_back_ends_the_dropping),
		BLOCKED(room_in_the_console_interrupts),
		BLOCKED(room_interrupts_nobody_who_did_not_ask),
		BLOCKED(tick_interrupts_after_a_second),
		BLOCKED(interrupt_driven_output_never_stalls),
	};

	signal(SIGPIPE, SIG_IGN);
	alarm(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
