/* SPDX-License-Identifier: Apache-2.0 */
/* Which device answers an address, and what happens when none does; see vmm/bus.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "vmm/bus.h"

struct recorder {
	uint64_t off;
	unsigned len;
	unsigned calls;
	uint64_t value;
};

static void record_read(void *opaque, uint64_t off, void *data, unsigned len)
{
	struct recorder *rec = opaque;

	rec->off = off;
	rec->len = len;
	rec->calls++;
	memset(data, 0x5a, len);
}

static void record_write(void *opaque, uint64_t off, const void *data, unsigned len)
{
	struct recorder *rec = opaque;

	rec->off = off;
	rec->len = len;
	rec->calls++;
	rec->value = 0;
	memcpy(&rec->value, data, len);
}

static const struct bus_ops ops = { record_read, record_write };
static const struct bus_ops no_ops = { NULL, NULL };

static int add(struct bus *bus, const char *name, uint64_t base, uint64_t len, void *opaque)
{
	return bus_add(bus, name, base, len, &ops, opaque, NULL);
}

static uint64_t read_at(const struct bus *bus, uint64_t addr, unsigned len)
{
	uint64_t value = 0;

	bus_read(bus, addr, &value, len);
	return value;
}

static void finds_the_device_whatever_the_order_of_adding(void **state)
{
	static const uint64_t base[] = { 0x500, 0x100, 0x900, 0x300, 0x700 };
	struct recorder rec[5] = { 0 };
	struct bus bus = { 0 };

	for (unsigned i = 0; i < 5; i++)
		assert_int_equal(add(&bus, "dev", base[i], 0x100, &rec[i]), 0);
	bus_seal(&bus);
	for (unsigned i = 0; i < 5; i++) {
		assert_int_equal(read_at(&bus, base[i] + i, 1), 0x5a);
		assert_int_equal(rec[i].calls, 1);
		assert_int_equal(rec[i].off, i);
	}
}

static void reads_and_writes_pass_offset_length_and_data(void **state)
{
	const uint64_t value = 0x1122334455667788;
	struct recorder rec = { 0 };
	struct bus bus = { 0 };

	add(&bus, "dev", 0x1000, 0x10, &rec);
	for (unsigned len = 1; len <= 8; len *= 2) {
		bus_write(&bus, 0x1008, &value, len);
		assert_int_equal(rec.off, 8);
		assert_int_equal(rec.len, len);
		assert_memory_equal(&rec.value, &value, len);
	}
}

static void unanswered_reads_are_all_ones_and_writes_are_dropped(void **state)
{
	const uint32_t value = 0;
	struct recorder rec = { 0 };
	struct bus bus = { 0 };

	assert_int_equal(read_at(&bus, 0, 8), UINT64_MAX);
	add(&bus, "dev", 0x1000, 0x10, &rec);
	assert_int_equal(read_at(&bus, 0xfff, 1), 0xff);
	assert_int_equal(read_at(&bus, 0x1010, 2), 0xffff);
	assert_int_equal(read_at(&bus, 0, 4), 0xffffffff);
	assert_int_equal(read_at(&bus, UINT64_MAX, 8), UINT64_MAX);
	bus_write(&bus, 0x1010, &value, 4);
	assert_int_equal(rec.calls, 0);
}

static void an_access_that_straddles_an_end_is_unanswered(void **state)
{
	struct recorder first = { 0 }, second = { 0 };
	const uint32_t value = 1;
	struct bus bus = { 0 };

	add(&bus, "first", 0x1000, 0x10, &first);
	add(&bus, "second", 0x1010, 0x10, &second);
	assert_int_equal(read_at(&bus, 0x100e, 4), 0xffffffff);
	assert_int_equal(read_at(&bus, 0xffe, 4), 0xffffffff);
	bus_write(&bus, 0x101d, &value, 4);
	assert_int_equal(first.calls + second.calls, 0);
	assert_int_equal(read_at(&bus, 0x100c, 4), 0x5a5a5a5a);
	assert_int_equal(first.calls, 1);
}

static void odd_lengths_never_reach_a_device(void **state)
{
	static const unsigned lens[] = { 0, 3, 5, 6, 7 };
	struct recorder rec = { 0 };
	uint8_t data[8] = { 0 };
	struct bus bus = { 0 };

	add(&bus, "dev", 0x1000, 0x10, &rec);
	for (unsigned i = 0; i < 5; i++) {
		bus_read(&bus, 0x1000, data, lens[i]);
		bus_write(&bus, 0x1000, data, lens[i]);
	}
	assert_int_equal(rec.calls, 0);
	assert_int_equal(data[6], 0xff);
	assert_int_equal(data[7], 0);
}

static void overlaps_are_refused_and_name_both(void **state)
{
	const struct {
		uint64_t base, len;
	} bad[] = {
		{ 0x1000, 0x10 }, { 0xfff, 2 }, { 0x100f, 1 }, { 0x1004, 4 }, { 0xf00, 0x1000 }
	};
	struct recorder rec = { 0 };
	struct bus bus = { 0 };
	struct error err;

	add(&bus, "old", 0x1000, 0x10, &rec);
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(bus_add(&bus, "new", bad[i].base, bad[i].len, &ops, &rec, &err),
				 -EEXIST);
		assert_non_null(strstr(err.text, "'new'"));
		assert_non_null(strstr(err.text, "'old'"));
	}
	assert_int_equal(bus.n, 1);
	assert_int_equal(add(&bus, "before", 0xfff, 1, &rec), 0);
	assert_int_equal(add(&bus, "after", 0x1010, 1, &rec), 0);
}

static void impossible_ranges_are_refused(void **state)
{
	struct recorder rec = { 0 };
	struct bus bus = { 0 };

	assert_int_equal(add(&bus, "empty", 0x1000, 0, &rec), -EINVAL);
	assert_int_equal(add(&bus, "wraps", UINT64_MAX, 2, &rec), -EINVAL);
	assert_int_equal(add(&bus, "last", UINT64_MAX - 8, 8, &rec), 0);
	assert_int_equal(read_at(&bus, UINT64_MAX - 1, 1), 0x5a);
}

static void a_full_bus_says_so(void **state)
{
	struct recorder rec = { 0 };
	struct bus bus = { 0 };
	struct error err;

	for (unsigned i = 0; i < BUS_MAX_DEVS; i++)
		assert_int_equal(add(&bus, "dev", 0x1000 - i * 8, 8, &rec), 0);
	assert_int_equal(bus_add(&bus, "more", 0x9000, 8, &ops, &rec, &err), -ENOSPC);
	assert_non_null(strstr(err.text, "'more'"));
	for (unsigned i = 0; i < BUS_MAX_DEVS; i++)
		assert_int_equal(read_at(&bus, 0x1000 - i * 8, 1), 0x5a);
}

static void a_sealed_bus_takes_no_more(void **state)
{
	struct recorder rec = { 0 };
	struct bus bus = { 0 };

	bus_seal(&bus);
	assert_int_equal(add(&bus, "late", 0x1000, 8, &rec), -EBUSY);
}

static void a_device_may_leave_out_a_direction(void **state)
{
	struct bus bus = { 0 };
	uint32_t value = 0;

	assert_int_equal(bus_add(&bus, "mute", 0x1000, 8, &no_ops, NULL, NULL), 0);
	bus_write(&bus, 0x1000, &value, 4);
	assert_int_equal(read_at(&bus, 0x1000, 4), 0xffffffff);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(finds_the_device_whatever_the_order_of_adding),
		cmocka_unit_test(reads_and_writes_pass_offset_length_and_data),
		cmocka_unit_test(unanswered_reads_are_all_ones_and_writes_are_dropped),
		cmocka_unit_test(an_access_that_straddles_an_end_is_unanswered),
		cmocka_unit_test(odd_lengths_never_reach_a_device),
		cmocka_unit_test(overlaps_are_refused_and_name_both),
		cmocka_unit_test(impossible_ranges_are_refused),
		cmocka_unit_test(a_full_bus_says_so),
		cmocka_unit_test(a_sealed_bus_takes_no_more),
		cmocka_unit_test(a_device_may_leave_out_a_direction),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
