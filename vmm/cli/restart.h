/* SPDX-License-Identifier: Apache-2.0 */
/* --on-reboot restart: one child process per boot. */
#ifndef MVMM_CLI_RESTART_H
#define MVMM_CLI_RESTART_H

#include <stdint.h>

#include "vmm/cli/run_options.h"
#include "vmm/error.h"

/*
 * Boots again, in a fresh process, as often as the guest asks for a reset. Returns the last boot's
 * exit status, in the parent and in each child. Main, before any thread.
 */
int restart_supervise(const struct run_options *opt, uint64_t limit, struct error *err);

/* run.c: one boot in this process. `boot` counts from 0; `limit` is in clock_ms(). */
int run_once(const struct run_options *opt, unsigned boot, uint64_t limit, struct error *err);

#endif
