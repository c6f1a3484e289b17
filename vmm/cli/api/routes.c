/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All that can be asked of the control socket: one row each. docs/openapi.yaml describes the same for
 * users, and a test holds one to the other. Constants only.
 */
#include "vmm/cli/api/handlers.h"

const struct api_route api_routes[] = {
	{ API_GET, "/vm", vm_show, NULL, NULL },
	{ API_PUT, "/vm/pause", vm_pause_all, NULL, NULL },
	{ API_PUT, "/vm/resume", vm_resume_all, NULL, NULL },
	{ API_PUT, "/vm/power-button", vm_power_button, NULL, NULL },
	{ API_PUT, "/vm/reset", vm_reset, NULL, NULL },
	{ API_PUT, "/vm/quit", vm_quit, NULL, NULL },
	{ API_GET, "/disks", disks_list, NULL, NULL },
	{ API_GET, "/disks/{id}", disk_show, NULL, NULL },
	{ API_PATCH, "/disks/{id}", disk_change, change_fields, NULL },
	{ API_GET, "/metrics", metrics_show, NULL, NULL },
	{ 0 },
};
