/* SPDX-License-Identifier: Apache-2.0 */
/* What belongs to the process as a whole and is set before a machine is made. Main. */
#ifndef MVMM_CLI_PROCESS_H
#define MVMM_CLI_PROCESS_H

#include "vmm/error.h"

/*
 * A signalfd of the signals that end a VM, which are blocked from here on: before any thread
 * exists, so that nobody else sees them. Or -errno.
 */
int process_take_signals(struct error *err);

/* Descriptors are two per queue and a few per disk: many disks pass the usual soft limit of 1024.
 */
void process_raise_fd_limit(void);

#endif
