/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The way of a request: popped, parsed, handed to an engine, completed, published.
 *
 * The disk's thread, all of it. Takes no lock, allocates nothing, logs nothing, makes no KVM call,
 * waits for nobody. Knows neither commands nor sleep: dataplane_loop.c does.
 *
 *	virtq_pop -> begin() -> dispatch() -> io_submit / workers
 *						     |
 *	virtq_push <- complete() <- finish() <- reap()
 *
 * Every popped head ends in complete(), and nothing else ends one, but for a RESET or QUIT that drops
 * a parked one.
 */
#include <errno.h>

#include "virtio/blk/blocking.h"
#include "virtio/blk/dataplane_priv.h"

/* Reads that are copied out of the host's page cache right here; longer ones would keep the other
 * requests waiting. */
#define CACHED_READ_MAX (64U << 10)

static struct blk_request *request_get(struct blk_dataplane *dp)
{
	struct blk_request *req = dp->free;

	if (req) {
		dp->free = req->next;
		return req;
	}
	req = &dp->request[dp->fresh];
	req->spill = dp->spill + (size_t)dp->fresh * VIRTQ_MAX_CHAIN;
	dp->fresh++;
	return req;
}

static void count(struct blk_dataplane *dp, const struct blk_request *req, uint8_t status)
{
	stat_add(&dp->stats.requests[req->op], 1);
	if (status != VIRTIO_BLK_S_OK)
		stat_add(&dp->stats.errors, 1);
	else if (req->op == BLK_OP_READ)
		stat_add(&dp->stats.bytes_read, req->total);
	else if (req->op == BLK_OP_WRITE)
		stat_add(&dp->stats.bytes_written, req->total);
}

/* The end of every request. A broken device owes the guest nothing and must not touch its rings. */
static void complete(struct blk_dataplane *dp, struct blk_request *req, uint8_t status)
{
	struct blk_queue *q = &dp->queue[req->queue];

	if (!dp->broken) {
		virtq_push(&q->vq, req->head, blk_request_finish(req, status));
		dp->dirty |= 1ULL << req->queue;
	}
	count(dp, req, status);
	if (dp->measures)
		dataplane_measure_done(dp, req);
	dp->in_flight--;
	dataplane_put(dp, req);
}

static void fail(struct blk_dataplane *dp, struct blk_request *req, int error)
{
	const bool range = req->op == BLK_OP_DISCARD || req->op == BLK_OP_WRITE_ZEROES;

	atomic_store_explicit(&dp->stats.last_errno, -error, memory_order_relaxed);
	stat_add(&dp->stats.failures, 1);
	complete(dp, req, range && error == -EOPNOTSUPP ? VIRTIO_BLK_S_UNSUPP : VIRTIO_BLK_S_IOERR);
}

/* Nor that of one the driver has forgotten by a reset. */
void dataplane_forget(struct blk_dataplane *dp, struct blk_request *req)
{
	dp->in_flight--;
	dataplane_put(dp, req);
}

/* The host has done it; 0, or what is wrong all the same. The storage tells of a loss once: what it did
 * meanwhile, and well, may be lost with the rest. */
static int landed(struct blk_dataplane *dp, const struct blk_request *req)
{
	if (dataplane_has_lost(dp) && blk_request_promises(req))
		return -EIO;
	if (dp->overlay && req->op != BLK_OP_READ)
		blk_overlay_landed(dp->overlay, req);
	return 0;
}

/* `error`: 0, or the host's -errno. */
static void finish(struct blk_dataplane *dp, struct blk_request *req, int error)
{
	if (dp->job)
		dataplane_job_write_ended(dp, req);
	if (!error && dp->checks_ends)
		error = landed(dp, req);
	if (!error)
		complete(dp, req, VIRTIO_BLK_S_OK);
	else if (!dataplane_keep_failed(dp, req, error))
		fail(dp, req, error);
}

/* True when the READ, or this part of it, is done; else what is left goes to a worker. */
static bool read_cached(struct blk_dataplane *dp, struct blk_request *req)
{
	ssize_t ret;

	if (!dp->try_cached || req->op != BLK_OP_READ ||
	    req->len + req->later_len > CACHED_READ_MAX)
		return false;
	ret = blk_blocking_read_cached(req, dp->be);
	if (ret == -EOPNOTSUPP)
		dp->try_cached = false;
	if (ret <= 0)
		return false;
	blk_request_advance(req, ret);
	return !req->len;
}

