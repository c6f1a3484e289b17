/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The options of `mvmm run`: one table of names, texts and setters, their defaults, and the rules
 * between them. Main; looks at no file and no device.
 */
#include "vmm/cli/run_options.h"

#include <ctype.h>
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/cli/disk_option.h"
#include "vmm/cli/number.h"
#include "vmm/vm.h"

#define MIN_MEMORY     (2ULL << 20) /* the first MiB is the PC's; a kernel needs some above it */
#define MAX_MEMORY     (1ULL << 40)
#define MEMORY_STEP    4096
#define MAX_NAME       64
#define QEMU_EXIT_PORT 0xf4

static int set_kernel(void *into, const char *value, struct error *err)
{
	((struct run_options *)into)->kernel = value;
	return 0;
}

static int set_initrd(void *into, const char *value, struct error *err)
{
	((struct run_options *)into)->initrd = value;
	return 0;
}

static int set_append(void *into, const char *value, struct error *err)
{
	((struct run_options *)into)->append = value;
	return 0;
}

static int set_no_default_append(void *into, const char *value, struct error *err)
{
	((struct run_options *)into)->no_default_append = true;
	return 0;
}

static int set_memory(void *into, const char *value, struct error *err)
{
	struct run_options *opt = into;
	uint64_t size;

	if (number_parse_size(value, &size) || size < MIN_MEMORY || size > MAX_MEMORY ||
	    size % MEMORY_STEP)
		return option_invalid(err, "memory", value,
				      "not a size from 2M to 1T in steps of 4K (K, M, G or T; "
				      "without one, M)");
	opt->memory = size;
	return 0;
}

static int set_prefault(void *into, const char *value, struct error *err)
{
	((struct run_options *)into)->memory_flags |= GUEST_MEMORY_POPULATE;
	return 0;
}

static int set_hugepages(void *into, const char *value, struct error *err)
{
	((struct run_options *)into)->memory_flags |= GUEST_MEMORY_HUGETLB;
	return 0;
}

int run_set_cpus(void *into, const char *value, struct error *err)
{
	struct run_options *opt = into;
	uint64_t n;

	if (number_parse(value, 1, VM_MAX_VCPUS, &n))
		return option_invalid(err, "cpus", value, "not a number from 1 to 254");
	opt->cpus = n;
	return 0;
}

int run_set_affinity(void *into, const char *value, struct error *err)
{
	struct run_options *opt = into;
	const char *rest = value;
	char *end;

	for (opt->naffinity = 0; opt->naffinity < VM_MAX_VCPUS; rest = end + 1) {
		unsigned long cpu = strtoul(rest, &end, 10);

		if (!isdigit((unsigned char)*rest) || cpu >= CPU_SETSIZE)
			break;
		opt->affinity[opt->naffinity++] = cpu;
		if (!*end)
			return 0;
		if (*end != ',')
			break;
	}
	return option_invalid(err, "vcpu-affinity", value,
			      "not up to 254 numbers from 0 to 1023 with commas between");
}

int run_set_disk(void *into, const char *value, struct error *err)
{
	struct run_options *opt = into;
	struct disk_config *disk = realloc(opt->disk, (opt->ndisks + 1) * sizeof(*disk));
	int ret;

	if (!disk)
		return error_set(err, ENOMEM, "--disk '%s'", value);
	opt->disk = disk;
	ret = disk_option_parse(value, &disk[opt->ndisks], err);
	if (ret)
		return ret;
	opt->ndisks++;
	return throttle_option_join(disk, opt->ndisks, err);
}

int run_set_transport(void *into, const char *value, struct error *err)
{
	struct run_options *opt = into;

	if (!strcmp(value, "pci"))
		opt->transport = TRANSPORT_PCI;
	else if (!strcmp(value, "mmio"))
		opt->transport = TRANSPORT_MMIO;
	else
		return option_invalid(err, "transport", value, "allowed: pci, mmio");
	return 0;
}

int run_set_mmio_isr(void *into, const char *value, struct error *err)
{
	struct run_options *opt = into;

	if (!strcmp(value, "page"))
		opt->mmio_isr = MMIO_ISR_PAGE;
	else if (!strcmp(value, "exit"))
		opt->mmio_isr = MMIO_ISR_EXIT;
	else
		return option_invalid(err, "mmio-isr", value, "allowed: page, exit");
	return 0;
}

static int set_mmio_cmdline(void *into, const char *value, struct error *err)
{
	((struct run_options *)into)->mmio_cmdline = true;
	return 0;
}

