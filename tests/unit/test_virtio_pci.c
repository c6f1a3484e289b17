/* SPDX-License-Identifier: Apache-2.0 */
/* virtio over PCI: what its registers and capabilities say, how it starts, stops and leaves. H
 * numbers are the cases of the hostile-guest list. */
#include <errno.h>

#include "tests/unit/virtio_pci_rig.h"

/* ---- configuration space --------------------------------------------------------------------- */

static void the_header_is_that_of_a_modern_device(void **state)
{
	struct rig *rig = rig_new();

	assert_int_equal(cfg_read(rig, PCI_VENDOR_ID, 2), 0x1af4);
	assert_int_equal(cfg_read(rig, PCI_DEVICE_ID, 2), 0x1042);
	assert_int_equal(cfg_read(rig, PCI_REVISION_ID, 1), 1);
	assert_int_equal(cfg_read(rig, PCI_CLASS_REVISION, 4) >> 8, 0x018000);
	assert_in_range(cfg_read(rig, PCI_SUBSYSTEM_ID, 2), 0x40, 0xffff);
	assert_int_equal(cfg_read(rig, PCI_INTERRUPT_PIN, 1), 0);
	assert_int_equal(rig->vpci.slot, 1);
	rig_free(rig);
}

static void every_capability_is_there_and_inside_the_bar(void **state)
{
	static const struct {
		uint8_t type;
		uint32_t off, len;
	} areas[] = {
		{ VIRTIO_PCI_CAP_COMMON_CFG, 0, sizeof(struct virtio_pci_common_cfg) },
		{ VIRTIO_PCI_CAP_ISR_CFG, 0x1000, 1 },
		{ VIRTIO_PCI_CAP_DEVICE_CFG, 0x2000, VIRTIO_CONFIG_MAX },
		{ VIRTIO_PCI_CAP_NOTIFY_CFG, 0x3000, 4 * NQUEUES },
	};
	struct rig *rig = rig_new();
	unsigned cap;

	for (unsigned i = 0; i < sizeof(areas) / sizeof(*areas); i++) {
		cap = find_cap(rig, PCI_CAP_ID_VNDR, areas[i].type);
		assert_int_not_equal(cap, 0);
		assert_int_equal(cfg_read(rig, cap + VIRTIO_PCI_CAP_BAR, 1), 0);
		assert_int_equal(cfg_read(rig, cap + VIRTIO_PCI_CAP_OFFSET, 4), areas[i].off);
		assert_int_equal(cfg_read(rig, cap + VIRTIO_PCI_CAP_LENGTH, 4), areas[i].len);
	}
	cap = find_cap(rig, PCI_CAP_ID_VNDR, VIRTIO_PCI_CAP_NOTIFY_CFG);
	assert_int_equal(cfg_read(rig, cap + VIRTIO_PCI_CAP_LEN, 1), 20);
	assert_int_equal(cfg_read(rig, cap + VIRTIO_PCI_NOTIFY_CAP_MULT, 4), 4);
	assert_int_not_equal(find_cap(rig, PCI_CAP_ID_VNDR, VIRTIO_PCI_CAP_PCI_CFG), 0);
	cap = find_cap(rig, PCI_CAP_ID_MSIX, 0);
	assert_int_equal(cfg_read(rig, cap + PCI_MSIX_FLAGS, 2), NVEC - 1);
	assert_int_equal(cfg_read(rig, cap + PCI_MSIX_TABLE, 4), 0x4000);
	assert_int_equal(cfg_read(rig, cap + PCI_MSIX_PBA, 4), 0x5000);
	rig_free(rig);
}

static void H27_capabilities_are_read_only(void **state)
{
	struct rig *rig = rig_new();
	const unsigned cap = find_cap(rig, PCI_CAP_ID_VNDR, VIRTIO_PCI_CAP_COMMON_CFG);
	const unsigned msix = find_cap(rig, PCI_CAP_ID_MSIX, 0);

	cfg_write(rig, PCI_CAPABILITY_LIST, 0, 1);
	for (unsigned off = cap; off < cap + 16; off += 4)
		cfg_write(rig, off, 0xffffffff, 4);
	assert_int_equal(find_cap(rig, PCI_CAP_ID_VNDR, VIRTIO_PCI_CAP_COMMON_CFG), cap);
	assert_int_equal(cfg_read(rig, cap + VIRTIO_PCI_CAP_OFFSET, 4), 0);
	cfg_write(rig, msix + PCI_MSIX_FLAGS, 0xffff, 2);
	assert_int_equal(cfg_read(rig, msix + PCI_MSIX_FLAGS, 2), 0xc000 | (NVEC - 1));
	rig_free(rig);
}