static bool suits_native(const struct blk_dataplane *dp, const struct blk_request *req)
{
	switch (req->op) {
	case BLK_OP_READ:
	case BLK_OP_WRITE:
		return dp->native && !req->make_space && blk_request_aligned(req, dp->be);
	case BLK_OP_FLUSH:
		return dp->native;
	default:
		return false;
	}
}

/* For what Linux AIO does not get as it came. */
static void dispatch_otherwise(struct blk_dataplane *dp, struct blk_request *req)
{
	do {
		if (dp->overlay)
			blk_overlay_place(dp->overlay, req);
		if (suits_native(dp, req)) {
			blk_aio_queue(&dp->aio, req);
			return;
		}
		if (!read_cached(dp, req)) {
			blk_pool_queue(&dp->pool, req);
			return;
		}
	} while (blk_request_next_part(req));
	dp->now_ns = 0; /* a copy takes as long as many a disk */
	finish(dp, req, 0);
}

/* Gives a request, or what is left of one, to the engine that can do it. (`inline`, here and below:
 * the compiler would not by itself, and that is some 20 instructions of 1500 per request.) */
static inline void dispatch(struct blk_dataplane *dp, struct blk_request *req)
{
	if (!dp->overlay && suits_native(dp, req))
		blk_aio_queue(&dp->aio, req);
	else
		dispatch_otherwise(dp, req);
}

/*
 * When a FLUSH has failed, nobody knows which of the completed writes the storage holds: the kernel
 * calls lost pages clean, a disk has dropped what its cache could not keep, and both say so once. A
 * guest that tries again would be told of durable data that is not there, so no later one succeeds
 * either, in any cache mode, until the image is opened again.
 */
static void end_flush(struct blk_dataplane *dp, struct blk_request *req, int error);

static void next_flush(struct blk_dataplane *dp)
{
	struct blk_request *req = dataplane_flush_next(dp);

	if (req && dataplane_has_lost(dp))
		end_flush(dp, req, -EIO);
	else if (req)
		dispatch(dp, req);
}

static void end_flush(struct blk_dataplane *dp, struct blk_request *req, int error)
{
	struct blk_request *shared = dataplane_flush_ended(dp), *next;

	finish(dp, req, error);
	for (; shared; shared = next) {
		next = shared->next;
		finish(dp, shared, error);
	}
	next_flush(dp);
}

/* The engine's last word on a request. */
static void executed(struct blk_dataplane *dp, struct blk_request *req, int error)
{
	if (blk_request_lost(req, error))
		dataplane_sync_failed(dp, error);
	if (req->op == BLK_OP_FLUSH)
		end_flush(dp, req, error);
	else
		finish(dp, req, error);
}

/* What a request promises is decided when it goes: it may have waited for long. One that cannot keep
 * its promise could not at a second try either, whatever on-error= says. */
static inline void go(struct blk_dataplane *dp, struct blk_request *req)
{
	req->durable = !dp->writeback && dp->limits.volatile_cache;
	if (blk_request_promises(req) && dataplane_has_lost(dp))
		fail(dp, req, -EIO);
	else if (req->op != BLK_OP_FLUSH || dataplane_flush_may_go(dp, req))
		dispatch(dp, req);
}

/* A request begins: who must wait for the job does so here, and once. */
static inline void start(struct blk_dataplane *dp, struct blk_request *req)
{
	if (!dp->job || !dataplane_job_takes(dp, req))
		go(dp, req);
}

/* The disk may have shrunk meanwhile: then it is as if the request came now. */
void dataplane_start_parked(struct blk_dataplane *dp, struct blk_request *req)
{
	if (blk_request_fits(req, &dp->limits))
		start(dp, req);
	else
		complete(dp, req, VIRTIO_BLK_S_IOERR);
}

static void begin(struct blk_dataplane *dp, unsigned queue)
{
	struct blk_request *req = request_get(dp);
	int status;

	dp->in_flight++;
	req->queue = queue;
	req->alone = false;
	if (dp->measures)
		dataplane_measure_taken(dp, req);
	status = blk_request_parse(req, &dp->chain, &dp->limits);
	if (status != BLK_START)
		complete(dp, req, status);
	else if (!dp->throttled || !dataplane_must_wait(dp, req))
		start(dp, req);
}

