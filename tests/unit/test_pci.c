/* SPDX-License-Identifier: Apache-2.0 */
/* The host bridge: configuration by port and by ECAM, BAR sizing and moving, lazy doorbells.
 * H numbers are the cases of the hostile-guest list. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/bus.h"
#include "vmm/pci.h"

#define ECAM	    0xe0000000ULL
#define WINDOW	    0xc0000000ULL
#define WINDOW_SIZE 0x10000000ULL
#define BAR_SIZE    0x8000u
#define MEMORY	    PCI_COMMAND_MEMORY
#define ABSENT	    0xffffffffu

/* A function that remembers what it was told. */
struct thing {
	struct pci_func func;
	unsigned moves;
	gpa_t doorbells; /* 0: nowhere */
	uint64_t off;
	unsigned accesses;
	unsigned written_off, written_len;
	unsigned switches;
	bool master;
	uint8_t door[4];
};

struct rig {
	struct bus pio, mmio;
	struct pci_bus pci;
	struct thing thing[2];
};

static void thing_read(struct pci_func *func, uint64_t off, void *data, unsigned len)
{
	struct thing *thing = func->opaque;

	thing->accesses++;
	thing->off = off;
	memset(data, 0x5a, len);
}

static void thing_write(struct pci_func *func, uint64_t off, const void *data, unsigned len)
{
	struct thing *thing = func->opaque;

	thing->accesses++;
	thing->off = off;
}

static void thing_moved(struct pci_func *func, gpa_t addr, bool claimed)
{
	struct thing *thing = func->opaque;

	thing->moves++;
	thing->doorbells = claimed ? addr : 0;
}

static void thing_config_written(struct pci_func *func, unsigned off, unsigned len)
{
	struct thing *thing = func->opaque;

	thing->written_off = off;
	thing->written_len = len;
}

static void thing_master_switched(struct pci_func *func)
{
	struct thing *thing = func->opaque;

	thing->switches++;
	thing->master = pci_func_is_master(func); /* hangs under the bridge's lock */
}

static void thing_window_read(struct pci_func *func, unsigned off, void *data, unsigned len)
{
	struct thing *thing = func->opaque;

	memcpy(data, thing->door + off, len);
}

static void thing_window_write(struct pci_func *func, unsigned off, const void *data, unsigned len)
{
	struct thing *thing = func->opaque;

	memcpy(thing->door + off, data, len);
}

static const struct pci_func_ops thing_ops = {
	.bar_read = thing_read,
	.bar_write = thing_write,
	.bar_moved = thing_moved,
	.config_written = thing_config_written,
	.master_switched = thing_master_switched,
	.window_read = thing_window_read,
	.window_write = thing_window_write,
};

static struct rig *rig_new(void)
{
	struct rig *rig = calloc(1, sizeof(*rig));

	assert_non_null(rig);
	assert_int_equal(pci_bus_init(&rig->pci, &rig->pio, &rig->mmio, ECAM, WINDOW, WINDOW_SIZE,
				      NULL),
			 0);
	for (unsigned i = 0; i < 2; i++) {
		struct thing *thing = &rig->thing[i];

		pci_func_init(&thing->func, 0x1af4, 0x1042, 0x018000, 1, 0x40 + i);
		thing->func.bar_size = BAR_SIZE;
		thing->func.ops = &thing_ops;
		thing->func.opaque = thing;
		assert_int_equal(pci_bus_add(&rig->pci, &thing->func, NULL), 1 + i);
		pci_func_show(&thing->func);
	}
	return rig;
}

static void rig_free(struct rig *rig)
{
	pci_bus_destroy(&rig->pci);
	free(rig);
}

static uint32_t ecam_read(struct rig *rig, unsigned slot, unsigned reg, unsigned len)
{
	uint32_t value = 0;

	bus_read(&rig->mmio, ECAM + (slot << 15) + reg, &value, len);
	return value;
}

static void ecam_write(struct rig *rig, unsigned slot, unsigned reg, uint32_t value, unsigned len)
{
	bus_write(&rig->mmio, ECAM + (slot << 15) + reg, &value, len);
}

static void latch(struct rig *rig, uint32_t address)
{
	bus_write(&rig->pio, 0xcf8, &address, 4);
}

static uint32_t port_read(struct rig *rig, unsigned port, unsigned len)
{
	uint32_t value = 0;

	bus_read(&rig->pio, port, &value, len);
	return value;
}

static void port_write(struct rig *rig, unsigned port, uint32_t value, unsigned len)
{
	bus_write(&rig->pio, port, &value, len);
}

static uint32_t bar(struct rig *rig, unsigned slot)
{
	return ecam_read(rig, slot, PCI_BASE_ADDRESS_0, 4);
}

