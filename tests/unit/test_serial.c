/* SPDX-License-Identifier: Apache-2.0 */
/* The UART by its registers: what Linux's 8250 driver asks of it. H numbers are the cases of the
 * hostile-guest list. */
#include "tests/unit/serial_rig.h"

/* drivers/tty/serial/8250/8250_port.c, step by step: autoconfig() up to the type of the FIFO. */
static void linux_finds_a_uart(struct fixture *f)
{
	const uint8_t mcr = in(f, UART_MCR);

	out(f, UART_IER, 0);
	assert_int_equal(in(f, UART_IER) & 0x0f, 0);
	out(f, UART_IER, 0x0f);
	assert_int_equal(in(f, UART_IER), 0x0f);
	out(f, UART_IER, 0);
	out(f, UART_MCR, UART_MCR_LOOP | UART_MCR_OUT2 | UART_MCR_RTS);
	assert_int_equal(in(f, UART_MSR) & 0xf0, UART_MSR_DCD | UART_MSR_CTS);
	out(f, UART_MCR, mcr);
	out(f, UART_LCR, UART_LCR_CONF_MODE_B);
	out(f, UART_EFR, 0);
	out(f, UART_LCR, 0);
	fifo_on(f);
	assert_int_equal(in(f, UART_IIR) >> 6, 3);
}

/* autoconfig_16550a(): a 16650 has an EFR where this one has nothing to show but IIR. */
static void linux_finds_no_16650(struct fixture *f)
{
	out(f, UART_LCR, UART_LCR_CONF_MODE_A);
	assert_int_not_equal(in(f, UART_EFR), 0);
	out(f, UART_LCR, UART_LCR_CONF_MODE_B);
	assert_int_not_equal(in(f, UART_EFR), 0);
	out(f, UART_LCR, 0);
}

/* National's SuperIO shows MCR's LOOP in bank 2. */
static void linux_finds_no_superio(struct fixture *f)
{
	const uint8_t mcr = in(f, UART_MCR);
	uint8_t bank2[2];

	for (unsigned i = 0; i < 2; i++) {
		out(f, UART_LCR, 0);
		out(f, UART_MCR, i ? mcr ^ UART_MCR_LOOP : mcr);
		out(f, UART_LCR, 0xe0);
		bank2[i] = in(f, 2);
	}
	out(f, UART_LCR, 0);
	out(f, UART_MCR, mcr);
	assert_false((bank2[0] ^ bank2[1]) & UART_MCR_LOOP);
}

/* A 16750 shows its 64-byte mode in IIR, with DLAB set. */
static void linux_finds_no_16750(struct fixture *f)
{
	static const uint8_t lcr[] = { 0, UART_LCR_CONF_MODE_A };

	for (unsigned i = 0; i < 2; i++) {
		out(f, UART_LCR, lcr[i]);
		out(f, UART_FCR, UART_FCR_ENABLE_FIFO | UART_FCR7_64BYTE);
		assert_int_equal(in(f, UART_IIR) >> 5, 6);
		fifo_on(f);
	}
	out(f, UART_LCR, 0);
}

static void linux_finds_a_16550a(void **state)
{
	struct fixture *f = *state;

	linux_finds_a_uart(f);
	linux_finds_no_16650(f);
	linux_finds_no_superio(f);
	linux_finds_no_16750(f);
	out(f, UART_IER, UART_IER_UUE); /* an XScale keeps it */
	assert_int_equal(in(f, UART_IER), 0);
	assert_int_not_equal(in(f, UART_LSR), 0xff);
}

/* serial8250_do_startup()'s two tests: THRE is asserted again whenever IER enables it, and with it
 * at once; otherwise Linux falls back to a timer. */
static void linux_trusts_the_thre_interrupt(void **state)
{
	struct fixture *f = *state;

	for (unsigned i = 0; i < 2; i++) {
		out(f, UART_IER, UART_IER_THRI);
		assert_int_equal(iir(f), UART_IIR_THRI);
		assert_int_equal(iir(f), UART_IIR_NO_INT);
		out(f, UART_IER, 0);
	}
	out(f, UART_IER, UART_IER_THRI);
	assert_int_equal(in(f, UART_LSR), EMPTY);
	assert_int_equal(iir(f), UART_IIR_THRI);
	assert_int_equal(pulses(f), 3);
}