static int set_timeout(void *into, const char *value, struct error *err)
{
	if (number_parse_seconds(value, &((struct run_options *)into)->timeout_ms))
		return option_invalid(err, "timeout", value, "not a number of seconds above 0");
	return 0;
}

static int set_on_reboot(void *into, const char *value, struct error *err)
{
	struct run_options *opt = into;

	if (!strcmp(value, "exit"))
		opt->restart = false;
	else if (!strcmp(value, "restart"))
		opt->restart = true;
	else
		return option_invalid(err, "on-reboot", value, "allowed: exit, restart");
	return 0;
}

static int set_debug_exit(void *into, const char *value, struct error *err)
{
	struct run_options *opt = into;
	uint64_t port = QEMU_EXIT_PORT;

	if (value && number_parse(value, 1, UINT16_MAX - 3, &port))
		return option_invalid(err, "debug-exit", value, "not a port from 1 to 0xfffc");
	opt->debug_exit = true;
	opt->debug_exit_port = port;
	return 0;
}

static int set_console(void *into, const char *value, struct error *err)
{
	struct run_options *opt = into;

	if (!strcmp(value, "stdio")) {
		opt->console = CONSOLE_STDIO;
	} else if (!strcmp(value, "none")) {
		opt->console = CONSOLE_NONE;
	} else if (!strncmp(value, "file:", 5) && value[5]) {
		opt->console = CONSOLE_FILE;
		opt->console_path = value + 5;
	} else {
		return option_invalid(err, "console", value, "allowed: stdio, none, file:PATH");
	}
	return 0;
}

static int set_panic_match(void *into, const char *value, struct error *err)
{
	((struct run_options *)into)->panic_match = value;
	return 0;
}

static int set_result(void *into, const char *value, struct error *err)
{
	if (!value[0])
		return option_invalid(err, "result", value, "the path is empty");
	((struct run_options *)into)->result = value;
	return 0;
}

static int set_control(void *into, const char *value, struct error *err)
{
	if (!value[0])
		return option_invalid(err, "control", value, "the path is empty");
	((struct run_options *)into)->control = value;
	return 0;
}

static int set_allow(void *into, const char *value, struct error *err)
{
	struct run_options *opt = into;

	if (!value[0])
		return option_invalid(err, "allow", value, "the path is empty");
	if (opt->nallow == ALLOW_MAX)
		return option_invalid(err, "allow", value, "more than 32 folders");
	opt->allow[opt->nallow++] = value;
	return 0;
}

/* The name goes into messages: no control characters. */
static int set_name(void *into, const char *value, struct error *err)
{
	size_t len = strlen(value);

	for (size_t i = 0; i < len; i++)
		if (iscntrl((unsigned char)value[i]))
			len = 0;
	if (!len || len > MAX_NAME)
		return option_invalid(err, "name", value, "not 1 to 64 printable characters");
	((struct run_options *)into)->name = value;
	return 0;
}

int run_set_sandbox(void *into, const char *value, struct error *err)
{
	struct run_options *opt = into;

	if (!strcmp(value, "on"))
		opt->sandbox = SANDBOX_ON;
	else if (!strcmp(value, "off"))
		opt->sandbox = SANDBOX_OFF;
	else if (!strcmp(value, "strict"))
		opt->sandbox = SANDBOX_STRICT;
	else
		return option_invalid(err, "sandbox", value, "allowed: on, off, strict");
	return 0;
}

int run_set_verbose(void *into, const char *value, struct error *err)
{
	((struct run_options *)into)->verbose = true;
	return 0;
}

static int set_dry_run(void *into, const char *value, struct error *err)
{
	((struct run_options *)into)->dry_run = true;
	return 0;
}

