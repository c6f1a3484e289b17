/* SPDX-License-Identifier: Apache-2.0 */
/* What the user asked of `mvmm run`. */
#ifndef MVMM_CLI_RUN_OPTIONS_H
#define MVMM_CLI_RUN_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "virtio/blk/disk_config.h"
#include "vmm/cli/allow.h"
#include "vmm/cli/options.h"
#include "vmm/error.h"
#include "vmm/sandbox.h"
#include "vmm/vm.h"

enum transport {
	TRANSPORT_PCI,
	TRANSPORT_MMIO,
};

/* What InterruptStatus and InterruptACK of virtio-mmio cost: see virtio/virtio_mmio.h. */
enum mmio_isr {
	MMIO_ISR_DEFAULT,
	MMIO_ISR_EXIT,
	MMIO_ISR_PAGE,
};

struct control_socket;
struct kept;

enum console_kind {
	CONSOLE_STDIO,
	CONSOLE_NONE,
	CONSOLE_FILE,
};

/* Strings are borrowed from argv. */
struct run_options {
	const char *kernel;
	const char *initrd; /* NULL: none */
	const char *append; /* NULL: nothing */
	bool no_default_append;
	uint64_t memory;       /* bytes */
	unsigned memory_flags; /* GUEST_MEMORY_... */
	unsigned cpus;
	uint16_t affinity[VM_MAX_VCPUS]; /* host CPUs for the vCPUs in turn */
	unsigned naffinity;		 /* 0: any */
	struct disk_config *disk;	 /* owned, ndisks of them */
	unsigned ndisks;
	enum transport transport;
	bool mmio_cmdline;
	enum mmio_isr mmio_isr;
	uint64_t timeout_ms; /* 0: no limit */
	bool restart;	     /* --on-reboot restart */
	bool debug_exit;
	uint16_t debug_exit_port;
	enum console_kind console;
	const char *console_path;	       /* CONSOLE_FILE */
	const char *panic_match;	       /* "": do not look */
	const char *result;		       /* NULL: none */
	int result_fd;			       /* -1, until run.c has opened it */
	const char *control;		       /* NULL: none */
	struct control_socket *control_socket; /* NULL, until run.c has opened it */
	const char *allow[ALLOW_MAX];	       /* folders in which the broker opens files */
	unsigned nallow;		       /* 0: those of the disks */
	int broker_fd;			       /* -1, until run.c has started it */
	struct kept *kept;		       /* run.c's, where boots may follow; NULL: none */
	const char *name;		       /* NULL: none */
	enum sandbox_mode sandbox;
	bool verbose;
	bool dry_run;
};

extern const struct command_spec run_command;

/* Defaults, then the command line, then what must go together. 0, OPTIONS_HELP, or -errno with a
 * message; free in every case. */
int run_options_parse(int argc, char **argv, struct run_options *opt, struct error *err);
void run_options_free(struct run_options *opt);

/* Setters (see struct option_spec) and texts of options that other subcommands have, too; `into`
 * points to a struct run_options. */
int run_set_cpus(void *into, const char *value, struct error *err);
int run_set_affinity(void *into, const char *value, struct error *err);
int run_set_disk(void *into, const char *value, struct error *err);
int run_set_transport(void *into, const char *value, struct error *err);
int run_set_mmio_isr(void *into, const char *value, struct error *err);
int run_set_sandbox(void *into, const char *value, struct error *err);
int run_set_verbose(void *into, const char *value, struct error *err);

#define RUN_HELP_CPUS	   "vCPUs, 1 (default) to 254"
#define RUN_HELP_AFFINITY  "host CPUs for the vCPUs' threads, in turn"
#define RUN_HELP_TRANSPORT "how disks are attached; default pci"
#define RUN_HELP_MMIO_ISR                                                                          \
	"whether an interrupt of virtio-mmio costs no exit\n"                                      \
	"(page, the default) or two (exit)"

#define RUN_HELP_SANDBOX                                                                           \
	"threads give up what they do not need: as far as the\n"                                   \
	"host can (on, the default), not at all, or all of it"

/* A disk that stops on errors needs --control: -EINVAL. */
int run_check_disks(const struct run_options *opt, struct error *err);

/* --mmio-isr without --transport mmio: -EINVAL. */
int run_check_mmio_isr(const struct run_options *opt, struct error *err);

#endif
