/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The options of `mvmm bench`, and the machine they ask for: what guest/bench/main.c is told and
 * how much memory it needs. Main; looks at no file and no device.
 */
#include "vmm/cli/bench_options.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/cli/commands.h"
#include "vmm/cli/number.h"

#define MAX_BS	   (1 << 20)
#define MAX_DEPTH  256
#define MAX_MEMORY (3ULL << 30) /* the guest uses what is below the hole only */
#define MIB	   (1ULL << 20)
#define GUEST_MIB  32
#define QUEUE_MIB  2

static bool is_one_of(const char *value, const char *const *words)
{
	for (; *words; words++)
		if (!strcmp(value, *words))
			return true;
	return false;
}

static int set_rw(void *into, const char *value, struct error *err)
{
	static const char *const words[] = { "randread", "randwrite", "randrw",
					     "read",	 "write",     NULL };

	if (!is_one_of(value, words))
		return option_invalid(err, "rw", value,
				      "allowed: randread, randwrite, randrw, read, write");
	((struct bench_options *)into)->rw = value;
	return 0;
}

/* Bytes, or K or M of them: unlike a --memory without a unit. */
static int set_bs(void *into, const char *value, struct error *err)
{
	uint64_t n;

	if ((number_parse(value, 512, MAX_BS, &n) && number_parse_size(value, &n)) || n < 512 ||
	    n > MAX_BS || n % 512)
		return option_invalid(err, "bs", value, "not a multiple of 512 up to 1M");
	((struct bench_options *)into)->bs = n;
	return 0;
}

static int set_depth(void *into, const char *value, struct error *err)
{
	uint64_t n;

	if (number_parse(value, 1, MAX_DEPTH, &n))
		return option_invalid(err, "depth", value, "not a number from 1 to 256");
	((struct bench_options *)into)->depth = n;
	return 0;
}

static int set_time(void *into, const char *value, struct error *err)
{
	struct bench_options *opt = into;

	if (number_parse_seconds(value, &opt->time_ms) || opt->time_ms > 3600 * 1000)
		return option_invalid(err, "time", value,
				      "not a number of seconds above 0, up to 3600");
	return 0;
}

static int set_complete(void *into, const char *value, struct error *err)
{
	static const char *const words[] = { "irq", "busy", "poll", NULL };

	if (!is_one_of(value, words))
		return option_invalid(err, "complete", value, "allowed: irq, busy, poll");
	((struct bench_options *)into)->complete = value;
	return 0;
}

static int set_json(void *into, const char *value, struct error *err)
{
	((struct bench_options *)into)->json = true;
	return 0;
}

static const struct option_spec bench_options[] = {
	{ "disk", "PATH[,KEY=VALUE...]",
	  "as for mvmm run; repeatable; writes overwrite its content", run_set_disk },
	{ "rw", "PATTERN", "randread (default), randwrite, randrw, read, write", set_rw },
	{ "bs", "SIZE", "bytes of a request, with K or M; default 4K", set_bs },
	{ "depth", "N", "requests in flight on each disk, 1 to 256; default 32", set_depth },
	{ "time", "SECONDS", "how long to measure, after 0.3 s of warm-up; default 5", set_time },
	{ "complete", "irq|busy|poll",
	  "the guest learns of completions by interrupts and\n"
	  "sleeps till then (default), by interrupts while it\n"
	  "stays awake, or by looking",
	  set_complete },
	{ "transport", "pci|mmio", RUN_HELP_TRANSPORT, run_set_transport },
	{ "mmio-isr", "page|exit", RUN_HELP_MMIO_ISR, run_set_mmio_isr },
	{ "cpus", "N", "vCPUs that share the disks; default 1, at most 16", run_set_cpus },
	{ "vcpu-affinity", "CPU[,CPU...]", RUN_HELP_AFFINITY, run_set_affinity },
	{ "json", NULL, "one line of JSON instead of a table", set_json },
	{ "sandbox", "on|off|strict", RUN_HELP_SANDBOX, run_set_sandbox },
	{ "verbose", NULL, "say more on stderr", run_set_verbose },
	{ NULL, NULL, NULL, NULL },
};

const struct command_spec bench_command = {
	.name = "bench",
	.synopsis = "--disk FILE [options]",
	.summary = "Measures disks under a small guest of its own, on any KVM.",
	.options = bench_options,
	.epilogue =
		"Exit status: 0 measured, 1 host or set-up error or failed requests, 2 usage.\n",
};

/* A queue for each vCPU at least, so that all have something to do. */
static unsigned count_queues(const struct bench_options *opt)
{
	unsigned each = (opt->run.cpus + opt->run.ndisks - 1) / opt->run.ndisks;

	return each * opt->run.ndisks;
}

static int check_together(struct bench_options *opt, struct error *err)
{
	struct run_options *run = &opt->run;

	if (!run->ndisks)
		return error_setx(err, EINVAL, "--disk FILE is required (see: mvmm bench --help)");
	if (run->ndisks > BENCH_MAX_DISKS)
		return error_setx(err, EINVAL, "--disk: at most %u disks", BENCH_MAX_DISKS);
	if (run->cpus > BENCH_MAX_CPUS)
		return error_setx(err, EINVAL, "--cpus %u: at most %u", run->cpus, BENCH_MAX_CPUS);
	run->memory = (GUEST_MIB + count_queues(opt) * QUEUE_MIB) * MIB +
		      (uint64_t)count_queues(opt) * opt->depth * opt->bs / MIB * MIB;
	if (run->memory > MAX_MEMORY)
		return error_setx(err, EINVAL,
				  "--depth %u, --bs %u, %u disks: need more than 3G of guest "
				  "memory",
				  opt->depth, opt->bs, run->ndisks);
	if (run_check_disks(run, err))
		return -EINVAL;
	return run_check_mmio_isr(run, err);
}

/* What is only read stays as it is, whatever goes wrong; under an overlay it does anyway. */
static void protect_disks(struct bench_options *opt)
{
	for (unsigned i = 0; strstr(opt->rw, "read") && i < opt->run.ndisks; i++)
		opt->run.disk[i].readonly = !opt->run.disk[i].overlay;
}

int bench_options_parse(int argc, char **argv, struct bench_options *opt, struct error *err)
{
	int ret;

	*opt = (struct bench_options){
		.run = { .cpus = 1,
			 .result_fd = -1,
			 .panic_match = "",
			 .no_default_append = true,
			 .debug_exit = true,
			 .debug_exit_port = 0xf4 },
		.rw = "randread",
		.complete = "irq",
		.bs = 4096,
		.depth = 32,
		.time_ms = 5000,
	};
	ret = options_parse(&bench_command, argc, argv, opt, err);
	if (!ret)
		ret = check_together(opt, err);
	if (!ret)
		protect_disks(opt);
	opt->run.mmio_cmdline = opt->run.transport == TRANSPORT_MMIO;
	return ret;
}

void bench_options_free(struct bench_options *opt)
{
	run_options_free(&opt->run);
}

char *bench_cmdline(const struct bench_options *opt)
{
	char *text;

	if (asprintf(&text, "rw=%s bs=%u depth=%u complete=%s cpus=%u time=%" PRIu64, opt->rw,
		     opt->bs, opt->depth, opt->complete, opt->run.cpus, opt->time_ms) < 0)
		return NULL;
	return text;
}
