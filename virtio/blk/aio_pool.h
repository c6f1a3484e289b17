/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Workers of one disk, for calls that may block. The disk's thread hands requests over and takes
 * them back without ever waiting for a worker; a worker sleeps when there is nothing to do. Never
 * shared between disks.
 */
#ifndef MVMM_BLK_AIO_POOL_H
#define MVMM_BLK_AIO_POOL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "virtio/blk/aio_native.h" /* BLK_MAX_DEPTH */
#include "virtio/blk/backend.h"
#include "virtio/blk/request.h"
#include "virtio/blk/thread.h"

#define BLK_MAX_WORKERS 16

struct blk_pool;

struct blk_worker {
	struct blk_pool *pool;
	void *bounce; /* BLK_BOUNCE_SIZE bytes, touched only when used */
	struct blk_thread thread;
};

struct blk_pool {
	const struct block_backend *be;
	int event_fd; /* eventfd, signalled when `done` stops being empty; owned */

	/* Requests to do: written by the disk's thread, taken by any worker. */
	_Atomic(struct blk_request *) todo[BLK_MAX_DEPTH];
	_Atomic uint32_t tail; /* also the futex that workers sleep on */
	_Atomic uint32_t head;
	_Atomic uint32_t sleepers;
	_Atomic bool stop;
	uint32_t queued; /* the disk's thread: behind `tail`, not yet shown to the workers */

	/* Requests done: a stack, pushed by workers, taken whole by the disk's thread. */
	_Atomic(struct blk_request *) done;

	pthread_mutex_t sync_lock; /* the workers': one at a time makes buffered data durable */
	bool sync_failed;	   /* under it: pages were lost, and no later sync is honest */

	void *bounce; /* all workers', one mapping */
	size_t bounce_size;
	unsigned nworkers;
	struct blk_worker worker[BLK_MAX_WORKERS];
};

/* `name` is the disk's thread's; workers add a number. `hook` NULL: none. Main; the caller's signal
 * mask is theirs. */
int blk_pool_init(struct blk_pool *pool, const struct block_backend *be, unsigned nworkers,
		  const char *name, const struct thread_hook *hook, struct error *err);

/* Nothing may be queued or under way. Main. */
void blk_pool_destroy(struct blk_pool *pool);

/* The disk's thread: req joins the batch; at most BLK_MAX_DEPTH are queued and under way. */
void blk_pool_queue(struct blk_pool *pool, struct blk_request *req);

/* The disk's thread: wakes as many workers as the batch needs. False: there was no batch. */
bool blk_pool_submit(struct blk_pool *pool);

/* The disk's thread: is anything finished? */
static inline bool blk_pool_has_done(const struct blk_pool *pool)
{
	return atomic_load_explicit(&pool->done, memory_order_relaxed);
}

/* The disk's thread: all that is finished, a list through `next`; req->result says how. */
struct blk_request *blk_pool_reap(struct blk_pool *pool);

#endif
