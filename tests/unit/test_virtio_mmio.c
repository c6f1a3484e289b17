/* SPDX-License-Identifier: Apache-2.0 */
/* The virtio-mmio register page on a real bus and a KVM in the test.
 * H numbers are the cases of the hostile-guest list. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <linux/virtio_mmio.h>

#include "tests/unit/fake_driver.h"
#include "tests/unit/fake_kvm.h"
#include "virtio/virtio_mmio.h"

#define BASE	0xd0003000ULL
#define GSI	9
#define VM_FD	1000000 /* nothing the kernel knows */
#define NQUEUES 3
#define OFFERED (1ULL << VIRTIO_F_VERSION_1 | 1ULL << VIRTIO_RING_F_EVENT_IDX)

struct rig {
	struct vm vm;
	struct fake_guest guest;
	struct fake_queue drv;
	struct virtio_dev dev;
	struct virtio_mmio mmio;
	unsigned starts, resets;
};

static int rig_start(struct virtio_dev *dev)
{
	((struct rig *)dev->opaque)->starts++;
	return 0;
}

static void rig_reset(struct virtio_dev *dev)
{
	((struct rig *)dev->opaque)->resets++;
}

static void rig_config_write(struct virtio_dev *dev, unsigned off, const void *data, unsigned len)
{
	memcpy(dev->config + off, data, len);
}

static const struct virtio_dev_ops rig_ops = {rig_start, rig_reset, rig_config_write};

static struct rig *rig_without_mmio(void)
{
	struct rig *rig = calloc(1, sizeof(*rig));

	assert_non_null(rig);
	fake_kvm_reset();
	rig->vm.fd = VM_FD;
	rig->vm.kvm_fd = VM_FD;
	fake_guest_init(&rig->guest, 0, 1 << 20);
	fake_queue_init(&rig->drv, &rig->guest, 64, OFFERED);
	assert_int_equal(virtio_dev_init(&rig->dev, 2, NQUEUES, 256, &rig->guest.mem, NULL), 0);
	rig->dev.features = OFFERED;
	rig->dev.ops = &rig_ops;
	rig->dev.opaque = rig;
	rig->dev.config_len = 16;
	for (unsigned i = 0; i < 16; i++)
		rig->dev.config[i] = 0xa0 + i;
	strcpy(rig->dev.name, "vda");
	return rig;
}

static struct rig *rig_new(void)
{
	struct rig *rig = rig_without_mmio();

	assert_int_equal(virtio_mmio_init(&rig->mmio, &rig->dev, &rig->vm, BASE, GSI, NULL), 0);
	return rig;
}

static void rig_free_dev(struct rig *rig)
{
	assert_int_equal(fake_kvm.nirqfds, 0);
	assert_int_equal(fake_kvm.nio, 0);
	virtio_dev_destroy(&rig->dev);
	fake_guest_free(&rig->guest);
	free(rig);
}

static void rig_free(struct rig *rig)
{
	virtio_mmio_destroy(&rig->mmio);
	rig_free_dev(rig);
}

static uint32_t rd(struct rig *rig, uint64_t off)
{
	uint32_t value;

	bus_read(&rig->vm.mmio, BASE + off, &value, 4);
	return value;
}

static void wr(struct rig *rig, uint64_t off, uint32_t value)
{
	bus_write(&rig->vm.mmio, BASE + off, &value, 4);
}

static void setup_queue(struct rig *rig, uint32_t q, const struct virtq_config *config)
{
	wr(rig, VIRTIO_MMIO_QUEUE_SEL, q);
	wr(rig, VIRTIO_MMIO_QUEUE_NUM, config->size);
	wr(rig, VIRTIO_MMIO_QUEUE_DESC_LOW, (uint32_t)config->desc);
	wr(rig, VIRTIO_MMIO_QUEUE_DESC_HIGH, config->desc >> 32);
	wr(rig, VIRTIO_MMIO_QUEUE_AVAIL_LOW, (uint32_t)config->avail);
	wr(rig, VIRTIO_MMIO_QUEUE_AVAIL_HIGH, config->avail >> 32);
	wr(rig, VIRTIO_MMIO_QUEUE_USED_LOW, (uint32_t)config->used);
	wr(rig, VIRTIO_MMIO_QUEUE_USED_HIGH, config->used >> 32);
	wr(rig, VIRTIO_MMIO_QUEUE_READY, 1);
}

