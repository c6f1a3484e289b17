/* SPDX-License-Identifier: Apache-2.0 */
/* virtio over PCI: where its doorbells are while the BAR moves, and the way to the BAR through
 * configuration space. H numbers are the cases of the hostile-guest list. */
#include "tests/unit/virtio_pci_rig.h"

static void each_queue_has_its_own_doorbell_of_any_length_and_value(void **state)
{
	struct rig *rig = rig_running();

	assert_int_equal(fake_kvm.nio, NQUEUES);
	for (unsigned q = 0; q < NQUEUES; q++) {
		assert_true(fake_kvm_write(BAR + 0x3000 + 4 * q, 2, q));
		assert_true(kicked(rig, q));
		assert_true(fake_kvm_write(BAR + 0x3000 + 4 * q, 4, 0xdead));
		for (unsigned other = 0; other < NQUEUES; other++)
			assert_int_equal(kicked(rig, other), other == q);
	}
	assert_false(fake_kvm_write(BAR + 0x3000 + 4 * NQUEUES, 2, 0));
	rig_free(rig);
}

static void without_any_length_doorbells_are_two_bytes(void **state)
{
	struct rig *rig;

	fake_kvm_reset();
	fake_kvm.no_any_length = true;
	rig = rig_without_pci();
	init_pci(rig);
	enable_bar(rig);
	assert_int_equal(fake_kvm.nio, NQUEUES);
	assert_true(fake_kvm_write(BAR + 0x3000, 2, 0));
	assert_false(fake_kvm_write(BAR + 0x3000, 4, 0));
	rig_free(rig);
}

static void H19_a_doorbell_that_kvm_did_not_catch_still_kicks(void **state)
{
	struct rig *rig = rig_running();

	for (unsigned len = 1; len <= 8; len *= 2) {
		wr(rig, 0x3000 + 4, 1, len);
		assert_true(kicked(rig, 1));
	}
	wr(rig, 0x3000 + 2, 0, 2); /* between two */
	wr(rig, 0x3000 + 4 * NQUEUES, 0, 2);
	wr(rig, 0x3ffc, 0, 2);
	for (unsigned q = 0; q < NQUEUES; q++)
		assert_false(kicked(rig, q));
	assert_int_equal(rd(rig, 0x3000, 2), 0);
	rig_free(rig);
}

static void H27_doorbells_follow_the_bar(void **state)
{
	struct rig *rig = rig_running();

	cfg_write(rig, PCI_BASE_ADDRESS_0, BAR + 0x100000, 4);
	assert_int_equal(fake_kvm.nio, NQUEUES);
	assert_int_equal(fake_kvm_doorbells(BAR, 0x8000), 0);
	assert_int_equal(fake_kvm_doorbells(BAR + 0x100000 + 0x3000, 4 * NQUEUES), NQUEUES);
	rig_free(rig);
}

static void H27_toggling_memory_decode_costs_no_kvm_call(void **state)
{
	struct rig *rig = rig_running();
	const unsigned calls = fake_kvm.ioeventfd_calls;

	for (unsigned i = 0; i < 10; i++) {
		cfg_write(rig, PCI_COMMAND, PCI_COMMAND_MASTER, 2);
		cfg_write(rig, PCI_BASE_ADDRESS_0, 0xffffffff, 4);
		assert_int_equal(cfg_read(rig, PCI_BASE_ADDRESS_0, 4), 0xffff8000);
		cfg_write(rig, PCI_BASE_ADDRESS_0, BAR, 4);
		enable_bar(rig);
	}
	assert_int_equal(fake_kvm.ioeventfd_calls, calls);
	assert_int_equal(rd(rig, VIRTIO_PCI_COMMON_STATUS, 1), ALL_OK);
	rig_free(rig);
}