/* ---- common configuration -------------------------------------------------------------------- */

static void a_driver_can_bring_the_device_up_and_reset_it(void **state)
{
	struct rig *rig = rig_running();

	assert_int_equal(rig->starts, 1);
	assert_memory_equal(&rig->dev.queue[0], &rig->drv.config, sizeof(struct virtq_config));
	wr(rig, VIRTIO_PCI_COMMON_STATUS, 0, 1);
	assert_int_equal(rd(rig, VIRTIO_PCI_COMMON_STATUS, 1), 0);
	assert_int_equal(rig->resets, 1);
	assert_int_equal(rd(rig, VIRTIO_PCI_COMMON_MSIX, 2), 0xffff);
	for (unsigned q = 0; q < NQUEUES; q++) {
		wr(rig, VIRTIO_PCI_COMMON_Q_SELECT, q, 2);
		assert_int_equal(rd(rig, VIRTIO_PCI_COMMON_Q_MSIX, 2), 0xffff);
		assert_int_equal(rd(rig, VIRTIO_PCI_COMMON_Q_ENABLE, 2), 0);
	}
	rig_free(rig);
}

static void common_fields_read_back(void **state)
{
	struct rig *rig = rig_new();

	enable_bar(rig);
	wr(rig, VIRTIO_PCI_COMMON_DFSELECT, 1, 4);
	assert_int_equal(rd(rig, VIRTIO_PCI_COMMON_DFSELECT, 4), 1);
	assert_int_equal(rd(rig, VIRTIO_PCI_COMMON_DF, 4), OFFERED >> 32);
	wr(rig, VIRTIO_PCI_COMMON_GFSELECT, 1, 4);
	wr(rig, VIRTIO_PCI_COMMON_GF, 0x1234, 4);
	assert_int_equal(rd(rig, VIRTIO_PCI_COMMON_GFSELECT, 4), 1);
	assert_int_equal(rd(rig, VIRTIO_PCI_COMMON_GF, 4), 0x1234);
	assert_int_equal(rd(rig, VIRTIO_PCI_COMMON_NUMQ, 2), NQUEUES);
	wr(rig, VIRTIO_PCI_COMMON_Q_SELECT, 2, 2);
	assert_int_equal(rd(rig, VIRTIO_PCI_COMMON_Q_SELECT, 2), 2);
	assert_int_equal(rd(rig, VIRTIO_PCI_COMMON_Q_SIZE, 2), 256);
	assert_int_equal(rd(rig, VIRTIO_PCI_COMMON_Q_NOFF, 2), 2);
	wr(rig, VIRTIO_PCI_COMMON_Q_USEDHI, 0x89abcdef, 4);
	assert_int_equal(rd(rig, VIRTIO_PCI_COMMON_Q_USEDHI, 4), 0x89abcdef);
	rig_free(rig);
}

static void H25_fields_answer_to_their_own_width_only(void **state)
{
	static const uint8_t width[56] = {
		[0] = 4,  [4] = 4,  [8] = 4,  [12] = 4, [16] = 2, [18] = 2, [20] = 1,
		[21] = 1, [22] = 2, [24] = 2, [26] = 2, [28] = 2, [30] = 2, [32] = 4,
		[36] = 4, [40] = 4, [44] = 4, [48] = 4, [52] = 4,
	};
	struct rig *rig = rig_new();

	enable_bar(rig);
	for (unsigned off = 0; off < 0x1000; off++) {
		for (unsigned len = 1; len <= 8; len *= 2) {
			if (off < 56 && width[off] == len)
				continue;
			wr(rig, off, ~0ULL, len);
			assert_true(rd(rig, off, len) == 0);
		}
	}
	assert_int_equal(rd(rig, VIRTIO_PCI_COMMON_STATUS, 1), 0);
	assert_int_equal(rd(rig, VIRTIO_PCI_COMMON_Q_SELECT, 2), 0);
	assert_int_equal(rd(rig, VIRTIO_PCI_COMMON_DFSELECT, 4), 0);
	rig_free(rig);
}