static const struct option_spec run_options[] = {
	{ "kernel", "FILE", "bzImage or ELF vmlinux; required", set_kernel },
	{ "initrd", "FILE", "initial RAM filesystem", set_initrd },
	{ "append", "STRING",
	  "kernel command line, after our console=ttyS0 reboot=k\n"
	  "panic=-1",
	  set_append },
	{ "no-default-append", NULL, "leave those out", set_no_default_append },
	{ "memory", "SIZE", "guest RAM with K, M, G or T; default 256M", set_memory },
	{ "prefault", NULL, "take all of the guest's memory at the start", set_prefault },
	{ "hugepages", NULL, "guest RAM is 2 MiB pages of the host's pool, taken at the start",
	  set_hugepages },
	{ "cpus", "N", RUN_HELP_CPUS, run_set_cpus },
	{ "vcpu-affinity", "CPU[,CPU...]", RUN_HELP_AFFINITY, run_set_affinity },
	{ "disk", "PATH[,KEY=VALUE...]", DISK_OPTION_HELP, run_set_disk },
	{ "transport", "pci|mmio", RUN_HELP_TRANSPORT, run_set_transport },
	{ "mmio-cmdline", NULL,
	  "announce virtio-mmio by virtio_mmio.device= on the kernel\n"
	  "command line instead of ACPI",
	  set_mmio_cmdline },
	{ "mmio-isr", "page|exit", RUN_HELP_MMIO_ISR, run_set_mmio_isr },
	{ "timeout", "SECONDS", "end the VM after that time (status 36)", set_timeout },
	{ "on-reboot", "exit|restart", "what a guest reset does; default exit (status 32)",
	  set_on_reboot },
	{ "debug-exit", "[=PORT]",
	  "a port that ends the VM with status (value << 1) | 1;\n"
	  "default 0xf4",
	  set_debug_exit },
	{ "console", "stdio|none|file:PATH", "where the serial port goes; default stdio",
	  set_console },
	{ "panic-match", "STRING",
	  "console text that tells a guest panic; empty: none;\n"
	  "default 'Kernel panic - not syncing'",
	  set_panic_match },
	{ "result", "FILE", "write how the VM ended as one line of JSON", set_result },
	{ "control", "PATH", "serve the control socket there: see mvmm ctl", set_control },
	{ "allow", "DIR",
	  "folder of files that the control socket may name;\n"
	  "repeatable; default: those of the disks",
	  set_allow },
	{ "name", "NAME", "name of the VM in messages and results", set_name },
	{ "sandbox", "on|off|strict", RUN_HELP_SANDBOX, run_set_sandbox },
	{ "verbose", NULL, "say more on stderr", run_set_verbose },
	{ "dry-run", NULL, "check and open everything, print the machine, do not start",
	  set_dry_run },
	{ NULL, NULL, NULL, NULL },
};

const struct command_spec run_command = {
	.name = "run",
	.synopsis = "--kernel FILE [options]",
	.summary = "Boots a Linux kernel in a virtual machine of its own.",
	.options = run_options,
	.epilogue =
		"Exit status: 0 power-off, 1 host or set-up error, 2 usage, 32 reset, 33 crash,\n"
		"34 guest panic, 35 halted, 36 time limit, 37 left the sandbox, 128+n signal n,\n"
		"(v << 1) | 1 debug-exit v.\n"
		"On a terminal: Ctrl-A x quits, Ctrl-A h shows more keys.\n",
};

int run_check_disks(const struct run_options *opt, struct error *err)
{
	for (unsigned i = 0; i < opt->ndisks; i++)
		if (disk_option_check_control(&opt->disk[i], opt->control, err))
			return -EINVAL;
	return 0;
}

int run_check_mmio_isr(const struct run_options *opt, struct error *err)
{
	if (opt->mmio_isr && opt->transport != TRANSPORT_MMIO)
		return error_setx(err, EINVAL, "--mmio-isr goes with --transport mmio only");
	return 0;
}

static int check_together(const struct run_options *opt, struct error *err)
{
	if (!opt->kernel)
		return error_setx(err, EINVAL, "--kernel FILE is required (see: mvmm run --help)");
	if (opt->memory_flags & GUEST_MEMORY_HUGETLB && opt->memory % GUEST_MEMORY_HUGE_PAGE)
		return error_setx(err, EINVAL,
				  "--hugepages goes with --memory in steps of 2M only");
	if (opt->mmio_cmdline && opt->transport != TRANSPORT_MMIO)
		return error_setx(err, EINVAL, "--mmio-cmdline goes with --transport mmio only");
	if (opt->nallow && !opt->control)
		return error_setx(err, EINVAL, "--allow goes with --control only");
	if (run_check_disks(opt, err))
		return -EINVAL;
	return run_check_mmio_isr(opt, err);
}

int run_options_parse(int argc, char **argv, struct run_options *opt, struct error *err)
{
	int ret;

	*opt = (struct run_options){
		.memory = 256ULL << 20,
		.cpus = 1,
		.panic_match = "Kernel panic - not syncing",
		.result_fd = -1,
		.broker_fd = -1,
	};
	ret = options_parse(&run_command, argc, argv, opt, err);
	return ret ? ret : check_together(opt, err);
}

void run_options_free(struct run_options *opt)
{
	for (unsigned i = 0; i < opt->ndisks; i++)
		disk_config_free(&opt->disk[i]);
	free(opt->disk);
	opt->disk = NULL;
	opt->ndisks = 0;
}
