/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The steps to another size of a disk; see resizing.h. Main; what may wait for storage, the host's file,
 * is done on threads of their own. Must not know who asks.
 *
 * Each step may be taken twice: whoever is told that it did not work may just ask again.
 */
#include "vmm/cli/resizing.h"

#include <errno.h>
#include <string.h>

#include "virtio/blk/backend_size.h"
#include "vmm/cli/clock.h"
#include "vmm/cli/machine.h"

#define RETRY_MS    10
#define PATIENCE_MS 10000

static const struct block_backend *image(const struct resizing *r)
{
	return &r->disk->blk.backend;
}

static const char *name(const struct resizing *r)
{
	return r->disk->blk.dev.name;
}

static void end(struct resizing *r, int ret)
{
	const struct resizing_waiter waiter = r->waiter;

	r->state = RESIZING_NOT;
	waiter.done(waiter.opaque, ret, image(r)->size, &r->err);
}

static void send_errand(struct resizing *r, enum resizing_state state, void (*run)(void *opaque),
			void (*done)(void *opaque))
{
	int ret;

	r->state = state;
	r->errand = (struct errand){ .run = run, .done = done, .opaque = r };
	ret = errand_start(&r->errand, r->loop, &r->err);
	r->away = !ret;
	if (ret)
		end(r, ret);
}

static void call(struct resizing *r, enum resizing_state state,
		 int (*post)(struct virtio_blk *blk, void *opaque),
		 void (*done)(void *opaque, int result))
{
	r->state = state;
	r->call = (struct disk_call){ .post = post, .done = done, .opaque = r };
	disk_call(&r->disk->calls, r->loop, &r->call);
}

/* ---- the file is cut --------------------------------------------------------------------------- */

/* On the errand's thread. */
static void set_size(void *opaque)
{
	struct resizing *r = opaque;

	r->ret = block_backend_set_size(image(r), machine_disk_path(r->disk), r->bytes, &r->err);
}

static void cut(void *opaque)
{
	struct resizing *r = opaque;

	r->away = false;
	end(r, r->ret);
}

/* ---- the guest --------------------------------------------------------------------------------- */

static int post_old_size(struct virtio_blk *blk, void *opaque)
{
	return virtio_blk_resize(blk, blk->backend.size);
}

static void taken_back(void *opaque, int result)
{
	end(opaque, -EBUSY);
}

/* A vCPU waits inside the device for its reset, and its reset for storage. */
static void give_up(struct resizing *r)
{
	error_setx(&r->err, EBUSY, "disk %s: keeps its size: the guest has held it for %d seconds",
		   name(r), PATIENCE_MS / 1000);
	call(r, RESIZING_TAKES_BACK, post_old_size, taken_back);
}

/* False: it was the last time. */
static bool try_again(struct resizing *r)
{
	if (clock_ms() >= r->until)
		return false;
	loop_timer_set(r->loop, &r->retry, clock_ms() + RETRY_MS);
	return true;
}

static void tell_guest(struct resizing *r)
{
	r->state = RESIZING_TELLS_GUEST;
	if (r->disk->exit.state == DISK_DRAINS) {
		end(r, error_setx(&r->err, ENODEV, "disk %s: is being removed", name(r)));
	} else if (virtio_blk_show_size(&r->disk->blk, r->bytes)) {
		if (!try_again(r))
			give_up(r);
	} else if (r->smaller && !r->follows) {
		send_errand(r, RESIZING_CUTS, set_size, cut);
	} else {
		end(r, 0);
	}
}

/* ---- the disk's thread ------------------------------------------------------------------------- */

static int post_size(struct virtio_blk *blk, void *opaque)
{
	const struct resizing *r = opaque;

	return virtio_blk_resize(blk, r->bytes);
}

/* -EBUSY: a job that main takes for ended is not quite so. */
static void told_disk(void *opaque, int result)
{
	struct resizing *r = opaque;

	if (result == -EBUSY && try_again(r))
		return;
	if (result) {
		end(r, error_setx(&r->err, -result, "disk %s: keeps its size: %s", name(r),
				  strerror(-result)));
		return;
	}
	r->until = clock_ms() + PATIENCE_MS; /* with the guest; storage may have taken longer */
	tell_guest(r);
}

static void tell_disk(struct resizing *r)
{
	r->smaller = r->bytes < image(r)->size;
	r->until = clock_ms() + PATIENCE_MS;
	call(r, RESIZING_TELLS_DISK, post_size, told_disk);
}

static void again(void *opaque)
{
	struct resizing *r = opaque;

	if (r->state == RESIZING_TELLS_GUEST)
		tell_guest(r);
	else
		call(r, RESIZING_TELLS_DISK, post_size, told_disk);
}

/* ---- the beginning ----------------------------------------------------------------------------- */

/* On the errand's thread. */
static void look(void *opaque)
{
	struct resizing *r = opaque;

	r->ret = block_backend_probe_size(image(r), machine_disk_path(r->disk), &r->bytes, &r->err);
}

static void grown(void *opaque)
{
	struct resizing *r = opaque;

	r->away = false;
	if (r->ret)
		end(r, r->ret);
	else
		tell_disk(r);
}

static int check(const struct resizing *r, uint64_t bytes, struct error *err)
{
	const struct block_backend *be = image(r);

	if (resizing_under_way(r))
		return error_setx(err, EBUSY, "disk %s: is being resized", name(r));
	if (copying_under_way(&r->disk->copying))
		return error_setx(err, EBUSY, "disk %s: is being copied", name(r));
	if (r->disk->exit.state == DISK_DRAINS)
		return error_setx(err, EBUSY, "disk %s: is being removed", name(r));
	if (!bytes)
		return block_backend_check_follow(be, machine_disk_path(r->disk), err);
	return block_backend_check_size(be, machine_disk_path(r->disk), bytes, err);
}

int resizing_start(struct resizing *r, struct loop *loop, uint64_t bytes,
		   const struct resizing_waiter *waiter, struct error *err)
{
	const int ret = check(r, bytes, err);

	if (ret)
		return ret;
	r->loop = loop;
	r->waiter = *waiter;
	r->bytes = bytes;
	r->follows = !bytes;
	r->retry = (struct loop_timer){ .expired = again, .opaque = r };
	if (bytes && bytes < image(r)->size)
		tell_disk(r);
	else
		send_errand(r, RESIZING_GROWS, bytes ? set_size : look, grown);
	return 0;
}

/* ---- life -------------------------------------------------------------------------------------- */

void resizing_init(struct resizing *r, struct machine_disk *disk)
{
	r->disk = disk;
}

void resizing_destroy(struct resizing *r)
{
	if (!resizing_under_way(r))
		return;
	loop_timer_cancel(r->loop, &r->retry);
	end(r, error_setx(&r->err, ENODEV, "disk %s: has been removed", name(r)));
}
