/* SPDX-License-Identifier: Apache-2.0 */
/* The virtio-mmio registers, most of it twice: with an exit for each read and with a page that the
 * guest reads. H numbers are the cases of the hostile-guest list. */
#include "tests/unit/virtio_mmio_rig.h"

static void the_registers_identify_the_device(void **state)
{
	struct rig *rig = rig_new(state);

	assert_int_equal(rd(rig, VIRTIO_MMIO_MAGIC_VALUE), 0x74726976);
	assert_int_equal(rd(rig, VIRTIO_MMIO_VERSION), 2);
	assert_int_equal(rd(rig, VIRTIO_MMIO_DEVICE_ID), 2);
	assert_int_not_equal(rd(rig, VIRTIO_MMIO_VENDOR_ID), 0);
	wr(rig, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 1);
	assert_int_equal(rd(rig, VIRTIO_MMIO_DEVICE_FEATURES), OFFERED >> 32);
	wr(rig, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 0);
	assert_int_equal(rd(rig, VIRTIO_MMIO_DEVICE_FEATURES), (uint32_t)OFFERED);
	assert_int_equal(rd(rig, VIRTIO_MMIO_SHM_LEN_LOW), 0xffffffff);
	assert_int_equal(rd(rig, VIRTIO_MMIO_SHM_LEN_HIGH), 0xffffffff);
	rig_free(rig);
}

static void a_driver_can_bring_the_device_up_and_reset_it(void **state)
{
	struct rig *rig = rig_new(state);

	wr(rig, VIRTIO_MMIO_QUEUE_SEL, 0);
	assert_int_equal(rd(rig, VIRTIO_MMIO_QUEUE_NUM_MAX), 256);
	to_driver_ok(rig);
	assert_int_equal(rd(rig, VIRTIO_MMIO_QUEUE_READY), 1);
	assert_int_equal(rd(rig, VIRTIO_MMIO_STATUS), 0xf);
	assert_int_equal(rig->starts, 1);
	assert_memory_equal(&rig->dev.queue[0], &rig->drv.config, sizeof(struct virtq_config));
	wr(rig, VIRTIO_MMIO_STATUS, 0);
	assert_int_equal(rd(rig, VIRTIO_MMIO_STATUS), 0);
	assert_int_equal(rd(rig, VIRTIO_MMIO_QUEUE_READY), 0);
	assert_int_equal(rig->resets, 1);
	rig_free(rig);
}

/* ---- doorbells ------------------------------------------------------------------------------- */

static void each_queue_has_its_ioeventfd(void **state)
{
	struct rig *rig = rig_new(state);

	assert_int_equal(fake_kvm.nio, NQUEUES + !!rig->page);
	for (unsigned q = 0; q < NQUEUES; q++) {
		assert_true(fake_kvm_write(BASE + VIRTIO_MMIO_QUEUE_NOTIFY, 4, q));
		for (unsigned other = 0; other < NQUEUES; other++)
			assert_int_equal(kicked(rig, other), other == q);
	}
	assert_false(fake_kvm_write(BASE + VIRTIO_MMIO_QUEUE_NOTIFY, 4, NQUEUES));
	assert_false(fake_kvm_write(BASE + VIRTIO_MMIO_QUEUE_NOTIFY, 2, 0));
	rig_free(rig);
}

static void H19_a_kick_that_kvm_did_not_catch_still_kicks(void **state)
{
	struct rig *rig = rig_new(state);

	wr(rig, VIRTIO_MMIO_QUEUE_NOTIFY, 1);
	assert_true(kicked(rig, 1));
	assert_false(kicked(rig, 0));
	rig_free(rig);
}

