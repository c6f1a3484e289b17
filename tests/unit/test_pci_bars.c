/* SPDX-License-Identifier: Apache-2.0 */
/* The host bridge: BARs sized and moved, lazy doorbells. H numbers are the cases of the
 * hostile-guest list. */
#include "tests/unit/pci_rig.h"

static void bars_are_preset_side_by_side_and_not_decoded(void **state)
{
	struct rig *rig = rig_new();

	assert_int_equal(bar(rig, 1), WINDOW);
	assert_int_equal(bar(rig, 2), WINDOW + BAR_SIZE);
	assert_int_equal(ecam_read(rig, 1, PCI_COMMAND, 2), 0);
	assert_false(answers(rig, 0, WINDOW));
	assert_int_equal(rig->thing[0].moves, 0);
	rig_free(rig);
}

static void an_enabled_bar_decodes_from_its_first_to_its_last_byte(void **state)
{
	struct rig *rig = rig_new();

	decode(rig, 1, true);
	assert_int_equal(rig->thing[0].doorbells, WINDOW);
	assert_true(answers(rig, 0, WINDOW));
	assert_true(answers(rig, 0, WINDOW + BAR_SIZE - 4));
	assert_int_equal(rig->thing[0].off, BAR_SIZE - 4);
	assert_false(answers(rig, 0, WINDOW + BAR_SIZE - 2)); /* straddles the end */
	assert_false(answers(rig, 0, WINDOW + BAR_SIZE));
	bus_write(&rig->mmio, WINDOW + 0x123, "x", 1);
	assert_int_equal(rig->thing[0].off, 0x123);
	rig_free(rig);
}

static void sizing_with_decoding_off_tells_the_size(void **state)
{
	struct rig *rig = rig_new();

	set_bar(rig, 1, ABSENT);
	assert_int_equal(bar(rig, 1), -BAR_SIZE);
	set_bar(rig, 1, WINDOW);
	assert_int_equal(bar(rig, 1), WINDOW);
	assert_int_equal(rig->thing[0].moves, 0);
	rig_free(rig);
}

static void H27_sizing_with_decoding_on_ends_where_it_was(void **state)
{
	struct rig *rig = rig_new();

	decode(rig, 1, true);
	set_bar(rig, 1, ABSENT);
	assert_int_equal(bar(rig, 1), -BAR_SIZE);
	assert_int_equal(rig->thing[0].doorbells, 0); /* decodes elsewhere: gone */
	assert_false(answers(rig, 0, WINDOW));
	set_bar(rig, 1, WINDOW);
	assert_int_equal(rig->thing[0].doorbells, WINDOW);
	assert_true(answers(rig, 0, WINDOW));
	rig_free(rig);
}

static void linux_sizing_moves_no_doorbells(void **state)
{
	struct rig *rig = rig_new();

	decode(rig, 1, true);
	for (unsigned i = 0; i < 3; i++) {
		decode(rig, 1, false);
		assert_false(answers(rig, 0, WINDOW));
		set_bar(rig, 1, ABSENT);
		set_bar(rig, 1, WINDOW);
		decode(rig, 1, true);
		assert_true(answers(rig, 0, WINDOW));
	}
	assert_int_equal(rig->thing[0].moves, 1);
	rig_free(rig);
}

static void a_moved_bar_takes_its_doorbells_along(void **state)
{
	struct rig *rig = rig_new();

	decode(rig, 1, true);
	decode(rig, 1, false);
	set_bar(rig, 1, WINDOW + 0x100000);
	assert_int_equal(rig->thing[0].doorbells, WINDOW); /* nothing decodes: no hurry */
	decode(rig, 1, true);
	assert_int_equal(rig->thing[0].doorbells, WINDOW + 0x100000);
	assert_int_equal(rig->thing[0].moves, 2);
	assert_false(answers(rig, 0, WINDOW));
	assert_true(answers(rig, 0, WINDOW + 0x100000));
	set_bar(rig, 1, WINDOW + 0x200000); /* while it decodes */
	assert_int_equal(rig->thing[0].doorbells, WINDOW + 0x200000);
	assert_true(answers(rig, 0, WINDOW + 0x200000));
	rig_free(rig);
}

static void stale_doorbells_give_way_to_another_bar(void **state)
{
	struct rig *rig = rig_new();

	decode(rig, 1, true);
	decode(rig, 1, false);
	set_bar(rig, 2, WINDOW);
	decode(rig, 2, true);
	assert_int_equal(rig->thing[0].doorbells, 0);
	assert_int_equal(rig->thing[0].moves, 2);
	assert_int_equal(rig->thing[1].doorbells, WINDOW);
	assert_true(answers(rig, 1, WINDOW));
	set_bar(rig, 2, WINDOW + BAR_SIZE);
	decode(rig, 1, true);
	assert_int_equal(rig->thing[0].doorbells, WINDOW);
	assert_true(answers(rig, 0, WINDOW));
	rig_free(rig);
}

