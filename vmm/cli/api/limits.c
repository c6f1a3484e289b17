/* SPDX-License-Identifier: Apache-2.0 */
/* Limits to JSON and back. Main; pure functions. */
#include "vmm/cli/api/limits.h"

#include "vmm/cli/throttle_option.h"

#define LIMIT(name)                                                                                \
	{ name, API_INTEGER, false, 0, THROTTLE_RATE_MAX, NULL },                                  \
		{ name "_max", API_INTEGER, false, 0, THROTTLE_RATE_MAX, NULL },                   \
	{                                                                                          \
		name "_max_length", API_INTEGER, false, 0, THROTTLE_LENGTH_MAX, NULL               \
	}

/* In the order of throttle_option_name(). */
const struct api_field limits_fields[] = {
	LIMIT("iops"),
	LIMIT("iops_rd"),
	LIMIT("iops_wr"),
	LIMIT("bps"),
	LIMIT("bps_rd"),
	LIMIT("bps_wr"),
	{ NULL, 0, false, 0, 0, NULL },
};

json_t *limits_json(const struct throttle_limits *limits)
{
	json_t *json = json_object();

	for (unsigned i = 0; limits_fields[i].name; i++)
		if (throttle_option_get(limits, i))
			json_object_set_new(json, limits_fields[i].name,
					    json_integer(
						    (json_int_t)throttle_option_get(limits, i)));
	return json;
}

/* What goes with a limit goes when it goes. */
static void drop_leftovers(struct throttle_limits *limits, const json_t *json)
{
	for (unsigned i = 0; limits_fields[i].name; i++) {
		if (i % THROTTLE_OPTION_KEYS && !throttle_option_get(limits, i - 1) &&
		    !json_object_get(json, limits_fields[i].name))
			throttle_option_put(limits, i, 0);
	}
}

int limits_merge(struct throttle_limits *limits, const json_t *json, struct error *err)
{
	for (unsigned i = 0; limits_fields[i].name; i++) {
		const json_t *value = json_object_get(json, limits_fields[i].name);

		if (value)
			throttle_option_put(limits, i, (uint64_t)json_integer_value(value));
	}
	drop_leftovers(limits, json);
	return throttle_option_check(limits, err);
}
