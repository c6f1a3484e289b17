/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tells keys for mvmm from keys for the guest. Pure functions on one struct; any thread. Must not
 * know what the actions do.
 */
#include "vmm/cli/escape.h"

static enum escape_action action_of(uint8_t key)
{
	switch (key) {
	case 'x':
		return ESCAPE_QUIT;
	case 'c':
		return ESCAPE_STATUS;
	case 'h':
	case '?':
		return ESCAPE_HELP;
	case 'b':
		return ESCAPE_BREAK;
	default: /* a slip of the finger: nobody gets it, as in QEMU */
		return ESCAPE_NONE;
	}
}

enum escape_action escape_feed(struct escape *esc, uint8_t byte, uint8_t *out, unsigned *nout)
{
	const bool prefixed = esc->prefix;

	*nout = 0;
	esc->prefix = !prefixed && byte == ESCAPE_KEY;
	if (esc->prefix)
		return ESCAPE_NONE;
	if (prefixed && byte != ESCAPE_KEY)
		return action_of(byte);
	*out = byte;
	*nout = 1;
	return ESCAPE_NONE;
}

const char *escape_help(void)
{
	return "Ctrl-A h       this help\n"
	       "Ctrl-A x       end the VM\n"
	       "Ctrl-A c       status (there is no monitor to switch to)\n"
	       "Ctrl-A b       send a break (Linux: magic SysRq)\n"
	       "Ctrl-A Ctrl-A  send Ctrl-A\n";
}
