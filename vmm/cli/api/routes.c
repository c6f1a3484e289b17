/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All that can be asked of the control socket: one row each. docs/openapi.yaml describes the same for
 * users, and a test holds one to the other. Constants only.
 */
#include "vmm/cli/api/handlers.h"
#include "vmm/cli/api/limits.h"

/* The keys of --disk, which takes them as text and checks their values. */
static const struct api_field new_disk[] = {
	{ "path", API_STRING, true, 1, 4095, NULL },
	{ "readonly", API_BOOLEAN, false, 0, 0, NULL },
	{ "serial", API_STRING, false, 0, 20, NULL },
	{ "cache", API_STRING, false, 0, 0, NULL },
	{ "aio", API_STRING, false, 0, 0, NULL },
	{ "overlay", API_STRING, false, 0, 0, NULL },
	{ "queues", API_INTEGER, false, 0, 0, NULL },
	{ "queue_size", API_INTEGER, false, 0, 0, NULL },
	{ "aio_depth", API_INTEGER, false, 0, 0, NULL },
	{ "poll_max_us", API_INTEGER, false, 0, 0, NULL },
	{ "block_size", API_INTEGER, false, 0, 0, NULL },
	{ "cpu", API_INTEGER, false, 0, 0, NULL },
	{ "group", API_STRING, false, 0, 0, NULL },
	{ "limits", API_OBJECT, false, 0, 0, limits_fields },
	{ "on_error", API_STRING, false, 0, 0, NULL },
	{ 0 },
};

static const struct api_field removal[] = {
	{ "force_after_ms", API_INTEGER, false, 0, 86400000, NULL },
	{ 0 },
};

const struct api_route api_routes[] = {
	{ API_GET, "/vm", vm_show, NULL, NULL, true },
	{ API_PUT, "/vm/pause", vm_pause_all, NULL, NULL, true },
	{ API_PUT, "/vm/resume", vm_resume_all, NULL, NULL, true },
	{ API_PUT, "/vm/power-button", vm_power_button, NULL, NULL, true },
	{ API_PUT, "/vm/reset", vm_reset, NULL, NULL, true },
	{ API_PUT, "/vm/quit", vm_quit, NULL, NULL, true },
	{ API_GET, "/disks", disks_list, NULL, NULL, true },
	{ API_POST, "/disks", disks_add, new_disk, NULL, false },
	{ API_DELETE, "/disks/{id}", disk_remove, NULL, removal, false },
	{ API_GET, "/disks/{id}", disk_show, NULL, NULL, true },
	{ API_PATCH, "/disks/{id}", disk_change, change_fields, NULL, false },
	{ API_PUT, "/disks/{id}/size", disk_resize, size_fields, NULL, false },
	{ API_PUT, "/disks/{id}/mirror", mirror_start, copy_fields, NULL, false },
	{ API_GET, "/disks/{id}/mirror", mirror_show, NULL, NULL, true },
	{ API_PATCH, "/disks/{id}/mirror", mirror_change, copy_change_fields, NULL, false },
	{ API_DELETE, "/disks/{id}/mirror", mirror_cancel, NULL, NULL, false },
	{ API_PUT, "/disks/{id}/mirror/complete", mirror_complete, NULL, NULL, false },
	{ API_PUT, "/disks/{id}/backup", backup_start, copy_fields, NULL, false },
	{ API_GET, "/disks/{id}/backup", backup_show, NULL, NULL, true },
	{ API_PATCH, "/disks/{id}/backup", backup_change, copy_change_fields, NULL, false },
	{ API_DELETE, "/disks/{id}/backup", backup_cancel, NULL, NULL, false },
	{ API_PUT, "/disks/{id}/commit", commit_start, copy_fields, NULL, false },
	{ API_GET, "/disks/{id}/commit", commit_show, NULL, NULL, true },
	{ API_PATCH, "/disks/{id}/commit", commit_change, copy_change_fields, NULL, false },
	{ API_DELETE, "/disks/{id}/commit", commit_cancel, NULL, NULL, false },
	{ API_GET, "/metrics", metrics_show, NULL, NULL, true },
	{ 0 },
};