static void scratch_and_divisor_keep_what_is_written(void **state)
{
	struct fixture *f = *state;

	out(f, UART_SCR, 0x5a);
	out(f, UART_LCR, UART_LCR_DLAB | UART_LCR_WLEN8);
	out(f, UART_DLL, 1);
	out(f, UART_DLM, 2);
	assert_int_equal(in(f, UART_DLL), 1);
	assert_int_equal(in(f, UART_DLM), 2);
	out(f, UART_LCR, UART_LCR_WLEN8);
	assert_int_equal(in(f, UART_IER), 0);
	assert_int_equal(in(f, UART_RX), 0);
	assert_int_equal(in(f, UART_LCR), UART_LCR_WLEN8);
	assert_int_equal(in(f, UART_SCR), 0x5a);
}

static void input_interrupts_and_is_read_in_order(void **state)
{
	struct fixture *f = *state;

	fifo_on(f);
	out(f, UART_IER, UART_IER_RDI);
	assert_int_equal(offer(f, "ab"), 2);
	assert_int_equal(pulses(f), 1);
	assert_int_equal(iir(f), UART_IIR_RDI);
	assert_int_equal(iir(f), UART_IIR_RDI); /* reading IIR does not acknowledge data */
	assert_true(in(f, UART_LSR) & UART_LSR_DR);
	assert_int_equal(in(f, UART_RX), 'a');
	assert_int_equal(in(f, UART_RX), 'b');
	assert_false(in(f, UART_LSR) & UART_LSR_DR);
	assert_int_equal(iir(f), UART_IIR_NO_INT);
	assert_int_equal(in(f, UART_RX), 0);
}

static void enabling_with_data_waiting_interrupts(void **state)
{
	struct fixture *f = *state;

	offer(f, "a");
	assert_int_equal(pulses(f), 0);
	assert_int_equal(iir(f), UART_IIR_NO_INT);
	out(f, UART_IER, UART_IER_RDI);
	assert_int_equal(pulses(f), 1);
	out(f, UART_IER, UART_IER_RDI);
	assert_int_equal(pulses(f), 0);
	assert_int_equal(iir(f), UART_IIR_RDI);
}

static void interrupts_are_named_by_priority(void **state)
{
	struct fixture *f = *state;

	out(f, UART_MCR, UART_MCR_LOOP); /* modem lines drop */
	out(f, UART_TX, 'a');
	out(f, UART_TX, 'b'); /* overruns: no FIFO */
	out(f, UART_IER, 0x0f);
	assert_int_equal(iir(f), UART_IIR_RLSI);
	assert_true(in(f, UART_LSR) & UART_LSR_OE);
	assert_false(in(f, UART_LSR) & UART_LSR_OE);
	assert_int_equal(iir(f), UART_IIR_RDI);
	assert_int_equal(in(f, UART_RX), 'a');
	assert_int_equal(iir(f), UART_IIR_THRI);
	assert_int_equal(iir(f), UART_IIR_MSI);
	in(f, UART_MSR);
	assert_int_equal(iir(f), UART_IIR_NO_INT);
}

static void loopback_stays_inside(void **state)
{
	struct fixture *f = *state;

	fifo_on(f);
	out(f, UART_MCR, UART_MCR_LOOP);
	out(f, UART_TX, 0x42);
	assert_int_equal(in(f, UART_LSR), EMPTY | UART_LSR_DR);
	assert_int_equal(offer(f, "z"), 0); /* the line is cut off */
	assert_int_equal(in(f, UART_RX), 0x42);
	out(f, UART_MCR, 0);
	assert_true(readable(f->uart.space_fd, 0)); /* and back */
	assert_int_equal(offer(f, "z"), 1);
	assert_int_equal(in(f, UART_RX), 'z');
	assert_int_equal(console_stop(&f->con, PATIENCE_MS), 0);
	assert_false(readable(f->fd[0], 0));
}

/* As FreeBSD's ns8250 measures it. */
static void loopback_shows_the_fifo_depth(void **state)
{
	struct fixture *f = *state;
	unsigned count = 0;

	fifo_on(f);
	out(f, UART_MCR, UART_MCR_LOOP);
	do {
		out(f, UART_TX, count++);
	} while (!(in(f, UART_LSR) & UART_LSR_OE) && count < 300);
	assert_int_equal(count - 1, SERIAL_FIFO);
	for (unsigned i = 0; i < SERIAL_FIFO; i++)
		assert_int_equal(in(f, UART_RX), i);
}

static void loopback_crosses_the_modem_lines(void **state)
{
	struct fixture *f = *state;
	static const struct {
		uint8_t mcr, msr;
	} line[] = {
		{ UART_MCR_DTR, UART_MSR_DSR },
		{ UART_MCR_RTS, UART_MSR_CTS },
		{ UART_MCR_OUT1, UART_MSR_RI },
		{ UART_MCR_OUT2, UART_MSR_DCD },
	};

	assert_int_equal(in(f, UART_MSR), UART_MSR_DCD | UART_MSR_DSR | UART_MSR_CTS);
	for (unsigned i = 0; i < 4; i++) {
		out(f, UART_MCR, UART_MCR_LOOP | line[i].mcr);
		assert_int_equal(in(f, UART_MSR) & 0xf0, line[i].msr);
	}
}

