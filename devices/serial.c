/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The 16550A's registers (National Semiconductor PC16550D data sheet, June 1995, section 8).
 *
 * vCPU threads access registers, main offers input; all of it under the UART's lock, which nobody
 * holds while blocking. Must not know what is behind the console, nor where input comes from.
 *
 * The line is an edge: it is pulsed whenever an enabled interrupt condition comes up, and the guest
 * finds all of them in IIR. One pulse too many costs the guest a glance at IIR, one too few hangs
 * it, so in doubt it is pulsed. MCR's OUT2, which gates the line on a PC, is not looked at for the
 * same reason.
 *
 * Sending takes no time, so the transmitter is empty right after each byte, unless the console is
 * full. Then `thr_full` stays set, and is looked at again (tx_settle) at every access, when the
 * console's thread has made room (which it tells by a pulse of its own: the guest reads IIR and so
 * brings it up to date), and in serial_tick().
 */
#include "devices/serial.h"

#include <errno.h>
#include <linux/serial_reg.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define SERIAL_PORTS 8
#define IER_BITS     0x0f
#define MCR_BITS     0x1f
#define MODEM_UP     (UART_MSR_DCD | UART_MSR_DSR | UART_MSR_CTS)
#define DIVISOR_9600 12
#define IIR_FIFOS    0xc0 /* bits 6 and 7: the FIFOs are on and work; 16550A, not 16550 */
#define FCR_CLEAR    (UART_FCR_CLEAR_RCVR | UART_FCR_CLEAR_XMIT)

static uint64_t monotonic_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000ULL + ts.tv_nsec;
}

static bool loopback(const struct serial *uart)
{
	return uart->mcr & UART_MCR_LOOP;
}

static bool at_break(const struct serial *uart)
{
	return uart->rx_count && (uart->rx_break & 1ULL << uart->rx_head);
}

/* Enabled interrupt conditions, as bits of IER. */
static uint8_t conditions(const struct serial *uart)
{
	uint8_t set = 0;

	if (uart->rx_count)
		set |= UART_IER_RDI;
	if (uart->thr_pending)
		set |= UART_IER_THRI;
	if (uart->overrun || at_break(uart))
		set |= UART_IER_RLSI;
	if (uart->msr_delta)
		set |= UART_IER_MSI;
	return set & uart->ier;
}

static void interrupt(struct serial *uart, uint8_t condition)
{
	if (uart->ier & condition)
		irq_line_signal(&uart->irq);
}

/* ---- transmitter ---- */

/* May the guest send? Not to a full console, but for no longer than SERIAL_FULL_NS. */
static bool tx_ready(struct serial *uart)
{
	uint64_t now;

	if (!console_full(uart->con)) {
		uart->full_since = 0;
		return true;
	}
	now = monotonic_ns();
	if (!uart->full_since)
		uart->full_since = now;
	return now - uart->full_since >= SERIAL_FULL_NS;
}

/* The byte in THR has gone: the THRE condition comes up. A guest that fills the FIFO from its
 * interrupt handler gets one pulse for all of it; IER and IIR accesses start anew. */
static void thr_emptied(struct serial *uart)
{
	uart->thr_full = false;
	uart->thr_pending = true;
	if (uart->thr_signalled)
		return;
	uart->thr_signalled = uart->ier & UART_IER_THRI;
	interrupt(uart, UART_IER_THRI);
}

static void tx_settle(struct serial *uart)
{
	if (!uart->thr_full)
		return;
	if (tx_ready(uart))
		thr_emptied(uart);
	else if ((uart->ier & UART_IER_THRI) && !console_want_space(uart->con, &uart->irq))
		thr_emptied(uart);
}

static void tx_byte(struct serial *uart, uint8_t byte)
{
	if (console_put(uart->con, byte))
		uart->full_since = 0;
	else
		console_drop(uart->con, byte);
	uart->thr_pending = false;
	uart->thr_full = true;
	tx_settle(uart);
}

/* ---- receiver ---- */

static unsigned rx_capacity(const struct serial *uart)
{
	return uart->fcr & UART_FCR_ENABLE_FIFO ? SERIAL_FIFO : 1;
}

static bool rx_push(struct serial *uart, uint8_t byte, bool with_break)
{
	const unsigned at = (uart->rx_head + uart->rx_count) % SERIAL_FIFO;

	if (uart->rx_count >= rx_capacity(uart))
		return false;
	uart->rx[at] = byte;
	uart->rx_break &= ~(1ULL << at);
	uart->rx_break |= (uint64_t)with_break << at;
	uart->rx_count++;
	return true;
}

