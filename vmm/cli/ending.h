/* SPDX-License-Identifier: Apache-2.0 */
/* The end of a VM, in order and in time. */
#ifndef MVMM_CLI_ENDING_H
#define MVMM_CLI_ENDING_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "vmm/cli/machine.h"
#include "vmm/cli/result.h"
#include "vmm/cli/terminal.h"

struct ending {
	struct machine *machine;
	struct terminal *term;
	int signal_fd;
	uint64_t started; /* clock_ms() when the vCPUs were started */
	bool restart;	  /* a reset is followed by another boot: no result for it */
	bool quiet;	  /* no closing line */
	/* ending.c's own */
	int null_fd;  /* where messages go that nobody reads */
	int begin_fd; /* readable once the end has been decided */
	bool guarded;
	struct result res;
	uint64_t decided; /* clock_ms() */
	bool by_signal;
	uint64_t limit; /* by then all waiting is over */
	int done_fd;
	pthread_t guard;
	struct thread_hook hook;
	atomic_bool told; /* somebody has begun to write the closing line */
};

/*
 * Opens and starts what the end will need: later a process in its sandbox opens nothing and starts
 * no thread. `hook` is for the second thread. Main, before the vCPUs run.
 */
int ending_prepare(struct ending *e, const struct thread_hook *hook, struct error *err);

/*
 * Stops the vCPUs, drains the disks, empties the console, restores the terminal, writes the closing
 * line and the result. Returns the exit status.
 *
 * The machine itself is left to the end of the process, which must follow: the kernel then closes
 * all disks at once, while every io_destroy() of ours would wait for a grace period of its own
 * (some 45 ms, times 31 disks).
 *
 * Ends the process itself, with all but the draining done, when a further signal comes, or when a
 * disk's I/O does not drain: after a second where a signal, the time limit or the user ended the
 * VM, after thirty where the guest did. Main, once.
 */
int ending_run(struct ending *e);

#endif
