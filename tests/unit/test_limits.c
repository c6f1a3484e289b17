/* SPDX-License-Identifier: Apache-2.0 */
/* Limits as main has them: groups of disks, and what the control socket makes of JSON. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "virtio/blk/throttle_group.h"
#include "vmm/cli/api/limits.h"
#include "vmm/cli/throttle_option.h"

static struct throttle_limits iops(uint64_t rate)
{
	struct throttle_limits limits = { 0 };

	limits.of[THROTTLE_IOPS].rate = rate;
	return limits;
}

static struct throttle_group *join(struct throttle_groups *all, const char *name, uint64_t rate)
{
	const struct throttle_limits limits = iops(rate);
	struct throttle_group *group;
	struct error err;

	if (throttle_group_join(all, name, &limits, &group, &err))
		fail_msg("%s", err.text);
	return group;
}

static void disks_without_a_group_share_nothing(void **state)
{
	struct throttle_groups all = { 0 };
	struct throttle_group *a = join(&all, "", 5), *b = join(&all, "", 5);

	assert_ptr_not_equal(a, b);
	assert_int_equal(a->limits.of[THROTTLE_IOPS].rate, 5);
	throttle_group_leave(&all, a);
	throttle_group_leave(&all, b);
	assert_null(all.first);
}

static void disks_of_a_group_share_it_until_the_last_has_left(void **state)
{
	struct throttle_groups all = { 0 };
	struct throttle_group *a = join(&all, "a", 5), *b = join(&all, "b", 6);

	assert_ptr_not_equal(a, b);
	assert_ptr_equal(join(&all, "a", 5), a);
	assert_ptr_equal(join(&all, "a", 0), a); /* which says nothing */
	for (unsigned i = 0; i < 3; i++) {
		assert_ptr_equal(join(&all, "a", 0), a);
		throttle_group_leave(&all, a);
		throttle_group_leave(&all, a);
	}
	throttle_group_leave(&all, b);
	assert_null(all.first);
}

static void who_comes_later_may_not_change_a_group(void **state)
{
	const struct throttle_limits other = iops(6), more = {
		.of[THROTTLE_BPS] = { .rate = 7 },
	};
	struct throttle_groups all = { 0 };
	struct throttle_group *a = join(&all, "a", 5), *b;
	struct error err;

	assert_int_equal(throttle_group_join(&all, "a", &other, &b, &err), -EEXIST);
	assert_non_null(strstr(err.text, "'a'"));
	assert_non_null(strstr(err.text, "iops"));
	assert_int_equal(throttle_group_join(&all, "a", &more, &b, &err), -EEXIST);
	throttle_group_leave(&all, a);
	assert_null(all.first);
}

static void a_change_is_what_the_next_disk_must_agree_with(void **state)
{
	const struct throttle_limits changed = iops(9);
	struct throttle_groups all = { 0 };
	struct throttle_group *a = join(&all, "a", 5);

	throttle_group_change(a, &changed, 1000);
	assert_ptr_equal(join(&all, "a", 9), a);
	throttle_group_leave(&all, a);
	throttle_group_leave(&all, a);
}

/* ---- JSON ---- */

static void members_are_called_as_the_keys_of_a_disk(void **state)
{
	char want[24];

	for (unsigned i = 0; i < THROTTLE_KINDS * THROTTLE_OPTION_KEYS; i++) {
		throttle_option_name(i, want);
		for (char *s = want; (s = strchr(s, '-')); s++)
			*s = '_';
		assert_string_equal(limits_fields[i].name, want);
		assert_int_equal(limits_fields[i].max, throttle_option_max(i));
	}
	assert_null(limits_fields[THROTTLE_KINDS * THROTTLE_OPTION_KEYS].name);
}

/* Merges each in turn. What comes out as text, or "error: why". */
static const char *merge(const char *const *json, unsigned n)
{
	struct throttle_limits limits = { 0 };
	static char text[600];
	struct error err;
	char *dump;

	for (unsigned i = 0; i < n; i++) {
		json_t *object = json_loads(json[i], 0, NULL);
		const int ret = limits_merge(&limits, object, &err);

		json_decref(object);
		if (ret) {
			assert_int_equal(ret, -EINVAL);
			snprintf(text, sizeof(text), "error: %s", err.text);
			return text;
		}
	}
	json_t *object = limits_json(&limits);

	dump = json_dumps(object, JSON_COMPACT);
	snprintf(text, sizeof(text), "%s", dump);
	free(dump);
	json_decref(object);
	return text;
}

#define MERGE(...)                                                                                 \
	merge((const char *[]){ __VA_ARGS__ },                                                     \
	      sizeof((const char *[]){ __VA_ARGS__ }) / sizeof(char *))

static void what_is_not_said_stays(void **state)
{
	assert_string_equal(MERGE("{}"), "{}");
	assert_string_equal(MERGE("{\"iops\":5}", "{\"bps_rd\":7}", "{}"),
			    "{\"iops\":5,\"bps_rd\":7}");
	assert_string_equal(MERGE("{\"iops\":5,\"iops_max\":9}", "{\"iops\":6}"),
			    "{\"iops\":6,\"iops_max\":9}");
}

static void a_limit_that_goes_takes_its_burst_with_it(void **state)
{
	const char *burst = "{\"iops\":5,\"iops_max\":9,\"iops_max_length\":3,\"bps\":8}";

	assert_string_equal(MERGE(burst), "{\"iops\":5,\"iops_max\":9,\"iops_max_length\":3,"
					  "\"bps\":8}");
	assert_string_equal(MERGE(burst, "{\"iops\":0}"), "{\"bps\":8}");
	assert_string_equal(MERGE(burst, "{\"iops_max\":0}"), "{\"iops\":5,\"bps\":8}");
}

static void what_makes_no_sense_is_refused(void **state)
{
	assert_string_equal(MERGE("{\"iops_max\":5}"), "error: iops-max goes with a limit only");
	assert_string_equal(MERGE("{\"bps_wr\":5,\"bps_wr_max\":4}"),
			    "error: bps-wr-max is lower than the limit");
	assert_string_equal(MERGE("{\"iops\":5,\"iops_max\":9}", "{\"iops\":10}"),
			    "error: iops-max is lower than the limit");
	assert_string_equal(MERGE("{\"iops\":5,\"iops_max_length\":9}"),
			    "error: iops-max-length goes with -max only");
	assert_string_equal(MERGE("{\"iops\":5}", "{\"iops\":0,\"iops_max\":9}"),
			    "error: iops-max goes with a limit only");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(disks_without_a_group_share_nothing),
		cmocka_unit_test(disks_of_a_group_share_it_until_the_last_has_left),
		cmocka_unit_test(who_comes_later_may_not_change_a_group),
		cmocka_unit_test(a_change_is_what_the_next_disk_must_agree_with),
		cmocka_unit_test(members_are_called_as_the_keys_of_a_disk),
		cmocka_unit_test(what_is_not_said_stays),
		cmocka_unit_test(a_limit_that_goes_takes_its_burst_with_it),
		cmocka_unit_test(what_makes_no_sense_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