static void H19_a_selector_of_no_queue_reads_0_and_drops_writes(void **state)
{
	static const uint16_t bad[] = { NQUEUES, 63, 64, 65, 0x8000, 0xffff };
	struct rig *rig = rig_new();
	struct virtq_config before[VIRTIO_MAX_QUEUES];

	enable_bar(rig);
	accept_features(rig, OFFERED);
	memcpy(before, rig->dev.queue, sizeof(before));
	for (unsigned i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		setup_queue(rig, bad[i], &rig->drv.config);
		assert_int_equal(set_queue_vector(rig, bad[i], 1), 0xffff);
		assert_int_equal(rd(rig, VIRTIO_PCI_COMMON_Q_SIZE, 2), 0);
		assert_int_equal(rd(rig, VIRTIO_PCI_COMMON_Q_ENABLE, 2), 0);
		assert_int_equal(rd(rig, VIRTIO_PCI_COMMON_Q_NOFF, 2), 0);
	}
	assert_memory_equal(before, rig->dev.queue, sizeof(before));
	rig_free(rig);
}

static void queue_enable_takes_1_only(void **state)
{
	struct rig *rig = rig_new();

	enable_bar(rig);
	accept_features(rig, OFFERED);
	setup_queue(rig, 0, &rig->drv.config);
	wr(rig, VIRTIO_PCI_COMMON_Q_ENABLE, 0, 2);
	assert_int_equal(rd(rig, VIRTIO_PCI_COMMON_Q_ENABLE, 2), 1);
	rig_free(rig);
}

static void H17_a_bad_queue_stays_disabled(void **state)
{
	struct rig *rig = rig_new();
	struct virtq_config config = rig->drv.config;

	enable_bar(rig);
	accept_features(rig, OFFERED);
	config.size = 100;
	setup_queue(rig, 0, &config);
	assert_int_equal(rd(rig, VIRTIO_PCI_COMMON_Q_ENABLE, 2), 0);
	config = rig->drv.config;
	config.desc = BAR;
	setup_queue(rig, 0, &config);
	assert_int_equal(rd(rig, VIRTIO_PCI_COMMON_Q_ENABLE, 2), 0);
	rig_free(rig);
}

static void H18_writes_after_driver_ok_change_nothing(void **state)
{
	struct rig *rig = rig_running();
	struct virtq_config config = rig->drv.config;

	config.size = 128;
	config.used += 4;
	setup_queue(rig, 0, &config);
	assert_memory_equal(&rig->dev.queue[0], &rig->drv.config, sizeof(config));
	assert_int_equal(set_queue_vector(rig, 0, 3), 1);
	assert_int_equal(set_config_vector(rig, 3), 0);
	rig_free(rig);
}

static void H24_a_driver_without_version_1_is_refused(void **state)
{
	struct rig *rig = rig_new();

	enable_bar(rig);
	accept_features(rig, 0);
	assert_int_equal(rd(rig, VIRTIO_PCI_COMMON_STATUS, 1), 3);
	accept_features(rig, ~0ULL);
	assert_int_equal(rd(rig, VIRTIO_PCI_COMMON_STATUS, 1), 3);
	rig_free(rig);
}

/* ---- the other areas ------------------------------------------------------------------------- */

static void H25_device_config_takes_every_width(void **state)
{
	struct rig *rig = rig_new();

	enable_bar(rig);
	for (unsigned len = 1; len <= 8; len *= 2) {
		for (unsigned off = 0; off < 0x200; off++) {
			uint8_t data[8];

			bus_read(&rig->vm.mmio, BAR + VIRTIO_PCI_DEVICE + off, data, len);
			for (unsigned i = 0; i < len; i++)
				assert_int_equal(data[i], off + i < 16 ? 0xa0 + off + i : 0);
		}
	}
	wr(rig, VIRTIO_PCI_DEVICE + 3, 0x55, 1);
	assert_int_equal(rd(rig, VIRTIO_PCI_DEVICE + 3, 1), 0x55);
	assert_int_equal(rd(rig, VIRTIO_PCI_COMMON_CFGGENERATION, 1), 1);
	rig_free(rig);
}

