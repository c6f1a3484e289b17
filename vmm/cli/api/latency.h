/* SPDX-License-Identifier: Apache-2.0 */
/* How long a disk's requests take, for who asks: JSON, and a histogram of Prometheus. Main. */
#ifndef MVMM_CLI_API_LATENCY_H
#define MVMM_CLI_API_LATENCY_H

#include <jansson.h>
#include <stdint.h>
#include <stdio.h>

#include "virtio/blk/dataplane.h"

extern const char *const latency_ops[BLK_TIMED_OPS];

/* As they were read, one by one. */
struct latency_view {
	uint64_t count; /* of all buckets */
	uint64_t ns;
	uint64_t requests[BLK_LATENCY_BUCKETS];
};

void latency_look(const struct blk_latency *latency, struct latency_view *view);

/* So many of 100 took at most as long, as far as buckets tell; 0: none is known, or longer than all
 * bounds. */
uint64_t latency_percentile(const struct latency_view *view, unsigned percent);

/* An object for each of latency_ops, in an array. */
json_t *latency_json(const struct blk_stats *stats);

/* The samples of one disk and kind of request, without the comments before them. */
void latency_print(FILE *f, const char *family, const char *disk, const struct blk_stats *stats,
		   unsigned op);

#endif