static void H27_a_bar_moved_onto_something_else_has_no_doorbells(void **state)
{
	static const uint32_t bad[] = {
		0, 0x1000000, 0xd0000000, 0xe0000000, 0xfee00000, 0xfffffff0
	};
	struct rig *rig = rig_running();

	for (unsigned i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		cfg_write(rig, PCI_BASE_ADDRESS_0, bad[i], 4);
		assert_int_equal(fake_kvm.nio, 0);
		cfg_write(rig, PCI_BASE_ADDRESS_0, BAR, 4);
		assert_int_equal(fake_kvm.nio, NQUEUES);
	}
	rig_free(rig);
}

static void H27_a_refused_doorbell_takes_the_slow_way(void **state)
{
	struct rig *rig = rig_new();

	fake_kvm_fail(KVM_IOEVENTFD, ENOSPC, 1);
	enable_bar(rig);
	assert_int_equal(fake_kvm.nio, NQUEUES - 1);
	assert_false(fake_kvm_write(BAR + 0x3000, 2, 0));
	wr(rig, 0x3000, 0, 2);
	assert_true(kicked(rig, 0));
	cfg_write(rig, PCI_BASE_ADDRESS_0, BAR + 0x100000, 4); /* and gets another chance */
	assert_int_equal(fake_kvm.nio, NQUEUES);
	rig_free(rig);
}

static void not_told(struct pci_func *func, gpa_t addr, bool claimed)
{
}

/* Removed and added again, they would lose a kick to the other function in between. */
static void H27_doorbells_stay_where_another_bar_comes_and_goes(void **state)
{
	static const struct pci_func_ops ops = { .bar_moved = not_told };
	struct rig *rig = rig_running();
	const unsigned calls = fake_kvm.ioeventfd_calls;
	struct pci_func thing;
	uint32_t value = BAR;

	pci_func_init(&thing, 1, 2, 0, 0, 0);
	thing.bar_size = 0x8000;
	thing.ops = &ops;
	assert_int_equal(pci_bus_add(&rig->pci, &thing, NULL), 2);
	pci_func_show(&thing);
	bus_write(&rig->vm.mmio, ECAM + (2 << 15) + PCI_BASE_ADDRESS_0, &value, 4);
	for (unsigned i = 0; i < 4; i++) {
		value = i % 2 ? 0 : PCI_COMMAND_MEMORY;
		bus_write(&rig->vm.mmio, ECAM + (2 << 15) + PCI_COMMAND, &value, 2);
	}
	assert_int_equal(fake_kvm.ioeventfd_calls, calls);
	assert_int_equal(fake_kvm_doorbells(BAR + 0x3000, 4 * NQUEUES), NQUEUES);
	rig_free(rig);
}

/* ---- the door in configuration space --------------------------------------------------------- */

static void the_door_leads_into_the_bar_without_decoding(void **state)
{
	struct rig *rig = rig_new();
	unsigned data = open_door(rig, 0, VIRTIO_PCI_DEVICE + 4, 4);

	assert_int_equal(cfg_read(rig, data, 4), 0xa7a6a5a4);
	data = open_door(rig, 0, VIRTIO_PCI_COMMON_STATUS, 1);
	cfg_write(rig, data, 3, 1);
	assert_int_equal(cfg_read(rig, data, 1), 3);
	assert_int_equal(virtio_dev_get_status(&rig->dev), 3);
	data = open_door(rig, 0, VIRTIO_PCI_NOTIFY + 4, 2);
	cfg_write(rig, data, 0, 2);
	assert_true(kicked(rig, 1));
	data = open_door(rig, 0, VIRTIO_PCI_COMMON_STATUS, 1);
	cfg_write(rig, data, 0, 4); /* wider than asked: the low byte counts */
	assert_int_equal(virtio_dev_get_status(&rig->dev), 0);
	rig_free(rig);
}

