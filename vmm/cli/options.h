/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Long options from a table. One table per subcommand drives getopt_long, writes --help, and is
 * what the tests hold the man page and the bash completion to.
 */
#ifndef MVMM_CLI_OPTIONS_H
#define MVMM_CLI_OPTIONS_H

#include <stdio.h>

#include "vmm/error.h"

struct option_spec {
	const char *name; /* without the dashes */
	const char *arg;  /* how --help names the argument; NULL: takes none; "[=X]": optional */
	const char *help; /* may have several lines */
	/* Stores the value (NULL when none was given). -EINVAL or -ENOMEM with a message. */
	int (*set)(void *into, const char *value, struct error *err);
};

struct command_spec {
	const char *name;
	const char *synopsis;		   /* what follows "mvmm NAME" */
	const char *summary;		   /* one line */
	const struct option_spec *options; /* the end has no name; --help is added to every table */
	const char *epilogue;		   /* after the options; may be NULL */
};

#define OPTIONS_HELP 1 /* --help was given: print it and end well */

/*
 * argv[0] is the subcommand. Options have to be spelled out: an abbreviation that works today would
 * become ambiguous with the next version. 0, OPTIONS_HELP, or -errno with a message that names the
 * option, the value and what is allowed. Resets getopt's own state first.
 */
int options_parse(const struct command_spec *cmd, int argc, char **argv, void *into,
		  struct error *err);

void options_print_help(const struct command_spec *cmd, FILE *out);

/* For setters: "--NAME 'VALUE': ALLOWED", returns -EINVAL. */
int option_invalid(struct error *err, const char *name, const char *value, const char *allowed);

#endif