/* Tells main that input is welcome again; at half a FIFO, not for every byte. */
static void rx_space(struct serial *uart)
{
	const uint64_t one = 1;

	if (!uart->rx_starved || loopback(uart) || uart->rx_count > rx_capacity(uart) / 2)
		return;
	uart->rx_starved = false;
	if (write(uart->space_fd, &one, sizeof(one)) < 0)
		return; /* the counter is full: main knows */
}

static uint8_t rx_pop(struct serial *uart)
{
	uint8_t byte;

	if (!uart->rx_count)
		return 0;
	byte = uart->rx[uart->rx_head];
	uart->rx_break &= ~(1ULL << uart->rx_head);
	uart->rx_head = (uart->rx_head + 1) % SERIAL_FIFO;
	uart->rx_count--;
	if (at_break(uart))
		interrupt(uart, UART_IER_RLSI);
	rx_space(uart);
	return byte;
}

static void rx_clear(struct serial *uart)
{
	uart->rx_count = 0;
	uart->rx_break = 0;
	rx_space(uart);
}

static void loopback_byte(struct serial *uart, uint8_t byte)
{
	if (rx_push(uart, byte, false)) {
		interrupt(uart, UART_IER_RDI);
	} else {
		uart->overrun = true;
		interrupt(uart, UART_IER_RLSI);
	}
	uart->thr_pending = false;
	thr_emptied(uart);
}

/* ---- registers ---- */

/* Bits 4-7 of the modem status: in loopback MCR's own outputs, crossed over as on the chip. */
static uint8_t modem_lines(const struct serial *uart)
{
	uint8_t lines = 0;

	if (!loopback(uart))
		return MODEM_UP;
	if (uart->mcr & UART_MCR_RTS)
		lines |= UART_MSR_CTS;
	if (uart->mcr & UART_MCR_DTR)
		lines |= UART_MSR_DSR;
	if (uart->mcr & UART_MCR_OUT1)
		lines |= UART_MSR_RI;
	if (uart->mcr & UART_MCR_OUT2)
		lines |= UART_MSR_DCD;
	return lines;
}

static void write_mcr(struct serial *uart, uint8_t value)
{
	const uint8_t before = modem_lines(uart);
	uint8_t after, delta;

	uart->mcr = value & MCR_BITS;
	after = modem_lines(uart);
	delta = (before ^ after) >> 4;
	if (after & UART_MSR_RI) /* TERI: only the trailing edge of RI counts */
		delta &= ~UART_MSR_TERI;
	uart->msr_delta |= delta;
	if (delta)
		interrupt(uart, UART_IER_MSI);
	rx_space(uart);
}

static uint8_t read_msr(struct serial *uart)
{
	const uint8_t value = modem_lines(uart) | uart->msr_delta;

	uart->msr_delta = 0;
	return value;
}

/* Enabling an interrupt whose condition is there interrupts at once; enabling THRE's with an empty
 * THR is itself the condition (Linux tests for that at start-up, and relies on it). */
static void write_ier(struct serial *uart, uint8_t value)
{
	const uint8_t before = uart->ier;

	uart->ier = value & IER_BITS;
	uart->thr_signalled = false;
	if ((uart->ier & ~before & UART_IER_THRI) && !uart->thr_full)
		uart->thr_pending = true;
	if (conditions(uart) & ~before)
		irq_line_signal(&uart->irq);
	tx_settle(uart);
}

/* Highest priority first; reading acknowledges THRE and nothing else. */
static uint8_t read_iir(struct serial *uart)
{
	const uint8_t fifos = uart->fcr & UART_FCR_ENABLE_FIFO ? IIR_FIFOS : 0;
	const uint8_t set = conditions(uart);

	if (set & UART_IER_RLSI)
		return fifos | UART_IIR_RLSI;
	if (set & UART_IER_RDI)
		return fifos | UART_IIR_RDI;
	if (set & UART_IER_THRI) {
		uart->thr_pending = false;
		uart->thr_signalled = false;
		return fifos | UART_IIR_THRI;
	}
	return fifos | (set & UART_IER_MSI ? UART_IIR_MSI : UART_IIR_NO_INT);
}

/* Turning the FIFOs on or off empties them; with them off no other bit is taken. */
static void write_fcr(struct serial *uart, uint8_t value)
{
	const bool toggled = (value ^ uart->fcr) & UART_FCR_ENABLE_FIFO;

	uart->fcr = value & UART_FCR_ENABLE_FIFO ? value & ~FCR_CLEAR : 0;
	if (toggled || (uart->fcr && (value & UART_FCR_CLEAR_RCVR)))
		rx_clear(uart);
}

/* Reading clears the errors, and the interrupt they raised. */
static uint8_t read_lsr(struct serial *uart)
{
	uint8_t value = 0;

	if (uart->rx_count)
		value |= UART_LSR_DR;
	if (at_break(uart))
		value |= UART_LSR_BI;
	if (uart->overrun)
		value |= UART_LSR_OE;
	if (!uart->thr_full)
		value |= UART_LSR_THRE | UART_LSR_TEMT;
	uart->overrun = false;
	uart->rx_break &= ~(1ULL << uart->rx_head);
	return value;
}

