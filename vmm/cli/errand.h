/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Something that may wait for storage, done by a thread of its own while main's loop goes on: opening an
 * image, above all. The thread has main's sandbox. One that never comes back (dead storage) is left to
 * the end of the process.
 */
#ifndef MVMM_CLI_ERRAND_H
#define MVMM_CLI_ERRAND_H

#include <pthread.h>
#include <stdbool.h>

#include "vmm/cli/loop.h"
#include "vmm/error.h"

/* Zero-initialised; stays where it is until `done`. */
struct errand {
	void (*run)(void *opaque);  /* on the thread */
	void (*done)(void *opaque); /* on main, once; the errand may be run again or freed */
	void *opaque;
	/* errand.c's */
	struct loop *loop;
	struct loop_watch watch;
	pthread_t thread;
};

/* Main. -errno with a message: `done` will not be called. */
int errand_start(struct errand *errand, struct loop *loop, struct error *err);

#endif
