/* SPDX-License-Identifier: Apache-2.0 */
/* Threads of the block device: small stacks, no signals, a name, a hook. */
#ifndef MVMM_BLK_THREAD_H
#define MVMM_BLK_THREAD_H

#include <pthread.h>

#include "vmm/thread_hook.h"

struct blk_thread {
	pthread_t id;
	char name[16];
	struct thread_hook hook;
	void *(*fn)(void *);
	void *arg;
};

/* What a disk's threads do first. */
struct blk_hooks {
	struct thread_hook disk;
	struct thread_hook worker;
};

/*
 * Starts fn(arg) on host CPU `cpu`, or on any for -1. `name` is cut at 15 characters; `hook` NULL:
 * none. `thread` stays where it is until the thread has ended. 0 or -errno. Main.
 */
int blk_thread_create(struct blk_thread *thread, const char *name, int cpu,
		      const struct thread_hook *hook, void *(*fn)(void *), void *arg);

#endif
