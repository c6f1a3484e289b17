/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host of the ring target: Linux AIO on a disk of 64 KiB in memory; ring_workers.h has the rest.
 * Nothing ends by itself: the script picks which request ends when, and how.
 *
 * These functions take the place of libaio's and libc's in the whole program.
 */
#ifndef MVMM_TESTS_FUZZ_RING_ENGINE_H
#define MVMM_TESTS_FUZZ_RING_ENGINE_H

#include <errno.h>
#include <fcntl.h>
#include <libaio.h>
#include <stdbool.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/uio.h>
#include <unistd.h>

#include "tests/fuzz/ring_limits.h"
#include "tests/fuzz/ring_model.h"
#include "tests/fuzz/target.h"
#include "virtio/blk/aio_pool.h"
#include "virtio/blk/blocking.h"
#include "virtio/blk/dataplane_priv.h"
#include "virtio/blk/thread.h"

#define DISK_SIZE   0x10000
#define RING_EVENTS 512
#define FAKE_FD	    1000000 /* nothing the kernel knows */

/* A request's part of what the kernel has. */
struct engine_part {
	struct flight *flight;
	uint32_t len;
};

/* What the kernel copied when it was submitted: a request, or neighbours that go as one. */
struct engine_io {
	struct iocb *iocb;
	struct engine_part part[VIRTQ_MAX_CHAIN];
	unsigned nparts;
	unsigned opcode;
	bool rings; /* an eventfd when it is done */
	uint64_t offset;
	unsigned niov;
	struct iovec iov[VIRTQ_MAX_CHAIN];
};

static struct {
	uint8_t disk[DISK_SIZE];
	struct block_backend be;
	unsigned nio;	   /* submitted, not ended */
	struct iocb *poll; /* ends when something else than a request happens; NULL: none */
	/* struct aio_ring and its events */
	uint8_t ring[sizeof(struct aio_ring) + RING_EVENTS * sizeof(struct io_event)]
		__attribute__((aligned(64)));
	unsigned unreaped;
	struct blk_request *queued[BLK_MAX_DEPTH], *todo[BLK_MAX_DEPTH], *done;
	unsigned nqueued, ntodo;
	struct flight *blocking; /* whose worker runs */
	bool cached;		 /* or who is looked for in the page cache */
	/* What the next calls do: take so many requests, then say so. */
	unsigned take;
	int submit_error;
	bool no_fdsync; /* a kernel before 4.18 */
	/* What the next blocking calls do. */
	uint32_t short_bytes; /* 0: all */
	int call_error;
	/* From here on nothing is old news to the next run. */
	uint8_t bounce[BLK_BOUNCE_SIZE] __attribute__((aligned(4096)));
	struct engine_io io[BLK_MAX_DEPTH];
} engine;

static inline struct aio_ring *engine_ring(void)
{
	return (struct aio_ring *)engine.ring;
}

static void script_in_pass(void);		 /* the script may act in the middle of a pass */
static void sleeps(bool by_bell, bool for_ever); /* the disk's thread does: see fuzz_ring.c */

static inline void engine_init(void)
{
	const size_t all = offsetof(__typeof__(engine), bounce);

	memset(&engine, 0, all);
	for (unsigned i = 0; i < DISK_SIZE; i++)
		engine.disk[i] = i / 512 + i;
	engine.take = UINT32_MAX;
}

static inline bool engine_idle(void)
{
	return !engine.nio && !engine.unreaped && !engine.nqueued && !engine.ntodo && !engine.done;
}

/* ---- the disk -------------------------------------------------------------------------------- */

static inline void engine_check_place(uint64_t off, uint64_t len, bool write)
{
	fuzz_check(off <= model.size && len <= model.size - off,
		   "I/O outside the disk: %#llx, +%#llx", (unsigned long long)off,
		   (unsigned long long)len);
	fuzz_check(!write || !engine.be.readonly, "a read-only disk is written");
}

static inline void engine_check_transfer(uint64_t off, uint64_t len, bool write)
{
	engine_check_place(off, len, write);
	fuzz_check(len, "an empty transfer");
	if (engine.be.direct)
		fuzz_check(!((off | len) & (engine.be.offset_align - 1)),
			   "O_DIRECT with an odd place");
}

static inline uint64_t iov_bytes(const struct iovec *iov, unsigned n)
{
	uint64_t sum = 0;

	while (n--)
		sum += iov[n].iov_len;
	return sum;
}

/* Up to `max` bytes between the disk and memory. */
static inline uint64_t engine_move(const struct iovec *iov, unsigned n, uint64_t off, bool write,
				   uint64_t max)
{
	uint64_t done = 0;

	for (unsigned i = 0; i < n && done < max; i++) {
		const uint64_t len = iov[i].iov_len < max - done ? iov[i].iov_len : max - done;

		if (write)
			memmove(engine.disk + off + done, iov[i].iov_base, len);
		else
			memmove(iov[i].iov_base, engine.disk + off + done, len);
		done += len;
	}
	return done;
}

