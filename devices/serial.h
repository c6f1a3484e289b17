/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An 8250/16550A UART at a port, as Linux and firmware expect it: FIFOs, interrupts, loopback,
 * modem lines always up.
 *
 * Output goes to a console; when its ring is full THRE stays clear for at most a second, then bytes
 * are dropped and counted: a vCPU never hangs on a blocked pipe. Input is offered by main and taken
 * only as far as the receive FIFO has room.
 */
#ifndef MVMM_SERIAL_H
#define MVMM_SERIAL_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "devices/console.h"
#include "vmm/bus.h"
#include "vmm/irq.h"

#define SERIAL_FIFO 64 /* bytes; a 16550A has 16, but nothing counts on it being full */

struct serial {
	pthread_mutex_t lock;
	struct irq_line irq;
	struct console *con;
	int space_fd; /* eventfd: the receive FIFO has room again; main polls it. Owned. */
	uint8_t rx[SERIAL_FIFO];
	unsigned rx_head, rx_count;
	uint8_t ier, lcr, mcr, scr, fcr, dll, dlm;
	bool thr_pending; /* the THRE interrupt condition is set */
	bool overrun;
	uint64_t full_since; /* CLOCK_MONOTONIC ns since the console is full, 0: it is not */
};

int serial_init(struct serial *uart, struct bus *pio, uint64_t port, struct irq_line irq,
		struct console *con, struct error *err);
void serial_destroy(struct serial *uart);

/* Main: offers input, returns how many bytes were taken (0: FIFO full, wait for space_fd). */
unsigned serial_input(struct serial *uart, const uint8_t *data, unsigned len);

#endif
