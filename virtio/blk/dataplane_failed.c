/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests that the host has failed and the guest is not to know of, because on-error= says so: the
 * disk has stopped, and RESUME sends them again, or what is left of them. Beside them are those that
 * waited for a job which has ended while the disk did not serve.
 *
 * They are parked: in flight for the guest, but with no engine. (So are those that wait for a limit,
 * see dataplane_throttle.c.) A disk is drained when all that is in flight is parked. PAUSE keeps the
 * parked ones; RESET and QUIT drop them, and the guest, which asked for that, never hears of them.
 *
 * The disk's thread. Knows why requests wait, not what they do.
 */
#include <errno.h>
#include <unistd.h>

#include "virtio/blk/dataplane_priv.h"

static struct blk_request *unpark(struct blk_dataplane *dp)
{
	struct blk_request *req = blk_list_take(&dp->failed);

	dp->parked -= !!req;
	return req;
}

void dataplane_go_on(struct blk_dataplane *dp)
{
	dp->stopped = false;
	atomic_store_explicit(&dp->stats.stopped, 0, memory_order_relaxed);
}

void dataplane_forget_failed(struct blk_dataplane *dp)
{
	struct blk_request *req;

	while ((req = unpark(dp)))
		dataplane_forget(dp, req);
	dataplane_go_on(dp);
}

static void stop(struct blk_dataplane *dp, int error)
{
	const uint64_t one = 1;

	dp->stopped = true;
	stat_add(&dp->stats.stops, 1);
	atomic_store_explicit(&dp->stats.stopped, -error, memory_order_relaxed);
	/* EAGAIN: the counter is full, so main is woken all the same. */
	if (dp->event_fd >= 0 && write(dp->event_fd, &one, sizeof(one)) < 0)
		return;
}

/* Its requests are about to be dropped: nobody need hear of one that fails. */
static bool is_going(const struct blk_dataplane *dp)
{
	const struct blk_command *guest = dp->pending[BLK_BOX_GUEST];
	const struct blk_command *control = dp->pending[BLK_BOX_CONTROL];

	return dp->broken || (guest && guest->type == BLK_CMD_RESET) ||
	       (control && control->type == BLK_CMD_QUIT);
}

static bool is_stopper(const struct blk_dataplane *dp, const struct blk_request *req, int error)
{
	switch (req->op) {
	case BLK_OP_READ:
	case BLK_OP_WRITE:
		break;
	case BLK_OP_WRITE_ZEROES: /* no segment of it is consumed: all of it is done again */
		if (error != -EOPNOTSUPP)
			break;
		return false;
	default:
		return false;
	}
	/* It would fail again for ever, and has perhaps just said what else is lost; see go(). */
	if (blk_request_promises(req) && dataplane_has_lost(dp))
		return false;
	switch (dp->on_error) {
	case DISK_ON_ERROR_STOP:
		return true;
	case DISK_ON_ERROR_ENOSPC:
		return error == -ENOSPC || error == -EDQUOT;
	default:
		return false;
	}
}

void dataplane_park(struct blk_dataplane *dp, struct blk_request *req)
{
	dp->parked++;
	blk_list_add(&dp->failed, req);
}

bool dataplane_keep_failed(struct blk_dataplane *dp, struct blk_request *req, int error)
{
	if (!is_stopper(dp, req, error) || is_going(dp))
		return false;
	if (!dp->stopped)
		stop(dp, error);
	dataplane_park(dp, req);
	return true;
}

bool dataplane_send_failed(struct blk_dataplane *dp)
{
	struct blk_request *req;
	bool did = false;

	while (dataplane_has_room(dp) && (req = unpark(dp))) {
		dataplane_start_parked(dp, req);
		did = true;
	}
	return did;
}
