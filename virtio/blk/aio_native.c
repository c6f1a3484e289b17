/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The Linux AIO engine; see aio_native.h.
 *
 * Main sets up and tears down, the disk's thread does the rest. Knows requests and files; not
 * where requests come from nor what their end means.
 */
#include "virtio/blk/aio_native.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "virtio/blk/overlay.h"

int blk_aio_init(struct blk_aio *aio, const struct block_backend *be, unsigned depth,
		 struct error *err)
{
	int ret;

	memset(aio, 0, offsetof(struct blk_aio, iocb));
	aio->file_fd = be->fd;
	aio->base_fd = be->overlay ? be->overlay->base_fd : -1;
	aio->depth = depth;
	aio->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (aio->event_fd < 0)
		return error_set(err, errno, "cannot create an eventfd for AIO completions");
	ret = io_setup((int)depth + 1, &aio->ctx); /* and `others` */
	if (ret == 0) {
		aio->ring = aio_ring_of(aio->ctx);
		return 0;
	}
	close(aio->event_fd);
	if (ret == -EAGAIN)
		return error_setx(err, EAGAIN,
				  "the host has no AIO context for %u more requests (sysctl "
				  "fs.aio-max-nr)",
				  depth);
	return error_set(err, -ret, "cannot set up Linux AIO");
}

void blk_aio_destroy(struct blk_aio *aio)
{
	io_destroy(aio->ctx);
	close(aio->event_fd);
}

static void prep_rw(struct blk_request *req)
{
	const bool write = req->op == BLK_OP_WRITE;
	struct iocb *iocb = &req->iocb;

	/* One buffer needs no vector that the kernel would have to copy. */
	if (req->nseg == 1) {
		iocb->aio_lio_opcode = write ? IO_CMD_PWRITE : IO_CMD_PREAD;
		iocb->u.c.buf = req->iov->iov_base;
		iocb->u.c.nbytes = req->iov->iov_len;
	} else {
		iocb->aio_lio_opcode = write ? IO_CMD_PWRITEV : IO_CMD_PREADV;
		iocb->u.c.buf = req->iov;
		iocb->u.c.nbytes = req->nseg;
	}
	iocb->u.c.offset = req->offset;
	/* Waits for stable storage, with FUA where the device has it (Linux 4.13). */
	if (write && req->durable)
		iocb->aio_rw_flags = RWF_DSYNC;
}

/* One for which the kernel would have to do nothing but go on. */
static bool may_join(const struct blk_request *first, const struct blk_request *req)
{
	return req->op == first->op && (req->op == BLK_OP_READ || req->op == BLK_OP_WRITE) &&
	       req->offset == first->offset + first->group.len && !req->alone && !first->alone &&
	       req->durable == first->durable && req->from_base == first->from_base &&
	       (uint64_t)first->group.len + req->len <= BLK_GROUP_MAX &&
	       first->group.nseg + req->nseg <= VIRTQ_MAX_CHAIN;
}

/* The group's table is the first's spill table, which begins with the first's own entries. */
static void join(struct blk_request *first, struct blk_request *req)
{
	const struct blk_request *second = first->next;
	struct blk_group *group = &first->group;
	struct iocb *iocb = &first->iocb;

	if (!second && first->iov != first->spill)
		memcpy(first->spill, first->iov, first->nseg * sizeof(*first->iov));
	memcpy(first->spill + group->nseg, req->iov, req->nseg * sizeof(*req->iov));
	group->last->next = req;
	group->last = req;
	group->nseg += req->nseg;
	group->len += req->len;
	iocb->aio_lio_opcode = req->op == BLK_OP_WRITE ? IO_CMD_PWRITEV : IO_CMD_PREADV;
	iocb->u.c.buf = first->spill;
	iocb->u.c.nbytes = group->nseg;
}

static struct blk_request *last_queued(const struct blk_aio *aio)
{
	return aio->iocb[(aio->first + aio->queued - 1) % BLK_MAX_DEPTH]->data;
}

