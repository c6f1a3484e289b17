/* SPDX-License-Identifier: Apache-2.0 */
/* The memory map: what is RAM, what is reserved, and that nothing overlaps. */
#include "loader_test.h"

#include "loader/e820.h"
#include "vmm/x86/layout.h"

/* Memory that is described but never touched. */
static struct guest_memory layout(uint64_t low, uint64_t high)
{
	static uint8_t nowhere;
	struct guest_memory mem = { 0 };

	assert_int_equal(guest_memory_add(&mem, 0, low, &nowhere), 0);
	if (high)
		assert_int_equal(guest_memory_add(&mem, 4 * GIB, high, &nowhere), 0);
	return mem;
}

static uint32_t type_at(const struct e820_range *map, unsigned n, gpa_t gpa)
{
	for (unsigned i = 0; i < n; i++)
		if (gpa >= map[i].addr && gpa - map[i].addr < map[i].size)
			return map[i].type;
	return 0;
}

static uint64_t ram_in(const struct e820_range *map, unsigned n)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < n; i++)
		if (map[i].type == E820_RAM)
			sum += map[i].size;
	return sum;
}

static void assert_sorted(const struct e820_range *map, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		assert_true(map[i].size > 0);
		if (i)
			assert_true(map[i].addr >= map[i - 1].addr + map[i - 1].size);
	}
}

static void all_memory_is_ram_but_for_the_bios_area(void **state)
{
	static const uint64_t sizes[][2] = { { 16 * MIB, 0 },
					     { 256 * MIB, 0 },
					     { 3 * GIB, 0 },
					     { 3 * GIB, 1 * MIB },
					     { 3 * GIB, 1024 * GIB } };

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct guest_memory mem = layout(sizes[i][0], sizes[i][1]);
		struct e820_range map[E820_MAX];
		unsigned n = e820_build(&mem, map);

		assert_sorted(map, n);
		assert_int_equal(ram_in(map, n),
				 sizes[i][0] + sizes[i][1] - (X86_HIGH_RAM - X86_EBDA));
	}
}

static void our_tables_and_kvms_pages_are_reserved(void **state)
{
	struct guest_memory mem = layout(3 * GIB, GIB);
	struct e820_range map[E820_MAX];
	unsigned n = e820_build(&mem, map);

	assert_int_equal(type_at(map, n, 0), E820_RAM);
	assert_int_equal(type_at(map, n, X86_EBDA - 1), E820_RAM);
	assert_int_equal(type_at(map, n, X86_EBDA), E820_RESERVED);
	assert_int_equal(type_at(map, n, X86_ACPI_RSDP), E820_RESERVED);
	assert_int_equal(type_at(map, n, X86_MPTABLE), E820_RESERVED);
	assert_int_equal(type_at(map, n, X86_HIGH_RAM), E820_RAM);
	assert_int_equal(type_at(map, n, X86_ECAM), E820_RESERVED);
	assert_int_equal(type_at(map, n, X86_ECAM + X86_ECAM_SIZE - 1), E820_RESERVED);
	assert_int_equal(type_at(map, n, X86_ECAM + X86_ECAM_SIZE), 0);
	assert_int_equal(type_at(map, n, X86_KVM_IDENTITY), E820_RESERVED);
	assert_int_equal(type_at(map, n, X86_KVM_TSS + 3 * 4096 - 1), E820_RESERVED);
	assert_int_equal(type_at(map, n, 4 * GIB), E820_RAM);
	assert_int_equal(type_at(map, n, 5 * GIB), 0);
}

static void windows_of_devices_are_left_to_the_kernel(void **state)
{
	struct guest_memory mem = layout(3 * GIB, GIB);
	struct e820_range map[E820_MAX];
	unsigned n = e820_build(&mem, map);

	assert_int_equal(type_at(map, n, X86_HOLE), 0);
	assert_int_equal(type_at(map, n, X86_PCI_BAR_BASE + X86_PCI_BAR_SIZE - 1), 0);
	assert_int_equal(type_at(map, n, X86_VIRTIO_MMIO), 0);
	assert_int_equal(type_at(map, n, X86_IOAPIC), 0);
	assert_int_equal(type_at(map, n, X86_LAPIC), 0);
}

static void the_low_end_is_where_slot_0_ends(void **state)
{
	struct guest_memory mem = layout(64 * MIB, 0);
	struct guest_memory none = { 0 };

	assert_int_equal(e820_low_end(&mem), 64 * MIB);
	assert_int_equal(e820_low_end(&none), 0);
	mem = layout(3 * GIB, GIB);
	assert_int_equal(e820_low_end(&mem), X86_HOLE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_memory_is_ram_but_for_the_bios_area),
		cmocka_unit_test(our_tables_and_kvms_pages_are_reserved),
		cmocka_unit_test(windows_of_devices_are_left_to_the_kernel),
		cmocka_unit_test(the_low_end_is_where_slot_0_ends),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
