/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `mvmm bench`: boots the guest that is part of this binary (guest/bench), lets it load the disks,
 * and prints what it says together with what the disks' threads have counted. Main thread.
 *
 * The machine is that of `mvmm run`; only kernel and console are files in memory.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "virtio/blk/dataplane.h"
#include "vmm/cli/bench_options.h"
#include "vmm/cli/bench_report.h"
#include "vmm/cli/clock.h"
#include "vmm/cli/commands.h"
#include "vmm/cli/control.h"
#include "vmm/cli/ending.h"
#include "vmm/cli/launch.h"
#include "vmm/cli/machine.h"
#include "vmm/cli/process.h"
#include "vmm/cli/result.h"
#include "vmm/cli/stream.h"
#include "vmm/log.h"

#define GRACE_MS    30000 /* for all but the measuring */
#define CONSOLE_MAX (1 << 20)
#define OUTPUT_MAX  (64 << 10)

/* bench_guest.S */
extern const char bench_guest[];
extern const uint64_t bench_guest_size;

/* Not on a stack: see struct run of run.c. */
struct bench {
	struct bench_options opt;
	char kernel[32]; /* "/proc/self/fd/N" */
	char *cmdline;
	int console_fd;
	struct machine *machine;
	struct sandbox sandbox;
	struct terminal none;
	struct ending ending;
	uint64_t last_ios, last_ms; /* of the progress line */
	bool progress;		    /* one is on the terminal */
	struct bench_report *report;
	char *text;   /* what the guest has said */
	char *output; /* stdout's buffer */
};

static int write_all(int fd, const char *data, size_t len)
{
	while (len) {
		ssize_t n = write(fd, data, len);

		if (n < 0)
			return -errno;
		data += n;
		len -= n;
	}
	return 0;
}

static int open_guest(struct bench *b, struct error *err)
{
	int fd, ret;

	if (!bench_guest_size)
		return error_setx(err, ENOEXEC, "there is no benchmark guest for this processor");
	fd = memfd_create("bench-guest", MFD_CLOEXEC);
	if (fd < 0)
		return error_set(err, errno, "benchmark guest: memfd_create");
	ret = write_all(fd, bench_guest, bench_guest_size);
	if (ret) {
		close(fd);
		return error_set(err, -ret, "benchmark guest");
	}
	snprintf(b->kernel, sizeof(b->kernel), "/proc/self/fd/%d", fd);
	b->opt.run.kernel = b->kernel;
	return 0;
}

/* What is printed at the end; by then the process is in its sandbox and gets no more memory. */
static int reserve(struct bench *b, struct error *err)
{
	b->report = calloc(1, sizeof(*b->report));
	b->text = calloc(1, CONSOLE_MAX);
	b->output = malloc(OUTPUT_MAX);
	if (!b->report || !b->text || !b->output)
		return error_set(err, ENOMEM, "benchmark report");
	setvbuf(stdout, b->output, _IOFBF, OUTPUT_MAX);
	return 0;
}

static int prepare(struct bench *b, struct error *err)
{
	int ret = open_guest(b, err);

	if (ret)
		return ret;
	b->console_fd = memfd_create("bench-console", MFD_CLOEXEC);
	if (b->console_fd < 0)
		return error_set(err, errno, "benchmark console: memfd_create");
	if (reserve(b, err))
		return -ENOMEM;
	b->cmdline = bench_cmdline(&b->opt);
	if (!b->cmdline)
		return error_set(err, ENOMEM, "benchmark command line");
	b->opt.run.append = b->cmdline;
	return 0;
}

static const struct blk_stats *disk_stats(const struct bench *b, unsigned i)
{
	return blk_dataplane_stats(b->machine->disk[i]->blk.dataplane);
}

static uint64_t get(const _Atomic uint64_t *counter)
{
	return atomic_load_explicit(counter, memory_order_relaxed);
}

static uint64_t disk_ios(const struct bench *b, unsigned i)
{
	const struct blk_stats *s = disk_stats(b, i);

	return get(&s->requests[BLK_OP_READ]) + get(&s->requests[BLK_OP_WRITE]);
}

/* The guest is not asked: it has better things to do. */
static void show_progress(void *opaque)
{
	struct bench *b = opaque;
	uint64_t ios = 0, ms = clock_ms();

	for (unsigned i = 0; i < b->machine->ndisks; i++)
		ios += disk_ios(b, i);
	fprintf(stderr, "\r%9.0f IOPS ", (ios - b->last_ios) * 1e3 / (ms - b->last_ms));
	b->last_ios = ios;
	b->last_ms = ms;
	b->progress = true;
}

