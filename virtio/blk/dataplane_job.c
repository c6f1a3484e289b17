/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A job beside the guest's requests: what is copied next, when a backup begins, and how a mirror becomes
 * the disk (job.h, copy.h). Which writes wait for it: dataplane_job_writes.c.
 *
 * The disk's thread. No lock, no allocation, no log line, no wait. Knows no engine: job_io.c does.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "virtio/blk/dataplane_priv.h"
#include "virtio/blk/job_priv.h"

/* ---- states ------------------------------------------------------------------------------------ */

static void tell(struct blk_job *job, enum blk_job_state state)
{
	const uint64_t one = 1;

	atomic_store_explicit(&job->progress.state, state, memory_order_relaxed);
	/* EAGAIN: the counter is full, so whoever waits is woken all the same. */
	if (write(job->notify_fd, &one, sizeof(one)) < 0)
		return;
}

static void hold(struct blk_dataplane *dp)
{
	dp->job->held_at = dataplane_now();
	dp->held = true;
}

static void let_go(struct blk_dataplane *dp)
{
	struct blk_job *job = dp->job;

	job->recheck = true;
	if (!dp->held)
		return;
	dp->held = false;
	job_raise_to(&job->progress.hold_ns, dataplane_now() - job->held_at);
}

/* From here on the job comes to its end, and the guest is as if there were none. */
static void conclude(struct blk_dataplane *dp, enum blk_job_state outcome)
{
	if (dp->job->outcome)
		return;
	dp->job->outcome = outcome;
	let_go(dp);
}

static void fail(struct blk_dataplane *dp, int error, bool source)
{
	struct blk_job *job = dp->job;

	if (job->outcome)
		return;
	atomic_store_explicit(&job->progress.source, source, memory_order_relaxed);
	atomic_store_explicit(&job->progress.error, -error, memory_order_relaxed);
	conclude(dp, BLK_JOB_FAILED);
}

/* Nothing of it is in flight and nobody waits for it: gives the job back to main, which may free it
 * at once. */
static void end(struct blk_dataplane *dp)
{
	struct blk_job *job = dp->job;
	const int notify_fd = job->notify_fd;
	const uint64_t one = 1;

	dp->job = NULL;
	/* Pairs with the acquire in blk_job_state(): what main frees we have done with. */
	atomic_store_explicit(&job->progress.state, job->outcome, memory_order_release);
	if (write(notify_fd, &one, sizeof(one)) < 0)
		return;
}

/* ---- the copier -------------------------------------------------------------------------------- */

static bool is_zero(const uint8_t *p, size_t len)
{
	return !p[0] && !memcmp(p, p + 1, len - 1);
}

static void chunk_done(struct blk_job *job, struct blk_slot *slot)
{
	stat_add(&job->progress.copied, blk_chunk_len(&job->copy.chunks, slot->chunk));
	job_slot_put(job, slot);
	job_has_copied(job);
}

static void was_read(struct blk_job *job, struct blk_slot *slot)
{
	const uint32_t len = blk_chunk_len(&job->copy.chunks, slot->chunk);
	const bool anew = !blk_copy_has_filled(&job->copy, slot->chunk);

	job->recheck |= job->copy.mode == BLK_COPY_BACKUP;
	if (blk_copy_was_read(&job->copy, slot->chunk, is_zero(slot->buffer, len)))
		job_slot_write(job, slot, anew);
	else
		chunk_done(job, slot);
}

static void was_written(struct blk_job *job, struct blk_slot *slot)
{
	blk_copy_was_written(&job->copy, slot->chunk);
	stat_add(&job->progress.written, blk_chunk_len(&job->copy.chunks, slot->chunk));
	chunk_done(job, slot);
}

static void slot_ended(struct blk_dataplane *dp, struct blk_slot *slot, int error)
{
	struct blk_job *job = dp->job;
	const bool read = slot->phase == SLOT_READ;

	if (error)
		fail(dp, error, read);
	if (job->outcome)
		job_slot_put(job, slot);
	else if (read)
		was_read(job, slot);
	else
		was_written(job, slot);
}

