/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A job and the guest's writes: which of them wait for it, and for how long.
 *
 * The disk's thread. No lock, no allocation, no log line, no wait. Knows no engine, nor how a chunk is
 * copied.
 *
 * A write of the guest waits only for the job where it must: with a backup until the old data of its
 * chunks has been read, and with a mirror that is to become the disk while the guest writes faster
 * than can be copied. What waits is parked: it holds a request of the pool, outlasts a pause and a
 * pivot, and is forgotten by a reset.
 */
#include "virtio/blk/dataplane_priv.h"
#include "virtio/blk/job_priv.h"

static bool changes(const struct blk_request *req)
{
	return req->op == BLK_OP_WRITE || req->op == BLK_OP_DISCARD ||
	       req->op == BLK_OP_WRITE_ZEROES;
}

/* The i-th range that a request changes; a WRITE has one, whatever of it is done. */
static bool range_of(const struct blk_request *req, unsigned i, uint64_t *offset, uint64_t *len)
{
	if (req->op == BLK_OP_WRITE) {
		*offset = req->offset + req->len - req->total;
		*len = req->total;
		return i == 0;
	}
	if (i >= req->nseg)
		return false;
	*offset = req->range[i].offset;
	*len = (uint64_t)req->range[i].sectors * BLK_SECTOR_SIZE;
	return true;
}

static bool must_wait(const struct blk_job *job, const struct blk_request *req)
{
	uint64_t offset, len;

	if (job->outcome)
		return false;
	if (job->complete)
		return job->credit < 0 && !job->stalled;
	for (unsigned i = 0; range_of(req, i, &offset, &len); i++)
		if (blk_copy_must_wait(&job->copy, offset, len))
			return true;
	return false;
}

/* While a mirror completes, the guest may mark one chunk for two that are copied: so it gets there. The
 * mark at a write's end counts as well, or a guest that always has one under way everywhere had it
 * copied in vain for ever. A discard may mark all of the disk, for which no write is to wait: of such
 * a request only so much counts. */
static void charge(struct blk_job *job, const struct blk_request *req, uint64_t left_before)
{
	const int64_t least = req->op == BLK_OP_WRITE ? INT64_MIN : -2 * BLK_JOB_FEW;
	int64_t credit;

	if (!job->complete || job->stalled)
		return;
	credit = job->credit - 2 * (int64_t)(job->copy.chunks.left - left_before);
	if (credit < least)
		credit = job->credit < least ? job->credit : least;
	job->credit = credit;
}

void job_has_copied(struct blk_job *job)
{
	if (job->complete || job->waiting.first)
		job->copied_at = dataplane_now();
	if (!job->complete)
		return;
	/* With nothing left there is nothing to earn by, and the sync may take its time. */
	job->credit = blk_copy_is_done(&job->copy) ? 0 : job->credit + 1;
	job->stalled = false;
	job->recheck = true;
}

/* Of a backup: all buffers are with it. While one is being read it is the disk itself that is slow. */
static bool waits_for_target(const struct blk_job *job)
{
	if (!job->waiting.first)
		return false;
	if (job->copy.mode == BLK_COPY_MIRROR)
		return job->complete && !job->stalled;
	for (unsigned i = 0; i < BLK_JOB_SLOTS; i++)
		if (job->slot[i].phase != SLOT_WRITE)
			return false;
	return true;
}

bool job_is_stuck(struct blk_job *job)
{
	const bool backup = job->copy.mode == BLK_COPY_BACKUP;
	const uint64_t until = job->copied_at + (backup ? job->hold_max_ns : job->patience_ns);

	if (!waits_for_target(job))
		return false;
	if (dataplane_now() >= until) {
		job->stalled = job->recheck = true;
		return backup;
	}
	if (!job->nbatch || job->in_flight) /* otherwise the host is asked again before that */
		job_wake_at(job, until);
	return false;
}

static void write_begins(struct blk_job *job, const struct blk_request *req)
{
	const uint64_t before = job->copy.chunks.left;
	uint64_t offset, len;

	for (unsigned i = 0; range_of(req, i, &offset, &len); i++)
		blk_copy_write_begins(&job->copy, offset, len);
	charge(job, req, before);
}

bool dataplane_job_takes(struct blk_dataplane *dp, struct blk_request *req)
{
	struct blk_job *job = dp->job;
	uint64_t now;

	if (job->outcome || !changes(req))
		return false;
	if (!must_wait(job, req)) {
		write_begins(job, req);
		return false;
	}
	now = dataplane_now();
	/* Before that nobody waited for the target, which may have had nothing to do. */
	if (!job->waiting.first)
		job->copied_at = now;
	blk_list_add(&job->waiting, req);
	req->since_ns = now;
	dp->parked++;
	stat_add(&job->progress.waits, 1);
	return true;
}

void dataplane_job_write_ended(struct blk_dataplane *dp, const struct blk_request *req)
{
	struct blk_job *job = dp->job;
	const uint64_t before = job->copy.chunks.left;
	uint64_t offset, len;

	if (job->outcome || !changes(req))
		return;
	for (unsigned i = 0; range_of(req, i, &offset, &len); i++)
		blk_copy_write_ended(&job->copy, offset, len);
	charge(job, req, before);
}

/* Takes the one behind `before` (NULL: the first) out of the line. */
static struct blk_request *leave_line(struct blk_dataplane *dp, struct blk_request *before)
{
	struct blk_job *job = dp->job;
	struct blk_request *req = before ? before->next : job->waiting.first;

	if (before)
		before->next = req->next;
	else
		job->waiting.first = req->next;
	if (job->waiting.last == req)
		job->waiting.last = before;
	dp->parked--;
	return req;
}

struct blk_request *dataplane_job_next(struct blk_dataplane *dp)
{
	struct blk_job *job = dp->job;
	struct blk_request *before = NULL;

	if (!job->recheck || !dataplane_serving(dp))
		return NULL;
	for (struct blk_request *req = job->waiting.first; req; before = req, req = req->next) {
		if (must_wait(job, req))
			continue;
		leave_line(dp, before);
		job_raise_to(&job->progress.wait_ns, dataplane_now() - req->since_ns);
		write_begins(job, req);
		return req;
	}
	job->recheck = false;
	return NULL;
}

void dataplane_job_forget(struct blk_dataplane *dp)
{
	while (dp->job && dp->job->waiting.first)
		dataplane_forget(dp, leave_line(dp, NULL));
}

void job_leave_waiting(struct blk_dataplane *dp)
{
	while (dp->job->waiting.first)
		dataplane_park(dp, leave_line(dp, NULL));
}

uint64_t job_wanted_chunk(const struct blk_job *job)
{
	uint64_t offset, len, chunk;

	if (job->copy.mode != BLK_COPY_BACKUP)
		return BLK_CHUNK_NONE;
	for (const struct blk_request *req = job->waiting.first; req; req = req->next)
		for (unsigned i = 0; range_of(req, i, &offset, &len); i++) {
			chunk = blk_chunks_first(&job->copy.chunks, offset, len);
			if (chunk != BLK_CHUNK_NONE)
				return chunk;
		}
	return BLK_CHUNK_NONE;
}