/* The guest ended as it should; otherwise its last words say more than the way it ended. */
static int judge(const struct bench *b, const struct result *res, const char *text,
		 struct bench_report *report, struct error *err)
{
	char line[256];

	if (res->end == VM_END_DEBUG_EXIT)
		return bench_report_parse(text, b->machine->ndisks, report, err);
	result_line(res, line, sizeof(line));
	return error_setx(err, EPROTO, "%s", line);
}

static void take_engines(const struct bench *b, struct bench_report *r)
{
	for (unsigned i = 0; i < r->ndisks; i++) {
		const struct blk_stats *s = disk_stats(b, i);
		struct bench_engine *e = &r->engine[i], *all = &r->engines;

		e->requests = disk_ios(b, i);
		e->batches = get(&s->batches);
		e->submits = get(&s->submits);
		e->sleeps = get(&s->sleeps);
		e->kicks = get(&s->kicks);
		e->interrupts = get(&s->interrupts);
		all->requests += e->requests;
		all->batches += e->batches;
		all->submits += e->submits;
		all->sleeps += e->sleeps;
		all->kicks += e->kicks;
		all->interrupts += e->interrupts;
	}
}

static int print_report(const struct bench *b, const struct bench_report *r, struct error *err)
{
	if (b->opt.json)
		bench_report_json(r, &b->opt, stdout);
	else
		bench_report_table(r, &b->opt, stdout);
	if (fflush(stdout))
		return error_set(err, errno, "cannot print");
	if (r->total.errors)
		return error_setx(err, EIO, "%" PRIu64 " requests failed", r->total.errors);
	return 0;
}

static int report(struct bench *b, const struct result *res, struct error *err)
{
	if (pread(b->console_fd, b->text, CONSOLE_MAX - 1, 0) < 0) {
		error_set(err, errno, "benchmark console");
		return STATUS_ERROR;
	}
	if (judge(b, res, b->text, b->report, err))
		return STATUS_ERROR;
	take_engines(b, b->report);
	return print_report(b, b->report, err) ? STATUS_ERROR : 0;
}

/* See ending_run() on what is left to the end of the process. */
static int run(struct bench *b, struct error *err)
{
	struct control control = { .term = &b->none, .input_fd = -1, .opaque = b };
	struct ending *ending = &b->ending;
	int status;

	b->none.fd = -1;
	ending->term = &b->none;
	ending->quiet = true;
	control.signal_fd = ending->signal_fd = process_take_signals(err);
	if (control.signal_fd < 0)
		return STATUS_ERROR;
	process_raise_fd_limit();
	if (launch_prepare(&b->sandbox, &b->opt.run, false, err))
		return STATUS_ERROR;
	b->machine = machine_create(&b->opt.run, b->console_fd, &b->sandbox, err);
	if (!b->machine)
		return STATUS_ERROR;
	control.machine = ending->machine = b->machine;
	if (!b->opt.json && isatty(STDERR_FILENO))
		control.tick = show_progress;
	ending->started = b->last_ms = clock_ms();
	control.limit = ending->started + b->opt.time_ms + GRACE_MS;
	process_hold_signals();
	if (launch(b->machine, ending, err))
		return STATUS_ERROR;
	control_run(&control);
	status = ending_run(ending);
	if (b->progress)
		fputs("\r\033[K", stderr);
	return ending->res.end == VM_END_SIGNAL ? status : report(b, &ending->res, err);
}

int bench_main(int argc, char **argv, struct error *err)
{
	struct bench *b = calloc(1, sizeof(*b));
	int status = STATUS_USAGE;
	int ret;

	if (!b) {
		error_set(err, ENOMEM, "bench");
		return STATUS_ERROR;
	}
	b->console_fd = -1;
	ret = bench_options_parse(argc, argv, &b->opt, err);
	if (ret == OPTIONS_HELP) {
		options_print_help(&bench_command, stdout);
		status = 0;
	} else if (!ret && !machine_check_options(&b->opt.run, err)) {
		stream_make_own(STDERR_FILENO);
		log_set_verbose(b->opt.run.verbose);
		status = prepare(b, err) ? STATUS_ERROR : run(b, err);
	}
	free(b->cmdline);
	bench_options_free(&b->opt);
	return status;
}
