/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The I/O of a job: a few chunks at once, each in a slot with a buffer of its own.
 *
 * The disk's thread. Knows slots, Linux AIO and workers; not why a chunk is copied.
 *
 * Reads go by a batch of Linux AIO, and so do writes to where the target has blocks already. The
 * first write to a hole makes the file system look for some, which it does while io_submit() waits:
 * that is a worker's. Buffered disks have workers for all.
 */
#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/timerfd.h>
#include <time.h>

#include "virtio/blk/job_priv.h"
#include "virtio/blk/overlay.h"

/* How long to wait before the host is asked again, when nothing is under way that would wake us. */
#define RETRY_NS 1000000

struct blk_slot *job_slot_get(struct blk_job *job)
{
	for (unsigned i = 0; i < BLK_JOB_SLOTS; i++)
		if (job->slot[i].phase == SLOT_FREE) {
			job->used++;
			return &job->slot[i];
		}
	return NULL;
}

void job_slot_put(struct blk_job *job, struct blk_slot *slot)
{
	slot->phase = SLOT_FREE;
	job->used--;
}

/*
 * Of a disk with an overlay a chunk is read piece by piece, each from the file that holds it when its
 * turn comes: of a backup's chunk nothing moves from one to the other before it has been read.
 */
static void choose_part(const struct blk_job *job, struct blk_slot *slot)
{
	const struct blk_overlay *ov = job->source->overlay;
	const struct blk_chunks *c = &job->copy.chunks;

	slot->len = blk_chunk_len(c, slot->chunk) - slot->at;
	slot->req.from_base = false;
	if (ov && slot->phase == SLOT_READ)
		slot->len = blk_overlay_run(ov, blk_chunk_offset(c, slot->chunk) + slot->at,
					    slot->len, &slot->req.from_base);
}

/* A worker counts what it has done in the request: each time a new one. */
static void to_worker(struct blk_job *job, struct blk_slot *slot)
{
	struct blk_request *req = &slot->req;

	req->op = slot->phase == SLOT_READ ? BLK_OP_READ : BLK_OP_WRITE;
	req->be = slot->phase == SLOT_READ ? job->source : job->target;
	req->offset = blk_chunk_offset(&job->copy.chunks, slot->chunk) + slot->at;
	req->total = req->len = slot->len;
	req->iov = req->inline_iov;
	req->iov[0] = (struct iovec){ .iov_base = slot->buffer + slot->at, .iov_len = req->len };
	req->nseg = 1;
	blk_pool_queue(&job->pool, req);
}

static int file_of(const struct blk_job *job, const struct blk_slot *slot)
{
	if (slot->req.from_base)
		return job->source->overlay->base_fd;
	return slot->phase == SLOT_READ ? job->source->fd : job->target->fd;
}

static void to_aio(struct blk_job *job, struct blk_slot *slot)
{
	struct iocb *iocb = &slot->req.iocb;

	memset(iocb, 0, sizeof(*iocb));
	iocb->data = slot;
	iocb->aio_fildes = file_of(job, slot);
	iocb->aio_lio_opcode = slot->phase == SLOT_READ ? IO_CMD_PREAD : IO_CMD_PWRITE;
	iocb->u.c.buf = slot->buffer + slot->at;
	iocb->u.c.nbytes = slot->len;
	iocb->u.c.offset = (long long)(blk_chunk_offset(&job->copy.chunks, slot->chunk) + slot->at);
	io_set_eventfd(iocb, job->pool.event_fd);
	job->batch[job->nbatch++] = iocb;
}

/* A piece begins where the guest's writes have cut a chunk, but direct I/O may want its memory aligned:
 * a worker has some that is. */
static bool is_aligned(const struct blk_job *job, const struct blk_slot *slot)
{
	return !(slot->at & (job->source->mem_align - 1));
}

static void read_part(struct blk_job *job, struct blk_slot *slot)
{
	choose_part(job, slot);
	if (job->native && is_aligned(job, slot))
		to_aio(job, slot);
	else
		to_worker(job, slot);
}

void job_slot_read(struct blk_job *job, struct blk_slot *slot)
{
	slot->phase = SLOT_READ;
	slot->at = 0;
	read_part(job, slot);
}

void job_slot_write(struct blk_job *job, struct blk_slot *slot, bool by_worker)
{
	slot->phase = SLOT_WRITE;
	slot->at = 0;
	choose_part(job, slot);
	if (job->native && !by_worker)
		to_aio(job, slot);
	else
		to_worker(job, slot);
}

