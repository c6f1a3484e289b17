/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How fast a job copies: its limit, which is a throttle of its own.
 *
 * The disk's thread, and main before the job is given away. Knows neither chunks nor engines.
 */
#include <string.h>

#include "virtio/blk/dataplane_priv.h"
#include "virtio/blk/job_priv.h"

/* What was owed by the last limit is forgotten: a job that was to take days at first need not make up
 * for what it has copied in haste since. */
void job_set_speed(struct blk_job *job, uint64_t speed)
{
	struct throttle_limits limits = { 0 };

	limits.of[THROTTLE_BPS].rate = speed;
	memset(&job->buckets, 0, sizeof(job->buckets));
	throttle_init(&job->throttle, &job->buckets, &limits);
	job->claimed = false;
}

static bool is_limited(const struct blk_job *job)
{
	return job->throttle.limits[THROTTLE_WRITE];
}

static void claim(struct blk_job *job, uint64_t now)
{
	job->may_begin =
		throttle_claim(&job->throttle, THROTTLE_WRITE, 1ULL << job->copy.chunks.shift, now);
	job->claimed = true;
}

/* A mirror that completes is not held to it. */
bool job_may_begin(struct blk_job *job)
{
	uint64_t now;

	if (!is_limited(job) || job->complete)
		return true;
	now = dataplane_now();
	if (!job->claimed)
		claim(job, now);
	if (job->may_begin <= now)
		return true;
	job_wake_at(job, job->may_begin);
	return false;
}

void job_has_begun(struct blk_job *job)
{
	if (is_limited(job) && !job->claimed)
		claim(job, dataplane_now());
	job->claimed = false;
}
