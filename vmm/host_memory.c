/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads from /proc and /sys how much memory there is; see host_memory.h.
 *
 * Any thread. Knows nothing of guests or of who asks.
 */
#include "vmm/host_memory.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CGROUP_ROOT "/sys/fs/cgroup"
#define HUGE_POOL   "/sys/kernel/mm/hugepages/hugepages-2048kB"

/* The number behind `key` at the beginning of a line; "max", as control groups say, is UINT64_MAX. */
static int read_number(const char *path, const char *key, uint64_t *value)
{
	const size_t len = strlen(key);
	char line[128];
	int ret = -ENOENT;
	FILE *f = fopen(path, "re");

	if (!f)
		return -errno;
	while (ret && fgets(line, sizeof(line), f)) {
		if (strncmp(line, key, len))
			continue;
		*value = !strcmp(line + len, "max\n") ? UINT64_MAX : strtoull(line + len, NULL, 10);
		ret = 0;
	}
	fclose(f);
	return ret;
}

static int read_group(const char *group, const char *name, const char *key, uint64_t *value)
{
	char path[PATH_MAX + 64];

	snprintf(path, sizeof(path), CGROUP_ROOT "%s/%s", group, name);
	return read_number(path, key, value);
}

/* What one control group leaves: its limit less what it uses; page cache gives way. */
static uint64_t group_available(const char *group)
{
	uint64_t max, current, active = 0, inactive = 0, used;

	if (read_group(group, "memory.max", "", &max) || max == UINT64_MAX ||
	    read_group(group, "memory.current", "", &current))
		return UINT64_MAX;
	read_group(group, "memory.stat", "active_file ", &active);
	read_group(group, "memory.stat", "inactive_file ", &inactive);
	used = current > active + inactive ? current - active - inactive : 0;
	return max > used ? max - used : 0;
}

/* Our group's path below the root, without a slash at its end: the line "0::/path". */
static int own_group(char *group, int size)
{
	char line[PATH_MAX];
	FILE *f = fopen("/proc/self/cgroup", "re");
	int ret = -ENOENT;

	if (!f)
		return -errno;
	while (ret && fgets(line, sizeof(line), f)) {
		if (strncmp(line, "0::/", 4))
			continue;
		line[strcspn(line, "\n")] = '\0';
		snprintf(group, size, "%s", line[4] ? line + 3 : "");
		ret = 0;
	}
	fclose(f);
	return ret;
}

/* The tightest of our control group and those around it. */
static uint64_t groups_available(void)
{
	uint64_t left = UINT64_MAX, here;
	char group[PATH_MAX], *end;

	if (own_group(group, sizeof(group)))
		return left;
	for (;;) {
		here = group_available(group);
		left = here < left ? here : left;
		end = strrchr(group, '/');
		if (!end)
			return left;
		*end = '\0';
	}
}

uint64_t host_memory_available(void)
{
	uint64_t kib, groups = groups_available();

	if (read_number("/proc/meminfo", "MemAvailable:", &kib))
		return groups;
	return kib << 10 < groups ? kib << 10 : groups;
}

int host_huge_pages_read(struct host_huge_pages *pool)
{
	uint64_t unused, reserved;

	if (read_number(HUGE_POOL "/nr_hugepages", "", &pool->total) ||
	    read_number(HUGE_POOL "/free_hugepages", "", &unused) ||
	    read_number(HUGE_POOL "/resv_hugepages", "", &reserved))
		return -ENOENT;
	pool->free = unused > reserved ? unused - reserved : 0;
	return 0;
}
