/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of a disk's mirror, backup or commit; see copying.h.
 *
 * Main; open_target() runs on a thread of its own. Must not know who asks, nor how a disk is copied.
 */
#include "vmm/cli/copying_priv.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "virtio/blk/target.h"
#include "vmm/cli/clock.h"
#include "vmm/cli/roles.h"
#include "vmm/log.h"

/* ---- the pivot --------------------------------------------------------------------------------- */

/*
 * Said, and then done: nothing is between the two, because this is called when it is the command's
 * turn. A cancel that was promised before may still be waiting for its own turn.
 */
static int post_pivot(struct virtio_blk *blk, void *opaque)
{
	struct copying *c = opaque;

	if (c->cancelled || !c->job || blk_job_state(c->job) != BLK_JOB_HELD)
		return -ECANCELED;
	c->moved = true;
	log_info("disk %s: is '%s' from now on", copying_disk(c), c->target);
	copying_tell(&c->completed, 0, NULL);
	return virtio_blk_pivot(blk);
}

static void call_done(void *opaque, int result)
{
	struct copying *c = opaque;

	c->calls--;
}

static void make_call(struct copying *c, struct disk_call *call,
		      int (*post)(struct virtio_blk *blk, void *opaque),
		      void (*done)(void *opaque, int result))
{
	*call = (struct disk_call){ .post = post, .done = done, .opaque = c };
	c->calls++;
	disk_call(&c->disk->calls, c->loop, call);
}

static void changed(void *opaque, short revents)
{
	struct copying *c = opaque;
	enum blk_job_state state;
	uint64_t count;

	if (read(c->notify_fd, &count, sizeof(count)) < 0)
		return;
	state = blk_job_state(c->job);
	if (blk_job_has_ended(state)) {
		copying_ended(c);
		return;
	}
	if (state != BLK_JOB_HELD || c->pivots || c->vanished)
		return;
	c->vanished = blk_target_has_vanished(c->be);
	if (c->vanished) {
		copying_cancel(c, NULL);
		return;
	}
	c->pivots = true;
	make_call(c, &c->pivot, post_pivot, call_done);
}

/* ---- the beginning ----------------------------------------------------------------------------- */

static void keep_last(struct copying *c)
{
	c->last = (struct copying_last){ c->phase, c->kind, c->target, c->speed, c->view };
	c->target = NULL;
}

static void forget_last(struct copying *c)
{
	free(c->last.target);
	c->last.target = NULL;
}

static void restore_last(struct copying *c)
{
	free(c->target);
	c->phase = c->last.phase;
	c->kind = c->last.kind;
	c->target = c->last.target;
	c->speed = c->last.speed;
	c->view = c->last.view;
	c->last.target = NULL;
}

static void tell_not_started(void *opaque)
{
	struct copying *c = opaque;

	restore_last(c);
	copying_tell(&c->started, c->ret, &c->err);
}

static void failed_to_start(struct copying *c, int ret, const struct error *err)
{
	c->ret = ret;
	c->err = *err;
	copying_release(c, tell_not_started);
}

static int post_start(struct virtio_blk *blk, void *opaque)
{
	struct copying *c = opaque;
	const int ret = virtio_blk_start_job(blk, c->job);

	c->posted = !ret;
	return ret;
}

/* -ENODEV, with the job posted: nobody knows whether the disk's thread has it. Its end frees it. */
static void started(void *opaque, int result)
{
	struct copying *c = opaque;
	struct error err;

	c->calls--;
	c->notify.events = POLLIN;
	if (!result) {
		c->phase = COPYING_RUNS;
		forget_last(c);
		c->begun = c->sampled_at = clock_ms();
		c->sampled = 0;
		loop_timer_set(c->loop, &c->sample, c->begun + COPYING_SAMPLE_MS);
		copying_tell(&c->started, 0, NULL);
		if (c->cancelled)
			copying_cancel(c, NULL);
		return;
	}
	error_setx(&err, -result, "disk %s: cannot begin to copy: %s", copying_disk(c),
		   strerror(-result));
	if (c->posted && result == -ENODEV)
		copying_tell(&c->started, result, &err);
	else
		failed_to_start(c, result, &err);
}

static int create_job(struct copying *c, struct error *err)
{
	const struct machine *m = c->machine;
	const struct blk_hooks hooks = { .worker = sandbox_hook(m->sandbox, ROLE_WORKER) };
	const struct blk_job_config config = {
		.mode = c->kind == COPYING_MIRROR ? BLK_COPY_MIRROR : BLK_COPY_BACKUP,
		.source = &c->disk->blk.backend,
		.target = c->be,
		.target_zero = c->zero,
		.speed = c->speed,
		.name = copying_name(c),
		.notify_fd = c->notify_fd,
		.hooks = &hooks,
	};
	struct error why;
	int ret;

	ret = blk_job_create(&c->job, &config, &why);
	if (ret)
		return error_setx(err, -ret, "disk %s: %s", copying_disk(c), why.text);
	return sandbox_settle(m->sandbox, err);
}