/* ---- Linux AIO ------------------------------------------------------------------------------- */

int io_setup(int depth, io_context_t *ctx)
{
	fuzz_check(depth > 0 && depth <= BLK_MAX_DEPTH + 1, "io_setup(%d)", depth);
	*ctx = (io_context_t)engine.ring;
	return 0;
}

int io_destroy(io_context_t ctx)
{
	fuzz_check(engine_idle(), "the engine is destroyed with I/O under way");
	return 0;
}

void __real_blk_aio_queue(struct blk_aio *aio, struct blk_request *req);
void __wrap_blk_aio_queue(struct blk_aio *aio, struct blk_request *req);

void __wrap_blk_aio_queue(struct blk_aio *aio, struct blk_request *req)
{
	flight_begins(flight_of(req->queue, req->head));
	fuzz_check(aio->queued + aio->in_flight < aio->depth, "the host is given too much");
	__real_blk_aio_queue(aio, req);
}

static inline bool opcode_writes(unsigned opcode)
{
	return opcode == IO_CMD_PWRITE || opcode == IO_CMD_PWRITEV;
}

/* The piece of the request whose part begins at byte `at` of the vector. */
static inline void engine_check_part(const struct engine_io *io, const struct engine_part *part,
				     uint64_t at)
{
	const struct flight *f = part->flight;
	uint64_t skip = at, left = part->len;

	fuzz_check(!f->known || io->offset + at == f->sector * 512 + f->done,
		   "a request is sent to byte %#llx", (unsigned long long)(io->offset + at));
	for (unsigned i = 0; i < io->niov && left; i++) {
		struct iovec piece = io->iov[i];

		if (skip >= piece.iov_len) {
			skip -= piece.iov_len;
			continue;
		}
		piece.iov_base = (uint8_t *)piece.iov_base + skip;
		piece.iov_len -= skip;
		if (piece.iov_len > left)
			piece.iov_len = left;
		flight_check_buffer(f, &piece, opcode_writes(io->opcode));
		left -= piece.iov_len;
		skip = 0;
	}
	fuzz_check(!left, "a request is sent in part");
}

static inline void engine_check_rw(const struct iocb *iocb, struct engine_io *io)
{
	const bool write = opcode_writes(io->opcode);
	uint64_t at = 0;

	engine_check_transfer(io->offset, iov_bytes(io->iov, io->niov), write);
	for (unsigned i = 0; i < io->nparts; i++) {
		engine_check_part(io, &io->part[i], at);
		at += io->part[i].len;
		fuzz_check(!write || io->part[i].flight->resent ||
				   !io->part[i].flight->durable ==
					   !(iocb->aio_rw_flags & RWF_DSYNC),
			   "a write that must %sbe durable",
			   io->part[i].flight->durable ? "" : "not ");
	}
	fuzz_check(at == iov_bytes(io->iov, io->niov), "more is sent than was asked for");
	for (unsigned i = 0; i < io->niov && engine.be.direct; i++)
		fuzz_check(!((uintptr_t)io->iov[i].iov_base & (engine.be.mem_align - 1)),
			   "O_DIRECT with an odd buffer");
}

static inline void engine_accept_poll(struct iocb *iocb)
{
	fuzz_check(!engine.poll, "a poll is submitted twice");
	engine.poll = iocb;
}

/* A request that failed comes again only where on-error= says so, or its group has failed. */
static inline void engine_take_on(struct flight *f)
{
	fuzz_check(!f->submitted, "a request is submitted twice");
	fuzz_check(!f->failed || model.keeps_failed, "a failed request is sent again");
	f->submitted = true;
	f->resent |= f->failed;
	f->failed = false;
}

static inline void engine_add_part(struct engine_io *io, const struct blk_request *req)
{
	struct engine_part *part = &io->part[io->nparts++];

	fuzz_check(io->nparts <= VIRTQ_MAX_CHAIN, "too many neighbours");
	part->flight = flight_of(req->queue, req->head);
	part->len = req->len;
	engine_take_on(part->flight);
}

static inline void engine_accept(struct iocb *iocb)
{
	struct engine_io *io = &engine.io[engine.nio];

	fuzz_check(engine.nio < BLK_MAX_DEPTH, "more requests than there are");
	io->iocb = iocb;
	io->rings = iocb->u.c.flags & 1; /* IOCB_FLAG_RESFD */
	io->opcode = iocb->aio_lio_opcode;
	io->offset = iocb->u.c.offset;
	io->niov = io->nparts = 0;
	for (const struct blk_request *req = iocb->data; req; req = req->next)
		engine_add_part(io, req);
	if (io->opcode == IO_CMD_PREADV || io->opcode == IO_CMD_PWRITEV) {
		io->niov = iocb->u.c.nbytes;
		fuzz_check(io->niov <= VIRTQ_MAX_CHAIN, "%u buffers", io->niov);
		memcpy(io->iov, iocb->u.c.buf, io->niov * sizeof(io->iov[0]));
	} else if (io->opcode != IO_CMD_FDSYNC) {
		io->niov = 1;
		io->iov[0] = (struct iovec){ iocb->u.c.buf, iocb->u.c.nbytes };
	}
	if (io->niov)
		engine_check_rw(iocb, io);
	else if (io->opcode == IO_CMD_FDSYNC)
		model_sync_begins();
	engine.nio++;
}

