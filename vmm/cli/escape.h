/* SPDX-License-Identifier: Apache-2.0 */
/* The keys that talk to mvmm instead of the guest: Ctrl-A and a letter, as in QEMU and screen. */
#ifndef MVMM_CLI_ESCAPE_H
#define MVMM_CLI_ESCAPE_H

#include <stdbool.h>
#include <stdint.h>

#define ESCAPE_KEY 0x01 /* Ctrl-A */

/* Zero-initialised. */
struct escape {
	bool prefix; /* the last byte was Ctrl-A */
};

enum escape_action {
	ESCAPE_NONE,
	ESCAPE_QUIT,   /* Ctrl-A x */
	ESCAPE_STATUS, /* Ctrl-A c */
	ESCAPE_HELP,   /* Ctrl-A h, Ctrl-A ? */
	ESCAPE_BREAK,  /* Ctrl-A b */
};

/*
 * Takes one byte from the user. *nout is how many bytes of *out (0 or 1) go to the guest; the
 * return value is what mvmm itself has to do. Never both.
 */
enum escape_action escape_feed(struct escape *esc, uint8_t byte, uint8_t *out, unsigned *nout);

/* What Ctrl-A h prints: lines ending in '\n'. */
const char *escape_help(void);

#endif
