/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "vmm/cli/run_options.h"

#define MAX_WORDS 80

/* Splits at blanks, as a shell would do it without quotes. */
struct words {
	char text[1024];
	char *argv[MAX_WORDS];
	int argc;
};

static void split(struct words *w, const char *line)
{
	snprintf(w->text, sizeof(w->text), "run %s", line);
	w->argc = 0;
	for (char *s = strtok(w->text, " "); s; s = strtok(NULL, " "))
		w->argv[w->argc++] = s;
	w->argv[w->argc] = NULL;
}

static int parse(struct words *w, const char *line, struct run_options *opt, struct error *err)
{
	split(w, line);
	return run_options_parse(w->argc, w->argv, opt, err);
}

static void a_kernel_is_all_that_is_needed(void **state)
{
	struct run_options opt;
	struct words w;

	assert_int_equal(parse(&w, "--kernel k", &opt, NULL), 0);
	assert_string_equal(opt.kernel, "k");
	assert_null(opt.initrd);
	assert_null(opt.append);
	assert_false(opt.no_default_append);
	assert_int_equal(opt.memory, 256 << 20);
	assert_int_equal(opt.memory_flags, 0);
	assert_int_equal(opt.cpus, 1);
	assert_int_equal(opt.ndisks, 0);
	assert_int_equal(opt.transport, TRANSPORT_PCI);
	assert_int_equal(opt.timeout_ms, 0);
	assert_false(opt.restart);
	assert_false(opt.debug_exit);
	assert_int_equal(opt.console, CONSOLE_STDIO);
	assert_string_equal(opt.panic_match, "Kernel panic - not syncing");
	assert_null(opt.result);
	assert_false(opt.dry_run);
	run_options_free(&opt);
}

static void every_option_is_stored(void **state)
{
	struct run_options opt;
	struct words w;

	assert_int_equal(
		parse(&w,
		      "--kernel=k --initrd i --append quiet --no-default-append --memory 4G "
		      "--prefault --hugepages "
		      "--cpus 254 --vcpu-affinity 1,0 --disk a --disk b,readonly --transport mmio "
		      "--mmio-cmdline --mmio-isr page --timeout 1.5 --on-reboot restart "
		      "--debug-exit=0x501 --console file:log --panic-match= --result r --name n "
		      "--verbose --dry-run",
		      &opt, NULL),
		0);
	assert_string_equal(opt.initrd, "i");
	assert_string_equal(opt.append, "quiet");
	assert_true(opt.no_default_append);
	assert_int_equal(opt.memory, 4ULL << 30);
	assert_int_equal(opt.memory_flags, GUEST_MEMORY_POPULATE | GUEST_MEMORY_HUGETLB);
	assert_int_equal(opt.cpus, 254);
	assert_int_equal(opt.naffinity, 2);
	assert_int_equal(opt.affinity[0], 1);
	assert_int_equal(opt.affinity[1], 0);
	assert_int_equal(opt.ndisks, 2);
	assert_string_equal(opt.disk[0].path, "a");
	assert_true(opt.disk[1].readonly);
	assert_int_equal(opt.transport, TRANSPORT_MMIO);
	assert_true(opt.mmio_cmdline);
	assert_int_equal(opt.mmio_isr, MMIO_ISR_PAGE);
	assert_int_equal(opt.timeout_ms, 1500);
	assert_true(opt.restart);
	assert_true(opt.debug_exit);
	assert_int_equal(opt.debug_exit_port, 0x501);
	assert_int_equal(opt.console, CONSOLE_FILE);
	assert_string_equal(opt.console_path, "log");
	assert_string_equal(opt.panic_match, "");
	assert_string_equal(opt.result, "r");
	assert_string_equal(opt.name, "n");
	assert_true(opt.verbose);
	assert_true(opt.dry_run);
	run_options_free(&opt);
}

static void debug_exit_has_qemus_port_without_a_value(void **state)
{
	struct run_options opt;
	struct words w;

	assert_int_equal(parse(&w, "--debug-exit --kernel k", &opt, NULL), 0);
	assert_int_equal(opt.debug_exit_port, 0xf4);
	assert_string_equal(opt.kernel, "k");
	run_options_free(&opt);
}

static void the_last_value_counts(void **state)
{
	struct run_options opt;
	struct words w;

	assert_int_equal(parse(&w, "--kernel a --cpus 2 --kernel b --cpus 3", &opt, NULL), 0);
	assert_string_equal(opt.kernel, "b");
	assert_int_equal(opt.cpus, 3);
	run_options_free(&opt);
}