static uint8_t read_register(struct serial *uart, unsigned reg)
{
	const bool dlab = uart->lcr & UART_LCR_DLAB;

	tx_settle(uart);
	switch (reg) {
	case UART_RX:
		return dlab ? uart->dll : rx_pop(uart);
	case UART_IER:
		return dlab ? uart->dlm : uart->ier;
	case UART_IIR:
		return read_iir(uart);
	case UART_LCR:
		return uart->lcr;
	case UART_MCR:
		return uart->mcr;
	case UART_LSR:
		return read_lsr(uart);
	case UART_MSR:
		return read_msr(uart);
	default:
		return uart->scr;
	}
}

static void write_divisor(struct serial *uart, unsigned reg, uint8_t value)
{
	if (reg == UART_DLL)
		uart->dll = value;
	else
		uart->dlm = value;
}

static void write_register(struct serial *uart, unsigned reg, uint8_t value)
{
	if (reg <= UART_DLM && (uart->lcr & UART_LCR_DLAB)) {
		write_divisor(uart, reg, value);
		return;
	}
	switch (reg) {
	case UART_TX:
		if (loopback(uart))
			loopback_byte(uart, value);
		else
			tx_byte(uart, value);
		break;
	case UART_IER:
		write_ier(uart, value);
		break;
	case UART_FCR:
		write_fcr(uart, value);
		break;
	case UART_LCR:
		uart->lcr = value;
		break;
	case UART_MCR:
		write_mcr(uart, value);
		break;
	case UART_SCR:
		uart->scr = value;
		break;
	default: /* line and modem status: factory test only */
		break;
	}
}

/* ---- the bus ---- */

/* Wider accesses are what the ISA bus makes of them for an 8-bit card: byte after byte. */
static void serial_read(void *opaque, uint64_t off, void *data, unsigned len)
{
	struct serial *uart = opaque;
	uint8_t *byte = data;

	pthread_mutex_lock(&uart->lock);
	for (unsigned i = 0; i < len; i++)
		byte[i] = read_register(uart, (off + i) % SERIAL_PORTS);
	pthread_mutex_unlock(&uart->lock);
}

static void serial_write(void *opaque, uint64_t off, const void *data, unsigned len)
{
	struct serial *uart = opaque;
	const uint8_t *byte = data;

	pthread_mutex_lock(&uart->lock);
	for (unsigned i = 0; i < len; i++)
		write_register(uart, (off + i) % SERIAL_PORTS, byte[i]);
	pthread_mutex_unlock(&uart->lock);
}

static const struct bus_ops serial_ops = { .read = serial_read, .write = serial_write };

int serial_init(struct serial *uart, struct bus *pio, uint64_t port, struct irq_line irq,
		struct console *con, struct error *err)
{
	int ret;

	memset(uart, 0, sizeof(*uart));
	uart->irq = irq;
	uart->con = con;
	uart->dll = DIVISOR_9600;
	uart->space_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (uart->space_fd < 0)
		return error_set(err, errno, "serial port: cannot create an eventfd");
	pthread_mutex_init(&uart->lock, NULL);
	ret = bus_add(pio, "serial", port, SERIAL_PORTS, &serial_ops, uart, err);
	if (ret)
		serial_destroy(uart);
	return ret;
}

void serial_destroy(struct serial *uart)
{
	close(uart->space_fd);
	uart->space_fd = -1;
	pthread_mutex_destroy(&uart->lock);
}

/* In loopback the line is cut off from the receiver, so that input waits. */
unsigned serial_input(struct serial *uart, const uint8_t *data, unsigned len)
{
	unsigned taken = 0;
	uint64_t count;

	pthread_mutex_lock(&uart->lock);
	if (read(uart->space_fd, &count, sizeof(count)) < 0)
		count = 0; /* nothing was said */
	while (taken < len && !loopback(uart) && rx_push(uart, data[taken], false))
		taken++;
	uart->rx_starved = taken < len;
	if (taken)
		interrupt(uart, UART_IER_RDI);
	pthread_mutex_unlock(&uart->lock);
	return taken;
}

bool serial_break(struct serial *uart)
{
	bool sent;

	pthread_mutex_lock(&uart->lock);
	sent = !loopback(uart) && rx_push(uart, 0, true);
	if (sent)
		interrupt(uart, UART_IER_RDI | UART_IER_RLSI);
	pthread_mutex_unlock(&uart->lock);
	return sent;
}

void serial_tick(struct serial *uart)
{
	pthread_mutex_lock(&uart->lock);
	tx_settle(uart);
	pthread_mutex_unlock(&uart->lock);
}
