/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A disk's workers: a ring of requests to do with one producer, a stack of finished ones with one
 * consumer, no lock in between; see aio_pool.h.
 *
 * Main starts and ends the workers; the disk's thread and the workers meet here and nowhere else.
 *
 * Workers sleep on a futex, not on an eventfd with EFD_SEMAPHORE: reading one queues without
 * WQ_FLAG_EXCLUSIVE, so that every request would wake every idle worker, and every worker would
 * make a system call per request even when it never has to sleep.
 */
#include "virtio/blk/aio_pool.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "virtio/blk/blocking.h"

static void futex_wait(_Atomic uint32_t *word, uint32_t seen)
{
	syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
}

static void futex_wake(_Atomic uint32_t *word, int n)
{
	syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, n, NULL, NULL, 0);
}

/*
 * `sleepers` up, then look at `tail`; pool_publish() writes `tail`, then looks at `sleepers`. All
 * four are sequentially consistent, so at least one side sees the other: without that a request
 * could lie in the ring while all workers sleep.
 */
static void pool_sleep(struct blk_pool *pool)
{
	uint32_t tail;

	atomic_fetch_add(&pool->sleepers, 1);
	tail = atomic_load(&pool->tail);
	if (atomic_load_explicit(&pool->head, memory_order_relaxed) == tail)
		futex_wait(&pool->tail, tail);
	atomic_fetch_sub(&pool->sleepers, 1);
}

static void pool_publish(struct blk_pool *pool, uint32_t tail, int n)
{
	atomic_store(&pool->tail, tail);
	if (atomic_load(&pool->sleepers))
		futex_wake(&pool->tail, n);
}

/* A worker's next request; NULL when it is time to end. */
static struct blk_request *pool_take(struct blk_pool *pool)
{
	struct blk_request *req;
	uint32_t head, tail;

	for (;;) {
		/* Pairs with the release in the exchange below: who took the entry before `head`
		 * had seen a tail beyond it, and so do we. Without it `head` could be ahead of a
		 * stale tail, which looks like a full ring. */
		head = atomic_load_explicit(&pool->head, memory_order_acquire);
		/* Pairs with the store in pool_publish(): entries below tail are written, and so is
		 * `stop` when tail was moved for its sake. */
		tail = atomic_load_explicit(&pool->tail, memory_order_acquire);
		if (atomic_load_explicit(&pool->stop, memory_order_relaxed))
			return NULL;
		if (head == tail) {
			pool_sleep(pool);
			continue;
		}
		/*
		 * Read before it is ours, so it may already be a later lap's: then somebody else
		 * took `head`, that happened before the entry was written again (blk_pool_queue()),
		 * and this acquire pairs with that release, so the exchange below must fail.
		 */
		req = atomic_load_explicit(&pool->todo[head % BLK_MAX_DEPTH], memory_order_acquire);
		if (atomic_compare_exchange_weak_explicit(&pool->head, &head, head + 1,
							  memory_order_release,
							  memory_order_relaxed))
			return req;
	}
}

static void pool_finish(struct blk_pool *pool, struct blk_request *req)
{
	struct blk_request *old = atomic_load_explicit(&pool->done, memory_order_relaxed);
	const uint64_t one = 1;

	/* Release pairs with the exchange in blk_pool_reap(): the result is there to read. */
	do {
		req->next = old;
	} while (!atomic_compare_exchange_weak_explicit(&pool->done, &old, req,
							memory_order_release,
							memory_order_relaxed));
	/* On top of another one, whoever found the stack empty signals after us or already has; the
	 * disk's thread takes all. `req` is no longer ours to look at. */
	if (!old && write(pool->event_fd, &one, sizeof(one)) < 0)
		return;
}

static const struct block_backend *file_of(const struct blk_pool *pool,
					   const struct blk_request *req)
{
	return req->be ? req->be : pool->be;
}

/* Asks the host to make data of its page cache durable. Direct I/O leaves none there. */
static bool syncs(const struct blk_pool *pool, const struct blk_request *req)
{
	return !file_of(pool, req)->direct && blk_request_promises(req);
}

/*
 * The kernel tells one caller per open file that pages were lost, and then calls them clean: a sync
 * that runs beside the one that fails may succeed over the same loss, and so does any later one. So
 * they go one at a time, FLUSHes, of which the disk's thread sends one at a time, and durable writes;
 * and once one has failed no other succeeds.
 */
