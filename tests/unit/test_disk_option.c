/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>

#include "vmm/cli/disk_option.h"

static struct disk_config parse(const char *text)
{
	struct disk_config disk;
	struct error err = { 0 };

	if (disk_option_parse(text, &disk, &err))
		fail_msg("%s: %s", text, err.text);
	return disk;
}

static void a_path_alone_gets_the_defaults(void **state)
{
	struct disk_config disk = parse("a.img");

	assert_string_equal(disk.path, "a.img");
	assert_false(disk.readonly);
	assert_string_equal(disk.serial, "");
	assert_int_equal(disk.cache, DISK_AUTO);
	assert_int_equal(disk.aio, DISK_AUTO);
	assert_int_equal(disk.queues, 0);
	assert_int_equal(disk.queue_size, 256);
	assert_int_equal(disk.aio_depth, 128);
	assert_int_equal(disk.poll_max_us, 100);
	assert_int_equal(disk.block_size, 512);
	assert_int_equal(disk.cpu, -1);
	assert_int_equal(disk.on_error, DISK_ON_ERROR_REPORT);
	assert_false(throttle_limits_any(&disk.limits));
	assert_string_equal(disk.group, "");
	disk_config_free(&disk);
}

static void every_key_is_stored(void **state)
{
	struct disk_config disk =
		parse("a,readonly,serial=S-1,cache=none,aio=native,queues=3,"
		      "queue-size=64,aio-depth=7,block-size=4096,cpu=0,on-error=enospc");

	assert_true(disk.readonly);
	assert_string_equal(disk.serial, "S-1");
	assert_int_equal(disk.cache, DISK_CACHE_NONE);
	assert_int_equal(disk.aio, DISK_AIO_NATIVE);
	assert_int_equal(disk.queues, 3);
	assert_int_equal(disk.queue_size, 64);
	assert_int_equal(disk.aio_depth, 7);
	assert_int_equal(disk.block_size, 4096);
	assert_int_equal(disk.cpu, 0);
	assert_int_equal(disk.on_error, DISK_ON_ERROR_ENOSPC);
	disk_config_free(&disk);
}

/* Nobody else could let it go on. */
static void a_disk_that_stops_needs_a_control_socket(void **state)
{
	struct disk_config report = parse("a,on-error=report"), stop = parse("b,on-error=stop");
	struct error err;

	assert_int_equal(disk_option_check_control(&report, NULL, &err), 0);
	assert_int_equal(disk_option_check_control(&stop, "/run/vm.sock", &err), 0);
	assert_int_equal(disk_option_check_control(&stop, NULL, &err), -EINVAL);
	assert_string_equal(err.text, "--disk 'b': on-error=stop goes with --control only");
	disk_config_free(&report);
	disk_config_free(&stop);
}

static void limits_are_stored(void **state)
{
	struct disk_config disk = parse("a,iops=5000,iops-max=20000,iops-max-length=10,iops-rd=1,"
					"bps-wr=100M,bps=1000,group=g");

	assert_true(throttle_rate_equal(&disk.limits.of[THROTTLE_IOPS],
					&(struct throttle_rate){ 5000, 20000, 10 }));
	assert_true(throttle_rate_equal(&disk.limits.of[THROTTLE_IOPS_RD],
					&(struct throttle_rate){ 1, 0, 0 }));
	assert_int_equal(disk.limits.of[THROTTLE_IOPS_WR].rate, 0);
	assert_int_equal(disk.limits.of[THROTTLE_BPS].rate, 1000);
	assert_int_equal(disk.limits.of[THROTTLE_BPS_WR].rate, 100 << 20);
	assert_string_equal(disk.group, "g");
	disk_config_free(&disk);
}