static void accept_features(struct rig *rig, uint64_t features)
{
	wr(rig, VIRTIO_MMIO_STATUS, 1);
	wr(rig, VIRTIO_MMIO_STATUS, 3);
	wr(rig, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
	wr(rig, VIRTIO_MMIO_DRIVER_FEATURES, features >> 32);
	wr(rig, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 0);
	wr(rig, VIRTIO_MMIO_DRIVER_FEATURES, (uint32_t)features);
	wr(rig, VIRTIO_MMIO_STATUS, 0xb);
}

static void to_driver_ok(struct rig *rig)
{
	accept_features(rig, OFFERED);
	setup_queue(rig, 0, &rig->drv.config);
	wr(rig, VIRTIO_MMIO_STATUS, 0xf);
}

static bool kicked(struct rig *rig, unsigned q)
{
	return fake_kvm_take(rig->dev.kick_fd[q]);
}

static void the_registers_identify_the_device(void **state)
{
	struct rig *rig = rig_new();

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
	struct rig *rig = rig_new();

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
	struct rig *rig = rig_new();

	assert_int_equal(fake_kvm.nio, NQUEUES);
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
	struct rig *rig = rig_new();

	wr(rig, VIRTIO_MMIO_QUEUE_NOTIFY, 1);
	assert_true(kicked(rig, 1));
	assert_false(kicked(rig, 0));
	rig_free(rig);
}

static void H19_kicks_of_no_queue_or_odd_width_are_dropped(void **state)
{
	static const uint32_t bad[] = {NQUEUES, 64, 0xffff, 0x10000, 0x80000000, 0xffffffff};
	struct rig *rig = rig_new();
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
	static const uint32_t bad[] = {NQUEUES, 63, 64, 0xffff, 0x80000000, 0xffffffff};
	struct rig *rig = rig_new();
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
	struct rig *rig = rig_new();
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
	struct rig *rig = rig_new();
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
	struct rig *rig = rig_new();
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, signal_thread, rig), 0);
	for (unsigned i = 0; i < 20000; i++)
		wr(rig, VIRTIO_MMIO_INTERRUPT_ACK, VIRTIO_MMIO_INT_CONFIG);
	pthread_join(thread, NULL);
	assert_int_equal(rd(rig, VIRTIO_MMIO_INTERRUPT_STATUS), VIRTIO_MMIO_INT_VRING);
	rig_free(rig);
}

/* ---- widths, places, old registers ----------------------------------------------------------- */

static void H25_registers_answer_to_aligned_words_only(void **state)
{
	struct rig *rig = rig_new();
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
	struct rig *rig = rig_new();

	for (unsigned len = 1; len <= 8; len *= 2) {
		for (uint64_t off = 0; off < 0x180; off++) {
			uint8_t data[8];

			bus_read(&rig->vm.mmio, BASE + 0x100 + off, data, len);
			for (unsigned i = 0; i < len; i++)
				assert_int_equal(data[i], off + i < 16 ? 0xa0 + off + i : 0);
		}
	}
	bus_read(&rig->vm.mmio, BASE + VIRTIO_MMIO_SIZE - 4, &(uint32_t){1}, 4);
	rig_free(rig);
}

static void H25_config_writes_change_the_generation(void **state)
{
	struct rig *rig = rig_new();
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
	static const uint16_t old[] = {0x28, 0x3c, 0x40}; /* page size, align, PFN */
	struct rig *rig = rig_new();
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
	struct rig *rig = rig_new();

	accept_features(rig, 0);
	assert_int_equal(rd(rig, VIRTIO_MMIO_STATUS), 3);
	accept_features(rig, OFFERED | 1);
	assert_int_equal(rd(rig, VIRTIO_MMIO_STATUS), 3);
	rig_free(rig);
}

static void H17_a_bad_queue_stays_not_ready(void **state)
{
	struct rig *rig = rig_new();
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
	struct rig *rig = rig_new();
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

static void init_leaves_nothing_behind_when_kvm_refuses(void **state)
{
	struct rig *rig = rig_without_mmio();
	struct error err;

	fake_kvm_fail(KVM_IRQFD, ENOMEM, 1);
	assert_int_equal(virtio_mmio_init(&rig->mmio, &rig->dev, &rig->vm, BASE, GSI, &err),
			 -ENOMEM);
	assert_non_null(strstr(err.text, "vda"));
	/* The second doorbell is refused: the first goes again, and the irqfd. */
	assert_int_equal(ioeventfd_assign(VM_FD, 0, BASE + VIRTIO_MMIO_QUEUE_NOTIFY, 4, 1), 0);
	assert_int_equal(virtio_mmio_init(&rig->mmio, &rig->dev, &rig->vm, BASE, GSI, &err),
			 -EEXIST);
	assert_int_equal(fake_kvm.nirqfds, 0);
	assert_int_equal(fake_kvm.nio, 1);
	ioeventfd_deassign(VM_FD, 0, BASE + VIRTIO_MMIO_QUEUE_NOTIFY, 4, 1);
	bus_seal(&rig->vm.mmio);
	assert_int_equal(virtio_mmio_init(&rig->mmio, &rig->dev, &rig->vm, BASE, GSI, &err),
			 -EBUSY);
	rig_free_dev(rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(the_registers_identify_the_device),
	    cmocka_unit_test(a_driver_can_bring_the_device_up_and_reset_it),
	    cmocka_unit_test(each_queue_has_its_ioeventfd),
	    cmocka_unit_test(H19_a_kick_that_kvm_did_not_catch_still_kicks),
	    cmocka_unit_test(H19_kicks_of_no_queue_or_odd_width_are_dropped),
	    cmocka_unit_test(H19_a_selector_of_no_queue_reads_0_and_drops_writes),
	    cmocka_unit_test(the_line_sets_status_and_interrupts),
	    cmocka_unit_test(reset_clears_the_interrupt_status),
	    cmocka_unit_test(acknowledging_loses_no_bit_of_another_thread),
	    cmocka_unit_test(H25_registers_answer_to_aligned_words_only),
	    cmocka_unit_test(H25_config_space_takes_every_width),
	    cmocka_unit_test(H25_config_writes_change_the_generation),
	    cmocka_unit_test(H24_registers_of_version_1_do_not_exist),
	    cmocka_unit_test(H24_features_without_version_1_are_refused),
	    cmocka_unit_test(H17_a_bad_queue_stays_not_ready),
	    cmocka_unit_test(H18_writes_after_driver_ok_change_nothing),
	    cmocka_unit_test(init_leaves_nothing_behind_when_kvm_refuses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
