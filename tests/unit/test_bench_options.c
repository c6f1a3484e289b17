/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "vmm/cli/bench_options.h"

#define MAX_WORDS 80

/* Parses a line split at blanks, as a shell would do it without quotes. */
static int parse(const char *line, struct bench_options *opt, struct error *err)
{
	static char text[1024];
	char *argv[MAX_WORDS] = { "bench" };
	int argc = 1;

	snprintf(text, sizeof(text), "%s", line);
	for (char *s = strtok(text, " "); s && argc < MAX_WORDS - 1; s = strtok(NULL, " "))
		argv[argc++] = s;
	return bench_options_parse(argc, argv, opt, err);
}

static void refuse(const char *line, const char *reason)
{
	struct bench_options opt;
	struct error err = { 0 };

	if (parse(line, &opt, &err) != -EINVAL)
		fail_msg("taken: %s", line);
	if (!strstr(err.text, reason))
		fail_msg("%s: '%s' does not say '%s'", line, err.text, reason);
	bench_options_free(&opt);
}

static void a_disk_is_all_that_is_needed(void **state)
{
	struct bench_options opt;
	char *cmdline;

	assert_int_equal(parse("--disk d", &opt, NULL), 0);
	cmdline = bench_cmdline(&opt);
	assert_string_equal(cmdline, "rw=randread bs=4096 depth=32 complete=irq cpus=1 time=5000");
	assert_int_equal(opt.run.transport, TRANSPORT_PCI);
	assert_false(opt.run.mmio_cmdline);
	assert_true(opt.run.debug_exit);
	free(cmdline);
	bench_options_free(&opt);
}

static void every_option_reaches_the_guest_or_the_machine(void **state)
{
	struct bench_options opt;
	char *cmdline;

	assert_int_equal(parse("--disk a,queues=2 --disk b --rw write --bs 64k --depth 256 "
			       "--time 0.5 --complete poll --transport mmio --cpus 2 "
			       "--vcpu-affinity 3,0 --json --verbose",
			       &opt, NULL),
			 0);
	cmdline = bench_cmdline(&opt);
	assert_string_equal(cmdline, "rw=write bs=65536 depth=256 complete=poll cpus=2 time=500");
	assert_int_equal(opt.run.ndisks, 2);
	assert_int_equal(opt.run.disk[0].queues, 2);
	assert_int_equal(opt.run.cpus, 2);
	assert_int_equal(opt.run.naffinity, 2);
	assert_int_equal(opt.run.affinity[0], 3);
	assert_int_equal(opt.run.affinity[1], 0);
	assert_true(opt.run.mmio_cmdline);
	assert_true(opt.json);
	assert_true(opt.run.verbose);
	free(cmdline);
	bench_options_free(&opt);
}

static void what_is_only_read_is_opened_read_only(void **state)
{
	static const struct {
		const char *line;
		bool readonly;
	} cases[] = {
		{ "--disk d", true },
		{ "--disk d --rw read", true },
		{ "--rw randread --disk d", true },
		{ "--disk d --rw write", false },
		{ "--disk d --rw randwrite", false },
		{ "--disk d --rw randrw", false },
		{ "--disk d,readonly --rw write", true },
		{ "--disk d,overlay=temp", false },
	};

	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct bench_options opt;

		assert_int_equal(parse(cases[i].line, &opt, NULL), 0);
		if (opt.run.disk[0].readonly != cases[i].readonly)
			fail_msg("%s", cases[i].line);
		bench_options_free(&opt);
	}
}

static void memory_holds_every_buffer(void **state)
{
	struct bench_options small, large;

	assert_int_equal(parse("--disk a", &small, NULL), 0);
	assert_int_equal(parse("--disk a --disk b --disk c --bs 1M --depth 256", &large, NULL), 0);
	assert_in_range(small.run.memory, 16 << 20, 64 << 20);
	assert_true(large.run.memory >= 3ULL * 256 << 20);
	bench_options_free(&small);
	bench_options_free(&large);
}

static void nonsense_is_refused_by_name(void **state)
{
	refuse("", "--disk FILE is required");
	refuse("--disk d,on-error=enospc", "on-error=enospc goes with --control");
	refuse("--disk d --rw trim", "--rw 'trim'");
	refuse("--disk d --bs 0", "--bs '0'");
	refuse("--disk d --bs 1000", "--bs '1000'");
	refuse("--disk d --bs 2M", "--bs '2M'");
	refuse("--disk d --depth 0", "--depth '0'");
	refuse("--disk d --depth 257", "--depth '257'");
	refuse("--disk d --time 0", "--time '0'");
	refuse("--disk d --time 4000", "--time '4000'");
	refuse("--disk d --complete maybe", "--complete 'maybe'");
	refuse("--disk d --cpus 17", "--cpus 17");
	refuse("--disk d --vcpu-affinity 1,", "--vcpu-affinity '1,'");
	refuse("--disk d --vcpu-affinity 1024", "--vcpu-affinity '1024'");
	refuse("--disk a --disk b --disk c --disk d --cpus 16 --bs 1M --depth 256",
	       "more than 3G of guest memory");
	refuse("--kernel k --disk d", "unknown option '--kernel'");
}

static void more_disks_than_the_guest_drives_are_refused(void **state)
{
	char line[512] = "";

	for (unsigned i = 0; i <= BENCH_MAX_DISKS; i++)
		strcat(line, " --disk d");
	refuse(line, "at most 16 disks");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_disk_is_all_that_is_needed),
		cmocka_unit_test(every_option_reaches_the_guest_or_the_machine),
		cmocka_unit_test(what_is_only_read_is_opened_read_only),
		cmocka_unit_test(memory_holds_every_buffer),
		cmocka_unit_test(nonsense_is_refused_by_name),
		cmocka_unit_test(more_disks_than_the_guest_drives_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