static int execute_sync(struct blk_pool *pool, struct blk_request *req, void *bounce)
{
	int ret = -EIO;

	pthread_mutex_lock(&pool->sync_lock);
	if (!pool->sync_failed)
		ret = blk_blocking_execute(req, pool->be, bounce);
	if (blk_request_lost(req, ret))
		pool->sync_failed = true;
	pthread_mutex_unlock(&pool->sync_lock);
	return ret;
}

static void *worker_run(void *arg)
{
	struct blk_worker *worker = arg;
	struct blk_pool *pool = worker->pool;
	struct blk_request *req;

	while ((req = pool_take(pool))) {
		if (syncs(pool, req))
			req->result = execute_sync(pool, req, worker->bounce);
		else
			req->result = blk_blocking_execute(req, file_of(pool, req), worker->bounce);
		pool_finish(pool, req);
	}
	return NULL;
}

static void stop_workers(struct blk_pool *pool)
{
	atomic_store_explicit(&pool->stop, true, memory_order_relaxed);
	pool_publish(pool, atomic_load(&pool->tail) + 1, INT_MAX);
	while (pool->nworkers)
		pthread_join(pool->worker[--pool->nworkers].thread.id, NULL);
}

static int start_workers(struct blk_pool *pool, unsigned n, const char *name,
			 const struct thread_hook *hook, struct error *err)
{
	char worker_name[32];
	int ret;

	for (unsigned i = 0; i < n; i++) {
		struct blk_worker *worker = &pool->worker[i];

		worker->pool = pool;
		worker->bounce = (uint8_t *)pool->bounce + (size_t)i * BLK_BOUNCE_SIZE;
		snprintf(worker_name, sizeof(worker_name), "%.11s-w%u", name, i);
		ret = blk_thread_create(&worker->thread, worker_name, -1, hook, worker_run, worker);
		if (ret)
			return error_set(err, -ret, "cannot create thread '%s'", worker_name);
		pool->nworkers++;
	}
	return 0;
}

int blk_pool_init(struct blk_pool *pool, const struct block_backend *be, unsigned nworkers,
		  const char *name, const struct thread_hook *hook, struct error *err)
{
	int ret;

	memset(pool, 0, sizeof(*pool));
	pool->be = be;
	pool->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (pool->event_fd < 0)
		return error_set(err, errno, "cannot create an eventfd for workers");
	pool->bounce = mmap(NULL, (size_t)nworkers * BLK_BOUNCE_SIZE, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (pool->bounce == MAP_FAILED) {
		ret = error_set(err, errno, "cannot map the workers' buffers");
		goto err_event;
	}
	pool->bounce_size = (size_t)nworkers * BLK_BOUNCE_SIZE;
	pthread_mutex_init(&pool->sync_lock, NULL);
	ret = start_workers(pool, nworkers, name, hook, err);
	if (ret)
		goto err_workers;
	return 0;
err_workers:
	stop_workers(pool);
	pthread_mutex_destroy(&pool->sync_lock);
	munmap(pool->bounce, pool->bounce_size);
err_event:
	close(pool->event_fd);
	return ret;
}

void blk_pool_destroy(struct blk_pool *pool)
{
	stop_workers(pool);
	pthread_mutex_destroy(&pool->sync_lock);
	munmap(pool->bounce, pool->bounce_size);
	close(pool->event_fd);
}

void blk_pool_queue(struct blk_pool *pool, struct blk_request *req)
{
	const uint32_t at =
		atomic_load_explicit(&pool->tail, memory_order_relaxed) + pool->queued++;

	/*
	 * The entry is free: of the requests of the lap before, at most BLK_MAX_DEPTH - 1 can be
	 * untaken, because `req` is not one of them. Release: see pool_take().
	 */
	atomic_store_explicit(&pool->todo[at % BLK_MAX_DEPTH], req, memory_order_release);
}

bool blk_pool_submit(struct blk_pool *pool)
{
	const uint32_t n = pool->queued;

	if (!n)
		return false;
	pool->queued = 0;
	pool_publish(pool, atomic_load_explicit(&pool->tail, memory_order_relaxed) + n, n);
	return true;
}

struct blk_request *blk_pool_reap(struct blk_pool *pool)
{
	struct blk_request *req, *next, *list = NULL;

	if (!atomic_load_explicit(&pool->done, memory_order_relaxed))
		return NULL;
	/* Acquire pairs with the release in pool_finish(). */
	req = atomic_exchange_explicit(&pool->done, NULL, memory_order_acquire);
	/* Oldest first. */
	for (; req; req = next) {
		next = req->next;
		req->next = list;
		list = req;
	}
	return list;
}