static void set_bar(struct rig *rig, unsigned slot, uint32_t addr)
{
	ecam_write(rig, slot, PCI_BASE_ADDRESS_0, addr, 4);
}

static void decode(struct rig *rig, unsigned slot, bool on)
{
	ecam_write(rig, slot, PCI_COMMAND, on ? MEMORY : 0, 2);
}

/* Does a read at `addr` reach thing i? */
static bool answers(struct rig *rig, unsigned i, gpa_t addr)
{
	const unsigned before = rig->thing[i].accesses;
	uint32_t value;

	bus_read(&rig->mmio, addr, &value, 4);
	assert_int_equal(value, rig->thing[i].accesses != before ? 0x5a5a5a5a : ABSENT);
	return rig->thing[i].accesses != before;
}

/* ---- configuration space --------------------------------------------------------------------- */

static void the_bridge_is_in_slot_0(void **state)
{
	struct rig *rig = rig_new();

	assert_int_equal(ecam_read(rig, 0, PCI_CLASS_REVISION, 4) >> 8, 0x060000);
	assert_int_equal(ecam_read(rig, 0, PCI_HEADER_TYPE, 1), 0);
	assert_int_equal(ecam_read(rig, 0, PCI_STATUS, 2) & PCI_STATUS_CAP_LIST, 0);
	rig_free(rig);
}

static void the_header_says_who_it_is(void **state)
{
	struct rig *rig = rig_new();

	assert_int_equal(ecam_read(rig, 1, PCI_VENDOR_ID, 4), 0x10421af4);
	assert_int_equal(ecam_read(rig, 1, PCI_CLASS_REVISION, 4), 0x01800001);
	assert_int_equal(ecam_read(rig, 2, PCI_SUBSYSTEM_VENDOR_ID, 4), 0x00411af4);
	assert_int_equal(ecam_read(rig, 1, PCI_HEADER_TYPE, 1), 0); /* one function */
	assert_int_equal(ecam_read(rig, 1, PCI_INTERRUPT_PIN, 1), 0);
	rig_free(rig);
}

static void the_port_shows_the_same_bytes_as_ecam_at_every_width(void **state)
{
	struct rig *rig = rig_new();

	for (unsigned reg = 0; reg < 256; reg++) {
		latch(rig, 0x80000000 | 1 << 11 | (reg & 0xfc));
		for (unsigned len = 1; len <= 4; len *= 2)
			if (reg % len == 0)
				assert_int_equal(port_read(rig, 0xcfc + reg % 4, len),
						 ecam_read(rig, 1, reg, len));
	}
	assert_int_equal(port_read(rig, 0xcf8, 4), 0x80000000 | 1 << 11 | 0xfc);
	rig_free(rig);
}

static void the_port_writes_single_bytes(void **state)
{
	struct rig *rig = rig_new();

	latch(rig, 0x80000000 | 1 << 11 | PCI_BASE_ADDRESS_0);
	port_write(rig, 0xcfc + 3, 0xc5, 1);
	assert_int_equal(bar(rig, 1) >> 24, 0xc5);
	port_write(rig, 0xcfc + 2, 0xc7a1, 2);
	assert_int_equal(bar(rig, 1) >> 16, 0xc7a1);
	rig_free(rig);
}

static void H27_absent_functions_read_all_ones(void **state)
{
	static const uint32_t bad[] = {
		0x80000000 | 5 << 11,		   /* no such device */
		0x80000000 | 31 << 11,		   /* the last one */
		0x80000000 | 1 << 11 | 1 << 8,	   /* no such function */
		0x80000000 | 7 << 8,		   /* of the bridge */
		0x80000000 | 1 << 16 | 1 << 11,	   /* no such bus */
		0x80000000 | 0xff << 16 | 1 << 11, /* the last one */
		0x80000000 | 1 << 24 | 1 << 11,	   /* register bits 8-11 of some chipsets */
		0x00000000 | 1 << 11,		   /* not enabled */
	};
	struct rig *rig = rig_new();

	for (unsigned i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		latch(rig, bad[i]);
		assert_int_equal(port_read(rig, 0xcfc, 4), ABSENT);
		assert_int_equal(port_read(rig, 0xcfe, 2), 0xffff);
		port_write(rig, 0xcfc, 0, 4);
	}
	for (unsigned devfn = 0; devfn < 256; devfn++) {
		uint32_t id;

		bus_read(&rig->mmio, ECAM + (devfn << 12), &id, 4);
		assert_int_equal(id == ABSENT, devfn % 8 != 0 || devfn / 8 > 2);
	}
	rig_free(rig);
}

