/* SPDX-License-Identifier: Apache-2.0 */
/* Limits of disks as text. Main; pure functions. */
#include "vmm/cli/throttle_option.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "vmm/cli/number.h"

enum part { PART_RATE, PART_MAX, PART_LENGTH };

static const char *const suffix[THROTTLE_OPTION_KEYS] = { "", "-max", "-max-length" };

const char *throttle_option_name(unsigned i, char buf[24])
{
	snprintf(buf, 24, "%s%s", throttle_kind_name(i / THROTTLE_OPTION_KEYS),
		 suffix[i % THROTTLE_OPTION_KEYS]);
	return buf;
}

uint64_t throttle_option_get(const struct throttle_limits *limits, unsigned i)
{
	const struct throttle_rate *r = &limits->of[i / THROTTLE_OPTION_KEYS];

	switch (i % THROTTLE_OPTION_KEYS) {
	case PART_RATE:
		return r->rate;
	case PART_MAX:
		return r->max;
	default:
		return r->length;
	}
}

void throttle_option_put(struct throttle_limits *limits, unsigned i, uint64_t value)
{
	struct throttle_rate *r = &limits->of[i / THROTTLE_OPTION_KEYS];

	switch (i % THROTTLE_OPTION_KEYS) {
	case PART_RATE:
		r->rate = value;
		break;
	case PART_MAX:
		r->max = value;
		break;
	default:
		r->length = value;
	}
}

uint64_t throttle_option_max(unsigned i)
{
	return i % THROTTLE_OPTION_KEYS == PART_LENGTH ? THROTTLE_LENGTH_MAX : THROTTLE_RATE_MAX;
}

static bool is_bytes(unsigned i)
{
	return i / THROTTLE_OPTION_KEYS >= THROTTLE_BPS && i % THROTTLE_OPTION_KEYS != PART_LENGTH;
}

static const char *allowed_values(unsigned i)
{
	if (i % THROTTLE_OPTION_KEYS == PART_LENGTH)
		return "1 to 86400 seconds, 0 for the default";
	if (is_bytes(i))
		return "1 to 16T (K, M, G or T; without one, bytes), 0 for no limit";
	return "1 to 17592186044416, 0 for no limit";
}

int throttle_option_set(struct throttle_limits *limits, const char *key, const char *value,
			const char **allowed)
{
	char name[24];
	uint64_t n;

	for (unsigned i = 0; i < THROTTLE_KINDS * THROTTLE_OPTION_KEYS; i++) {
		if (strcmp(throttle_option_name(i, name), key))
			continue;
		*allowed = allowed_values(i);
		if (!value)
			return -EINVAL;
		if (is_bytes(i) ? number_parse_bytes(value, throttle_option_max(i), &n)
				: number_parse(value, 0, throttle_option_max(i), &n))
			return -EINVAL;
		throttle_option_put(limits, i, n);
		return 0;
	}
	return -ENOENT;
}

int throttle_option_check(const struct throttle_limits *limits, struct error *err)
{
	for (unsigned kind = 0; kind < THROTTLE_KINDS; kind++) {
		const char *fault = throttle_rate_fault(&limits->of[kind]);

		if (fault)
			return error_setx(err, EINVAL, "%s%s", throttle_kind_name(kind), fault);
	}
	return 0;
}

/* Takes over what only the other disk says. */
static int merge(struct disk_config *to, const struct disk_config *from, struct error *err)
{
	for (unsigned kind = 0; kind < THROTTLE_KINDS; kind++) {
		const struct throttle_rate *theirs = &from->limits.of[kind];
		struct throttle_rate *ours = &to->limits.of[kind];

		if (!theirs->rate)
			continue;
		if (ours->rate && !throttle_rate_equal(ours, theirs))
			return error_setx(err, EINVAL,
					  "--disk '%s': %s of group '%s' is not as with disk '%s'",
					  to->path, throttle_kind_name(kind), to->group,
					  from->path);
		*ours = *theirs;
	}
	return 0;
}

int throttle_option_join(struct disk_config *disk, unsigned n, struct error *err)
{
	struct disk_config *last = &disk[n - 1];
	int ret;

	if (!last->group[0])
		return 0;
	for (unsigned i = 0; i < n - 1; i++) {
		if (strcmp(disk[i].group, last->group))
			continue;
		ret = merge(last, &disk[i], err);
		if (ret)
			return ret;
		disk[i].limits = last->limits;
	}
	return 0;
}