static void every_limit_has_its_keys(void **state)
{
	char name[24], text[64];

	for (unsigned i = 0; i < THROTTLE_KINDS * THROTTLE_OPTION_KEYS; i += THROTTLE_OPTION_KEYS) {
		struct throttle_limits same = { 0 };
		struct disk_config disk;
		int n = sprintf(text, "a");

		for (unsigned part = 0; part < THROTTLE_OPTION_KEYS; part++) {
			n += sprintf(text + n, ",%s=%u", throttle_option_name(i + part, name),
				     7 + part);
			throttle_option_put(&same, i + part, 7 + part);
		}
		disk = parse(text);
		for (unsigned j = 0; j < THROTTLE_KINDS * THROTTLE_OPTION_KEYS; j++) {
			const uint64_t want = j / THROTTLE_OPTION_KEYS == i / THROTTLE_OPTION_KEYS
						      ? 7 + j % THROTTLE_OPTION_KEYS
						      : 0;

			assert_int_equal(throttle_option_get(&disk.limits, j), want);
			assert_int_equal(throttle_option_get(&same, j), want);
		}
		disk_config_free(&disk);
	}
}

static void an_overlay_may_name_its_place(void **state)
{
	struct disk_config disk = parse("a");

	assert_false(disk.overlay);
	disk_config_free(&disk);
	disk = parse("a,overlay=temp");
	assert_true(disk.overlay);
	assert_null(disk.overlay_dir);
	disk_config_free(&disk);
	disk = parse("a,overlay=temp:/x,,y:z,overlay=temp:/scratch");
	assert_true(disk.overlay);
	assert_string_equal(disk.overlay_dir, "/scratch");
	disk_config_free(&disk);
	assert_null(disk.overlay_dir);
	disk = parse("a,readonly=off,overlay=temp:/x,,y:z");
	assert_string_equal(disk.overlay_dir, "/x,y:z");
	disk_config_free(&disk);
}

static void doubled_commas_are_one_comma(void **state)
{
	struct disk_config disk = parse(",,a,,b,,,serial=x,,y,readonly=on");

	assert_string_equal(disk.path, ",a,b,");
	assert_string_equal(disk.serial, "x,y");
	assert_true(disk.readonly);
	disk_config_free(&disk);
}

static void readonly_can_be_switched_off(void **state)
{
	struct disk_config disk = parse("a,readonly,readonly=off");

	assert_false(disk.readonly);
	disk_config_free(&disk);
}

static void a_serial_holds_twenty_bytes(void **state)
{
	struct disk_config disk = parse("a,serial=12345678901234567890");

	assert_string_equal(disk.serial, "12345678901234567890");
	disk_config_free(&disk);
}

/* `disk remove vda` would mean either. */
static void a_serial_that_is_a_disks_name_is_refused(void **state)
{
	static const char *const names[] = { "vda", "vdb", "vdzz" };
	static const char *const serials[] = { "vd", "vda1", "vdA", "xvda", "vda-", "VDA" };
	struct disk_config disk;
	struct error err;
	char text[32];

	for (unsigned i = 0; i < sizeof(names) / sizeof(*names); i++) {
		snprintf(text, sizeof(text), "a,serial=%s", names[i]);
		assert_int_equal(disk_option_parse(text, &disk, &err), -EINVAL);
		assert_non_null(strstr(err.text, "not a disk's name"));
	}
	for (unsigned i = 0; i < sizeof(serials) / sizeof(*serials); i++) {
		snprintf(text, sizeof(text), "a,serial=%s", serials[i]);
		disk = parse(text);
		assert_string_equal(disk.serial, serials[i]);
		disk_config_free(&disk);
	}
}

