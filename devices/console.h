/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the guest's serial bytes go: a ring of 64 KiB between the vCPUs and a thread of its own
 * ("console") that alone calls write(2) and waits for a reader, so that a stopped terminal or a full pipe
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
#include "vmm/irq.h"
#include "vmm/thread_hook.h"

#define CONSOLE_RING 65536

struct console {
	int fd;	   /* borrowed; -1: bytes are matched and thrown away, there is no thread */
	int wake;  /* eventfd: the ring has bytes, or stop */
	int ended; /* eventfd: the thread is about to return */
	pthread_t thread;
	struct thread_hook hook;
	bool running;
	_Atomic bool stop; /* main: end once the ring is empty */
	_Atomic bool
		abandoned;    /* main gave up waiting: touch nothing outside this struct any more */
	_Atomic bool asleep;  /* the thread wants `wake` written */
	_Atomic bool writing; /* the thread is inside write(2) */
	_Atomic bool broken;  /* write failed for good (EPIPE, ENOSPC): what follows is dropped */
	_Atomic uint32_t head;	  /* written by the producer (under the UART's lock) */
	_Atomic uint32_t tail;	  /* written by the console thread */
	_Atomic uint64_t dropped; /* bytes */
	_Atomic(const struct irq_line *)
		want_space; /* signalled once when bytes have left the ring */
	const char *match;  /* NULL: do not look, or found already; the producer's */
	size_t matched;
	void (*on_match)(void *opaque); /* called once, on the vCPU's thread */
	void *opaque;
	uint8_t ring[CONSOLE_RING]; /* last, and touched only as far as it is used */
};

/* `fd` stays the caller's and as it is. `match` is borrowed. `hook` NULL: none. Main. */
int console_start(struct console *con, int fd, const char *match, void (*on_match)(void *opaque),
		  void *opaque, const struct thread_hook *hook, struct error *err);

/* Producer (one at a time): false when the ring is full, nothing taken then. */
bool console_put(struct console *con, uint8_t byte);
bool console_full(const struct console *con);

/* Producer: `byte` is lost and counted; a match sees it all the same, so that the panic of a guest
 * whose reader has stopped is noticed. */
void console_drop(struct console *con, uint8_t byte);

/*
 * Producer, ring full: `line` is signalled once by the console thread after it has made room; the
 * line must stay valid until console_stop(). False when there is room already: do not wait (a
 * signal may come nevertheless).
 */
bool console_want_space(struct console *con, const struct irq_line *line);

/*
 * Main, vCPUs stopped: waits at most `timeout_ms` for the ring to drain, then ends the thread; one
 * stuck in write(2) is left to die with the process, and `con` must stay where it is till then.
 * Returns the bytes dropped or never written.
 */
uint64_t console_stop(struct console *con, int timeout_ms);

#endif
