/* SPDX-License-Identifier: Apache-2.0 */
/* What a VM tells about itself on stderr: at the console's Ctrl-A c, and when it has ended. */
#ifndef MVMM_CLI_REPORT_H
#define MVMM_CLI_REPORT_H

#include <stdint.h>

#include "vmm/cli/machine.h"

/* One line: whether it runs, and why it does not if a disk has stopped it. Main. */
void report_status(const struct machine *m);

/* For --verbose: which of KVM's offers each vCPU has taken up, what each disk has done. Main, the
 * vCPUs joined; the disks may still be draining. */
void report_vcpus(const struct machine *m);
void report_disks(const struct machine *m);

/* Requests of all disks that ended with an error, the guest's own nonsense included. */
uint64_t report_failed_requests(const struct machine *m);

#endif