/* One for all jobs of the disk: its thread may still be about to tell of one that main has seen ended. */
static int make_notify(struct copying *c, struct error *err)
{
	if (c->notify_fd < 0)
		c->notify_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	return c->notify_fd < 0 ? error_set(err, errno, "disk %s: eventfd", copying_disk(c)) : 0;
}

/* copying_release() gives back what there is when it fails. */
static int prepare_job(struct copying *c, struct error *err)
{
	int ret = make_notify(c, err);

	if (ret)
		return ret;
	/* The job may have ended before its beginning is told: what it says waits until that is. */
	c->notify = (struct loop_watch){
		.fd = c->notify_fd,
		.ready = changed,
		.opaque = c,
	};
	ret = loop_add(c->loop, &c->notify);
	if (ret)
		return error_setx(err, -ret, "disk %s: too much is going on at once",
				  copying_disk(c));
	return create_job(c, err);
}

/* Its lock has told already, but where there are none to be had. */
static int check_target(const struct copying *c, struct error *err)
{
	const struct machine *m = c->machine;

	for (unsigned i = 0; i < m->ndisks; i++) {
		const struct copying *other = &m->disk[i]->copying;

		if (block_backend_is_same(c->be, &m->disk[i]->blk.backend) ||
		    (other != c && other->be && !other->opening &&
		     block_backend_is_same(c->be, other->be)))
			return error_setx(err, EBUSY, "disk %s: target '%s': disk %s uses it",
					  copying_disk(c), c->target, copying_disk(other));
	}
	return 0;
}

/* The errand is over. */
static void opened(void *opaque)
{
	struct copying *c = opaque;
	struct error err = c->err;
	int ret = c->ret;

	c->opening = false;
	if (ret) {
		free(c->be);
		c->be = NULL;
	} else if (c->cancelled || c->disk->exit.state == DISK_DRAINS) {
		ret = error_setx(&err, ECANCELED, "disk %s: the %s was cancelled", copying_disk(c),
				 copying_name(c));
	} else {
		ret = check_target(c, &err);
		if (!ret)
			ret = prepare_job(c, &err);
	}
	if (ret)
		failed_to_start(c, ret, &err);
	else
		make_call(c, &c->start, post_start, started);
}

/* On the errand's thread. */
static void open_target(void *opaque)
{
	struct copying *c = opaque;
	struct plug *plug = &c->machine->plug;
	const struct blk_opener by = { broker_open, &plug->broker };
	const bool broker = c->machine->opt->broker_fd >= 0;
	struct error why;

	c->ret = blk_target_open(c->be, c->target, &c->disk->blk.backend, broker ? &by : NULL,
				 &c->zero, &why);
	if (c->ret)
		error_setx(&c->err, -c->ret, "disk %s: target %s", copying_disk(c), why.text);
}

/* Before anything is made. */
static int check_kind(const struct copying *c, enum copying_kind kind, struct error *err)
{
	const bool overlay = c->disk->blk.backend.overlay;

	if (kind == COPYING_COMMIT && !overlay)
		return error_setx(err, ENOTSUP,
				  "disk %s: has no overlay to commit; its image has all (a copy of "
				  "it is a backup)",
				  copying_disk(c));
	if (kind != COPYING_MIRROR)
		return 0;
	if (overlay)
		return error_setx(err, ENOTSUP,
				  "disk %s: no mirror of a disk with an overlay; commit writes "
				  "what it is to a new image",
				  copying_disk(c));
	if (c->machine->opt->restart)
		return error_setx(err, ENOTSUP,
				  "disk %s: no mirror with --on-reboot restart: the next boot "
				  "would be from the old image",
				  copying_disk(c));
	return 0;
}

static int check(const struct copying *c, const struct copying_wish *wish, struct error *err)
{
	if (copying_under_way(c))
		return error_setx(err, EBUSY, "disk %s: there is a %s of it already",
				  copying_disk(c), copying_name(c));
	if (c->disk->exit.state == DISK_DRAINS)
		return error_setx(err, EBUSY, "disk %s: is being removed", copying_disk(c));
	if (resizing_under_way(&c->disk->resizing))
		return error_setx(err, EBUSY, "disk %s: is being resized", copying_disk(c));
	return check_kind(c, wish->kind, err);
}

static void set(struct copying *c, struct loop *loop, const struct copying_wish *wish)
{
	c->loop = loop;
	c->kind = wish->kind;
	c->speed = wish->speed;
	c->cancelled = c->cancels = c->completes = c->pivots = c->posted = c->zero = false;
	c->vanished = c->moved = false;
	c->sample = (struct loop_timer){ .expired = copying_sample, .opaque = c };
	c->view = (struct copying_view){ .size = c->disk->blk.backend.size };
	c->view.left = c->view.size;
	c->errand = (struct errand){ .run = open_target, .done = opened, .opaque = c };
}