static void stale_doorbells_elsewhere_stay(void **state)
{
	struct rig *rig = rig_new();

	decode(rig, 1, true);
	decode(rig, 1, false);
	decode(rig, 2, true); /* right behind it */
	assert_int_equal(rig->thing[0].doorbells, WINDOW);
	rig_free(rig);
}

static void H27_two_bars_in_one_place_are_answered_by_one(void **state)
{
	struct rig *rig = rig_new();

	decode(rig, 1, true);
	decode(rig, 2, true);
	set_bar(rig, 2, WINDOW);
	assert_int_equal(rig->thing[0].doorbells, WINDOW); /* it decodes: not stale */
	assert_true(answers(rig, 0, WINDOW));
	assert_int_equal(rig->thing[1].accesses, 0);
	decode(rig, 1, false);
	assert_true(answers(rig, 1, WINDOW));
	rig_free(rig);
}

/* KVM keeps the first doorbell of a place: left behind, it would take the other's kicks. */
static void H27_of_two_bars_in_one_place_the_one_that_stays_gets_the_doorbells(void **state)
{
	struct rig *rig = rig_new();

	decode(rig, 1, true);
	decode(rig, 2, true);
	set_bar(rig, 2, WINDOW);
	assert_int_equal(rig->thing[1].moves, 2);
	decode(rig, 1, false);
	assert_int_equal(rig->thing[0].doorbells, 0);
	assert_int_equal(rig->thing[1].doorbells, WINDOW);
	assert_int_equal(rig->thing[1].moves, 3); /* told again, now that the place is free */
	rig_free(rig);
}

static void H27_bars_outside_the_window_do_not_decode(void **state)
{
	static const uint32_t bad[] = {
		0,	    0x00100000, WINDOW - BAR_SIZE, WINDOW + WINDOW_SIZE, 0xd0000000,
		0xe0000000, 0xfec00000, 0xfee00000,	   0xfffffff0,
	};
	struct rig *rig = rig_new();

	decode(rig, 1, true);
	for (unsigned i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		set_bar(rig, 1, bad[i]);
		assert_int_equal(bar(rig, 1), bad[i] & -BAR_SIZE);
		assert_int_equal(rig->thing[0].doorbells, 0);
		assert_false(rig->thing[0].func.bar_mapped);
		assert_false(answers(rig, 0, WINDOW));
	}
	set_bar(rig, 1, WINDOW + WINDOW_SIZE - BAR_SIZE);
	assert_true(answers(rig, 0, WINDOW + WINDOW_SIZE - BAR_SIZE));
	rig_free(rig);
}

static void H27_other_bars_do_not_exist(void **state)
{
	struct rig *rig = rig_new();

	for (unsigned reg = PCI_BASE_ADDRESS_1; reg <= PCI_BASE_ADDRESS_5; reg += 4) {
		ecam_write(rig, 1, reg, ABSENT, 4);
		assert_int_equal(ecam_read(rig, 1, reg, 4), 0);
	}
	ecam_write(rig, 1, PCI_ROM_ADDRESS, ABSENT, 4);
	assert_int_equal(ecam_read(rig, 1, PCI_ROM_ADDRESS, 4), 0);
	ecam_write(rig, 0, PCI_BASE_ADDRESS_0, ABSENT, 4); /* nor has the bridge one */
	ecam_write(rig, 0, PCI_COMMAND, MEMORY, 2);
	assert_int_equal(ecam_read(rig, 0, PCI_BASE_ADDRESS_0, 4), 0);
	rig_free(rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bars_are_preset_side_by_side_and_not_decoded),
		cmocka_unit_test(an_enabled_bar_decodes_from_its_first_to_its_last_byte),
		cmocka_unit_test(sizing_with_decoding_off_tells_the_size),
		cmocka_unit_test(H27_sizing_with_decoding_on_ends_where_it_was),
		cmocka_unit_test(linux_sizing_moves_no_doorbells),
		cmocka_unit_test(a_moved_bar_takes_its_doorbells_along),
		cmocka_unit_test(stale_doorbells_give_way_to_another_bar),
		cmocka_unit_test(stale_doorbells_elsewhere_stay),
		cmocka_unit_test(H27_two_bars_in_one_place_are_answered_by_one),
		cmocka_unit_test(
			H27_of_two_bars_in_one_place_the_one_that_stays_gets_the_doorbells),
		cmocka_unit_test(H27_bars_outside_the_window_do_not_decode),
		cmocka_unit_test(H27_other_bars_do_not_exist),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