static void H19_kicks_of_no_queue_or_odd_width_are_dropped(void **state)
{
	static const uint32_t bad[] = { NQUEUES, 64, 0xffff, 0x10000, 0x80000000, 0xffffffff };
	struct rig *rig = rig_new(state);
	const uint64_t zero = 0;

	for (unsigned i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		wr(rig, VIRTIO_MMIO_QUEUE_NOTIFY, bad[i]);
	bus_write(&rig->vm.mmio, BASE + VIRTIO_MMIO_QUEUE_NOTIFY, &zero, 1);
	bus_write(&rig->vm.mmio, BASE + VIRTIO_MMIO_QUEUE_NOTIFY, &zero, 2);
	bus_write(&rig->vm.mmio, BASE + VIRTIO_MMIO_QUEUE_NOTIFY, &zero, 8);
	for (unsigned q = 0; q < NQUEUES; q++)
		assert_false(kicked(rig, q));
	rig_free(rig);
}

static void H19_a_selector_of_no_queue_reads_0_and_drops_writes(void **state)
{
	static const uint32_t bad[] = { NQUEUES, 63, 64, 0xffff, 0x80000000, 0xffffffff };
	struct rig *rig = rig_new(state);
	struct virtq_config before[VIRTIO_MAX_QUEUES];

	accept_features(rig, OFFERED);
	memcpy(before, rig->dev.queue, sizeof(before));
	for (unsigned i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		setup_queue(rig, bad[i], &rig->drv.config);
		assert_int_equal(rd(rig, VIRTIO_MMIO_QUEUE_NUM_MAX), 0);
		assert_int_equal(rd(rig, VIRTIO_MMIO_QUEUE_READY), 0);
	}
	assert_memory_equal(before, rig->dev.queue, sizeof(before));
	rig_free(rig);
}

/* ---- interrupts ------------------------------------------------------------------------------ */

static void the_line_sets_status_and_interrupts(void **state)
{
	struct rig *rig = rig_new(state);
	struct irq_line queue = rig->dev.transport_ops->queue_line(rig->dev.transport, 2);
	struct irq_line config = rig->dev.transport_ops->config_line(rig->dev.transport);

	assert_int_equal(rd(rig, VIRTIO_MMIO_INTERRUPT_STATUS), 0);
	irq_line_signal(&queue);
	assert_int_equal(fake_kvm_deliver(), 1);
	assert_int_equal(fake_kvm.injected[GSI], 1);
	assert_int_equal(rd(rig, VIRTIO_MMIO_INTERRUPT_STATUS), VIRTIO_MMIO_INT_VRING);
	irq_line_signal(&config);
	assert_int_equal(rd(rig, VIRTIO_MMIO_INTERRUPT_STATUS),
			 VIRTIO_MMIO_INT_VRING | VIRTIO_MMIO_INT_CONFIG);
	wr(rig, VIRTIO_MMIO_INTERRUPT_ACK, VIRTIO_MMIO_INT_VRING);
	assert_int_equal(rd(rig, VIRTIO_MMIO_INTERRUPT_STATUS), VIRTIO_MMIO_INT_CONFIG);
	wr(rig, VIRTIO_MMIO_INTERRUPT_ACK, 0xffffffff);
	assert_int_equal(rd(rig, VIRTIO_MMIO_INTERRUPT_STATUS), 0);
	rig_free(rig);
}

static void reset_clears_the_interrupt_status(void **state)
{
	struct rig *rig = rig_new(state);
	struct irq_line line;

	to_driver_ok(rig);
	line = rig->dev.transport_ops->queue_line(rig->dev.transport, 0);
	irq_line_signal(&line);
	wr(rig, VIRTIO_MMIO_STATUS, 0);
	assert_int_equal(rd(rig, VIRTIO_MMIO_INTERRUPT_STATUS), 0);
	rig_free(rig);
}

/* A bit set by the device's thread while the guest acknowledges is never wiped out. */
static void *signal_thread(void *arg)
{
	struct rig *rig = arg;
	struct irq_line line = rig->dev.transport_ops->queue_line(rig->dev.transport, 0);

	for (unsigned i = 0; i < 20000; i++)
		irq_line_signal(&line);
	return NULL;
}

static void acknowledging_loses_no_bit_of_another_thread(void **state)
{
	struct rig *rig = rig_new(state);
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, signal_thread, rig), 0);
	for (unsigned i = 0; i < 20000; i++)
		wr(rig, VIRTIO_MMIO_INTERRUPT_ACK, VIRTIO_MMIO_INT_CONFIG);
	pthread_join(thread, NULL);
	assert_int_equal(rd(rig, VIRTIO_MMIO_INTERRUPT_STATUS), VIRTIO_MMIO_INT_VRING);
	rig_free(rig);
}