/* Those whose wait for a limit is over. */
static bool start_due(struct blk_dataplane *dp)
{
	struct blk_request *req;
	bool did = false;

	while ((req = dataplane_next_due(dp))) {
		dataplane_start_parked(dp, req);
		did = true;
	}
	return did;
}

/* The guest broke a ring (virtio 1.2, 2.1.2): say so and stop until it resets us. What is in flight
 * ends quietly. Release: who sees the bit by the interrupt below sees the device stopped. */
static void break_device(struct blk_dataplane *dp)
{
	dp->broken = true;
	dp->dirty = 0;
	stat_add(&dp->stats.broken, 1);
	atomic_fetch_or_explicit(dp->status, VIRTIO_CONFIG_S_NEEDS_RESET, memory_order_release);
	irq_line_signal(&dp->config_line);
}

/*
 * A quarter of what waits. The whole of it would save a few system calls, but then the guest sleeps
 * while we submit and we sleep while it makes new requests; in parts, both work at once. Where so
 * much waits that the guest has enough to do anyway, large parts share their calls best.
 */
static unsigned batch_size(const struct virtqueue *vq)
{
	const unsigned part = virtq_waiting(vq) / 4;

	if (part < BLK_BATCH_MIN)
		return BLK_BATCH_MIN;
	return part < BLK_BATCH_MAX ? part : BLK_BATCH_MAX;
}

/* Returns the requests taken: at most a batch, and no more than the host may have; the ring keeps
 * the others until a completion makes room. */
static unsigned drain_queue(struct blk_dataplane *dp, unsigned queue)
{
	struct virtqueue *vq = &dp->queue[queue].vq;
	const unsigned batch = batch_size(vq);
	unsigned n = 0;
	int ret = 0;

	while (n < batch && dataplane_has_request(dp)) {
		ret = virtq_pop(vq, &dp->chain);
		if (ret <= 0)
			break;
		begin(dp, queue);
		n++;
	}
	if (ret < 0)
		break_device(dp);
	if (n)
		stat_add(&dp->stats.batches, 1);
	return n;
}

/* Another queue comes first each time: where requests run out, each gets its share of them, however
 * busy the others are. */
static bool drain_queues(struct blk_dataplane *dp)
{
	const unsigned first = dp->first_queue;
	unsigned n = 0;

	dp->first_queue = first + 1 < dp->nqueues ? first + 1 : 0;
	if (dp->notify_on) {
		for (unsigned i = 0; i < dp->nqueues; i++)
			virtq_disable_notify(&dp->queue[i].vq);
		dp->notify_on = false;
	}
	for (unsigned i = 0; i < dp->nqueues && !dp->broken; i++)
		n += drain_queue(dp, first + i < dp->nqueues ? first + i : first + i - dp->nqueues);
	return n;
}

/* Something is wrong with one of a group: let the host say with which. */
static void dissolve(struct blk_dataplane *dp, struct blk_request *req)
{
	struct blk_request *next;

	for (; req; req = next) {
		next = req->next;
		req->alone = true;
		dispatch(dp, req);
	}
}

/* Ends a request that io_submit() will not have. */
static void refuse(struct blk_dataplane *dp, struct blk_request *req, int error)
{
	if (req->next) {
		dissolve(dp, req);
		return;
	}
	if (req->op != BLK_OP_FLUSH) {
		finish(dp, req, error);
		return;
	}
	/* FDSYNC is younger than the rest of Linux AIO (4.18): then a worker does it. */
	if (error == -EINVAL) {
		blk_pool_queue(&dp->pool, req);
		return;
	}
	dataplane_flush_refused(dp);
	finish(dp, req, error);
	next_flush(dp);
}

static bool submit_native(struct blk_dataplane *dp)
{
	struct blk_request *refused;
	bool did = false;
	int error;

	if (!dp->aio.queued)
		return false;
	do {
		if (blk_aio_submit(&dp->aio, &refused, &error)) {
			stat_add(&dp->stats.submits, 1);
			did = true;
		}
		if (refused) {
			refuse(dp, refused, error);
			did = true;
		}
	} while (refused);
	if (dp->aio.queued)
		stat_add(&dp->stats.stalls, 1);
	return did;
}

static bool submit(struct blk_dataplane *dp)
{
	bool did = dp->native && submit_native(dp);

	if (blk_pool_submit(&dp->pool)) {
		stat_add(&dp->stats.submits, 1);
		did = true;
	}
	return did;
}