static void sync_ended(struct blk_dataplane *dp, int error)
{
	struct blk_job *job = dp->job;

	job->syncing = false;
	if (error)
		fail(dp, error, false);
	else if (job->copy.mode == BLK_COPY_BACKUP)
		conclude(dp, BLK_JOB_DONE);
	else if (dp->held)
		job->synced = true;
	else
		job->presynced = true;
}

static bool reap(struct blk_dataplane *dp)
{
	struct job_end ends[JOB_ENDS];
	const unsigned n = job_reap(dp->job, ends);

	for (unsigned i = 0; i < n; i++)
		if (ends[i].slot)
			slot_ended(dp, ends[i].slot, ends[i].error);
		else
			sync_ended(dp, ends[i].error);
	return n;
}

/* `half_way`: there is one, but it has not been found yet. */
static uint64_t next_chunk(struct blk_job *job, bool *half_way)
{
	const unsigned reserve = job->copy.mode == BLK_COPY_BACKUP ? BLK_JOB_RESERVE : 0;
	uint64_t chunk = job_wanted_chunk(job);

	*half_way = false;
	if (chunk != BLK_CHUNK_NONE)
		return chunk;
	if (job->used >= BLK_JOB_SLOTS - reserve || !blk_chunks_some(&job->copy.chunks) ||
	    !job_may_begin(job))
		return BLK_CHUNK_NONE;
	chunk = blk_chunks_next(&job->copy.chunks);
	*half_way = chunk == BLK_CHUNK_NONE;
	return chunk;
}

/* True: it did something, or stopped searching half-way, when nothing need be under way that would
 * wake us to search on. */
static bool read_more(struct blk_job *job)
{
	struct blk_slot *slot;
	uint64_t chunk;
	bool did = false, half_way = false;

	while (job->used < BLK_JOB_SLOTS) {
		chunk = next_chunk(job, &half_way);
		if (chunk == BLK_CHUNK_NONE)
			break;
		slot = job_slot_get(job);
		slot->chunk = chunk;
		blk_copy_begin(&job->copy, chunk);
		job_slot_read(job, slot);
		job_has_begun(job);
		did = true;
	}
	return did || half_way;
}

/* ---- the guest is held --------------------------------------------------------------------------- */

/* Long enough: then it is let go. Whoever has kept us is to blame. */
static bool is_over_time(struct blk_dataplane *dp)
{
	struct blk_job *job = dp->job;
	const uint64_t until = job->held_at + job->hold_max_ns;

	if (dataplane_now() > until) {
		fail(dp, -ETIMEDOUT, !dataplane_drained(dp));
		return true;
	}
	job_wake_at(job, until + 1);
	return false;
}

/* A backup's moment: nothing is in flight. What the guest has asked for since the job began waits in the
 * rings. */
static bool awaits_moment(const struct blk_dataplane *dp)
{
	return dp->held && dp->job->copy.mode == BLK_COPY_BACKUP;
}

static void await_moment(struct blk_dataplane *dp)
{
	if (dataplane_drained(dp))
		let_go(dp);
	else
		is_over_time(dp);
}

/* ---- a mirror's way to its pivot --------------------------------------------------------------- */

static bool has_little_left(const struct blk_job *job)
{
	return job->copy.chunks.left + job->copy.pending <= BLK_JOB_FEW;
}

/* What was in flight was large, a discard above all, and has marked its chunks again: they are copied
 * beside the guest, whose writes now wait for that. */
static void go_back(struct blk_dataplane *dp)
{
	dp->job->presynced = false;
	let_go(dp);
}

/* Held: the last chunks, the last sync. The first one has left it little to do. */
static void finish_mirror(struct blk_dataplane *dp)
{
	struct blk_job *job = dp->job;

	if (is_over_time(dp) || !dataplane_drained(dp))
		return;
	if (!has_little_left(job)) {
		go_back(dp);
		return;
	}
	if (!blk_copy_is_done(&job->copy) || job->syncing)
		return;
	if (job->synced)
		tell(job, BLK_JOB_HELD);
	else
		job_sync(job);
}

