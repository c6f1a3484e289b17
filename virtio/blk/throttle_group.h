/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who shares the buckets of a limit: every disk belongs to a group, most to one of their own. The
 * disks' threads know the buckets only; names, limits and the number of disks are main's.
 */
#ifndef MVMM_THROTTLE_GROUP_H
#define MVMM_THROTTLE_GROUP_H

#include "virtio/blk/throttle.h"
#include "vmm/error.h"

struct throttle_group {
	_Alignas(64) struct throttle_buckets buckets; /* away from what is main's */
	_Alignas(64) struct throttle_limits limits;
	char name[THROTTLE_GROUP_NAME]; /* empty: one disk's own */
	unsigned disks;
	struct throttle_group *next;
};

/* Of one machine; all zero: none. */
struct throttle_groups {
	struct throttle_group *first;
};

/*
 * Joins the group called `name`, or makes it, of these limits. To one that there is `limits` may add
 * nothing and may not differ in what it says: -EEXIST. "": a group of the disk's own. All main's.
 */
int throttle_group_join(struct throttle_groups *all, const char *name,
			const struct throttle_limits *limits, struct throttle_group **out,
			struct error *err);

/* The disk's thread has ended. The last one takes the group with it. */
void throttle_group_leave(struct throttle_groups *all, struct throttle_group *group);

/* The threads of all its disks are to be told; `now`: ns of CLOCK_MONOTONIC. */
void throttle_group_change(struct throttle_group *group, const struct throttle_limits *limits,
			   uint64_t now);

#endif