static void finish_whole(struct blk_dataplane *dp, struct blk_request *req)
{
	blk_request_advance(req, req->len);
	finish(dp, req, 0);
}

static void reaped_group(struct blk_dataplane *dp, struct blk_request *req, long res)
{
	struct blk_request *next;

	if (res != (long)req->group.len) {
		if (res < 0 && blk_request_lost(req, (int)res))
			dataplane_sync_failed(dp, (int)res);
		dissolve(dp, req);
		return;
	}
	for (; req; req = next) {
		next = req->next;
		finish_whole(dp, req);
	}
}

/* `res`: bytes or -errno. A short READ or WRITE goes on with its rest, so that the host says what
 * is wrong; nothing at all is the end of a file that was cut short under us. */
static void reaped(struct blk_dataplane *dp, struct blk_request *req, long res)
{
	if (req->next) {
		reaped_group(dp, req, res);
		return;
	}
	if (req->op == BLK_OP_FLUSH || res < 0) {
		executed(dp, req, res < 0 ? (int)res : 0);
		return;
	}
	if (res == 0 || res > (long)req->len) {
		finish(dp, req, -EIO);
		return;
	}
	blk_request_advance(req, res);
	if (req->len || blk_request_next_part(req))
		dispatch(dp, req);
	else
		finish(dp, req, 0);
}

void dataplane_reaped(struct blk_dataplane *dp, unsigned n)
{
	dp->now_ns = 0;
	for (unsigned i = 0; i < n; i++)
		reaped(dp, dp->events[i].data, (long)dp->events[i].res);
}

static bool reap_native(struct blk_dataplane *dp)
{
	const unsigned n = blk_aio_reap(&dp->aio, dp->events, BLK_EVENTS);

	dataplane_reaped(dp, n);
	return n;
}

static bool reap_pool(struct blk_dataplane *dp)
{
	struct blk_request *req = blk_pool_reap(&dp->pool), *next;

	if (!req)
		return false;
	dp->now_ns = 0;
	for (; req; req = next) {
		next = req->next;
		if (!req->result && (req->make_space || blk_request_next_part(req)))
			dispatch(dp, req);
		else
			executed(dp, req, req->result);
	}
	return true;
}

/*
 * Shows the guest what is done, with one index store per queue and one interrupt per line. Queues
 * may share a line (virtio-mmio has one for all), so all are published before the first interrupt:
 * whom it wakes looks at each queue once, and what came later would go unnoticed.
 */
static void publish(struct blk_dataplane *dp)
{
	uint64_t dirty = dp->dirty, wanted = 0;
	int signalled = -2; /* no line's: -1 is a line without a vector, whose status bit counts */

	dp->dirty = 0;
	for (; dirty; dirty &= dirty - 1)
		if (virtq_publish(&dp->queue[__builtin_ctzll(dirty)].vq))
			wanted |= dirty & -dirty;
	for (; wanted; wanted &= wanted - 1) {
		const struct irq_line *line = &dp->queue[__builtin_ctzll(wanted)].line;

		if (line->fd == signalled)
			continue;
		irq_line_signal(line);
		signalled = line->fd;
		dp->owes_cpu |= line->deferred;
		stat_add(&dp->stats.interrupts, 1);
	}
}

/* The job's turn: it comes before the submission, for the writes that it lets go. */
static bool step_job(struct blk_dataplane *dp)
{
	bool did = dataplane_job_step(dp);
	struct blk_request *req;

	while (dp->job && dataplane_has_room(dp) && (req = dataplane_job_next(dp))) {
		go(dp, req);
		did = true;
	}
	return did;
}

bool dataplane_poll_once(struct blk_dataplane *dp)
{
	bool did = false;

	dp->now_ns = 0;
	if (dataplane_serving(dp)) {
		if (dp->failed.first)
			did |= dataplane_send_failed(dp);
		if (dp->throttled)
			did |= start_due(dp);
		did |= drain_queues(dp);
	}
	if (dp->job)
		did |= step_job(dp);
	did |= submit(dp);
	if (dp->native)
		did |= reap_native(dp);
	did |= reap_pool(dp);
	if (dp->measures)
		atomic_store_explicit(&dp->stats.in_flight, dp->in_flight, memory_order_relaxed);
	publish(dp);
	return did;
}
