/* SPDX-License-Identifier: Apache-2.0 */
/* How long a disk's requests take, for who asks: JSON, and a histogram of Prometheus. Main. */
#ifndef MVMM_CLI_API_LATENCY_H
#define MVMM_CLI_API_LATENCY_H

#include <jansson.h>
#include <stdint.h>
#include <stdio.h>

#include "virtio/blk/dataplane.h"

extern const char *const latency_ops[BLK_TIMED_OPS];

/* An object for each of latency_ops, in an array. */
json_t *latency_json(const struct blk_stats *stats);

/* The samples of one disk and kind of request, without the comments before them. */
void latency_print(FILE *f, const char *family, const char *disk, const struct blk_stats *stats,
		   unsigned op);

#endif
