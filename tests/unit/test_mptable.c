/* SPDX-License-Identifier: Apache-2.0 */
/* The MP table, read back the way a kernel does: scan, pointer, entries. */
#include "loader_test.h"

#include <errno.h>

#include "loader/mptable.h"
#include "vmm/x86/layout.h"

static const uint8_t entry_size[] = { 20, 8, 8, 8, 8 }; /* MP 1.4, table 4-3 */

/* As Linux looks for it: on 16-byte boundaries of the BIOS segment. */
static const uint8_t *find_pointer(const struct guest_memory *mem)
{
	gpa_t gpa;

	for (gpa = 0xf0000; gpa < 0x100000; gpa += 16) {
		const uint8_t *p = guest_at(mem, gpa, 16);

		if (!memcmp(p, "_MP_", 4) && p[8] == 1 && byte_sum(p, 16) == 0)
			return p;
	}
	fail_msg("no floating pointer");
	return NULL;
}

static const uint8_t *find_table(const struct guest_memory *mem)
{
	const uint8_t *mp = find_pointer(mem);
	const uint8_t *table = guest_at(mem, word_at(mp + 4, 4), 44);

	assert_int_equal(mp[9], 4);  /* specification 1.4 */
	assert_int_equal(mp[11], 0); /* a table is present */
	assert_int_equal(mp[12], 0); /* virtual wire mode */
	assert_memory_equal(table, "PCMP", 4);
	assert_int_equal(table[6], 4);
	guest_at(mem, word_at(mp + 4, 4), word_at(table + 4, 2));
	assert_true(word_at(mp + 4, 4) + word_at(table + 4, 2) <= X86_MPTABLE_END);
	assert_int_equal(byte_sum(table, word_at(table + 4, 2)), 0);
	assert_int_equal(word_at(table + 36, 4), X86_LAPIC);
	return table;
}

/* The n-th entry of a type, or NULL; also checks that the entries fill the table exactly. */
static const uint8_t *entry(const uint8_t *table, unsigned type, unsigned n)
{
	const uint8_t *end = table + word_at(table + 4, 2);
	const uint8_t *p = table + 44;
	const uint8_t *found = NULL;
	unsigned count;

	for (count = word_at(table + 34, 2); count; count--) {
		assert_true(p < end);
		assert_true(p[0] < sizeof(entry_size));
		if (p[0] == type && n-- == 0)
			found = p;
		p += entry_size[p[0]];
	}
	assert_ptr_equal(p, end);
	return found;
}

static void every_cpu_is_listed_and_the_first_boots(void **state)
{
	static const unsigned counts[] = { 1, 2, 32, 254 };

	for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
		struct guest_memory mem = guest_alloc(2 * MIB, 0);
		struct error err;
		const uint8_t *table;

		assert_int_equal(mptable_write(&mem, counts[i], &err), 0);
		table = find_table(&mem);
		for (unsigned cpu = 0; cpu < counts[i]; cpu++) {
			const uint8_t *p = entry(table, 0, cpu);

			assert_non_null(p);
			assert_int_equal(p[1], cpu);
			assert_int_equal(p[3], cpu == 0 ? 3 : 1);
		}
		assert_null(entry(table, 0, counts[i]));
		guest_free(&mem);
	}
}

static void the_ioapic_has_an_id_of_its_own(void **state)
{
	struct guest_memory mem = guest_alloc(2 * MIB, 0);
	struct error err;
	const uint8_t *p;

	assert_int_equal(mptable_write(&mem, 4, &err), 0);
	p = entry(find_table(&mem), 2, 0);
	assert_non_null(p);
	assert_int_equal(p[1], 4);
	assert_int_equal(p[3], 1);
	assert_int_equal(word_at(p + 4, 4), X86_IOAPIC);
	guest_free(&mem);
}

static void all_pins_are_isa_interrupts_as_kvm_routes_them(void **state)
{
	struct guest_memory mem = guest_alloc(2 * MIB, 0);
	struct error err;
	const uint8_t *table, *bus, *ioapic;
	unsigned pin;

	assert_int_equal(mptable_write(&mem, 1, &err), 0);
	table = find_table(&mem);
	bus = entry(table, 1, 0);
	ioapic = entry(table, 2, 0);
	assert_non_null(bus);
	assert_memory_equal(bus + 2, "ISA   ", 6);
	for (pin = 0; pin < X86_IOAPIC_PINS; pin++) {
		const uint8_t *p = entry(table, 3, pin);

		assert_non_null(p);
		assert_int_equal(p[1], 0);		/* INT */
		assert_int_equal(word_at(p + 2, 2), 0); /* as ISA has it: edge, active high */
		assert_int_equal(p[4], bus[1]);
		assert_int_equal(p[5], pin);
		assert_int_equal(p[6], ioapic[1]);
		assert_int_equal(p[7], pin);
	}
	assert_null(entry(table, 3, X86_IOAPIC_PINS));
	guest_free(&mem);
}

static void lint_pins_are_extint_and_nmi(void **state)
{
	struct guest_memory mem = guest_alloc(2 * MIB, 0);
	struct error err;
	const uint8_t *table, *p;

	assert_int_equal(mptable_write(&mem, 2, &err), 0);
	table = find_table(&mem);
	p = entry(table, 4, 0);
	assert_non_null(p);
	assert_int_equal(p[1], 3);
	assert_int_equal(p[6], 0);
	assert_int_equal(p[7], 0);
	p = entry(table, 4, 1);
	assert_non_null(p);
	assert_int_equal(p[1], 1);
	assert_int_equal(p[6], 0xff);
	assert_int_equal(p[7], 1);
	guest_free(&mem);
}

static void it_stays_in_its_segment(void **state)
{
	struct guest_memory mem = guest_alloc(2 * MIB, 0);
	const uint8_t *before, *after;
	struct error err;

	assert_int_equal(mptable_write(&mem, 254, &err), 0);
	before = guest_at(&mem, X86_MPTABLE - 4096, 4096);
	after = guest_at(&mem, X86_MPTABLE_END, 4096);
	for (unsigned i = 0; i < 4096; i++)
		assert_true(before[i] == 0 && after[i] == 0);
	guest_free(&mem);
}

static void what_cannot_be_described_is_refused(void **state)
{
	struct guest_memory mem = guest_alloc(2 * MIB, 0);
	struct guest_memory small = guest_alloc(960 * KIB, 0);
	struct error err = { 0 };

	assert_error(mptable_write(&mem, 0, &err), &err, "MP table: 0 CPUs");
	assert_error(mptable_write(&mem, 255, &err), &err, "MP table: 255 CPUs");
	assert_error(mptable_write(&small, 1, &err), &err, "below 1 MiB");
	guest_free(&mem);
	guest_free(&small);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_cpu_is_listed_and_the_first_boots),
		cmocka_unit_test(the_ioapic_has_an_id_of_its_own),
		cmocka_unit_test(all_pins_are_isa_interrupts_as_kvm_routes_them),
		cmocka_unit_test(lint_pins_are_extint_and_nmi),
		cmocka_unit_test(it_stays_in_its_segment),
		cmocka_unit_test(what_cannot_be_described_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
