/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How long requests take, where somebody may ask (latency.h).
 *
 * The disk's thread. The clock is read once for all that is taken in one pass over the rings, and once
 * for all that is reaped at once (or for a READ from the page cache): dp->now_ns is 0 where neither has
 * been yet.
 */
#include "virtio/blk/dataplane_priv.h"

static uint64_t now(struct blk_dataplane *dp)
{
	if (!dp->now_ns)
		dp->now_ns = dataplane_now();
	return dp->now_ns;
}

void dataplane_measure_taken(struct blk_dataplane *dp, struct blk_request *req)
{
	req->taken_ns = now(dp);
}

void dataplane_measure_done(struct blk_dataplane *dp, const struct blk_request *req)
{
	const uint64_t ns = now(dp) - req->taken_ns;
	struct blk_latency *latency;

	if (req->op >= BLK_TIMED_OPS)
		return;
	latency = &dp->stats.latency[req->op];
	stat_add(&latency->requests[blk_latency_bucket(ns)], 1);
	stat_add(&latency->ns, ns);
}
