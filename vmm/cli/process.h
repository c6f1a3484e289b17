/* SPDX-License-Identifier: Apache-2.0 */
/* What belongs to the process as a whole and is set before a machine is made. Main. */
#ifndef MVMM_CLI_PROCESS_H
#define MVMM_CLI_PROCESS_H

#include "vmm/error.h"

/*
 * A signalfd of the signals that end a VM, or -errno. They keep their default until
 * process_hold_signals(): making a machine may take long (storage that does not answer, a terabyte
 * to prefault), and there is nothing yet that would have to be put in order. All threads that
 * start meanwhile block them.
 */
int process_take_signals(struct error *err);

/* From here on they come by the signalfd only. Before the terminal is taken and the guest runs. */
void process_hold_signals(void);

/* Descriptors are two per queue and a few per disk: many disks pass the usual soft limit of 1024.
 */
void process_raise_fd_limit(void);

#endif
