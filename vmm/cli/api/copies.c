/* SPDX-License-Identifier: Apache-2.0 */
/* Mirrors, backups and commits of disks on the control socket. Main. */
#include <errno.h>
#include <string.h>

#include "vmm/cli/api/handlers.h"
#include "vmm/cli/copying.h"
#include "vmm/cli/machine.h"

/* A slower one would be done at no time. */
#define SPEED_MIN 1024

const struct api_field copy_fields[] = {
	{ "target", API_STRING, true, 1, 4095, NULL },
	{ "speed", API_INTEGER, false, 0, THROTTLE_RATE_MAX, NULL },
	{ NULL, 0, false, 0, 0, NULL },
};

const struct api_field copy_change_fields[] = {
	{ "speed", API_INTEGER, true, 0, THROTTLE_RATE_MAX, NULL },
	{ NULL, 0, false, 0, 0, NULL },
};

static json_t *time_left(const struct copying *c, const struct copying_view *view)
{
	if (c->phase != COPYING_RUNS || !view->rate)
		return json_null();
	return json_integer((json_int_t)(view->left * 1000 / view->rate));
}

static json_t *error_json(const struct copying_view *view)
{
	return view->error ? json_string(strerror(view->error)) : json_null();
}

static json_t *error_at(const struct copying_view *view)
{
	if (!view->error)
		return json_null();
	return json_string(view->source ? "source" : "target");
}

static json_t *copy_json(const struct copying *c, const struct copying_view *v)
{
	json_t *json = json_pack("{s:s, s:s, s:o, s:o, s:o, s:I, s:I, s:I, s:I}", "id",
				 c->disk->blk.dev.name, "state", copying_state_name(c), "target",
				 api_string(c->target), "error", error_json(v), "error_at",
				 error_at(v), "bytes", (json_int_t)v->size, "left_bytes",
				 (json_int_t)v->left, "copied_bytes", (json_int_t)v->copied,
				 "written_bytes", (json_int_t)v->written);

	json_object_set_new(json, "speed", json_integer((json_int_t)c->speed));
	json_object_set_new(json, "rate_bytes", json_integer((json_int_t)v->rate));
	json_object_set_new(json, "elapsed_ms", json_integer((json_int_t)v->ms));
	json_object_set_new(json, "time_left_ms", time_left(c, v));
	json_object_set_new(json, "waits", json_integer((json_int_t)v->waits));
	json_object_set_new(json, "longest_wait_ns", json_integer((json_int_t)v->wait_ns));
	json_object_set_new(json, "held_ns", json_integer((json_int_t)v->hold_ns));
	return json;
}

static void show(struct api_request *req, enum copying_kind kind)
{
	struct machine_disk *disk = disk_of(req);
	struct copying_view view;

	if (!disk)
		return;
	if (copying_look(&disk->copying, kind, &view))
		api_reply(req, 200, copy_json(&disk->copying, &view));
	else
		api_error(req, 404, "disk %s: there has been no %s", disk->blk.dev.name,
			  copying_kind_name(kind));
}

static void answer(void *opaque, int ret, const struct error *err)
{
	struct api_request *req = opaque;

	if (ret)
		api_refuse(req, ret, err);
	else
		api_reply(req, 204, NULL);
}

/* False: the request has been answered. */
static bool get_speed(struct api_request *req, uint64_t *speed)
{
	const json_t *json = json_object_get(req->body, "speed");

	*speed = json ? (uint64_t)json_integer_value(json) : 0;
	if (!*speed || *speed >= SPEED_MIN)
		return true;
	api_error(req, 400, "'speed' must be 0 or at least %d", SPEED_MIN);
	return false;
}

static void start(struct api_request *req, enum copying_kind kind)
{
	const struct copying_waiter waiter = { answer, req };
	struct copying_wish wish = {
		.kind = kind,
		.target = json_string_value(json_object_get(req->body, "target")),
	};
	struct machine_disk *disk = disk_of(req);
	struct error err;
	int ret;

	if (!disk || !get_speed(req, &wish.speed))
		return;
	ret = copying_start(&disk->copying, req->ctx->loop, &wish, &waiter, &err);
	if (ret)
		answer(req, ret, &err);
}

/* False: the last one was another, and the request has been answered. */
static bool is_of(struct api_request *req, struct machine_disk *disk, enum copying_kind kind)
{
	struct copying_view view;

	if (copying_look(&disk->copying, kind, &view))
		return true;
	api_error(req, 404, "disk %s: there is no %s under way", disk->blk.dev.name,
		  copying_kind_name(kind));
	return false;
}

/* Answered when it is held to it. */
static void change(struct api_request *req, enum copying_kind kind)
{
	const struct copying_waiter waiter = { answer, req };
	struct machine_disk *disk = disk_of(req);
	struct error err;
	uint64_t speed;
	int ret;

	if (!disk || !is_of(req, disk, kind) || !get_speed(req, &speed))
		return;
	ret = copying_set_speed(&disk->copying, speed, &waiter, &err);
	if (ret)
		answer(req, ret, &err);
}

/* Answered at once: the guest is as if there were none from now on, whatever the target does. */
static void cancel(struct api_request *req, enum copying_kind kind)
{
	struct machine_disk *disk = disk_of(req);
	struct error err;

	if (disk && is_of(req, disk, kind))
		answer(req, copying_cancel(&disk->copying, &err), &err);
}

void mirror_start(struct api_request *req)
{
	start(req, COPYING_MIRROR);
}

void mirror_show(struct api_request *req)
{
	show(req, COPYING_MIRROR);
}

void mirror_change(struct api_request *req)
{
	change(req, COPYING_MIRROR);
}

void mirror_cancel(struct api_request *req)
{
	cancel(req, COPYING_MIRROR);
}

/* Answered when the target is the disk: by then it holds all that the guest was promised, and so does
 * the old image. */
void mirror_complete(struct api_request *req)
{
	const struct copying_waiter waiter = { answer, req };
	struct machine_disk *disk = disk_of(req);
	struct error err;
	int ret;

	if (!disk)
		return;
	ret = copying_complete(&disk->copying, &waiter, &err);
	if (ret)
		answer(req, ret, &err);
}

void backup_start(struct api_request *req)
{
	start(req, COPYING_BACKUP);
}

void backup_show(struct api_request *req)
{
	show(req, COPYING_BACKUP);
}

void backup_change(struct api_request *req)
{
	change(req, COPYING_BACKUP);
}

void backup_cancel(struct api_request *req)
{
	cancel(req, COPYING_BACKUP);
}

void commit_start(struct api_request *req)
{
	start(req, COPYING_COMMIT);
}

void commit_show(struct api_request *req)
{
	show(req, COPYING_COMMIT);
}

void commit_change(struct api_request *req)
{
	change(req, COPYING_COMMIT);
}

void commit_cancel(struct api_request *req)
{
	cancel(req, COPYING_COMMIT);
}
