/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whichever call fails while a disk is put into a running machine, alone or with all that follow: the
 * disk is there and goes again, or one message; and then there is as much as before of descriptors,
 * threads and mappings and, as LeakSanitizer has it at the end, of memory.
 */
#include "tests/unit/plug_rig.h"

#include "tests/unit/failing_calls.h"

#define MAX_CALLS 500

static int host_ioctl(int fd, unsigned long request, void *arg)
{
	return ioctl(fd, request, arg);
}

static void take_out_again(struct plug_rig *rig)
{
	const unsigned before = rig->removed;

	assert_int_equal(take_out(rig, rig->disk, 0), 0);
	eject(rig, ~0u);
	run_until(rig, before + 1);
	assert_int_equal(rig->m.ndisks, 0);
}

/* True when so many calls were not made. */
static bool add_failing(struct plug_rig *rig, const char *text, unsigned at, bool on,
			unsigned *refused)
{
	const unsigned fds = descriptors(), running = threads();
	const long mapped = failing.mapped;
	struct disk_config config;
	int ret;

	assert_int_equal(disk_option_parse(text, &config, NULL), 0);
	failing_begin(at, on);
	ret = end_add(rig, begin_add_parsed(rig, &config));
	failing.at = 0;
	if (failing.name)
		print_message("# call %u (%s)%s: %s\n", at, failing.name, on ? ", all" : "",
			      ret ? rig->err.text : "not needed");
	if (!ret)
		take_out_again(rig);
	*refused += !!ret;
	assert_true(!ret || rig->err.text[0]);
	settle(running);
	assert_int_equal(descriptors(), fds);
	assert_int_equal(failing.mapped, mapped);
	assert_int_equal(fake_kvm.nio, 0);
	assert_int_equal(fake_kvm.nirqfds, 0);
	return !failing.name;
}

static void sweep(struct plug_rig *rig, const char *options)
{
	char text[192];
	unsigned at, refused;

	snprintf(text, sizeof(text), "%s%s", image(rig, "a.img"), options);
	for (int on = 0; on <= 1; on++) {
		refused = 0;
		for (at = 1; !add_failing(rig, text, at, on, &refused); at++)
			assert_true(at < MAX_CALLS);
		assert_true(refused > 10);
	}
}

static void a_disk_comes_or_leaves_nothing(void **state)
{
	sweep(*state, ",cache=none,iops=100,group=g");
}

static void one_with_workers_comes_or_leaves_nothing(void **state)
{
	sweep(*state, ",cache=writeback,readonly");
}

static void one_with_an_overlay_comes_or_leaves_nothing(void **state)
{
	struct plug_rig *rig = *state;
	char options[96];

	snprintf(options, sizeof(options), ",overlay=temp:%s", rig->dir);
	sweep(rig, options);
}

#define WITH_RIG(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_RIG(a_disk_comes_or_leaves_nothing),
		WITH_RIG(one_with_workers_comes_or_leaves_nothing),
		WITH_RIG(one_with_an_overlay_comes_or_leaves_nothing),
	};

	if (failing_skipped())
		return 77;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
