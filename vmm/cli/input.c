/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Moves bytes from the user to the UART. Main only, from its poll loop; one read(2) per wake-up and
 * never one that could block. Must not know why the VM ends.
 *
 * All that was read is parsed at once, so that Ctrl-A x works while the guest reads nothing; what
 * is for the guest waits in `pending`, and no more is read until it is gone.
 */
#include "vmm/cli/input.h"

#include <errno.h>
#include <unistd.h>

void input_init(struct input *in, int fd, const struct terminal *term, struct serial *uart,
		void (*on_escape)(void *opaque, enum escape_action action), void *opaque)
{
	*in = (struct input){
		.fd = fd, .term = term, .uart = uart, .on_escape = on_escape, .opaque = opaque
	};
}

int input_poll_fd(const struct input *in)
{
	return in->count || !terminal_readable(in->term) ? -1 : in->fd;
}

void input_flush(struct input *in)
{
	const unsigned taken = serial_input(in->uart, in->pending + in->head, in->count);

	in->head += taken;
	in->count -= taken;
	if (!in->count)
		in->head = 0;
}

/* A break overtakes input the guest has not read: it is there to get through to a hung one. */
static void act(struct input *in, enum escape_action action)
{
	if (action == ESCAPE_BREAK)
		serial_break(in->uart);
	else if (action != ESCAPE_NONE)
		in->on_escape(in->opaque, action);
}

/* The bytes for the guest move to the front of the buffer they were read into. */
static void parse(struct input *in, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		uint8_t byte = in->pending[i];
		unsigned sent;

		act(in, escape_feed(&in->escape, byte, &byte, &sent));
		if (sent)
			in->pending[in->count++] = byte;
	}
}

void input_read(struct input *in)
{
	ssize_t n;

	if (input_poll_fd(in) < 0)
		return;
	n = read(in->fd, in->pending, sizeof(in->pending));
	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return;
	/* The end, for good; but a terminal that fails because it just went to another job does not
	 * count. */
	if (n <= 0) {
		if (!n || terminal_readable(in->term))
			in->fd = -1;
		return;
	}
	parse(in, n);
	if (in->count)
		input_flush(in);
}
