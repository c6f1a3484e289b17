/* SPDX-License-Identifier: Apache-2.0 */
/* Threads of the block device: small stacks, no signals, a name. */
#ifndef MVMM_BLK_THREAD_H
#define MVMM_BLK_THREAD_H

#include <pthread.h>

/* Starts fn(arg) on host CPU `cpu`, or on any for -1. `name` is cut at 15 characters. 0 or -errno.
 * Main. */
int blk_thread_create(pthread_t *thread, const char *name, int cpu, void *(*fn)(void *), void *arg);

#endif
