/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From the user to the guest's serial port: reads stdin, whatever it is, takes the Ctrl-A keys out
 * of it, and waits where the guest does not read.
 *
 * Main's poll loop:
 *
 *	pfd[0] = { input_poll_fd(in), POLLIN };			-1 is skipped by poll(2)
 *	pfd[1] = { in->uart->space_fd, POLLIN };
 *	...
 *	if (pfd[0].revents)
 *		input_read(in);
 *	if (pfd[1].revents)
 *		input_flush(in);
 */
#ifndef MVMM_CLI_INPUT_H
#define MVMM_CLI_INPUT_H

#include <stdbool.h>
#include <stdint.h>

#include "devices/serial.h"
#include "vmm/cli/escape.h"
#include "vmm/cli/terminal.h"

#define INPUT_CHUNK 256

struct input {
	int fd; /* borrowed; -1: none, or at its end */
	const struct terminal *term;
	struct serial *uart;
	void (*on_escape)(void *opaque,
			  enum escape_action action); /* never ESCAPE_NONE or _BREAK */
	void *opaque;
	struct escape escape;
	uint8_t pending[INPUT_CHUNK]; /* read and not taken by the UART yet */
	unsigned head, count;
};

/* `fd` -1: no input. Everything is borrowed. */
void input_init(struct input *in, int fd, const struct terminal *term, struct serial *uart,
		void (*on_escape)(void *opaque, enum escape_action action), void *opaque);

/* What to poll for POLLIN just now: -1 at end of file, while the guest has not taken what was read,
 * and while the terminal is another job's. Cheap; ask before every poll. */
int input_poll_fd(const struct input *in);

/* The descriptor is readable (or hung up): one read(2). */
void input_read(struct input *in);

/* The UART has room again. */
void input_flush(struct input *in);

#endif
