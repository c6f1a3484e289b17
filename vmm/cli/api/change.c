/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PATCH of a disk: all of it is looked at before any of it is done, and it is answered when every
 * disk's thread that had to be told has answered. Main.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/cli/api/handlers.h"
#include "vmm/cli/api/limits.h"
#include "vmm/cli/clock.h"
#include "vmm/cli/disk_option.h"
#include "vmm/cli/kept.h"
#include "vmm/cli/machine.h"

const struct api_field change_fields[] = {
	{ "limits", API_OBJECT, false, 0, 0, limits_fields },
	{ "on_error", API_STRING, false, 0, 0, NULL },
	{ NULL, 0, false, 0, 0, NULL },
};

/* A request that waits for `left` answers. */
struct change {
	struct api_request *req;
	unsigned left;
	int result; /* the first error */
	enum disk_on_error on_error;
	unsigned ncalls;
	struct disk_call call[]; /* one for each disk of the machine, and one more */
};

static void put(struct change *change)
{
	kept_update(change->req->ctx->machine);
	if (--change->left)
		return;
	if (change->result)
		api_error(change->req, 500, "the disk: %s", strerror(-change->result));
	else
		api_reply(change->req, 204, NULL);
	free(change);
}

/* A disk that is taken away meanwhile needs no change. */
static void told(void *opaque, int result)
{
	struct change *change = opaque;

	if (result && result != -ENODEV && !change->result)
		change->result = result;
	put(change);
}

static int post_limits(struct virtio_blk *blk, void *opaque)
{
	return virtio_blk_set_limits(blk);
}

static int post_on_error(struct virtio_blk *blk, void *opaque)
{
	const struct change *change = opaque;

	return virtio_blk_set_on_error(blk, change->on_error);
}

static void tell(struct change *change, struct machine_disk *disk,
		 int (*post)(struct virtio_blk *blk, void *opaque))
{
	struct disk_call *call = &change->call[change->ncalls++];

	*call = (struct disk_call){ .post = post, .done = told, .opaque = change };
	change->left++;
	disk_call(&disk->calls, change->req->ctx->loop, call);
}

/* Every disk of the group. */
static void change_limits(struct change *change, struct machine_disk *disk,
			  const struct throttle_limits *limits)
{
	struct machine *m = change->req->ctx->machine;

	throttle_group_change(disk->blk.group, limits, clock_ns());
	for (unsigned i = 0; i < m->ndisks; i++)
		if (m->disk[i]->blk.group == disk->blk.group)
			tell(change, m->disk[i], post_limits);
}

static struct change *begin(struct api_request *req)
{
	const unsigned n = req->ctx->machine->ndisks + 1;
	struct change *change = calloc(1, sizeof(*change) + n * sizeof(*change->call));

	if (!change) {
		api_error(req, 500, "out of memory");
		return NULL;
	}
	change->req = req;
	change->left = 1;
	return change;
}

void disk_change(struct api_request *req)
{
	const json_t *wish = json_object_get(req->body, "limits");
	const char *name = json_string_value(json_object_get(req->body, "on_error"));
	int on_error = DISK_ON_ERROR_REPORT;
	struct machine_disk *disk = disk_of(req);
	struct throttle_limits limits;
	struct change *change;
	struct error why;

	if (!disk)
		return;
	if (disk->calls.closed) {
		api_error(req, 409, "disk '%s' is being taken away", req->id);
		return;
	}
	limits = disk->blk.group->limits;
	if (wish && limits_merge(&limits, wish, &why)) {
		api_error(req, 400, "limits: %s", why.text);
		return;
	}
	if (name && disk_on_error_parse(name, &on_error)) {
		api_error(req, 400, "on_error '%s': allowed: report, stop, enospc", name);
		return;
	}
	change = begin(req);
	if (!change)
		return;
	change->on_error = (enum disk_on_error)on_error;
	if (wish)
		change_limits(change, disk, &limits);
	if (name)
		tell(change, disk, post_on_error);
	put(change);
}