static void H27_a_door_to_nowhere_reads_all_ones(void **state)
{
	static const struct {
		uint8_t bar;
		uint32_t off, len;
	} bad[] = {
		{ 1, 0, 4 },	      { 6, 0, 4 },	    { 0xff, 0, 4 },	  { 0, 0, 0 },
		{ 0, 0, 3 },	      { 0, 0, 8 },	    { 0, 0, 0xffffffff }, { 0, 1, 4 },
		{ 0, 2, 4 },	      { 0, 0x8000, 4 },	    { 0, 0x8000, 1 },	  { 0, 0x7ffd, 4 },
		{ 0, 0xfffffffc, 4 }, { 0, 0xffffffff, 1 }, { 0, 0x80000000, 4 }, { 0, 0x10000, 2 },
	};
	struct rig *rig = rig_new();

	for (unsigned i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		const unsigned data = open_door(rig, bad[i].bar, bad[i].off, bad[i].len);

		assert_int_equal(cfg_read(rig, data, 4), 0xffffffff);
		assert_int_equal(cfg_read(rig, data + 2, 2), 0xffff);
		cfg_write(rig, data, 0xffffffff, 4);
	}
	assert_int_equal(virtio_dev_get_status(&rig->dev), 0);
	open_door(rig, 0, 0x7ffc, 4);
	assert_int_equal(cfg_read(rig, open_door(rig, 0, VIRTIO_PCI_DEVICE, 1), 4), 0x000000a0);
	rig_free(rig);
}

/* ---- two vCPUs at once ----------------------------------------------------------------------- */

static void *toggle_thread(void *arg)
{
	struct rig *rig = arg;

	for (unsigned i = 0; i < 300; i++) {
		cfg_write(rig, PCI_BASE_ADDRESS_0, BAR + (i % 3) * 0x8000, 4);
		cfg_write(rig, PCI_COMMAND, i % 8, 2);
		enable_msix(rig, i & 2 ? PCI_MSIX_FLAGS_ENABLE : 0);
	}
	return NULL;
}

/* H27: nothing dangles and, under TSan, nothing races, whatever two vCPUs do to one function. */
static void H27_two_vcpus_fight_over_one_function(void **state)
{
	struct rig *rig = rig_new();
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, toggle_thread, rig), 0);
	for (unsigned i = 0; i < 300; i++) {
		accept_features(rig, OFFERED);
		set_queue_vector(rig, i % NQUEUES, i % NVEC);
		program_vector(rig, i % NVEC);
		setup_queue(rig, 0, &rig->drv.config);
		wr(rig, VIRTIO_PCI_COMMON_STATUS, ALL_OK, 1);
		wr(rig, VIRTIO_PCI_NOTIFY, 0, 2);
		rd(rig, VIRTIO_PCI_ISR_AREA, 1);
		cfg_read(rig, open_door(rig, 0, i * 4, 4), 4);
		wr(rig, VIRTIO_PCI_COMMON_STATUS, 0, 1);
	}
	pthread_join(thread, NULL);
	cfg_write(rig, PCI_BASE_ADDRESS_0, BAR, 4);
	enable_bar(rig);
	wr(rig, VIRTIO_PCI_COMMON_STATUS, 0, 1);
	assert_int_equal(rig->resets, rig->starts);
	assert_int_equal(fake_kvm.nio, NQUEUES);
	assert_int_equal(fake_kvm_doorbells(BAR + 0x3000, 4 * NQUEUES), NQUEUES);
	rig_free(rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_queue_has_its_own_doorbell_of_any_length_and_value),
		cmocka_unit_test(without_any_length_doorbells_are_two_bytes),
		cmocka_unit_test(H19_a_doorbell_that_kvm_did_not_catch_still_kicks),
		cmocka_unit_test(H27_doorbells_follow_the_bar),
		cmocka_unit_test(H27_toggling_memory_decode_costs_no_kvm_call),
		cmocka_unit_test(H27_a_bar_moved_onto_something_else_has_no_doorbells),
		cmocka_unit_test(H27_a_refused_doorbell_takes_the_slow_way),
		cmocka_unit_test(H27_doorbells_stay_where_another_bar_comes_and_goes),
		cmocka_unit_test(the_door_leads_into_the_bar_without_decoding),
		cmocka_unit_test(H27_a_door_to_nowhere_reads_all_ones),
		cmocka_unit_test(H27_two_vcpus_fight_over_one_function),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