static void modem_changes_interrupt_until_read(void **state)
{
	struct fixture *f = *state;

	out(f, UART_MCR, UART_MCR_LOOP | UART_MCR_OUT1);
	in(f, UART_MSR);
	out(f, UART_IER, UART_IER_MSI);
	out(f, UART_MCR, UART_MCR_LOOP | UART_MCR_OUT1 | UART_MCR_RTS);
	assert_int_equal(pulses(f), 1);
	assert_int_equal(iir(f), UART_IIR_MSI);
	assert_int_equal(in(f, UART_MSR), UART_MSR_RI | UART_MSR_CTS | UART_MSR_DCTS);
	assert_int_equal(iir(f), UART_IIR_NO_INT);
	out(f, UART_MCR, UART_MCR_LOOP | UART_MCR_RTS); /* RI's trailing edge */
	assert_int_equal(in(f, UART_MSR), UART_MSR_CTS | UART_MSR_TERI);
	out(f, UART_MCR, UART_MCR_LOOP | UART_MCR_OUT1 | UART_MCR_RTS); /* its leading edge */
	assert_int_equal(in(f, UART_MSR), UART_MSR_RI | UART_MSR_CTS);
}

static void fifo_control_clears_the_receiver(void **state)
{
	struct fixture *f = *state;

	fifo_on(f);
	offer(f, "abc");
	out(f, UART_FCR, UART_FCR_ENABLE_FIFO | UART_FCR_CLEAR_XMIT | UART_FCR_TRIGGER_8);
	assert_true(in(f, UART_LSR) & UART_LSR_DR);
	out(f, UART_FCR, UART_FCR_ENABLE_FIFO | UART_FCR_CLEAR_RCVR);
	assert_false(in(f, UART_LSR) & UART_LSR_DR);
	offer(f, "abc");
	out(f, UART_FCR, 0);
	assert_false(in(f, UART_LSR) & UART_LSR_DR);
	assert_int_equal(in(f, UART_IIR), UART_IIR_NO_INT);
	offer(f, "a");
	out(f, UART_FCR, UART_FCR_CLEAR_RCVR); /* no bit is taken while the FIFOs are off */
	assert_int_equal(in(f, UART_RX), 'a');
}

static void input_waits_for_room(void **state)
{
	struct fixture *f = *state;
	uint8_t data[100];

	memset(data, 'i', sizeof(data));
	assert_int_equal(serial_input(&f->uart, data, sizeof(data)), 1); /* no FIFO: one byte */
	in(f, UART_RX);
	fifo_on(f);
	assert_int_equal(serial_input(&f->uart, data, sizeof(data)), SERIAL_FIFO);
	assert_int_equal(serial_input(&f->uart, data, 1), 0);
	for (unsigned i = 0; i < SERIAL_FIFO / 2; i++) {
		assert_false(readable(f->uart.space_fd, 0)); /* main is not woken for each byte */
		in(f, UART_RX);
	}
	assert_true(readable(f->uart.space_fd, 0));
	assert_int_equal(serial_input(&f->uart, data, SERIAL_FIFO / 2), SERIAL_FIFO / 2);
	assert_false(readable(f->uart.space_fd, 0));
	assert_false(in(f, UART_LSR) & UART_LSR_OE); /* input never overruns */
	for (unsigned i = 0; i < SERIAL_FIFO; i++)
		in(f, UART_RX);
	assert_false(readable(f->uart.space_fd, 0)); /* nobody waits */
}

static void break_comes_with_its_own_byte(void **state)
{
	struct fixture *f = *state;

	fifo_on(f);
	out(f, UART_IER, UART_IER_RDI | UART_IER_RLSI);
	offer(f, "a");
	assert_true(serial_break(&f->uart));
	offer(f, "b");
	pulses(f);
	assert_int_equal(iir(f), UART_IIR_RDI);
	assert_int_equal(in(f, UART_LSR), EMPTY | UART_LSR_DR);
	assert_int_equal(in(f, UART_RX), 'a');
	assert_int_equal(pulses(f), 1);
	assert_int_equal(iir(f), UART_IIR_RLSI);
	assert_int_equal(in(f, UART_LSR), EMPTY | UART_LSR_DR | UART_LSR_BI);
	assert_int_equal(in(f, UART_LSR), EMPTY | UART_LSR_DR);
	assert_int_equal(in(f, UART_RX), 0);
	assert_int_equal(in(f, UART_RX), 'b');
}

