/* SPDX-License-Identifier: Apache-2.0 */
/* What answers requests: each is the `handle` of a route. Main. */
#ifndef MVMM_CLI_API_HANDLERS_H
#define MVMM_CLI_API_HANDLERS_H

#include "vmm/cli/api/api.h"

struct machine_disk;

/* vm.c */
void vm_show(struct api_request *req);
void vm_pause_all(struct api_request *req);
void vm_resume_all(struct api_request *req);
void vm_power_button(struct api_request *req);
void vm_reset(struct api_request *req);
void vm_quit(struct api_request *req);

/* disks.c */
void disks_list(struct api_request *req);
void disk_show(struct api_request *req);

/* change.c */
extern const struct api_field change_fields[];
void disk_change(struct api_request *req);

/* The disk whose name (vda) or serial is the request's id; NULL: none, and the request has been
 * answered (404). */
struct machine_disk *disk_of(struct api_request *req);

json_t *disk_json(const struct machine_disk *disk);

/* plug.c */
void disks_add(struct api_request *req);
void disk_remove(struct api_request *req);

/* size.c */
extern const struct api_field size_fields[];
void disk_resize(struct api_request *req);

/* copies.c */
extern const struct api_field copy_fields[];
extern const struct api_field copy_change_fields[];
void mirror_start(struct api_request *req);
void mirror_show(struct api_request *req);
void mirror_change(struct api_request *req);
void mirror_cancel(struct api_request *req);
void mirror_complete(struct api_request *req);
void backup_start(struct api_request *req);
void backup_show(struct api_request *req);
void backup_change(struct api_request *req);
void backup_cancel(struct api_request *req);
void commit_start(struct api_request *req);
void commit_show(struct api_request *req);
void commit_change(struct api_request *req);
void commit_cancel(struct api_request *req);

/* metrics.c */
void metrics_show(struct api_request *req);

#endif
