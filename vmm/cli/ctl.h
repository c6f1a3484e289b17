/* SPDX-License-Identifier: Apache-2.0 */
/* What can be said to `mvmm ctl`: one row per verb, and how words become a request. */
#ifndef MVMM_CLI_CTL_H
#define MVMM_CLI_CTL_H

#include <jansson.h>

#include "vmm/cli/api/api.h"
#include "vmm/error.h"

struct ctl_verb {
	const char *words; /* "disk show" */
	enum api_method method;
	const char *path; /* of a route; {id} is the word that follows */
	/* The member of the body that KEY=VALUE go into, or whose value is a word alone; NULL: KEY=VALUE
	 * go into the body itself. */
	const char *within;
	const char *keys; /* KEY=VALUE, as --help shows them; NULL: there are none */
	const char *help;
	const char *done; /* printed where the answer has nothing to say */
};

/* Ends with one without words. ctl_verbs.c. */
extern const struct ctl_verb ctl_verbs[];

struct ctl_wish {
	const struct ctl_verb *verb;
	char target[512]; /* "/disks/vda?force_after_ms=100" */
	json_t *body;	  /* owned; NULL: none */
};

/* The words after the socket's path. -EINVAL with a message. */
int ctl_parse(int argc, char **argv, struct ctl_wish *wish, struct error *err);

#endif
