/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the guest's serial bytes go: a ring of 64 KiB between the vCPUs and a thread of its own
 * ("console") that alone calls the blocking write(2), so that a stopped terminal or a full pipe
 * never stops a vCPU or main. Also looks for the panic message on the way.
 */
#ifndef MVMM_CONSOLE_H
#define MVMM_CONSOLE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmm/error.h"

#define CONSOLE_RING 65536

struct console {
	int fd;	  /* borrowed; -1: bytes are matched and thrown away */
	int wake; /* eventfd: the ring has bytes, or stop */
	pthread_t thread;
	bool running;
	_Atomic bool stop;
	_Atomic bool broken; /* write failed for good (EPIPE, ENOSPC): what follows is dropped */
	_Atomic uint32_t head; /* written by the producer (under the UART's lock) */
	_Atomic uint32_t tail; /* written by the console thread */
	_Atomic uint64_t dropped; /* bytes */
	const char *match;	/* NULL: do not look */
	size_t matched;
	void (*on_match)(void *opaque); /* called once, on the vCPU's thread */
	void *opaque;
	uint8_t ring[CONSOLE_RING];
};

/* `fd` stays the caller's and stays blocking. `match` is borrowed. Main. */
int console_start(struct console *con, int fd, const char *match, void (*on_match)(void *opaque),
		  void *opaque, struct error *err);

/* Producer (one at a time): false when the ring is full, nothing taken then. */
bool console_put(struct console *con, uint8_t byte);
bool console_full(const struct console *con);
void console_drop(struct console *con); /* counts one dropped byte */

/* Main, vCPUs stopped: waits at most `timeout_ms` for the ring to drain, then ends the thread; one
 * stuck in write(2) is left to die with the process. Returns the bytes dropped or never written. */
uint64_t console_stop(struct console *con, int timeout_ms);

#endif
