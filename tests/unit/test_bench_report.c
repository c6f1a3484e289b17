/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "vmm/cli/bench_report.h"

#define NUMBERS                                                                                    \
	"depth=2 ios=1000 errors=3 kicks=40 irqs=50 passes=60 mean=2000 p50=1900 p99=5000 "        \
	"p999=7000 max=9000\n"
#define DISK  "disk 0 at=pci:1 " NUMBERS
#define TOTAL "total us=500000 " NUMBERS
#define HIST  "hist 1900:900 5000:100\n"

static const char good[] = "\nbench begin\n" DISK TOTAL HIST "bench end\n";

static const struct bench_options options = {
	.run = { .cpus = 1, .transport = TRANSPORT_MMIO },
	.rw = "randread",
	.complete = "irq",
	.bs = 4096,
	.depth = 2,
};

/* What a printer prints; the caller frees it. */
static char *printed(const struct bench_report *r, bool json)
{
	char *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);

	if (json)
		bench_report_json(r, &options, f);
	else
		bench_report_table(r, &options, f);
	fclose(f);
	return text;
}

static void a_report_is_read(void **state)
{
	struct bench_report r = { 0 };

	assert_int_equal(bench_report_parse(good, 1, &r, NULL), 0);
	assert_int_equal(r.us, 500000);
	assert_int_equal(r.disk[0].ios, 1000);
	assert_int_equal(r.disk[0].p50, 1900);
	assert_int_equal(r.disk[0].p999, 7000);
	assert_int_equal(r.total.depth, 2);
	assert_int_equal(r.total.errors, 3);
	assert_int_equal(r.total.kicks, 40);
	assert_int_equal(r.total.irqs, 50);
	assert_int_equal(r.total.passes, 60);
	assert_int_equal(r.total.mean, 2000);
	assert_int_equal(r.total.p99, 5000);
	assert_int_equal(r.total.max, 9000);
}

static void no_io_at_all_is_a_result(void **state)
{
	static const char none[] = "disk 0 at=pci:1 depth=1 ios=0 errors=0 kicks=0 irqs=0 passes=0 "
				   "mean=0 p50=0 p99=0 p999=0 max=0\n"
				   "total us=5 depth=1 ios=0 errors=0 kicks=0 irqs=0 passes=0 "
				   "mean=0 p50=0 p99=0 p999=0 max=0\n"
				   "hist\nbench end\n";
	struct bench_report r = { 0 };
	char *text;

	assert_int_equal(bench_report_parse(none, 1, &r, NULL), 0);
	text = printed(&r, true);
	assert_non_null(strstr(text, "\"histogram_ns\":[]}"));
	free(text);
}

static void a_guest_that_gave_up_is_quoted(void **state)
{
	struct bench_report r = { 0 };
	struct error err = { 0 };

	assert_int_equal(bench_report_parse("\nBail out! no disk\r\nmore\n", 1, &r, &err), -EPROTO);
	assert_string_equal(err.text, "the guest gave up: no disk");
}

static void half_a_report_is_none(void **state)
{
	static const char *const bad[] = {
		"",
		"\nbench begin\n",
		DISK TOTAL HIST,
		DISK TOTAL "bench end\n",
		DISK HIST "bench end\n",
		TOTAL HIST "bench end\n",
		"disk 0 at=pci:1 depth=2\n" TOTAL HIST "bench end\n",
		DISK "total us=0 " NUMBERS HIST "bench end\n",
	};

	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct bench_report r = { 0 };

		if (bench_report_parse(bad[i], 1, &r, NULL) != -EPROTO)
			fail_msg("taken: %s", bad[i]);
	}
}

static void a_disk_that_is_missing_is_noticed(void **state)
{
	struct bench_report r = { 0 };

	assert_int_equal(bench_report_parse(good, 2, &r, NULL), -EPROTO);
}

static void the_table_is_in_seconds_and_microseconds(void **state)
{
	struct bench_report r = { 0 };
	char *text;

	assert_int_equal(bench_report_parse(good, 1, &r, NULL), 0);
	r.engine[0] = (struct bench_engine){ .requests = 90, .batches = 60 };
	text = printed(&r, false);
	/* 1000 I/Os in half a second */
	assert_non_null(strstr(text,
			       "vda        2000       7.8      2.0      1.9      5.0      7.0 "
			       "      9.0       80      100       1.5\n"));
	free(text);
}

static void the_json_has_every_number_once(void **state)
{
	static const char *const parts[] = {
		"\"rw\":\"randread\"",
		"\"transport\":\"mmio\"",
		"\"us\":500000",
		"\"disks\":[{\"name\":\"vda\",\"iops\":2000.0,\"depth\":2,\"ios\":1000,",
		"\"total\":{\"iops\":2000.0",
		"\"p999_ns\":7000",
		"\"engine\":{\"requests\":90,\"batches\":60,",
		"\"histogram_ns\":[[1900,900],[5000,100]]}\n",
	};
	struct bench_report r = { 0 };
	char *text;

	assert_int_equal(bench_report_parse(good, 1, &r, NULL), 0);
	r.engines = (struct bench_engine){ .requests = 90, .batches = 60 };
	text = printed(&r, true);
	for (unsigned i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
		if (!strstr(text, parts[i]))
			fail_msg("no %s in %s", parts[i], text);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_report_is_read),
		cmocka_unit_test(no_io_at_all_is_a_result),
		cmocka_unit_test(a_guest_that_gave_up_is_quoted),
		cmocka_unit_test(half_a_report_is_none),
		cmocka_unit_test(a_disk_that_is_missing_is_noticed),
		cmocka_unit_test(the_table_is_in_seconds_and_microseconds),
		cmocka_unit_test(the_json_has_every_number_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