/* The device's thread breaks off at any moment, and no vCPU writes a register then. */
static void needs_reset_shows_at_once(void **state)
{
	struct rig *rig = rig_new(state);

	to_driver_ok(rig);
	atomic_fetch_or(rig->dev.status, VIRTIO_CONFIG_S_NEEDS_RESET);
	assert_int_equal(rd(rig, VIRTIO_MMIO_STATUS), 0xf | VIRTIO_CONFIG_S_NEEDS_RESET);
	wr(rig, VIRTIO_MMIO_QUEUE_SEL, 0);
	assert_int_equal(rd(rig, VIRTIO_MMIO_STATUS), 0xf | VIRTIO_CONFIG_S_NEEDS_RESET);
	wr(rig, VIRTIO_MMIO_STATUS, 0);
	assert_int_equal(rd(rig, VIRTIO_MMIO_STATUS), 0);
	rig_free(rig);
}

static void a_failed_start_shows_needs_reset_and_interrupts(void **state)
{
	struct rig *rig = rig_new(state);

	rig->start_fails = true;
	to_driver_ok(rig);
	assert_int_equal(rd(rig, VIRTIO_MMIO_STATUS), 0xf | VIRTIO_CONFIG_S_NEEDS_RESET);
	assert_true(rd(rig, VIRTIO_MMIO_INTERRUPT_STATUS) & VIRTIO_MMIO_INT_CONFIG);
	assert_int_equal(fake_kvm_deliver(), 1);
	rig_free(rig);
}

/* ---- widths, places, old registers ----------------------------------------------------------- */

static void H25_registers_answer_to_aligned_words_only(void **state)
{
	struct rig *rig = rig_new(state);
	uint64_t value;

	for (unsigned len = 1; len <= 8; len *= 2) {
		for (uint64_t off = 0; off + len <= VIRTIO_MMIO_CONFIG; off++) {
			if (len == 4 && off % 4 == 0)
				continue;
			value = 0;
			bus_read(&rig->vm.mmio, BASE + off, &value, len);
			assert_true(value == (len == 8 ? ~0ULL : (1ULL << 8 * len) - 1));
			value = 1;
			bus_write(&rig->vm.mmio, BASE + off, &value, len);
		}
	}
	assert_int_equal(rd(rig, VIRTIO_MMIO_STATUS), 0);
	rig_free(rig);
}

static void H25_config_space_takes_every_width(void **state)
{
	struct rig *rig = rig_new(state);

	for (unsigned len = 1; len <= 8; len *= 2) {
		for (uint64_t off = 0; off < 0x180; off++) {
			uint8_t data[8];

			rd_bytes(rig, 0x100 + off, data, len);
			for (unsigned i = 0; i < len; i++)
				assert_int_equal(data[i], off + i < 16 ? 0xa0 + off + i : 0);
		}
	}
	bus_read(&rig->vm.mmio, BASE + VIRTIO_MMIO_SIZE - 4, &(uint32_t){ 1 }, 4);
	rig_free(rig);
}

static void H25_config_writes_change_the_generation(void **state)
{
	struct rig *rig = rig_new(state);
	const uint32_t before = rd(rig, VIRTIO_MMIO_CONFIG_GENERATION);

	bus_write(&rig->vm.mmio, BASE + 0x104, "\x7", 1);
	assert_int_equal(rig->dev.config[4], 7);
	assert_int_not_equal(rd(rig, VIRTIO_MMIO_CONFIG_GENERATION), before);
	bus_write(&rig->vm.mmio, BASE + 0x10f, "\x7\x8", 2); /* one byte too far */
	assert_int_equal(rig->dev.config[15], 0xaf);
	rig_free(rig);
}

static void H24_registers_of_version_1_do_not_exist(void **state)
{
	static const uint16_t old[] = { 0x28, 0x3c, 0x40 }; /* page size, align, PFN */
	struct rig *rig = rig_new(state);
	const struct virtq_config before = rig->dev.queue[0];

	for (unsigned i = 0; i < 3; i++) {
		wr(rig, old[i], 4096);
		assert_int_equal(rd(rig, old[i]), 0);
	}
	assert_memory_equal(&before, &rig->dev.queue[0], sizeof(before));
	rig_free(rig);
}

static void H24_features_without_version_1_are_refused(void **state)
{
	struct rig *rig = rig_new(state);

	accept_features(rig, 0);
	assert_int_equal(rd(rig, VIRTIO_MMIO_STATUS), 3);
	accept_features(rig, OFFERED | 1);
	assert_int_equal(rd(rig, VIRTIO_MMIO_STATUS), 3);
	rig_free(rig);
}