/* Options and values are named, and so is what would be right. */
static void mistakes_are_named(void **state)
{
	static const struct {
		const char *line, *names[3];
	} bad[] = {
		{ "", { "--kernel" } },
		{ "--kernel", { "--kernel", "FILE" } },
		{ "--kernel k --frobnicate", { "--frobnicate" } },
		{ "--kernel k --frobnicate=3", { "--frobnicate=3" } },
		{ "--kern k", { "--kern" } },
		{ "--kernel k -x", { "-x" } },
		{ "--kernel k extra", { "extra" } },
		{ "--kernel k -- extra", { "extra" } },
		{ "--kernel k --verbose=yes", { "--verbose", "yes" } },
		{ "--kernel k --memory 12Q", { "--memory", "12Q", "2M" } },
		{ "--kernel k --memory 1M", { "--memory", "1M", "2M" } },
		{ "--kernel k --memory 2T", { "--memory", "2T", "1T" } },
		{ "--kernel k --memory 2049K", { "--memory", "2049K", "4K" } },
		{ "--kernel k --memory 3M --hugepages", { "--hugepages", "2M" } },
		{ "--kernel k --cpus 0", { "--cpus", "'0'", "254" } },
		{ "--kernel k --cpus 255", { "--cpus", "'255'", "254" } },
		{ "--kernel k --cpus two", { "--cpus", "two" } },
		{ "--kernel k --disk a,x", { "--disk", "'x'" } },
		{ "--kernel k --disk a --disk b,on-error=stop",
		  { "'b'", "on-error", "--control" } },
		{ "--kernel k --transport usb", { "--transport", "usb", "mmio" } },
		{ "--kernel k --mmio-cmdline", { "--mmio-cmdline", "--transport mmio" } },
		{ "--kernel k --mmio-isr page", { "--mmio-isr", "--transport mmio" } },
		{ "--kernel k --transport mmio --mmio-isr no", { "--mmio-isr", "'no'", "page" } },
		{ "--kernel k --timeout 0", { "--timeout", "'0'" } },
		{ "--kernel k --on-reboot never", { "--on-reboot", "never", "restart" } },
		{ "--kernel k --debug-exit=0", { "--debug-exit", "'0'" } },
		{ "--kernel k --debug-exit=0x10000", { "--debug-exit", "0x10000" } },
		{ "--kernel k --console tty", { "--console", "tty", "file:PATH" } },
		{ "--kernel k --console file:", { "--console" } },
		{ "--kernel k --result=", { "--result" } },
		{ "--kernel k --name=", { "--name", "64" } },
		{ "--kernel k --name a\nb", { "--name" } },
	};

	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct error err = { 0 };
		struct run_options opt;
		struct words w;

		if (parse(&w, bad[i].line, &opt, &err) >= 0)
			fail_msg("accepted: %s", bad[i].line);
		run_options_free(&opt);
		for (unsigned j = 0; j < 3 && bad[i].names[j]; j++)
			if (!strstr(err.text, bad[i].names[j]))
				fail_msg("%s: no %s in: %s", bad[i].line, bad[i].names[j],
					 err.text);
	}
}

static void help_wins_over_what_follows(void **state)
{
	struct run_options opt;
	struct words w;

	assert_int_equal(parse(&w, "--help --frobnicate", &opt, NULL), OPTIONS_HELP);
	run_options_free(&opt);
	assert_int_equal(parse(&w, "-h", &opt, NULL), OPTIONS_HELP);
	run_options_free(&opt);
}

static void help_lists_every_option_and_fits_a_terminal(void **state)
{
	char *text;
	size_t size;
	FILE *f = open_memstream(&text, &size);

	options_print_help(&run_command, f);
	fclose(f);
	for (const struct option_spec *spec = run_command.options; spec->name; spec++) {
		char word[64];

		snprintf(word, sizeof(word), "  --%s", spec->name);
		assert_non_null(strstr(text, word));
	}
	for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n"))
		if (strlen(line) > 90)
			fail_msg("%zu columns: %s", strlen(line), line);
	free(text);
}

static void a_group_has_the_limits_of_all_its_disks(void **state)
{
	struct run_options opt;
	struct words w;

	assert_int_equal(parse(&w,
			       "--kernel k --disk a,group=g,iops=500 --disk b --disk "
			       "c,group=g,bps=1M "
			       "--disk d,group=g,iops=500 --disk e,group=h,iops=7",
			       &opt, NULL),
			 0);
	for (unsigned i = 0; i < 4; i++) {
		assert_int_equal(opt.disk[i].limits.of[THROTTLE_IOPS].rate, i == 1 ? 0 : 500);
		assert_int_equal(opt.disk[i].limits.of[THROTTLE_BPS].rate, i == 1 ? 0 : 1 << 20);
	}
	assert_int_equal(opt.disk[4].limits.of[THROTTLE_IOPS].rate, 7);
	run_options_free(&opt);
}

static void disks_of_a_group_may_not_differ(void **state)
{
	struct run_options opt;
	struct error err = { 0 };
	struct words w;

	assert_int_equal(parse(&w, "--kernel k --disk a,group=g,iops=5 --disk b,group=g,iops=6",
			       &opt, &err),
			 -EINVAL);
	assert_non_null(strstr(err.text, "'b'"));
	assert_non_null(strstr(err.text, "iops"));
	assert_non_null(strstr(err.text, "'g'"));
	assert_non_null(strstr(err.text, "'a'"));
	run_options_free(&opt);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_kernel_is_all_that_is_needed),
		cmocka_unit_test(every_option_is_stored),
		cmocka_unit_test(debug_exit_has_qemus_port_without_a_value),
		cmocka_unit_test(the_last_value_counts),
		cmocka_unit_test(mistakes_are_named),
		cmocka_unit_test(help_wins_over_what_follows),
		cmocka_unit_test(help_lists_every_option_and_fits_a_terminal),
		cmocka_unit_test(a_group_has_the_limits_of_all_its_disks),
		cmocka_unit_test(disks_of_a_group_may_not_differ),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
