/* SPDX-License-Identifier: Apache-2.0 */
/* The size of a disk on the control socket. Main. */
#include "vmm/cli/api/handlers.h"
#include "vmm/cli/machine.h"
#include "vmm/cli/resizing.h"

const struct api_field size_fields[] = {
	{ "bytes", API_INTEGER, false, 1, 0, NULL },
	{ NULL, 0, false, 0, 0, NULL },
};

static void resized(void *opaque, int ret, uint64_t bytes, const struct error *err)
{
	struct api_request *req = opaque;

	if (ret)
		api_refuse(req, ret, err);
	else
		api_reply(req, 200, json_pack("{s:I}", "bytes", (json_int_t)bytes));
}

void disk_resize(struct api_request *req)
{
	const json_t *bytes = json_object_get(req->body, "bytes");
	const struct resizing_waiter waiter = { resized, req };
	struct machine_disk *disk = disk_of(req);
	struct error err;
	int ret;

	if (!disk)
		return;
	ret = resizing_start(&disk->resizing, req->ctx->loop,
			     bytes ? (uint64_t)json_integer_value(bytes) : 0, &waiter, &err);
	if (ret)
		resized(req, ret, 0, &err);
}