static inline void engine_refuse(const struct iocb *iocb)
{
	const struct blk_request *req = iocb->data;

	if (engine.submit_error != -EAGAIN && engine.submit_error != -EINTR &&
	    iocb->aio_lio_opcode != IO_CMD_POLL && !req->next)
		flight_of(req->queue, req->head)->failed = true;
}

int io_submit(io_context_t ctx, long n, struct iocb **iocb)
{
	long taken = 0;

	fuzz_check(n > 0 && n <= BLK_MAX_DEPTH, "io_submit(%ld)", n);
	/* Before a sleep the rings have had their last look: who adds to them then rings. */
	if (iocb[0]->aio_lio_opcode != IO_CMD_POLL)
		script_in_pass();
	for (; taken < n && engine.take; taken++) {
		if (iocb[taken]->aio_lio_opcode == IO_CMD_FDSYNC && engine.no_fdsync)
			return taken ? taken : -EINVAL;
		if (iocb[taken]->aio_lio_opcode == IO_CMD_POLL)
			engine_accept_poll(iocb[taken]);
		else
			engine_accept(iocb[taken]);
		if (engine.take != UINT32_MAX)
			engine.take--;
	}
	if (taken)
		return taken;
	if (engine.submit_error)
		engine_refuse(iocb[0]);
	/* Said once, then all is as ever. */
	engine.take = UINT32_MAX;
	return engine.submit_error ? engine.submit_error : -EAGAIN;
}

static inline void engine_post(struct iocb *iocb, long res)
{
	struct aio_ring *ring = engine_ring();
	const uint32_t tail = ring->tail;

	ring->events[tail] =
		(struct io_event){ .data = iocb->data, .obj = iocb, .res = (unsigned long)res };
	ring->tail = (tail + 1) % RING_EVENTS;
	engine.unreaped++;
}

int io_getevents(io_context_t ctx, long min, long max, struct io_event *events,
		 struct timespec *timeout)
{
	int n;

	if (min && !timeout) {
		sleeps(false, true);
		/* What woke it, if no request did. */
		if (engine.poll && !aio_ring_has_events(engine_ring())) {
			engine_post(engine.poll, 1);
			engine.poll = NULL;
		}
	} else {
		script_in_pass();
	}
	n = aio_ring_reap(engine_ring(), events, max);
	return n || !min ? n : -EINTR;
}

/* Of neighbours nobody can tell who was served, unless all were. */
static inline void engine_settle(struct engine_io *io, long res)
{
	const bool whole = res >= 0 && (uint64_t)res == iov_bytes(io->iov, io->niov);

	for (unsigned i = 0; i < io->nparts; i++) {
		struct flight *f = io->part[i].flight;

		f->submitted = false;
		if (whole)
			f->done += io->part[i].len;
		else if (io->nparts == 1 && res > 0)
			f->done += res;
		f->failed |= io->nparts == 1 && (res < 0 || (!res && io->opcode != IO_CMD_FDSYNC));
	}
}

/* The k-th request in the kernel ends: all of it, `limit` bytes of it, or with an error. */
static inline void engine_complete(unsigned k, uint64_t limit, int error)
{
	struct engine_io *io = &engine.io[k];
	const bool write = opcode_writes(io->opcode);
	long res = error;

	if (!error && io->opcode != IO_CMD_FDSYNC)
		res = engine_move(io->iov, io->niov, io->offset, write, limit);
	if (io->opcode == IO_CMD_FDSYNC)
		model_sync_ends(!res);
	engine_settle(io, res);
	engine_post(io->iocb, res);
	memmove(io, io + 1, (--engine.nio - k) * sizeof(*io));
}

/* ---- descriptors and threads ----------------------------------------------------------------- */

int eventfd(unsigned count, int flags)
{
	return FAKE_FD;
}

int epoll_create1(int flags)
{
	return FAKE_FD;
}

int epoll_ctl(int epfd, int op, int fd, struct epoll_event *event)
{
	return 0;
}

/* The thread is ours. */
int blk_thread_create(struct blk_thread *thread, const char *name, int cpu,
		      const struct thread_hook *hook, void *(*fn)(void *), void *arg)
{
	return 0;
}

#endif
