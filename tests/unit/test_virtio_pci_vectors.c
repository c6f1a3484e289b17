/* SPDX-License-Identifier: Apache-2.0 */
/* virtio over PCI: which interrupt a queue and the configuration raise. H numbers are the cases of
 * the hostile-guest list. */
#include "tests/unit/virtio_pci_rig.h"

static void each_queue_interrupts_by_its_vector(void **state)
{
	struct rig *rig = rig_running();

	for (unsigned q = 0; q < NQUEUES; q++) {
		assert_null(rig->line[q].status);
		irq_line_signal(&rig->line[q]);
		assert_int_equal(fake_kvm_deliver(), 1);
		assert_int_equal(injected(rig, q + 1), 1);
	}
	irq_line_signal(&rig->config_line);
	fake_kvm_deliver();
	assert_int_equal(injected(rig, 0), 1);
	/* 4.1.4.5.1: the configuration bit is set with MSI-X too. */
	assert_int_equal(rd(rig, VIRTIO_PCI_ISR_AREA, 1), 2);
	rig_free(rig);
}

static void queues_may_share_a_vector(void **state)
{
	struct rig *rig = rig_new();

	enable_bar(rig);
	enable_msix(rig, PCI_MSIX_FLAGS_ENABLE);
	accept_features(rig, OFFERED);
	program_vector(rig, 2);
	for (unsigned q = 0; q < NQUEUES; q++)
		set_queue_vector(rig, q, 2);
	wr(rig, VIRTIO_PCI_COMMON_STATUS, ALL_OK, 1);
	irq_line_signal(&rig->line[0]);
	fake_kvm_deliver();
	irq_line_signal(&rig->line[2]);
	fake_kvm_deliver();
	assert_int_equal(injected(rig, 2), 2);
	rig_free(rig);
}

static void a_queue_without_a_vector_only_sets_the_isr(void **state)
{
	struct rig *rig = rig_new();

	enable_bar(rig);
	accept_features(rig, OFFERED);
	wr(rig, VIRTIO_PCI_COMMON_STATUS, ALL_OK, 1);
	assert_int_equal(rig->line[0].fd, -1);
	irq_line_signal(&rig->line[0]);
	assert_int_equal(fake_kvm_deliver(), 0);
	assert_int_equal(rd(rig, VIRTIO_PCI_ISR_AREA, 1), 1);
	irq_line_signal(&rig->config_line);
	assert_int_equal(rd(rig, VIRTIO_PCI_ISR_AREA, 1), 2);
	rig_free(rig);
}

static void H28_vectors_that_do_not_exist_read_back_as_none(void **state)
{
	static const uint16_t bad[] = { NVEC, NVEC + 1, 0x7ff, 65534, 0xffff };
	struct rig *rig = rig_new();

	enable_bar(rig);
	for (unsigned i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		assert_int_equal(set_queue_vector(rig, 0, 1), 1);
		assert_int_equal(set_queue_vector(rig, 0, bad[i]), 0xffff);
		assert_int_equal(set_config_vector(rig, 1), 1);
		assert_int_equal(set_config_vector(rig, bad[i]), 0xffff);
	}
	rig_free(rig);
}

static void H28_the_function_mask_works_through_configuration_space(void **state)
{
	struct rig *rig = rig_running();

	assert_int_equal(fake_kvm.nirqfds, NVEC);
	enable_msix(rig, PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL);
	assert_int_equal(fake_kvm.nirqfds, 0);
	irq_line_signal(&rig->line[1]);
	assert_int_equal(rd(rig, VIRTIO_PCI_PBA, 4), 1 << 2);
	enable_msix(rig, PCI_MSIX_FLAGS_ENABLE);
	assert_int_equal(injected(rig, 2), 1);
	rig_free(rig);
}

static void H28_writes_to_the_pending_bits_are_dropped(void **state)
{
	struct rig *rig = rig_running();

	wr(rig, VIRTIO_PCI_MSIX + 16 + 12, 1, 4);
	irq_line_signal(&rig->line[0]);
	wr(rig, VIRTIO_PCI_PBA, 0, 8);
	assert_int_equal(rd(rig, VIRTIO_PCI_PBA, 8), 2);
	rig_free(rig);
}

static void H22_no_interrupt_from_before_the_reset_comes_after_it(void **state)
{
	struct rig *rig = rig_running();

	wr(rig, VIRTIO_PCI_MSIX + 16 + 12, 1, 4);
	irq_line_signal(&rig->line[0]);
	wr(rig, VIRTIO_PCI_COMMON_STATUS, 0, 1);
	wr(rig, VIRTIO_PCI_MSIX + 16 + 12, 0, 4);
	assert_int_equal(fake_kvm_deliver(), 0);
	assert_int_equal(injected(rig, 1), 0);
	rig_free(rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_queue_interrupts_by_its_vector),
		cmocka_unit_test(queues_may_share_a_vector),
		cmocka_unit_test(a_queue_without_a_vector_only_sets_the_isr),
		cmocka_unit_test(H28_vectors_that_do_not_exist_read_back_as_none),
		cmocka_unit_test(H28_the_function_mask_works_through_configuration_space),
		cmocka_unit_test(H28_writes_to_the_pending_bits_are_dropped),
		cmocka_unit_test(H22_no_interrupt_from_before_the_reset_comes_after_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
