/* SPDX-License-Identifier: Apache-2.0 */
/* What is said between broker.c and broker_process.c: packets of one request, one answer. */
#ifndef MVMM_CLI_BROKER_WIRE_H
#define MVMM_CLI_BROKER_WIRE_H

#include <limits.h>
#include <stdint.h>

struct broker_request {
	uint64_t number; /* comes back: an answer may be to somebody who is no more */
	int32_t flags;	 /* of open(2) */
	char path[PATH_MAX];
};

/* With a descriptor where `result` is 0. The first one answers nobody: the broker is in its sandbox, or
 * cannot be. */
struct broker_answer {
	uint64_t number;
	int32_t result; /* 0 or -errno */
	uint32_t kind;	/* S_IFMT bits of what is neither file nor block device */
};

struct broker_config;

/* The broker's life, on its end of the socket. */
_Noreturn void broker_run(int fd, const struct broker_config *config);

#endif
