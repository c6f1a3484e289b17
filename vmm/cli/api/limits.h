/* SPDX-License-Identifier: Apache-2.0 */
/* A disk's limits as JSON: "iops_rd_max" is what --disk calls iops-rd-max. */
#ifndef MVMM_CLI_API_LIMITS_H
#define MVMM_CLI_API_LIMITS_H

#include "virtio/blk/throttle_limits.h"
#include "vmm/cli/api/api.h"
#include "vmm/error.h"

extern const struct api_field limits_fields[];

/* Those that are set. */
json_t *limits_json(const struct throttle_limits *limits);

/* Changes what `json`, which was held to limits_fields, says; 0 lifts a limit, with its burst. -EINVAL
 * with a message: what comes out makes no sense. */
int limits_merge(struct throttle_limits *limits, const json_t *json, struct error *err);

#endif