/* Every width at every offset, by a bus that lets them through: bytes side by side, as on ISA. */
/* Nobody reads the console; the guest does anything at all to the registers. */
static void H29_no_order_of_accesses_blocks_or_confuses(void **state)
{
	struct fixture *f = *state;
	uint64_t x = 88172645463325252ULL;

	for (unsigned i = 0; i < 300000; i++) {
		x ^= x << 13, x ^= x >> 7, x ^= x << 17;
		if (x & 1)
			in(f, x >> 1 & 7);
		else
			out(f, x >> 1 & 7, x & 16 ? 0xff : x >> 8);
		if ((x >> 20 & 0xff) == 0)
			offer(f, "typed");
		if ((x >> 20 & 0xfff) == 1)
			serial_tick(&f->uart);
	}
	out(f, UART_IER, 0);
	out(f, UART_LCR, 0);
	out(f, UART_MCR, 0);
	linux_finds_a_uart(f);
	out(f, UART_SCR, 0x5a);
	assert_int_equal(in(f, UART_SCR), 0x5a);
}

static void wide_accesses_are_harmless(void **state)
{
	struct fixture *f = *state;
	const struct bus_dev *dev = &f->pio.dev[0];

	for (unsigned len = 1; len <= 8; len *= 2) {
		for (unsigned off = 0; off + len <= 8; off++) {
			uint8_t data[8] = { 0x55, 0xaa, 0x55, 0xaa, 0x55, 0xaa, 0x55, 0xaa };

			dev->ops->write(dev->opaque, off, data, len);
			dev->ops->read(dev->opaque, off, data, len);
		}
	}
	out(f, UART_LCR, 0);
	out(f, UART_MCR, 0);
	out(f, UART_IER, 0);
	bus_write(&f->pio, PORT + UART_LCR, "\x03\x0b", 2);
	assert_int_equal(in(f, UART_LCR), 3);
	assert_int_equal(in(f, UART_MCR), 0x0b);
}

#define HAMMER_ROUNDS 3000

/* One hostile vCPU: every register, in an order of no sense. */
static void *hammer(void *arg)
{
	struct fixture *f = arg;
	uint32_t seed = (uintptr_t)&seed;

	for (unsigned i = 0; i < HAMMER_ROUNDS; i++) {
		seed = seed * 1664525 + 1013904223;
		if (seed >> 31)
			out(f, seed >> 8 & 7, seed >> 16);
		else
			in(f, seed >> 8 & 7);
	}
	return NULL;
}

static void *discard(void *arg)
{
	char buf[4096];

	while (read(*(int *)arg, buf, sizeof(buf)) > 0)
		;
	return NULL;
}

static void two_vcpus_main_and_the_console_agree(void **state)
{
	struct fixture *f = *state;
	pthread_t vcpu[2], reader;

	pthread_create(&reader, NULL, discard, &f->fd[0]);
	for (unsigned i = 0; i < 2; i++)
		pthread_create(&vcpu[i], NULL, hammer, f);
	for (unsigned i = 0; i < HAMMER_ROUNDS / 4; i++) {
		offer(f, "input");
		serial_break(&f->uart);
		serial_tick(&f->uart);
	}
	for (unsigned i = 0; i < 2; i++)
		pthread_join(vcpu[i], NULL);
	assert_in_range(f->uart.rx_count, 0, SERIAL_FIFO);
	console_stop(&f->con, PATIENCE_MS);
	close(f->fd[1]);
	f->fd[1] = -1;
	pthread_join(reader, NULL);
}

static void port_taken_is_an_error(void **state)
{
	struct fixture *f = *state;
	struct serial other;

	assert_int_equal(serial_init(&other, &f->pio, PORT + 4, f->irq, &f->con, NULL), -EEXIST);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(linux_finds_a_16550a),
		TEST(linux_trusts_the_thre_interrupt),
		TEST(scratch_and_divisor_keep_what_is_written),
		TEST(input_interrupts_and_is_read_in_order),
		TEST(enabling_with_data_waiting_interrupts),
		TEST(interrupts_are_named_by_priority),
		TEST(loopback_stays_inside),
		TEST(loopback_shows_the_fifo_depth),
		TEST(loopback_crosses_the_modem_lines),
		TEST(modem_changes_interrupt_until_read),
		TEST(fifo_control_clears_the_receiver),
		TEST(input_waits_for_room),
		TEST(break_comes_with_its_own_byte),
		BLOCKED(H29_no_order_of_accesses_blocks_or_confuses),
		TEST(wide_accesses_are_harmless),
		TEST(two_vcpus_main_and_the_console_agree),
		TEST(port_taken_is_an_error),
	};

	signal(SIGPIPE, SIG_IGN);
	alarm(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