static void reading_the_isr_clears_it(void **state)
{
	struct rig *rig = rig_new();

	enable_bar(rig);
	atomic_store(&rig->dev.isr, 3);
	assert_int_equal(rd(rig, VIRTIO_PCI_ISR_AREA, 4), 0); /* not a byte: untouched */
	assert_int_equal(rd(rig, VIRTIO_PCI_ISR_AREA + 1, 1), 0);
	wr(rig, VIRTIO_PCI_ISR_AREA, 0, 1);
	assert_int_equal(rd(rig, VIRTIO_PCI_ISR_AREA, 1), 3);
	assert_int_equal(rd(rig, VIRTIO_PCI_ISR_AREA, 1), 0);
	rig_free(rig);
}

static void H26_every_byte_of_the_bar_bears_every_access(void **state)
{
	struct rig *rig = rig_running();

	for (unsigned len = 1; len <= 8; len *= 2) {
		for (unsigned off = 0; off < VIRTIO_PCI_BAR_SIZE; off++) {
			rd(rig, off, len);
			/* Not the status: it would reset, which is tested elsewhere. */
			if (off >= VIRTIO_PCI_AREA)
				wr(rig, off, ~0ULL, len);
		}
	}
	assert_true(rd(rig, 0x6000, 8) == 0);
	rig_free(rig);
}

/* ---- bus mastering --------------------------------------------------------------------------- */

