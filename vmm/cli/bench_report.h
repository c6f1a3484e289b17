/* SPDX-License-Identifier: Apache-2.0 */
/* What the guest of `mvmm bench` says on its console (guest/bench/report.c), and how we say it. */
#ifndef MVMM_CLI_BENCH_REPORT_H
#define MVMM_CLI_BENCH_REPORT_H

#include <stdint.h>
#include <stdio.h>

#include "vmm/cli/bench_options.h"
#include "vmm/error.h"

/* The guest's view of a disk or of all. Latencies in ns. */
struct bench_line {
	uint64_t depth, ios, errors, kicks, irqs, passes;
	uint64_t mean, p50, p99, p999, max;
};

/* The dataplane's, warm-up included: good for ratios. */
struct bench_engine {
	uint64_t requests, batches, submits, sleeps, kicks, interrupts;
};

struct bench_report {
	uint64_t us; /* measured */
	unsigned ndisks;
	struct bench_line disk[BENCH_MAX_DISKS], total;
	struct bench_engine engine[BENCH_MAX_DISKS], engines;
	const char *hist; /* "NS:COUNT NS:COUNT ...\n", in the text parsed */
};

/* -EPROTO with the guest's own words in the message, where it says that it failed, or says nothing
 * that makes sense. Leaves the engines alone. */
int bench_report_parse(const char *text, unsigned ndisks, struct bench_report *r,
		       struct error *err);

void bench_report_table(const struct bench_report *r, const struct bench_options *opt, FILE *out);
void bench_report_json(const struct bench_report *r, const struct bench_options *opt, FILE *out);

#endif