/* The message names what was given, the key, and what would have been right. */
static void bad_values_are_refused_by_name(void **state)
{
	static const struct {
		const char *text, *names[3];
	} bad[] = {
		{ "", { "path" } },
		{ ",readonly", { "path" } },
		{ "a,", { "unknown key ''" } },
		{ "a,foo=1", { "'foo'", "readonly", "cpu" } },
		{ "a,Readonly", { "'Readonly'" } },
		{ "a,readonly=maybe", { "readonly", "'maybe'", "off" } },
		{ "a,serial", { "serial", "value" } },
		{ "a,serial=", { "serial", "20" } },
		{ "a,serial=123456789012345678901", { "serial", "20" } },
		{ "a,serial=a b", { "serial" } },
		{ "a,cache=writethrough", { "cache", "'writethrough'", "unsafe" } },
		{ "a,aio=io_uring", { "aio", "'io_uring'", "threads" } },
		{ "a,queues=0", { "queues", "'0'", "63" } },
		{ "a,queues=64", { "queues", "'64'", "63" } },
		{ "a,queue-size=100", { "queue-size", "'100'", "power of two" } },
		{ "a,queue-size=2048", { "queue-size", "1024" } },
		{ "a,aio-depth=257", { "aio-depth", "256" } },
		{ "a,poll-max-us=10001", { "poll-max-us", "10000" } },
		{ "a,block-size=1024", { "block-size", "4096" } },
		{ "a,on-error=ignore", { "on-error", "'ignore'", "enospc" } },
		{ "a,on-error", { "on-error", "stop" } },
		{ "a,overlay", { "overlay", "temp:DIR" } },
		{ "a,overlay=", { "overlay", "temp:DIR" } },
		{ "a,overlay=temporary", { "overlay", "'temporary'" } },
		{ "a,overlay=temp:", { "overlay", "'temp:'" } },
		{ "a,overlay=b.img", { "overlay", "'b.img'" } },
		{ "a,readonly,overlay=temp", { "readonly", "overlay" } },
		{ "a,overlay=temp:/x,readonly", { "readonly", "overlay" } },
		{ "a,cpu=-1", { "cpu", "'-1'" } },
		{ "a,cpu=1024", { "cpu", "1023" } },
		{ "a,cache=writeback,aio=native", { "native", "cache=none" } },
		{ "a,aio=native,cache=unsafe", { "native", "cache=none" } },
		{ "a,iops", { "iops", "value" } },
		{ "a,iops=5k", { "iops", "'5k'", "17592186044416" } },
		{ "a,iops=-1", { "iops", "'-1'" } },
		{ "a,bps-rd=1.5M", { "bps-rd", "'1.5M'", "bytes" } },
		{ "a,bps=17T", { "bps", "'17T'", "16T" } },
		{ "a,bps,iops=1", { "bps", "value" } },
		{ "a,iops-max=5", { "iops-max", "with a limit" } },
		{ "a,iops=5,iops-max=4", { "iops-max", "lower" } },
		{ "a,bps-wr=5,bps-wr-max-length=4", { "bps-wr-max-length", "-max" } },
		{ "a,iops=5,iops-max=5,iops-max-length=86401", { "iops-max-length", "86400" } },
		{ "a,iops-total=5", { "'iops-total'", "iops, bps" } },
		{ "a,group=", { "group", "31" } },
		{ "a,group=12345678901234567890123456789012", { "group", "31" } },
	};

	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct error err = { 0 };
		struct disk_config disk;

		if (disk_option_parse(bad[i].text, &disk, &err) >= 0)
			fail_msg("accepted: %s", bad[i].text);
		if (!strstr(err.text, "--disk"))
			fail_msg("no option in: %s", err.text);
		for (unsigned j = 0; j < 3 && bad[i].names[j]; j++)
			if (!strstr(err.text, bad[i].names[j]))
				fail_msg("%s: no %s in: %s", bad[i].text, bad[i].names[j],
					 err.text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_path_alone_gets_the_defaults),
		cmocka_unit_test(every_key_is_stored),
		cmocka_unit_test(a_disk_that_stops_needs_a_control_socket),
		cmocka_unit_test(limits_are_stored),
		cmocka_unit_test(every_limit_has_its_keys),
		cmocka_unit_test(an_overlay_may_name_its_place),
		cmocka_unit_test(doubled_commas_are_one_comma),
		cmocka_unit_test(readonly_can_be_switched_off),
		cmocka_unit_test(a_serial_holds_twenty_bytes),
		cmocka_unit_test(a_serial_that_is_a_disks_name_is_refused),
		cmocka_unit_test(bad_values_are_refused_by_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
