/* SPDX-License-Identifier: Apache-2.0 */
/*
 * FLUSHes go to the storage one at a time.
 *
 * It tells of a loss once, to one of the syncs under way. Another that ran beside that one may come
 * back sooner and well, and its FLUSH would be answered: durable data that is not there. So while one
 * is with an engine the next ones wait, and when it has ended, all that wait share one sync: their
 * writes were done before it began.
 *
 * The disk's thread. Knows no engine and what a FLUSH has come to: dataplane_io.c does.
 */
#include "virtio/blk/dataplane_priv.h"

bool dataplane_flush_may_go(struct blk_dataplane *dp, struct blk_request *req)
{
	struct blk_flushes *f = &dp->flushes;

	req->next = NULL;
	if (!f->under_way) {
		f->under_way = true;
		return true;
	}
	blk_list_add(&f->waiting, req);
	return false;
}

struct blk_request *dataplane_flush_ended(struct blk_dataplane *dp)
{
	struct blk_request *shared = dp->flushes.sharing;

	dp->flushes.sharing = NULL;
	dp->flushes.under_way = false;
	return shared;
}

void dataplane_flush_refused(struct blk_dataplane *dp)
{
	struct blk_flushes *f = &dp->flushes;
	struct blk_request *shared = dataplane_flush_ended(dp), *last = shared;

	if (!shared)
		return;
	while (last->next)
		last = last->next;
	last->next = f->waiting.first;
	if (!f->waiting.first)
		f->waiting.last = last;
	f->waiting.first = shared;
}

struct blk_request *dataplane_flush_next(struct blk_dataplane *dp)
{
	struct blk_flushes *f = &dp->flushes;
	struct blk_request *req = f->waiting.first;

	if (!req)
		return NULL;
	f->waiting.first = NULL;
	f->sharing = req->next;
	f->under_way = true;
	return req;
}
