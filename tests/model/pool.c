/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The disk's thread and its workers (aio_pool.c): requests through the ring, results by the stack,
 * sleeps by futex and by eventfd, and the workers' end.
 */
#include <stdlib.h>
#include <sys/epoll.h>

#include "tests/model/scenarios.h"
#include "virtio/blk/aio_pool.h"
#include "virtio/blk/blocking.h"
#include "virtio/blk/dataplane_priv.h"

#define MAX_REQUESTS 3
#define MAX_WORKERS  2
#define NOT_DONE     7 /* what no result is */

struct start {
	void *(*fn)(void *);
	void *arg;
};

static struct {
	struct blk_pool pool;
	struct block_backend be;
	struct blk_request request[MAX_REQUESTS];
	unsigned submitted, completed;
	bool ending;
	unsigned nworkers;
	struct start worker[MAX_WORKERS];
} m;

static struct pool_config config;

/* ---- what the workers do --------------------------------------------------------------------- */

/* The number of the request, so that a stale result shows. */
int __wrap_blk_blocking_execute(struct blk_request *req, const struct block_backend *be,
				void *bounce);

int __wrap_blk_blocking_execute(struct blk_request *req, const struct block_backend *be,
				void *bounce)
{
	if (req->op != BLK_OP_WRITE)
		model_fail("a worker was given a request before it was filled");
	return (int)(req - m.request);
}

static void worker(void *arg)
{
	const struct start *start = arg;

	start->fn(start->arg);
	if (!m.ending)
		model_fail("a worker ends by itself");
}

/* A worker's number is its pthread_t. */
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*fn)(void *),
			  void *arg);
int __wrap_pthread_join(pthread_t thread, void **result);

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*fn)(void *),
			  void *arg)
{
	const unsigned n = m.nworkers++;

	m.worker[n].fn = fn;
	m.worker[n].arg = arg;
	*thread = model_thread("worker", worker, &m.worker[n], config.end);
	return 0;
}

int __wrap_pthread_join(pthread_t thread, void **result)
{
	model_join((int)thread);
	return 0;
}

/* ---- the disk's thread ----------------------------------------------------------------------- */

static void reap(void)
{
	struct blk_request *req = blk_pool_reap(&m.pool), *next;

	for (; req; req = next) {
		next = req->next;
		if (req->result != (int)(req - m.request))
			model_fail("request %td ends with %d", req - m.request, req->result);
		req->result = NOT_DONE;
		m.completed++;
	}
}

static void submit(void)
{
	for (unsigned i = 0; i < config.batch && m.submitted < config.requests; i++) {
		struct blk_request *req = &m.request[m.submitted++];

		req->op = BLK_OP_WRITE;
		blk_pool_queue(&m.pool, req);
	}
	blk_pool_submit(&m.pool);
}

/* What it knows when it begins another pass. */
static void remember_disk(void)
{
	uint64_t hash = model_hash(0, &m.submitted, 2 * sizeof(m.submitted));

	hash = model_hash(hash, &m.pool.queued, sizeof(m.pool.queued));
	model_forget(&hash, sizeof(hash));
}

/* A worker that looks for a request knows nothing. */
static void remember_worker(void)
{
	model_forget(NULL, 0);
}

/* As dataplane_loop.c: no word is looked at between the last look at the stack and the sleep. */
static void disk(void *arg)
{
	struct epoll_event events[4];
	unsigned before;

	while (m.completed < config.requests) {
		remember_disk();
		before = m.completed + m.submitted;
		submit();
		reap();
		if (m.completed + m.submitted == before)
			epoll_wait(-1, events, 4, -1);
	}
	m.ending = config.end;
	if (config.end)
		blk_pool_destroy(&m.pool);
}

/* ---- setup ----------------------------------------------------------------------------------- */

static void share(void)
{
	struct blk_pool *pool = &m.pool;

	model_shared("tail", &pool->tail, 4, 4, MODEL_ALL);
	model_shared("head", &pool->head, 4, 4, MODEL_ALL);
	model_shared("sleepers", &pool->sleepers, 4, 4, MODEL_ALL);
	model_shared("stop", &pool->stop, 1, 1, MODEL_ALL);
	model_shared("done", &pool->done, 8, 8, MODEL_ALL);
	for (unsigned i = 0; i < config.requests; i++) {
		model_shared("todo", &pool->todo[i], 8, 8, MODEL_ALL);
		model_shared("next", &m.request[i].next, 8, 8, MODEL_ALL);
		model_shared("result", &m.request[i].result, 4, 4, MODEL_ALL);
		model_shared("op", &m.request[i].op, 1, 1, MODEL_ALL);
	}
}

static void setup(void)
{
	struct error err;

	memset(&m, 0, sizeof(m));
	m.be.direct = true;
	for (unsigned i = 0; i < MAX_REQUESTS; i++)
		m.request[i].result = NOT_DONE;
	model_thread("disk", disk, NULL, true);
	if (blk_pool_init(&m.pool, &m.be, config.workers, "disk", NULL, &err))
		abort();
	model_watch(m.pool.event_fd, EVENT_POOL);
	share();
	model_private(&m, sizeof(m));
	model_forget_at(&m.pool.head, "pool_take", remember_worker);
}

enum model_result pool_explore(const void *what, struct site *weak, uint64_t mark, bool show)
{
	config = *(const struct pool_config *)what;
	return model_explore(setup, weak, mark, show);
}