void blk_aio_queue(struct blk_aio *aio, struct blk_request *req)
{
	struct iocb *iocb = &req->iocb;

	req->next = NULL;
	if (aio->queued && may_join(last_queued(aio), req)) {
		join(last_queued(aio), req);
		return;
	}
	req->group = (struct blk_group){ .last = req, .len = req->len, .nseg = req->nseg };
	memset(iocb, 0, sizeof(*iocb));
	iocb->data = req;
	iocb->aio_fildes = req->from_base ? aio->base_fd : aio->file_fd;
	if (req->op == BLK_OP_FLUSH)
		iocb->aio_lio_opcode = IO_CMD_FDSYNC;
	else
		prep_rw(req);
	req->silent = !aio->ring_bell;
	aio->silent += req->silent;
	if (!req->silent)
		io_set_eventfd(iocb, aio->event_fd);
	aio->iocb[(aio->first + aio->queued++) % BLK_MAX_DEPTH] = iocb;
}

/* The queue is a ring, io_submit() wants an array: the part up to the wrap goes first. */
static unsigned contiguous(const struct blk_aio *aio)
{
	const unsigned room = BLK_MAX_DEPTH - aio->first;

	return aio->queued < room ? aio->queued : room;
}

static void dequeue(struct blk_aio *aio, unsigned n)
{
	aio->first = (aio->first + n) % BLK_MAX_DEPTH;
	aio->queued -= n;
}

/* A request leaves the engine. */
static struct blk_request *leave(struct blk_aio *aio, struct blk_request *req)
{
	aio->silent -= req->silent;
	return req;
}

unsigned blk_aio_submit(struct blk_aio *aio, struct blk_request **refused, int *error)
{
	unsigned taken = 0;
	int ret;

	*refused = NULL;
	while (aio->queued) {
		ret = io_submit(aio->ctx, contiguous(aio), &aio->iocb[aio->first]);
		if (ret > 0) {
			/* Less than all: something is wrong with the next, ask again what. */
			dequeue(aio, ret);
			aio->in_flight += ret;
			taken += ret;
			continue;
		}
		if (ret == 0 || ret == -EAGAIN || ret == -EINTR)
			break;
		*refused = leave(aio, aio->iocb[aio->first]->data);
		*error = ret;
		dequeue(aio, 1);
		break;
	}
	/* An empty ring starts at 0 again: one call per batch, and the same cache lines. */
	if (!aio->queued)
		aio->first = 0;
	return taken;
}

/* Accounts for `n` events; those of requests remain, in their order. */
static unsigned arrived(struct blk_aio *aio, struct io_event *events, unsigned n)
{
	unsigned requests = 0;

	for (unsigned i = 0; i < n; i++) {
		if (events[i].obj == &aio->others) {
			aio->armed = false;
			continue;
		}
		leave(aio, events[i].data);
		if (requests != i)
			events[requests] = events[i];
		requests++;
	}
	aio->in_flight -= requests;
	return requests;
}

unsigned blk_aio_reap(struct blk_aio *aio, struct io_event *events, unsigned max)
{
	static const struct timespec now;
	int ret;

	if (!aio->in_flight && !aio->armed)
		return 0;
	if (aio->ring) {
		ret = aio_ring_reap(aio->ring, events, max);
	} else {
		ret = io_getevents(aio->ctx, 0, max, events, (struct timespec *)&now);
		if (ret < 0) /* EINTR: there is a next time */
			ret = 0;
	}
	return arrived(aio, events, ret);
}

/*
 * One iocb that polls the epoll set stands for all that is not a request. It stays with the kernel
 * until something comes, however often requests wake the thread meanwhile. What the set held before
 * completes it at once: no event falls between looking and sleeping.
 */
static int arm(struct blk_aio *aio, int epoll_fd)
{
	struct iocb *others = &aio->others;
	int ret;

	if (aio->armed)
		return 0;
	io_prep_poll(others, epoll_fd, POLLIN);
	ret = io_submit(aio->ctx, 1, &others);
	if (ret < 0)
		return ret;
	aio->armed = ret;
	return ret ? 0 : -EAGAIN;
}

int blk_aio_wait(struct blk_aio *aio, int epoll_fd, struct io_event *events, unsigned max)
{
	int ret = arm(aio, epoll_fd);

	if (ret < 0)
		return ret;
	ret = io_getevents(aio->ctx, 1, max, events, NULL);
	return ret < 0 ? 0 : (int)arrived(aio, events, ret); /* EINTR: there is a next time */
}