static void H17_a_bad_queue_stays_not_ready(void **state)
{
	struct rig *rig = rig_new(state);
	struct virtq_config config = rig->drv.config;

	accept_features(rig, OFFERED);
	config.size = 3;
	setup_queue(rig, 0, &config);
	assert_int_equal(rd(rig, VIRTIO_MMIO_QUEUE_READY), 0);
	config = rig->drv.config;
	config.used = BASE; /* our own registers */
	setup_queue(rig, 0, &config);
	assert_int_equal(rd(rig, VIRTIO_MMIO_QUEUE_READY), 0);
	rig_free(rig);
}

static void H18_writes_after_driver_ok_change_nothing(void **state)
{
	struct rig *rig = rig_new(state);
	struct virtq_config config = rig->drv.config;

	to_driver_ok(rig);
	config.size = 128;
	config.desc += 16;
	setup_queue(rig, 0, &config);
	accept_features(rig, 0);
	assert_memory_equal(&rig->dev.queue[0], &rig->drv.config, sizeof(config));
	assert_true(rig->dev.driver_features == OFFERED);
	rig_free(rig);
}

/* ---- set-up that fails ----------------------------------------------------------------------- */

static int init_again(struct rig *rig, struct error *err)
{
	return virtio_mmio_init(&rig->mmio, &rig->dev, &rig->vm, BASE, GSI, rig->page, err);
}

/* Occupies the place of an ioeventfd that init wants. */
static void expect_collision(struct rig *rig, uint64_t off, uint32_t datamatch)
{
	struct error err;

	assert_int_equal(ioeventfd_assign(VM_FD, 0, BASE + off, 4, datamatch), 0);
	assert_int_equal(init_again(rig, &err), -EEXIST);
	assert_non_null(strstr(err.text, "vda"));
	assert_int_equal(fake_kvm.nirqfds, 0);
	assert_int_equal(fake_kvm.nio, 1);
	assert_ptr_equal(rig->dev.status, &rig->dev.own_status);
	ioeventfd_deassign(VM_FD, 0, BASE + off, 4, datamatch);
}

static void init_leaves_nothing_behind_when_kvm_refuses(void **state)
{
	struct rig *rig = rig_new(state);
	struct error err;

	virtio_mmio_destroy(&rig->mmio);
	memset(&rig->vm.mmio, 0, sizeof(rig->vm.mmio));
	fake_kvm_fail(KVM_IRQFD, ENOMEM, 1);
	assert_int_equal(init_again(rig, &err), -ENOMEM);
	assert_non_null(strstr(err.text, "vda"));
	/* The second doorbell is refused: the first goes again, and the irqfd. */
	expect_collision(rig, VIRTIO_MMIO_QUEUE_NOTIFY, 1);
	if (rig->page)
		expect_collision(rig, VIRTIO_MMIO_INTERRUPT_ACK, 1);
	bus_seal(&rig->vm.mmio);
	assert_int_equal(init_again(rig, &err), -EBUSY);
	assert_int_equal(fake_kvm.nirqfds, 0);
	assert_int_equal(fake_kvm.nio, 0);
	assert_ptr_equal(rig->dev.status, &rig->dev.own_status);
	free(rig->page);
	rig_free_dev(rig);
}

int main(void)
{
	bool page = true;
	const struct CMUnitTest tests[] = {
		BOTH(the_registers_identify_the_device),
		BOTH(a_driver_can_bring_the_device_up_and_reset_it),
		BOTH(each_queue_has_its_ioeventfd),
		BOTH(H19_a_kick_that_kvm_did_not_catch_still_kicks),
		BOTH(H19_kicks_of_no_queue_or_odd_width_are_dropped),
		BOTH(H19_a_selector_of_no_queue_reads_0_and_drops_writes),
		EXITS(the_line_sets_status_and_interrupts),
		BOTH(reset_clears_the_interrupt_status),
		EXITS(acknowledging_loses_no_bit_of_another_thread),
		BOTH(needs_reset_shows_at_once),
		BOTH(a_failed_start_shows_needs_reset_and_interrupts),
		EXITS(H25_registers_answer_to_aligned_words_only),
		BOTH(H25_config_space_takes_every_width),
		BOTH(H25_config_writes_change_the_generation),
		BOTH(H24_registers_of_version_1_do_not_exist),
		BOTH(H24_features_without_version_1_are_refused),
		BOTH(H17_a_bad_queue_stays_not_ready),
		BOTH(H18_writes_after_driver_ok_change_nothing),
		BOTH(init_leaves_nothing_behind_when_kvm_refuses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