static void H27_accesses_across_a_dword_find_nothing(void **state)
{
	struct rig *rig = rig_new();
	uint64_t wide;

	latch(rig, 0x80000000 | 1 << 11);
	assert_int_equal(port_read(rig, 0xcfd, 4), ABSENT);
	assert_int_equal(port_read(rig, 0xcff, 2), 0xffff);
	assert_int_equal(port_read(rig, 0xcfa, 4), ABSENT);
	assert_int_equal(port_read(rig, 0xcf8, 2), 0xffff);
	assert_int_equal(ecam_read(rig, 1, 1, 4), ABSENT);
	assert_int_equal(ecam_read(rig, 1, 3, 2), 0xffff);
	bus_read(&rig->mmio, ECAM + (1 << 15), &wide, 8);
	assert_true(wide == ~0ULL);
	ecam_write(rig, 1, PCI_COMMAND - 1, ABSENT, 4);
	assert_int_equal(ecam_read(rig, 1, PCI_COMMAND, 2), 0);
	rig_free(rig);
}

static void H27_narrow_latch_writes_are_dropped(void **state)
{
	struct rig *rig = rig_new();

	latch(rig, 0x80000000 | 1 << 11);
	port_write(rig, 0xcf8, 0, 2);
	port_write(rig, 0xcf9, 6, 1); /* elsewhere: reset */
	port_write(rig, 0xcfb, 0, 1);
	assert_int_equal(port_read(rig, 0xcfc, 4), 0x10421af4);
	rig_free(rig);
}

static void beyond_256_bytes_there_is_nothing(void **state)
{
	struct rig *rig = rig_new();

	assert_int_equal(ecam_read(rig, 1, 256, 4), ABSENT);
	assert_int_equal(ecam_read(rig, 1, 4092, 4), ABSENT);
	assert_int_equal(ecam_read(rig, 0, 256, 4), ABSENT);
	ecam_write(rig, 1, 256, 0, 4);
	rig_free(rig);
}

static void H27_only_writable_bits_change(void **state)
{
	struct rig *rig = rig_new();
	struct pci_func *func = &rig->thing[0].func;
	uint8_t before[PCI_CONFIG_SIZE];

	assert_int_equal(pci_func_add_cap(func, PCI_CAP_ID_VNDR, "\0\0\x12\x34", 4), 0x40);
	memcpy(before, func->config, sizeof(before));
	for (unsigned reg = 0; reg < 256; reg += 4) {
		ecam_write(rig, 1, reg, 0, 4);
		ecam_write(rig, 1, reg, ABSENT, 4);
	}
	for (unsigned i = 0; i < 256; i++)
		assert_int_equal((func->config[i] ^ before[i]) & ~func->writable[i], 0);
	assert_int_equal(ecam_read(rig, 1, PCI_COMMAND, 2),
			 PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_INTX_DISABLE);
	assert_int_equal(ecam_read(rig, 1, PCI_BASE_ADDRESS_0 + 4, 4), 0);
	assert_int_equal(ecam_read(rig, 1, PCI_CAPABILITY_LIST, 1), 0x40);
	rig_free(rig);
}

static void capabilities_are_chained_in_order(void **state)
{
	struct pci_func func;
	const uint8_t body[16] = { 0, 0, 0x77 };

	pci_func_init(&func, 1, 2, 3, 4, 5);
	assert_int_equal(pci_func_add_cap(&func, PCI_CAP_ID_VNDR, body, 14), 0x40);
	assert_int_equal(pci_func_add_cap(&func, PCI_CAP_ID_MSIX, body, 12), 0x50);
	assert_int_equal(pci_func_add_cap(&func, PCI_CAP_ID_VNDR, body, 16), 0x5c);
	assert_true(func.config[PCI_STATUS] & PCI_STATUS_CAP_LIST);
	assert_int_equal(func.config[PCI_CAPABILITY_LIST], 0x40);
	assert_int_equal(func.config[0x40], PCI_CAP_ID_VNDR);
	assert_int_equal(func.config[0x41], 0x50);
	assert_int_equal(func.config[0x42], 0x77);
	assert_int_equal(func.config[0x50], PCI_CAP_ID_MSIX);
	assert_int_equal(func.config[0x51], 0x5c);
	assert_int_equal(func.config[0x5d], 0);
	while (pci_func_add_cap(&func, PCI_CAP_ID_VNDR, body, 16) > 0)
		;
	assert_int_equal(pci_func_add_cap(&func, PCI_CAP_ID_VNDR, body, 16), -ENOSPC);
	assert_in_range(func.cap_end, 0xe0, 0xfc);
}

static void config_writes_are_reported(void **state)
{
	struct rig *rig = rig_new();

	ecam_write(rig, 1, 0x42, 0, 2);
	assert_int_equal(rig->thing[0].written_off, 0x42);
	assert_int_equal(rig->thing[0].written_len, 2);
	rig_free(rig);
}

