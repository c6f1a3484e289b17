/* SPDX-License-Identifier: Apache-2.0 */
/* A UART on a bus with a console into a pipe, which may be full and have no reader. */
#ifndef MVMM_TESTS_SERIAL_RIG_H
#define MVMM_TESTS_SERIAL_RIG_H

#include <errno.h>
#include <fcntl.h>
#include <linux/serial_reg.h>
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
#include <unistd.h>

#include <cmocka.h>

#include "devices/serial.h"

#define PORT	    0x3f8
#define PATIENCE_MS 10000
#define PIPE_BYTES  4096
#define EMPTY	    (UART_LSR_THRE | UART_LSR_TEMT)

struct fixture {
	struct bus pio;
	struct irq_line irq;
	struct serial uart;
	int fd[2];
	struct console con;
};

static inline int start(void **state, bool pipe_full)
{
	struct fixture *f = malloc(sizeof(*f));
	const char junk[PIPE_BYTES] = { 0 };

	if (!f || pipe(f->fd))
		return -1;
	if (pipe_full && (fcntl(f->fd[1], F_SETPIPE_SZ, PIPE_BYTES) < 0 ||
			  write(f->fd[1], junk, sizeof(junk)) < 0))
		return -1;
	memset(&f->pio, 0, sizeof(f->pio));
	f->irq = (struct irq_line){ .fd = eventfd(0, EFD_NONBLOCK) };
	*state = f;
	return console_start(&f->con, f->fd[1], NULL, NULL, NULL, NULL, NULL) ||
	       serial_init(&f->uart, &f->pio, PORT, f->irq, &f->con, NULL);
}

static inline int setup(void **state)
{
	return start(state, false);
}

/* Nobody reads, and the console's thread is stuck at its first byte. */
static inline int setup_blocked(void **state)
{
	return start(state, true);
}

static inline int teardown(void **state)
{
	struct fixture *f = *state;

	close(f->fd[0]); /* lets a stuck thread go */
	console_stop(&f->con, PATIENCE_MS);
	close(f->fd[1]);
	serial_destroy(&f->uart);
	close(f->irq.fd);
	free(f);
	return 0;
}

static inline uint8_t in(struct fixture *f, unsigned reg)
{
	uint8_t value;

	bus_read(&f->pio, PORT + reg, &value, 1);
	return value;
}

static inline void out(struct fixture *f, unsigned reg, uint8_t value)
{
	bus_write(&f->pio, PORT + reg, &value, 1);
}

/* Pulses since the last question. */
static inline unsigned pulses(struct fixture *f)
{
	uint64_t count;

	return read(f->irq.fd, &count, sizeof(count)) < 0 ? 0 : count;
}

static inline bool readable(int fd, int timeout_ms)
{
	struct pollfd pfd = { .fd = fd, .events = POLLIN };

	return poll(&pfd, 1, timeout_ms) == 1;
}

static inline uint8_t iir(struct fixture *f)
{
	return in(f, UART_IIR) & 0x0f;
}

static inline unsigned offer(struct fixture *f, const char *text)
{
	return serial_input(&f->uart, (const uint8_t *)text, strlen(text));
}

static inline void fifo_on(struct fixture *f)
{
	out(f, UART_FCR, UART_FCR_ENABLE_FIFO);
}

#define TEST(name)    cmocka_unit_test_setup_teardown(name, setup, teardown)
#define BLOCKED(name) cmocka_unit_test_setup_teardown(name, setup_blocked, teardown)

#endif
