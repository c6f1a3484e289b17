/* SPDX-License-Identifier: Apache-2.0 */
/* Disks on the control socket: what they are and what they have done. Main. */
#include <string.h>

#include "vmm/cli/api/handlers.h"
#include "vmm/cli/api/latency.h"
#include "vmm/cli/api/limits.h"
#include "vmm/cli/api/rates.h"
#include "vmm/cli/api/stats.h"
#include "vmm/cli/disk_option.h"
#include "vmm/cli/machine.h"

struct machine_disk *disk_of(struct api_request *req)
{
	struct machine *m = req->ctx->machine;

	for (unsigned i = 0; i < m->ndisks; i++)
		if (!strcmp(m->disk[i]->blk.dev.name, req->id))
			return m->disk[i];
	for (unsigned i = 0; i < m->ndisks; i++)
		if (!strcmp(m->disk[i]->blk.serial, req->id))
			return m->disk[i];
	api_error(req, 404, "there is no disk '%s'", req->id);
	return NULL;
}

static json_t *error_text(const _Atomic int *code)
{
	const int n = atomic_load_explicit(code, memory_order_relaxed);

	return n ? json_string(strerror(n)) : json_null();
}

static json_t *statistics_json(const struct blk_stats *stats)
{
	json_t *json = json_object();

	for (const struct disk_stat *stat = disk_stats; stat->name; stat++)
		json_object_set_new(json, stat->name,
				    json_integer((json_int_t)disk_stat_get(stats, stat)));
	return json;
}

static json_t *config_json(const struct machine_disk *disk)
{
	static const char *const cache[] = { "none", "writeback", "unsafe" };
	static const char *const aio[] = { "native", "threads" };
	const struct virtio_blk *blk = &disk->blk;
	const struct disk_config *config = disk->config;

	return json_pack("{s:s, s:o, s:o, s:I, s:b, s:s, s:s, s:i, s:i, s:i, s:i}", "id",
			 blk->dev.name, "serial", api_string(blk->serial[0] ? blk->serial : NULL),
			 "path", api_string(machine_disk_path(disk)), "bytes",
			 (json_int_t)blk->backend.size, "readonly", blk->backend.readonly, "cache",
			 cache[blk->backend.cache], "aio", aio[blk->backend.aio], "queues",
			 blk->dev.nqueues, "queue_size", config->queue_size, "aio_depth",
			 config->aio_depth, "block_size", (int)blk->backend.block_size);
}

json_t *disk_json(const struct machine_disk *disk)
{
	const struct blk_stats *stats = blk_dataplane_stats(disk->blk.dataplane);
	const struct throttle_group *group = disk->blk.group;
	json_t *json = config_json(disk);

	json_object_set_new(json, "on_error", json_string(disk_on_error_names[disk->blk.on_error]));
	json_object_set_new(json, "limits", limits_json(&group->limits));
	json_object_set_new(json, "group", api_string(group->name[0] ? group->name : NULL));
	json_object_set_new(json, "last_error", error_text(&stats->last_errno));
	json_object_set_new(json, "sync_error", error_text(&stats->sync_errno));
	json_object_set_new(json, "rates", rates_json(&disk->rates));
	json_object_set_new(json, "latency", latency_json(stats));
	json_object_set_new(json, "statistics", statistics_json(stats));
	return json;
}

/* One that came later may have a name from before others. */
void disks_list(struct api_request *req)
{
	const struct machine *m = req->ctx->machine;
	json_t *list = json_array();

	for (unsigned index = 0; index < MACHINE_MAX_DISKS; index++)
		for (unsigned i = 0; i < m->ndisks; i++)
			if (m->disk[i]->index == index)
				json_array_append_new(list, disk_json(m->disk[i]));
	api_reply(req, 200, list);
}

void disk_show(struct api_request *req)
{
	const struct machine_disk *disk = disk_of(req);

	if (disk)
		api_reply(req, 200, disk_json(disk));
}
