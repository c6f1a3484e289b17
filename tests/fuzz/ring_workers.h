/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The workers of the ring target, and the system calls they make.
 *
 * These functions take the place of libc's and aio_pool.c's in the whole program.
 */
#ifndef MVMM_TESTS_FUZZ_RING_WORKERS_H
#define MVMM_TESTS_FUZZ_RING_WORKERS_H

#include "tests/fuzz/ring_engine.h"

int blk_pool_init(struct blk_pool *pool, const struct block_backend *be, unsigned nworkers,
		  const char *name, const struct thread_hook *hook, struct error *err)
{
	memset(pool, 0, sizeof(*pool));
	pool->event_fd = FAKE_FD;
	return 0;
}

void blk_pool_destroy(struct blk_pool *pool)
{
}

void blk_pool_queue(struct blk_pool *pool, struct blk_request *req)
{
	struct flight *flight = flight_of(req->queue, req->head);

	fuzz_check(engine.nqueued + engine.ntodo < BLK_MAX_DEPTH, "more requests than there are");
	flight_begins(flight);
	engine_take_on(flight);
	if (req->op == BLK_OP_FLUSH)
		model_sync_begins();
	engine.queued[engine.nqueued++] = req;
}

bool blk_pool_submit(struct blk_pool *pool)
{
	const unsigned n = engine.nqueued;

	script_in_pass();
	memcpy(engine.todo + engine.ntodo, engine.queued, n * sizeof(engine.todo[0]));
	engine.ntodo += n;
	engine.nqueued = 0;
	return n;
}

struct blk_request *blk_pool_reap(struct blk_pool *pool)
{
	struct blk_request *list = engine.done;

	engine.done = NULL;
	return list;
}

/* A worker does the k-th request that waits. */
static inline void engine_work(unsigned k)
{
	struct blk_request *req = engine.todo[k], **end = &engine.done;
	struct flight *flight = flight_of(req->queue, req->head);

	memmove(engine.todo + k, engine.todo + k + 1,
		(--engine.ntodo - k) * sizeof(engine.todo[0]));
	engine.blocking = flight;
	req->result = blk_blocking_execute(req, &engine.be, engine.bounce);
	engine.blocking = NULL;
	flight->failed |= req->result < 0;
	if (req->op == BLK_OP_FLUSH)
		model_sync_ends(!req->result);
	flight->submitted = false;
	for (; *end; end = &(*end)->next)
		;
	req->next = NULL;
	*end = req;
}

/* ---- the system calls of blocking.c ---------------------------------------------------------- */

static inline bool is_bounce(const struct iovec *iov)
{
	return (uint8_t *)iov->iov_base == engine.bounce && iov->iov_len <= sizeof(engine.bounce);
}

/* The outcome the script has chosen for one call. */
static inline bool call_fails(void)
{
	const int error = engine.call_error;

	engine.call_error = 0;
	errno = error;
	return error;
}

static inline uint64_t call_limit(void)
{
	const uint64_t limit = engine.short_bytes ? engine.short_bytes : UINT64_MAX;

	engine.short_bytes = 0;
	return limit;
}

static inline ssize_t blocking_rw(const struct iovec *iov, int n, off_t off, bool write)
{
	struct flight *flight = engine.blocking;
	uint64_t moved;

	fuzz_check(n > 0 && n <= VIRTQ_MAX_CHAIN, "%d buffers", n);
	engine_check_transfer(off, iov_bytes(iov, n), write);
	for (int i = 0; i < n; i++)
		if (!is_bounce(&iov[i]))
			flight_check_buffer(flight, &iov[i], write);
	if (call_fails())
		return -1;
	moved = engine_move(iov, n, off, write, call_limit());
	if (flight)
		flight->done += moved;
	return moved;
}

ssize_t pwritev2(int fd, const struct iovec *iov, int n, off_t off, int flags)
{
	fuzz_check(engine.blocking, "the disk's thread writes");
	fuzz_check(!engine.blocking->durable == !(flags & RWF_DSYNC), "durability of a write");
	return blocking_rw(iov, n, off, true);
}

/* With RWF_NOWAIT it is the disk's thread that reads. */
ssize_t preadv2(int fd, const struct iovec *iov, int n, off_t off, int flags)
{
	fuzz_check(engine.blocking && engine.cached == !!(flags & RWF_NOWAIT),
		   "the disk's thread blocks in a read");
	return blocking_rw(iov, n, off, false);
}

ssize_t __real_blk_blocking_read_cached(const struct blk_request *req,
					const struct block_backend *be);
ssize_t __wrap_blk_blocking_read_cached(const struct blk_request *req,
					const struct block_backend *be);

ssize_t __wrap_blk_blocking_read_cached(const struct blk_request *req,
					const struct block_backend *be)
{
	ssize_t ret;

	engine.blocking = flight_of(req->queue, req->head);
	engine.cached = true;
	flight_begins(engine.blocking);
	ret = __real_blk_blocking_read_cached(req, be);
	engine.cached = false;
	engine.blocking = NULL;
	return ret;
}

ssize_t pwrite(int fd, const void *buf, size_t len, off_t off)
{
	const struct iovec iov = { (void *)buf, len };

	fuzz_check(is_bounce(&iov), "zeroes come from elsewhere");
	return blocking_rw(&iov, 1, off, true);
}

int fdatasync(int fd)
{
	return call_fails() ? -1 : 0;
}

int fallocate(int fd, int mode, off_t off, off_t len)
{
	engine_check_place(off, len, true);
	if (call_fails())
		return -1;
	memset(engine.disk + off, 0, len);
	return 0;
}

#endif
