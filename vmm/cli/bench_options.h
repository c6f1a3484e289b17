/* SPDX-License-Identifier: Apache-2.0 */
/* What the user asked of `mvmm bench`. */
#ifndef MVMM_CLI_BENCH_OPTIONS_H
#define MVMM_CLI_BENCH_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "vmm/cli/options.h"
#include "vmm/cli/run_options.h"
#include "vmm/error.h"

#define BENCH_MAX_DISKS 16 /* that the guest can drive */
#define BENCH_MAX_CPUS	16

struct bench_options {
	struct run_options run; /* first: its setters are used; the kernel is left to bench.c */
	const char *rw;
	const char *complete;
	uint32_t bs;	/* bytes */
	unsigned depth; /* of each disk and queue */
	uint64_t time_ms;
	bool json;
};

/* As run_options_parse() and run_options_free(). */
int bench_options_parse(int argc, char **argv, struct bench_options *opt, struct error *err);
void bench_options_free(struct bench_options *opt);

/* The guest's command line; the caller frees it. NULL: out of memory. */
char *bench_cmdline(const struct bench_options *opt);

#endif