int copying_start(struct copying *c, struct loop *loop, const struct copying_wish *wish,
		  const struct copying_waiter *waiter, struct error *err)
{
	int ret = check(c, wish, err);

	if (ret)
		return ret;
	keep_last(c);
	set(c, loop, wish);
	c->target = strdup(wish->target);
	c->be = calloc(1, sizeof(*c->be));
	if (c->target && c->be)
		ret = errand_start(&c->errand, loop, err);
	else
		ret = error_set(err, ENOMEM, "disk %s", copying_disk(c));
	if (!ret) {
		c->phase = COPYING_OPENS;
		c->opening = true;
		c->started = *waiter;
		return 0;
	}
	free(c->be);
	c->be = NULL;
	restore_last(c);
	return ret;
}

/* ---- more commands ----------------------------------------------------------------------------- */

static int post_complete(struct virtio_blk *blk, void *opaque)
{
	return virtio_blk_complete_job(blk);
}

static void asked_to_complete(void *opaque, int result)
{
	struct copying *c = opaque;
	struct error err;

	c->calls--;
	/* The job's end says more. */
	if (!result || result == -ENOENT || c->phase != COPYING_RUNS)
		return;
	/* What its target still has may keep it for long. */
	if (result == -EINVAL)
		result = error_setx(&err, EALREADY,
				    "disk %s: the mirror has failed or was cancelled, and ends",
				    copying_disk(c));
	else
		error_setx(&err, -result, "disk %s: the mirror cannot complete: %s",
			   copying_disk(c), strerror(-result));
	c->completes = false;
	copying_tell(&c->completed, result, &err);
}

int copying_complete(struct copying *c, const struct copying_waiter *waiter, struct error *err)
{
	if (c->phase != COPYING_RUNS || c->kind != COPYING_MIRROR)
		return error_setx(err, ESRCH, "disk %s: there is no mirror of it under way",
				  copying_disk(c));
	if (c->completes)
		return error_setx(err, EALREADY, "disk %s: its mirror completes already",
				  copying_disk(c));
	c->completes = true;
	c->completed = *waiter;
	make_call(c, &c->complete, post_complete, asked_to_complete);
	return 0;
}

static int post_speed(struct virtio_blk *blk, void *opaque)
{
	struct copying *c = opaque;

	return virtio_blk_set_job_speed(blk, c->new_speed);
}

static void has_speed(void *opaque, int result)
{
	struct copying *c = opaque;
	struct error err;

	c->calls--;
	if (result == -ENOENT)
		result = error_setx(&err, ESRCH, "disk %s: the %s has ended", copying_disk(c),
				    copying_name(c));
	else if (result)
		error_setx(&err, -result, "disk %s: the speed is what it was: %s", copying_disk(c),
			   strerror(-result));
	else
		c->speed = c->new_speed;
	copying_tell(&c->paced, result, &err);
}

int copying_set_speed(struct copying *c, uint64_t speed, const struct copying_waiter *waiter,
		      struct error *err)
{
	if (c->phase != COPYING_RUNS)
		return error_setx(err, ESRCH, "disk %s: nothing of it is being copied",
				  copying_disk(c));
	if (c->paced.done)
		return error_setx(err, EALREADY, "disk %s: its speed is being changed",
				  copying_disk(c));
	c->new_speed = speed;
	c->paced = *waiter;
	make_call(c, &c->pace, post_speed, has_speed);
	return 0;
}

static int post_cancel(struct virtio_blk *blk, void *opaque)
{
	return virtio_blk_cancel_job(blk);
}

int copying_cancel(struct copying *c, struct error *err)
{
	if (c->phase != COPYING_OPENS && c->phase != COPYING_RUNS)
		return error_setx(err, ESRCH, "disk %s: nothing of it is being copied",
				  copying_disk(c));
	if (c->moved)
		return error_setx(err, EALREADY, "disk %s: its mirror has become the disk",
				  copying_disk(c));
	c->cancelled = true;
	if (c->phase == COPYING_OPENS || c->cancels)
		return 0; /* started() sees it */
	c->cancels = true;
	make_call(c, &c->cancel, post_cancel, call_done);
	return 0;
}

/* ---- life -------------------------------------------------------------------------------------- */

void copying_init(struct copying *c, struct machine *m, struct machine_disk *disk)
{
	c->machine = m;
	c->disk = disk;
	c->notify_fd = -1;
}

void copying_destroy(struct copying *c)
{
	struct error err;

	error_setx(&err, ENODEV, "disk %s: has been removed", copying_disk(c));
	copying_tell(&c->started, -ENODEV, &err);
	copying_tell(&c->completed, -ENODEV, &err);
	copying_tell(&c->paced, -ENODEV, &err);
	if (c->notify_fd >= 0)
		close(c->notify_fd);
	forget_last(c);
	free(c->target);
}
