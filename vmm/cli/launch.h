/* SPDX-License-Identifier: Apache-2.0 */
/* The last steps to a running guest: threads, their sandbox, and only then the vCPUs. */
#ifndef MVMM_CLI_LAUNCH_H
#define MVMM_CLI_LAUNCH_H

#include <stdbool.h>

#include "vmm/cli/ending.h"
#include "vmm/cli/machine.h"
#include "vmm/sandbox.h"

/* Before the machine is created. `again`: not the first boot, so what the host lacks has been said.
 * 0 or -errno. Main, before any thread. */
int launch_prepare(struct sandbox *sandbox, const struct run_options *opt, bool again,
		   struct error *err);

/* For the parent of --on-reboot restart, before its first fork. 0 or -errno. */
int launch_restrict_parent(const struct run_options *opt, struct error *err);

/*
 * Starts the threads that are left, seals the process in its sandbox and lets the vCPUs run. On an
 * error no vCPU has run; what there is of a machine has to be left to the end of the process, which
 * may be in its sandbox already. Main.
 */
int launch(struct machine *machine, struct ending *ending, struct error *err);

#endif
