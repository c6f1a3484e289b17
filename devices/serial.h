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

#define SERIAL_FIFO    64 /* bytes; a 16550A has 16, but nothing counts on it being full */
#define SERIAL_FULL_NS 1000000000ULL /* how long a full console may hold the guest up */

struct serial {
	pthread_mutex_t lock;
	struct irq_line irq;
	struct console *con;
	int space_fd; /* eventfd: the receive FIFO has room again; main polls it. Owned. */
	uint8_t rx[SERIAL_FIFO];
	uint64_t rx_break; /* bit i: rx[i] came with a break */
	unsigned rx_head, rx_count;
	uint8_t ier, lcr, mcr, scr, fcr, dll, dlm;
	uint8_t msr_delta; /* bits 0-3 of the modem status: what changed since the last read */
	bool overrun;
	bool rx_starved;     /* the last input was not taken whole: space_fd is due */
	bool thr_full;	     /* a byte was written and the console has had no room since */
	bool thr_pending;    /* the THRE interrupt condition is set */
	bool thr_signalled;  /* by a written byte, and not acknowledged since */
	uint64_t full_since; /* CLOCK_MONOTONIC ns since the console is full, 0: it is not */
};

int serial_init(struct serial *uart, struct bus *pio, uint64_t port, struct irq_line irq,
		struct console *con, struct error *err);
void serial_destroy(struct serial *uart);

/*
 * Main: offers input, returns how many bytes were taken (0: FIFO full, wait for space_fd). A call
 * also takes back what space_fd said before.
 */
unsigned serial_input(struct serial *uart, const uint8_t *data, unsigned len);

/* Main: a break condition on the line (Linux: magic SysRq). False: no room, nothing sent. */
bool serial_break(struct serial *uart);

/*
 * Main, about once a second: gives a guest that waits for the THRE interrupt its interrupt when the
 * console has been full for too long. (Where the console gets room, its thread interrupts.)
 */
void serial_tick(struct serial *uart);

#endif
