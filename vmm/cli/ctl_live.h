/* SPDX-License-Identifier: Apache-2.0 */
/* A mirror or a backup that is followed on a terminal, in one line that changes. */
#ifndef MVMM_CLI_CTL_LIVE_H
#define MVMM_CLI_CTL_LIVE_H

#include "vmm/cli/ctl.h"
#include "vmm/cli/ctl_http.h"
#include "vmm/error.h"

/* What is shown on a terminal while it takes its time. */
enum ctl_follow {
	CTL_FOLLOW_NOTHING,
	CTL_FOLLOW_ANSWER, /* the job, until the answer is there */
	CTL_FOLLOW_ON,	   /* and then on, until there is nothing to see */
};

enum ctl_follow ctl_follows(const struct ctl_verb *verb);

/*
 * Makes the request of `wish`, showing meanwhile how far the job is; a verb that starts one is
 * followed until it is ready or has ended. Returns and fills as ctl_request() does; where the job then
 * failed or was cancelled, *answer says so with a status of 500 or 409.
 */
int ctl_live(const char *path, const struct ctl_wish *wish, const char *body, unsigned timeout_ms,
	     struct ctl_answer *answer, struct error *err);

#endif
