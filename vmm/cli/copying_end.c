/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How a disk's mirror, backup or commit ends: who is told what, and what is given back.
 *
 * Main. Must not know what the job did.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "virtio/blk/target.h"
#include "vmm/cli/closing.h"
#include "vmm/cli/copying_priv.h"
#include "vmm/cli/machine.h"
#include "vmm/log.h"

void copying_tell(struct copying_waiter *waiter, int ret, const struct error *err)
{
	const struct copying_waiter w = *waiter;

	*waiter = (struct copying_waiter){ 0 };
	if (w.done)
		w.done(w.opaque, ret, err);
}

void copying_release(struct copying *c, void (*closed)(void *copying))
{
	struct block_backend *be = c->be;

	if (c->job) {
		loop_timer_cancel(c->loop, &c->sample);
		blk_job_destroy(c->job);
	}
	c->job = NULL;
	if (c->notify.at)
		loop_remove(c->loop, &c->notify);
	c->be = NULL;
	c->posted = false;
	c->phase = COPYING_CLOSES;
	if (be)
		closing_start(c->loop, be, closed, c);
	else
		closed(c);
	free(be);
}

/* Of whatever storage it was: to who waits for its end that is one thing, and no fault of his. */
static int say_failed(const struct copying *c, struct error *err)
{
	return error_setx(err, EIO, "disk %s: the %s to '%s' has failed: %s: %s", copying_disk(c),
			  copying_name(c), c->target, c->view.source ? "the disk" : "the target",
			  strerror(c->view.error));
}

static void say_end(struct copying *c, struct error *err)
{
	c->ret = 0;
	switch (c->view.state) {
	case BLK_JOB_FAILED:
		c->ret = say_failed(c, err);
		log_warn("%s", err->text);
		break;
	case BLK_JOB_CANCELLED:
		c->ret = error_setx(err, ECANCELED, "disk %s: the %s was cancelled",
				    copying_disk(c), copying_name(c));
		break;
	default:
		log_verbose("disk %s: its %s '%s' is complete; %" PRIu64 " writes waited for it, "
			    "the longest for %.1f ms, and all I/O for %.1f ms",
			    copying_disk(c), copying_name(c), c->target, c->view.waits,
			    (double)c->view.wait_ns / 1e6, (double)c->view.hold_ns / 1e6);
	}
}

/* The job did not notice: to it a file without a name is as good as any. */
static void look_for_target(struct copying *c)
{
	if (c->kind != COPYING_MIRROR && c->view.state == BLK_JOB_DONE)
		c->vanished = blk_target_has_vanished(c->be);
	if (!c->vanished || c->view.state == BLK_JOB_FAILED)
		return;
	c->view.state = BLK_JOB_FAILED;
	c->view.error = ENOENT;
	c->view.source = false;
}

static void move(struct copying *c)
{
	struct block_backend old;

	virtio_blk_move(&c->disk->blk, c->be, &old);
	c->be = NULL;
	free(c->disk->path);
	c->disk->path = strdup(c->target);
	closing_start(c->loop, &old, NULL, NULL);
}

static void end(void *opaque)
{
	struct copying *c = opaque;

	c->phase = COPYING_ENDED;
	copying_tell(&c->completed, c->ret, &c->err);
}

void copying_ended(struct copying *c)
{
	c->err = (struct error){ "" };
	copying_observe(c);
	look_for_target(c);
	say_end(c, &c->err);
	if (c->view.state == BLK_JOB_DONE && c->kind == COPYING_MIRROR)
		move(c);
	copying_release(c, end);
}

/* Or was given up. */
static bool has_come_to_its_end(const struct copying *c)
{
	return c->moved || c->cancelled ||
	       (c->phase == COPYING_RUNS && blk_job_state(c->job) == BLK_JOB_DONE);
}

void copying_cut_short(struct copying *c)
{
	if (c->phase != COPYING_OPENS && c->phase != COPYING_RUNS)
		return;
	if (!has_come_to_its_end(c))
		log_warn("disk %s: its %s ends with it; '%s' is not whole", copying_disk(c),
			 copying_name(c), c->target);
	c->phase = COPYING_ENDED;
}

static void leave(void *opaque)
{
	struct copying *c = opaque;

	c->phase = COPYING_ENDED;
}

bool copying_has_left(struct copying *c)
{
	if (c->opening)
		return false;
	copying_cut_short(c);
	if (c->be)
		copying_release(c, leave);
	return c->phase != COPYING_CLOSES;
}
