/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Disks that come and go by the control socket. Main. A body with the keys of --disk becomes the text of
 * that option: so there is one place that knows what they may be.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/cli/api/handlers.h"
#include "vmm/cli/clock.h"
#include "vmm/cli/disk_option.h"
#include "vmm/cli/machine.h"

/* A guest that has not given a disk up by then may still do so; its client hears of it. */
#define PATIENCE_MS 25000

/* ---- in ---- */

/* A comma within a value is written twice. */
static void put_value(FILE *f, const json_t *value)
{
	const char *text = json_string_value(value);

	if (json_is_integer(value))
		fprintf(f, "%lld", (long long)json_integer_value(value));
	else if (json_is_boolean(value))
		fputs(json_is_true(value) ? "on" : "off", f);
	for (; text && *text; text++)
		fputs(*text == ',' ? ",," : (char[]){ *text, '\0' }, f);
}

static void put_key(FILE *f, const char *key)
{
	fputc(',', f);
	for (; *key; key++)
		fputc(*key == '_' ? '-' : *key, f);
	fputc('=', f);
}

/* Limits are keys like others there. */
static void put_pairs(FILE *f, json_t *object)
{
	void *at = json_object_iter(object);

	for (; at; at = json_object_iter_next(object, at)) {
		const json_t *value = json_object_iter_value(at);

		if (json_is_object(value) || !strcmp(json_object_iter_key(at), "path"))
			continue;
		put_key(f, json_object_iter_key(at));
		put_value(f, value);
	}
}

/* NULL: no memory. */
static char *option_text(json_t *body)
{
	char *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);

	if (!f)
		return NULL;
	put_value(f, json_object_get(body, "path"));
	put_pairs(f, body);
	put_pairs(f, json_object_get(body, "limits"));
	if (!fclose(f))
		return text;
	free(text);
	return NULL;
}

static int parse(json_t *body, struct disk_config *config, struct error *err)
{
	char *text = option_text(body);
	int ret;

	if (!text)
		return error_set(err, ENOMEM, "disk");
	ret = disk_option_parse(text, config, err);
	free(text);
	return ret;
}

static void added(void *opaque, struct machine_disk *disk, int ret, const struct error *err)
{
	struct api_request *req = opaque;

	if (disk)
		api_reply(req, 201, disk_json(disk));
	else
		api_refuse(req, ret, err);
}

void disks_add(struct api_request *req)
{
	const struct plug_adder adder = { added, req };
	struct disk_config config;
	struct error err = { 0 };
	int ret = parse(req->body, &config, &err);

	if (!ret)
		ret = plug_add(&req->ctx->machine->plug, &config, &adder, &err);
	if (ret)
		api_refuse(req, ret, &err);
}

/* ---- out ---- */

struct removal {
	struct api_request *req;
	struct loop_timer patience;
	struct machine_disk *disk; /* is there until the patience or the removal ends */
};

static void removed(void *opaque)
{
	struct removal *removal = opaque;
	struct api_request *req = removal->req;

	loop_timer_cancel(req->ctx->loop, &removal->patience);
	free(removal);
	api_reply(req, 204, NULL);
}

static void too_late(void *opaque)
{
	struct removal *removal = opaque;
	struct api_request *req = removal->req;
	struct machine_disk *disk = removal->disk;

	plug_forget_waiter(&req->ctx->machine->plug, removal);
	/* What drains is hidden; what was taken away may wait for a vCPU inside before it drains. */
	if (pci_func_is_shown(&disk->pci.func))
		api_error(req, 504, "disk %s: the guest has been asked and has not given it up yet",
			  disk->blk.dev.name);
	else
		api_error(req, 504, "disk %s: is the guest's no more and waits for its storage",
			  disk->blk.dev.name);
	free(removal);
}

static int64_t force_after(const struct api_request *req)
{
	const json_t *ms = json_object_get(req->query, "force_after_ms");

	return ms ? json_integer_value(ms) : -1;
}

void disk_remove(struct api_request *req)
{
	struct machine_disk *disk = disk_of(req);
	struct removal *removal = disk ? calloc(1, sizeof(*removal)) : NULL;
	const struct plug_waiter waiter = { removed, removal };
	struct error err = { 0 };
	int ret;

	if (!disk)
		return;
	if (!removal) {
		api_error(req, 500, "no memory");
		return;
	}
	removal->req = req;
	removal->patience = (struct loop_timer){ .expired = too_late, .opaque = removal };
	removal->disk = disk;
	ret = plug_remove(&req->ctx->machine->plug, disk, force_after(req), &waiter, &err);
	if (!ret) {
		loop_timer_set(req->ctx->loop, &removal->patience, clock_ms() + PATIENCE_MS);
		return;
	}
	free(removal);
	api_refuse(req, ret, &err);
}
