/* SPDX-License-Identifier: Apache-2.0 */
/* The groups of a machine's disks; see throttle_group.h. Main, all of it. */
#include "virtio/blk/throttle_group.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct throttle_group *find(const struct throttle_groups *all, const char *name)
{
	struct throttle_group *group = name[0] ? all->first : NULL;

	while (group && strcmp(group->name, name))
		group = group->next;
	return group;
}

/* What `limits` leaves open is the group's to say. */
static int check_equal(const struct throttle_group *group, const struct throttle_limits *limits,
		       struct error *err)
{
	for (unsigned kind = 0; kind < THROTTLE_KINDS; kind++) {
		const struct throttle_rate *r = &limits->of[kind];

		if (r->rate && !throttle_rate_equal(r, &group->limits.of[kind]))
			return error_setx(err, EEXIST, "group '%s' has another %s", group->name,
					  throttle_kind_name(kind));
	}
	return 0;
}

static struct throttle_group *create(const char *name, const struct throttle_limits *limits)
{
	struct throttle_group *group =
		aligned_alloc(_Alignof(struct throttle_group), sizeof(*group));

	if (!group)
		return NULL;
	memset(group, 0, sizeof(*group));
	group->limits = *limits;
	snprintf(group->name, sizeof(group->name), "%s", name);
	return group;
}

int throttle_group_join(struct throttle_groups *all, const char *name,
			const struct throttle_limits *limits, struct throttle_group **out,
			struct error *err)
{
	struct throttle_group *group = find(all, name);
	int ret;

	if (group) {
		ret = check_equal(group, limits, err);
		if (ret)
			return ret;
	} else {
		group = create(name, limits);
		if (!group)
			return error_set(err, ENOMEM, "limits");
		group->next = all->first;
		all->first = group;
	}
	group->disks++;
	*out = group;
	return 0;
}

void throttle_group_leave(struct throttle_groups *all, struct throttle_group *group)
{
	struct throttle_group **at = &all->first;

	if (--group->disks)
		return;
	while (*at != group)
		at = &(*at)->next;
	*at = group->next;
	free(group);
}

void throttle_group_change(struct throttle_group *group, const struct throttle_limits *limits,
			   uint64_t now)
{
	throttle_change(&group->buckets, &group->limits, limits, now);
	group->limits = *limits;
}
