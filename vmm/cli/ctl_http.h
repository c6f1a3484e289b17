/* SPDX-License-Identifier: Apache-2.0 */
/* One HTTP request to a control socket, and its answer. */
#ifndef MVMM_CLI_CTL_HTTP_H
#define MVMM_CLI_CTL_HTTP_H

#include <stddef.h>

#include "vmm/error.h"

struct ctl_answer {
	int status;
	char *body; /* owned, with a NUL behind it; perhaps empty */
	size_t len;
};

/*
 * `body` NULL: none. -errno with a message where nobody answers: no such socket (-ENOENT), nobody
 * behind it (-ECONNREFUSED), the VM ends meanwhile (-ECONNRESET), nothing comes in time (-ETIMEDOUT,
 * `timeout_ms` 0: wait for ever).
 */
int ctl_request(const char *path, const char *method, const char *target, const char *body,
		unsigned timeout_ms, struct ctl_answer *answer, struct error *err);

#endif