void job_sync(struct blk_job *job)
{
	job->sync.op = BLK_OP_FLUSH;
	job->syncing = true;
	blk_pool_queue(&job->pool, &job->sync);
}

void job_wake_at(struct blk_job *job, uint64_t at)
{
	struct itimerspec spec = { 0 };

	if (job->timer_at == at)
		return;
	job->timer_at = at;
	spec.it_value.tv_sec = (time_t)(at / 1000000000);
	spec.it_value.tv_nsec = (long)(at % 1000000000);
	timerfd_settime(job->timer_fd, TFD_TIMER_ABSTIME, &spec, NULL);
}

static void ask_again(struct blk_job *job)
{
	struct timespec now;

	if (job->in_flight)
		return; /* its end asks */
	clock_gettime(CLOCK_MONOTONIC, &now);
	job_wake_at(job, (uint64_t)now.tv_sec * 1000000000 + now.tv_nsec + RETRY_NS);
}

static void leave_batch(struct blk_job *job, unsigned n)
{
	job->nbatch -= n;
	memmove(job->batch, job->batch + n, job->nbatch * sizeof(*job->batch));
}

static bool submit_aio(struct blk_job *job)
{
	bool did = false;
	int ret;

	while (job->nbatch) {
		ret = io_submit(job->ctx, job->nbatch, job->batch);
		if (ret == 0 || ret == -EAGAIN || ret == -EINTR) {
			ask_again(job);
			break;
		}
		did = true;
		if (ret > 0) {
			job->in_flight += ret;
			leave_batch(job, ret);
			continue;
		}
		/* Something is wrong with the first: a worker's call will say what. */
		to_worker(job, job->batch[0]->data);
		leave_batch(job, 1);
	}
	return did;
}

bool job_submit(struct blk_job *job)
{
	const bool did = submit_aio(job);

	return blk_pool_submit(&job->pool) || did;
}

bool job_has_ended_io(const struct blk_job *job)
{
	return (job->ring && aio_ring_has_events(job->ring)) || blk_pool_has_done(&job->pool);
}

static unsigned reap_aio(struct blk_job *job, struct io_event *events)
{
	static const struct timespec now;
	int ret;

	if (!job->in_flight)
		return 0;
	if (job->ring) {
		ret = (int)aio_ring_reap(job->ring, events, BLK_JOB_SLOTS);
	} else {
		ret = io_getevents(job->ctx, 0, BLK_JOB_SLOTS, events, (struct timespec *)&now);
		ret = ret < 0 ? 0 : ret; /* EINTR: there is a next time */
	}
	job->in_flight -= ret;
	return ret;
}

/* A part has been transferred. False: another one follows, unless nobody wants it any more. */
static bool whole(struct blk_job *job, struct blk_slot *slot)
{
	slot->at += slot->len;
	if (job->outcome || slot->at == blk_chunk_len(&job->copy.chunks, slot->chunk))
		return true;
	read_part(job, slot);
	return false;
}

/* False: it is not at its end. A short transfer is the end of a file, or of the room on a file system:
 * a worker does it over, whose call says which. */
static bool aio_ended(struct blk_job *job, const struct io_event *event, struct job_end *end)
{
	struct blk_slot *slot = event->data;
	const long res = (long)event->res;

	if (res >= 0 && res != (long)slot->len) {
		to_worker(job, slot);
		return false;
	}
	*end = (struct job_end){ .slot = slot, .error = res < 0 ? (int)res : 0 };
	return res < 0 || whole(job, slot);
}

static struct blk_slot *slot_of(struct blk_job *job, struct blk_request *req)
{
	if (req == &job->sync)
		return NULL;
	return (struct blk_slot *)((char *)req - offsetof(struct blk_slot, req));
}

unsigned job_reap(struct blk_job *job, struct job_end *ends)
{
	struct io_event events[BLK_JOB_SLOTS];
	const unsigned naio = reap_aio(job, events);
	struct blk_request *req, *next;
	struct blk_slot *slot;
	unsigned n = 0;

	for (unsigned i = 0; i < naio; i++)
		n += aio_ended(job, &events[i], &ends[n]);
	for (req = blk_pool_reap(&job->pool); req; req = next) {
		next = req->next;
		slot = slot_of(job, req);
		if (!slot || req->result || whole(job, slot))
			ends[n++] = (struct job_end){ .slot = slot, .error = req->result };
	}
	return n;
}
