/* SPDX-License-Identifier: Apache-2.0 */
/* The host bridge: configuration by port and by ECAM, and what fits on the bus. H numbers are the
 * cases of the hostile-guest list. */
#include "tests/unit/pci_rig.h"

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

	assert_int_equal(pci_bus_init(&pci, &mmio, WINDOW, WINDOW_SIZE, NULL), 0);
	assert_int_equal(pci_config_init(&pci, NULL, &mmio, ECAM, NULL), 0);
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
		cmocka_unit_test(the_bus_takes_31_devices),
		cmocka_unit_test(a_full_window_takes_no_bar),
		cmocka_unit_test(a_machine_may_have_no_ports),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