static void bus_mastering_is_reported_when_it_is_switched(void **state)
{
	struct rig *rig = rig_new();
	struct thing *thing = &rig->thing[0];

	ecam_write(rig, 1, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
	assert_int_equal(thing->switches, 0);
	ecam_write(rig, 1, PCI_COMMAND, PCI_COMMAND_MASTER, 2);
	assert_int_equal(thing->switches, 1);
	assert_true(thing->master);
	ecam_write(rig, 1, PCI_COMMAND, 0xffff, 2);
	ecam_write(rig, 1, PCI_COMMAND + 1, 0, 1);
	ecam_write(rig, 1, PCI_COMMAND + 4, 0, 4);
	assert_int_equal(thing->switches, 1);
	ecam_write(rig, 1, PCI_COMMAND, 0, 1);
	assert_int_equal(thing->switches, 2);
	assert_false(thing->master);
	assert_int_equal(rig->thing[1].switches, 0);
	ecam_write(rig, 0, PCI_COMMAND, PCI_COMMAND_MASTER, 2); /* the bridge has no ops */
	rig_free(rig);
}

static void the_config_window_leads_elsewhere(void **state)
{
	struct rig *rig = rig_new();
	struct thing *thing = &rig->thing[0];

	thing->func.window = 0x80;
	ecam_write(rig, 1, 0x80, 0x44332211, 4);
	assert_memory_equal(thing->door, "\x11\x22\x33\x44", 4);
	assert_int_equal(ecam_read(rig, 1, 0x82, 2), 0x4433);
	assert_int_equal(thing->func.config[0x80], 0);
	assert_int_equal(thing->written_off, 0);
	assert_int_equal(ecam_read(rig, 1, 0x84, 4), 0);
	rig_free(rig);
}

/* ---- BARs ------------------------------------------------------------------------------------ */

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

/* ---- set-up ---------------------------------------------------------------------------------- */

static void the_bus_takes_31_devices(void **state)
{
	struct rig *rig = rig_new();
	static struct pci_func func[PCI_SLOTS];
	struct error err;

	for (unsigned i = 3; i < PCI_SLOTS; i++) {
		pci_func_init(&func[i], 1, 2, 3, 4, 5);
		assert_int_equal(pci_bus_add(&rig->pci, &func[i], &err), i);
	}
	pci_func_init(&func[0], 1, 2, 3, 4, 5);
	assert_int_equal(pci_bus_add(&rig->pci, &func[0], &err), -ENOSPC);
	rig_free(rig);
}

static void a_full_window_takes_no_bar(void **state)
{
	struct rig *rig = rig_new();
	struct pci_func func;
	struct error err;

	pci_func_init(&func, 1, 2, 3, 4, 5);
	func.bar_size = WINDOW_SIZE;
	assert_int_equal(pci_bus_add(&rig->pci, &func, &err), -ENOSPC);
	func.bar_size = WINDOW_SIZE / 2; /* naturally aligned: the upper half */
	assert_int_equal(pci_bus_add(&rig->pci, &func, &err), 3);
	pci_func_show(&func);
	assert_int_equal(bar(rig, 3), WINDOW + WINDOW_SIZE / 2);
	rig_free(rig);
}

static void a_machine_may_have_no_ports(void **state)
{
	static struct pci_bus pci;
	static struct bus mmio;

	assert_int_equal(pci_bus_init(&pci, NULL, &mmio, ECAM, WINDOW, WINDOW_SIZE, NULL), 0);
	pci_bus_destroy(&pci);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_bridge_is_in_slot_0),
		cmocka_unit_test(the_header_says_who_it_is),
		cmocka_unit_test(the_port_shows_the_same_bytes_as_ecam_at_every_width),
		cmocka_unit_test(the_port_writes_single_bytes),
		cmocka_unit_test(H27_absent_functions_read_all_ones),
		cmocka_unit_test(H27_accesses_across_a_dword_find_nothing),
		cmocka_unit_test(H27_narrow_latch_writes_are_dropped),
		cmocka_unit_test(beyond_256_bytes_there_is_nothing),
		cmocka_unit_test(H27_only_writable_bits_change),
		cmocka_unit_test(capabilities_are_chained_in_order),
		cmocka_unit_test(config_writes_are_reported),
		cmocka_unit_test(bus_mastering_is_reported_when_it_is_switched),
		cmocka_unit_test(the_config_window_leads_elsewhere),
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
		cmocka_unit_test(the_bus_takes_31_devices),
		cmocka_unit_test(a_full_window_takes_no_bar),
		cmocka_unit_test(a_machine_may_have_no_ports),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