static void H22_without_bus_mastering_a_running_device_stops_until_reset(void **state)
{
	struct rig *rig = rig_running();
	const uint8_t stopped = ALL_OK | VIRTIO_CONFIG_S_NEEDS_RESET;

	wr(rig, VIRTIO_PCI_MSIX + 16 + 12, 1, 4);
	irq_line_signal(&rig->line[0]); /* waits in a masked vector */
	cfg_write(rig, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
	assert_int_equal(rig->resets, 1);
	assert_int_equal(rd(rig, VIRTIO_PCI_COMMON_STATUS, 1), stopped);
	assert_int_equal(rd(rig, VIRTIO_PCI_COMMON_Q_ENABLE, 2), 1); /* registers answer */
	assert_int_equal(rd(rig, VIRTIO_PCI_PBA, 8), 0);
	enable_bar(rig);
	wr(rig, VIRTIO_PCI_MSIX + 16 + 12, 0, 4);
	assert_int_equal(fake_kvm_deliver(), 0);
	assert_int_equal(injected(rig, 1), 0);
	wr(rig, VIRTIO_PCI_COMMON_STATUS, ALL_OK, 1);
	assert_int_equal(rig->starts, 1);
	assert_int_equal(rd(rig, VIRTIO_PCI_COMMON_STATUS, 1), stopped);
	wr(rig, VIRTIO_PCI_COMMON_STATUS, 0, 1);
	assert_int_equal(rig->resets, 1); /* it had been stopped */
	accept_features(rig, OFFERED);
	wr(rig, VIRTIO_PCI_COMMON_STATUS, ALL_OK, 1);
	assert_int_equal(rig->starts, 2);
	assert_int_equal(rd(rig, VIRTIO_PCI_COMMON_STATUS, 1), ALL_OK);
	rig_free(rig);
}

static void H22_a_stop_that_the_end_cuts_short_has_not_stopped(void **state)
{
	struct rig *rig = rig_running();

	rig->reset_ret = -ECANCELED;
	cfg_write(rig, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
	assert_int_equal(rig->resets, 1);
	assert_true(rig->dev.started);
	assert_int_equal(rd(rig, VIRTIO_PCI_COMMON_STATUS, 1), ALL_OK);
	rig->reset_ret = 0;
	rig_free(rig);
}

static void H22_without_bus_mastering_nothing_starts(void **state)
{
	struct rig *rig = rig_new();

	cfg_write(rig, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
	accept_features(rig, OFFERED);
	setup_queue(rig, 0, &rig->drv.config);
	wr(rig, VIRTIO_PCI_COMMON_STATUS, ALL_OK, 1);
	assert_int_equal(rig->starts, 0);
	assert_int_equal(rd(rig, VIRTIO_PCI_COMMON_STATUS, 1),
			 ALL_OK | VIRTIO_CONFIG_S_NEEDS_RESET);
	enable_bar(rig);
	assert_int_equal(rig->starts, 0);
	wr(rig, VIRTIO_PCI_COMMON_STATUS, 0, 1);
	accept_features(rig, OFFERED);
	wr(rig, VIRTIO_PCI_COMMON_STATUS, ALL_OK, 1);
	assert_int_equal(rig->starts, 1);
	rig_free(rig);
}

/* No other way to stop a function is offered: PCI Express (FLR) and power management (D3). */
static void H22_the_only_capabilities_are_virtios_and_msix(void **state)
{
	struct rig *rig = rig_new();
	unsigned n = 0, off = cfg_read(rig, PCI_CAPABILITY_LIST, 1);

	for (; off; off = cfg_read(rig, off + PCI_CAP_LIST_NEXT, 1), n++) {
		const unsigned id = cfg_read(rig, off, 1);

		assert_true(id == PCI_CAP_ID_VNDR || id == PCI_CAP_ID_MSIX);
	}
	assert_int_equal(n, 6);
	rig_free(rig);
}

/* ---- set-up and end -------------------------------------------------------------------------- */

/* The order in which a disk leaves a guest that runs; see plug.c. */
static void a_device_that_leaves_gives_everything_back(void **state)
{
	struct rig *rig = rig_running();
	const uint32_t next = rig->vm.irq.msi_next;
	uint32_t value = 0;

	pci_func_ask(&rig->vpci.func);
	assert_true(pci_bus_eject(&rig->pci, 1u << rig->vpci.slot));
	bus_read(&rig->vm.mmio, ECAM + (1 << 15), &value, 4);
	assert_int_equal(value, 0xffffffff);
	assert_true(virtio_pci_is_quiet(&rig->vpci));
	/* Requests may still be in flight: doorbells and interrupts are there. */
	assert_int_equal(fake_kvm_doorbells(BAR + 0x3000, 4 * NQUEUES), NQUEUES);
	irq_line_signal(&rig->line[0]);
	assert_int_equal(fake_kvm_deliver(), 1);
	virtio_pci_destroy(&rig->vpci);
	assert_int_equal(fake_kvm.nio, 0);
	assert_int_equal(fake_kvm.nirqfds, 0);
	init_pci(rig);
	assert_int_equal(rig->vpci.slot, 1);
	assert_int_equal(rig->vm.irq.msi_next, next); /* its GSIs are those of before */
	rig_free(rig);
}

static void init_leaves_nothing_behind_when_the_bus_is_full(void **state)
{
	struct rig *rig = rig_new();
	struct virtio_pci other;
	struct error err;
	const uint32_t next = rig->vm.irq.msi_next;

	for (unsigned slot = 2; slot < PCI_SLOTS; slot++)
		rig->pci.slot[slot] = &rig->vpci.func;
	assert_int_equal(virtio_pci_init(&other, &rig->dev, &rig->vm, &rig->pci, 0, &err), -ENOSPC);
	for (unsigned i = 0; i < NVEC; i++) /* its GSIs are free again */
		assert_in_range(irq_router_alloc_msi(&rig->vm.irq), next, next + NVEC - 1);
	assert_ptr_equal(rig->dev.transport, &rig->vpci);
	rig_free(rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_header_is_that_of_a_modern_device),
		cmocka_unit_test(every_capability_is_there_and_inside_the_bar),
		cmocka_unit_test(H27_capabilities_are_read_only),
		cmocka_unit_test(a_driver_can_bring_the_device_up_and_reset_it),
		cmocka_unit_test(common_fields_read_back),
		cmocka_unit_test(H25_fields_answer_to_their_own_width_only),
		cmocka_unit_test(H19_a_selector_of_no_queue_reads_0_and_drops_writes),
		cmocka_unit_test(queue_enable_takes_1_only),
		cmocka_unit_test(H17_a_bad_queue_stays_disabled),
		cmocka_unit_test(H18_writes_after_driver_ok_change_nothing),
		cmocka_unit_test(H24_a_driver_without_version_1_is_refused),
		cmocka_unit_test(H25_device_config_takes_every_width),
		cmocka_unit_test(reading_the_isr_clears_it),
		cmocka_unit_test(H26_every_byte_of_the_bar_bears_every_access),
		cmocka_unit_test(H22_without_bus_mastering_a_running_device_stops_until_reset),
		cmocka_unit_test(H22_a_stop_that_the_end_cuts_short_has_not_stopped),
		cmocka_unit_test(H22_without_bus_mastering_nothing_starts),
		cmocka_unit_test(H22_the_only_capabilities_are_virtios_and_msix),
		cmocka_unit_test(a_device_that_leaves_gives_everything_back),
		cmocka_unit_test(init_leaves_nothing_behind_when_the_bus_is_full),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
