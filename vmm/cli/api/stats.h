/* SPDX-License-Identifier: Apache-2.0 */
/* A disk's numbers by name: one table for JSON, for metrics and for the tests. */
#ifndef MVMM_CLI_API_STATS_H
#define MVMM_CLI_API_STATS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "virtio/blk/dataplane.h"

struct disk_stat {
	const char *name;   /* the member of "statistics" */
	const char *metric; /* the family, without "mvmm_disk_"; rows of one follow each other */
	const char *label;  /* op="read", beside disk="vda"; or NULL */
	const char *help;
	size_t at; /* in struct blk_stats: an _Atomic uint64_t */
};

/* Ends with one without a name. */
extern const struct disk_stat disk_stats[];

/* It only grows; else it is a gauge. */
bool disk_stat_is_counter(const struct disk_stat *stat);

uint64_t disk_stat_get(const struct blk_stats *stats, const struct disk_stat *stat);

#endif