static void advance_mirror(struct blk_dataplane *dp)
{
	struct blk_job *job = dp->job;
	const uint32_t state = atomic_load_explicit(&job->progress.state, memory_order_relaxed);

	if (state == BLK_JOB_HELD)
		return;
	if (dp->held)
		finish_mirror(dp);
	else if (!has_little_left(job) || job->syncing)
		return;
	else if (!job->complete && state == BLK_JOB_COPYING)
		tell(job, BLK_JOB_READY);
	else if (job->complete && !job->presynced)
		job_sync(job);
	else if (job->complete)
		hold(dp);
}

static void advance(struct blk_dataplane *dp)
{
	struct blk_job *job = dp->job;

	if (job->copy.mode == BLK_COPY_MIRROR)
		advance_mirror(dp);
	else if (dp->held)
		await_moment(dp);
	else if (blk_copy_is_done(&job->copy) && !job->syncing)
		job_sync(job);
}

static void show(struct blk_job *job)
{
	const struct blk_chunks *c = &job->copy.chunks;
	const uint64_t left = (c->left + job->copy.pending) << c->shift;

	atomic_store_explicit(&job->progress.left, left < c->size ? left : c->size,
			      memory_order_relaxed);
}

bool dataplane_job_step(struct blk_dataplane *dp)
{
	struct blk_job *job = dp->job;
	const bool held = dp->held;
	bool did = reap(dp);

	if (!job->outcome)
		advance(dp);
	if (!job->outcome && !awaits_moment(dp))
		did |= read_more(job);
	did |= job_submit(job);
	if (!job->outcome && !dp->held && job_is_stuck(job))
		fail(dp, -ETIMEDOUT, false);
	show(job);
	if (job->outcome && job_is_idle(job)) {
		if (!dataplane_serving(dp))
			job_leave_waiting(dp);
		if (!job->waiting.first)
			end(dp);
	}
	return did || held != dp->held;
}

bool dataplane_job_has_work(const struct blk_dataplane *dp)
{
	return job_has_ended_io(dp->job);
}

/* ---- commands ---------------------------------------------------------------------------------- */

/* A backup is of what has been taken from the rings by now. */
static int start(struct blk_dataplane *dp, struct blk_job *job)
{
	if (dp->job)
		return -EBUSY;
	/* The disk has just got another size, which main is about to show. */
	if (job->copy.chunks.size != dp->size)
		return -EAGAIN;
	dp->job = job;
	if (job->copy.mode == BLK_COPY_BACKUP)
		hold(dp);
	return 0;
}

static int complete_mirror(struct blk_dataplane *dp)
{
	struct blk_job *job = dp->job;

	if (job->copy.mode != BLK_COPY_MIRROR || job->outcome)
		return -EINVAL;
	if (job->complete)
		return 0;
	job->complete = true;
	job->credit = 0;
	job->copied_at = dataplane_now();
	tell(job, BLK_JOB_COMPLETING);
	return 0;
}

/* Nothing is in flight: workers and engine find the new file with their next request. */
static int pivot(struct blk_dataplane *dp)
{
	struct blk_job *job = dp->job;

	if (atomic_load_explicit(&job->progress.state, memory_order_relaxed) != BLK_JOB_HELD ||
	    job->outcome)
		return -EINVAL;
	dp->be = job->target;
	dp->pool.be = job->target;
	dp->aio.file_fd = job->target->fd;
	blk_limits_move(&dp->limits, job->target);
	conclude(dp, BLK_JOB_DONE);
	return 0;
}

int dataplane_job_command(struct blk_dataplane *dp, const struct blk_command *cmd)
{
	if (cmd->type == BLK_CMD_JOB_START)
		return start(dp, cmd->job);
	if (!dp->job)
		return -ENOENT;
	switch (cmd->type) {
	case BLK_CMD_JOB_SPEED:
		job_set_speed(dp->job, cmd->speed);
		return 0;
	case BLK_CMD_JOB_COMPLETE:
		return complete_mirror(dp);
	case BLK_CMD_JOB_PIVOT:
		return pivot(dp);
	default:
		conclude(dp, BLK_JOB_CANCELLED);
		return 0;
	}
}

void dataplane_job_quit(struct blk_dataplane *dp)
{
	dataplane_job_forget(dp);
	if (dp->job)
		conclude(dp, BLK_JOB_CANCELLED);
}
