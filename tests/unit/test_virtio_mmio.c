/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The virtio-mmio registers on a real bus and a KVM in the test, most of it twice: with an exit for
 * each read and with a page that the guest reads. H numbers are the cases of the hostile-guest
 * list.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <linux/virtio_mmio.h>

#include "tests/unit/fake_driver.h"
#include "tests/unit/fake_kvm.h"
#include "virtio/virtio_mmio.h"
#include "virtio/virtio_mmio_pages.h"

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
	uint8_t *page; /* NULL: reads exit */
	bool start_fails;
	unsigned starts, resets;
};

static int rig_start(struct virtio_dev *dev)
{
	struct rig *rig = dev->opaque;

	rig->starts++;
	return rig->start_fails ? -EIO : 0;
}

static void rig_reset(struct virtio_dev *dev)
{
	((struct rig *)dev->opaque)->resets++;
}

static void rig_config_write(struct virtio_dev *dev, unsigned off, const void *data, unsigned len)
{
	memcpy(dev->config + off, data, len);
}

static const struct virtio_dev_ops rig_ops = { rig_start, rig_reset, rig_config_write };

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

static void rig_attach(struct rig *rig, bool page)
{
	if (page) {
		rig->page = aligned_alloc(VIRTIO_MMIO_SIZE, VIRTIO_MMIO_SIZE);
		assert_non_null(rig->page);
		memset(rig->page, 0, VIRTIO_MMIO_SIZE);
	}
	assert_int_equal(virtio_mmio_init(&rig->mmio, &rig->dev, &rig->vm, BASE, GSI, rig->page,
					  NULL),
			 0);
}

/* As the list at the end wants it: with a page if the test has a state. */
static struct rig *rig_new(void **state)
{
	struct rig *rig = rig_without_mmio();

	rig_attach(rig, *state);
	return rig;
}

static void rig_free_dev(struct rig *rig)
{
	virtio_dev_destroy(&rig->dev);
	fake_guest_free(&rig->guest);
	free(rig);
}

static void rig_free(struct rig *rig)
{
	virtio_mmio_destroy(&rig->mmio);
	assert_int_equal(fake_kvm.nirqfds, 0);
	assert_int_equal(fake_kvm.nio, 0);
	free(rig->page);
	rig_free_dev(rig);
}

static void rd_bytes(struct rig *rig, uint64_t off, void *data, unsigned len)
{
	if (rig->page)
		memcpy(data, rig->page + off, len);
	else
		bus_read(&rig->vm.mmio, BASE + off, data, len);
}

static uint32_t rd(struct rig *rig, uint64_t off)
{
	uint32_t value;

	rd_bytes(rig, off, &value, 4);
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

static bool acked_in_kvm(uint32_t value)
{
	return fake_kvm_write(BASE + VIRTIO_MMIO_INTERRUPT_ACK, 4, value);
}

static void with_a_page_used_buffers_are_acknowledged_without_an_exit(void **state)
{
	struct rig *rig = rig_new(state);
	struct irq_line line;

	assert_int_equal(rd(rig, VIRTIO_MMIO_INTERRUPT_STATUS), 0);
	to_driver_ok(rig);
	line = rig->dev.transport_ops->queue_line(rig->dev.transport, 0);
	for (unsigned i = 0; i < 3; i++) {
		irq_line_signal(&line);
		assert_int_equal(fake_kvm_deliver(), 1);
		assert_int_equal(rd(rig, VIRTIO_MMIO_INTERRUPT_STATUS), VIRTIO_MMIO_INT_VRING);
		assert_true(acked_in_kvm(VIRTIO_MMIO_INT_VRING));
	}
	wr(rig, VIRTIO_MMIO_STATUS, 0);
	assert_int_equal(rd(rig, VIRTIO_MMIO_INTERRUPT_STATUS), 0);
	rig_free(rig);
}

static void with_a_page_a_configuration_interrupt_shows_until_acknowledged(void **state)
{
	struct rig *rig = rig_new(state);
	const uint32_t both = VIRTIO_MMIO_INT_VRING | VIRTIO_MMIO_INT_CONFIG;
	struct irq_line line;

	to_driver_ok(rig);
	line = rig->dev.transport_ops->config_line(rig->dev.transport);
	irq_line_signal(&line);
	assert_int_equal(fake_kvm_deliver(), 1);
	assert_int_equal(rd(rig, VIRTIO_MMIO_INTERRUPT_STATUS), both);
	/* One of an earlier interrupt, whose handler had read 1, takes nothing away. */
	assert_true(acked_in_kvm(VIRTIO_MMIO_INT_VRING));
	assert_int_equal(rd(rig, VIRTIO_MMIO_INTERRUPT_STATUS), both);
	assert_false(acked_in_kvm(both));
	wr(rig, VIRTIO_MMIO_INTERRUPT_ACK, both);
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

/* ---- the page against the exits -------------------------------------------------------------- */

static const uint16_t written[] = {
	VIRTIO_MMIO_DEVICE_FEATURES_SEL,
	VIRTIO_MMIO_DRIVER_FEATURES,
	VIRTIO_MMIO_DRIVER_FEATURES_SEL,
	VIRTIO_MMIO_QUEUE_SEL,
	VIRTIO_MMIO_QUEUE_NUM,
	VIRTIO_MMIO_QUEUE_READY,
	VIRTIO_MMIO_QUEUE_NOTIFY,
	VIRTIO_MMIO_INTERRUPT_ACK,
	VIRTIO_MMIO_STATUS,
	VIRTIO_MMIO_QUEUE_DESC_LOW,
	VIRTIO_MMIO_QUEUE_AVAIL_LOW,
	VIRTIO_MMIO_QUEUE_USED_HIGH,
	VIRTIO_MMIO_CONFIG + 4,
	VIRTIO_MMIO_CONFIG + 15,
	0xfc,
	0xffc,
};

static const uint32_t values[] = { 0, 1, 2, 3, 7, 0xb, 0xf, 0x80, 64, 256, 0x10001, 0xffffffff };

#define PICK(array, random) ((array)[(random) % (sizeof(array) / sizeof((array)[0]))])

/* One step, the same for whichever rig it is done to. */
static void step(struct rig *rig, unsigned what, unsigned random)
{
	const struct virtio_transport_ops *ops = rig->dev.transport_ops;
	const uint64_t value = PICK(values, random >> 8); /* as wide as a write may be */
	struct irq_line line;

	rig->start_fails = random >> 20 & 1;
	switch (what % 32) {
	case 0:
		accept_features(rig, OFFERED);
		break;
	case 1:
		setup_queue(rig, random % 4, &rig->drv.config);
		break;
	case 2:
		wr(rig, VIRTIO_MMIO_STATUS, 0);
		to_driver_ok(rig);
		break;
	case 3:
		atomic_fetch_or(rig->dev.status, VIRTIO_CONFIG_S_NEEDS_RESET);
		break;
	case 4:
		line = ops->config_line(rig->dev.transport);
		irq_line_signal(&line);
		break;
	case 5:
		line = ops->queue_line(rig->dev.transport, random % NQUEUES);
		irq_line_signal(&line);
		break;
	case 6:
		bus_write(&rig->vm.mmio, BASE + random % 0x120, &value, 1 << (random >> 16) % 4);
		break;
	default:
		wr(rig, PICK(written, random), value);
	}
}

static void assert_same(struct rig *exits, struct rig *page)
{
	for (uint64_t off = 0; off < VIRTIO_MMIO_SIZE; off += 4) {
		uint32_t want = rd(exits, off), got = rd(page, off), by_exit;

		bus_read(&page->vm.mmio, BASE + off, &by_exit, 4);
		assert_int_equal(got, by_exit);
		if (off == VIRTIO_MMIO_INTERRUPT_STATUS) {
			want &= VIRTIO_MMIO_INT_CONFIG;
			got &= ~VIRTIO_MMIO_INT_VRING;
		}
		if (got != want)
			fail_msg("register %#x reads %#x, with exits %#x", (unsigned)off, got,
				 want);
	}
}

static void the_page_reads_as_the_exits_do_after_every_write(void **state)
{
	struct rig *exits = rig_without_mmio(), *page;
	unsigned seed = 20;

	rig_attach(exits, false);
	page = rig_without_mmio(); /* a KVM of its own: doorbells of the same place */
	page->drv.config = exits->drv.config;
	rig_attach(page, true);
	assert_same(exits, page);
	for (unsigned i = 0; i < 5000; i++) {
		const unsigned what = rand_r(&seed), random = rand_r(&seed);

		step(exits, what, random);
		step(page, what, random);
		assert_same(exits, page);
	}
	assert_int_equal(exits->starts, page->starts);
	assert_in_range(page->starts, 10, 5000);
	rig_free(page);
	virtio_mmio_destroy(&exits->mmio);
	rig_free_dev(exits);
}

#define A_WHILE 3000 /* us; too short only makes a test see less */

static void *select_queue_0(void *rig)
{
	wr(rig, VIRTIO_MMIO_QUEUE_SEL, 0);
	return NULL;
}

static void *select_no_queue(void *rig)
{
	wr(rig, VIRTIO_MMIO_QUEUE_SEL, 99);
	return NULL;
}

/* The first is held up while it refreshes the page. It must not put down what it had read before
 * the second one's write. */
static void vcpus_that_race_for_a_selector_leave_a_true_page(void **state)
{
	struct rig *rig = rig_new(state);
	pthread_t first, second;

	to_driver_ok(rig);
	pthread_mutex_lock(&rig->dev.lock);
	assert_int_equal(pthread_create(&first, NULL, select_queue_0, rig), 0);
	usleep(A_WHILE);
	assert_int_equal(pthread_create(&second, NULL, select_no_queue, rig), 0);
	usleep(A_WHILE);
	pthread_mutex_unlock(&rig->dev.lock);
	pthread_join(first, NULL);
	pthread_join(second, NULL);
	assert_int_equal(rig->mmio.queue_sel, 99);
	assert_int_equal(rd(rig, VIRTIO_MMIO_QUEUE_READY), 0);
	assert_int_equal(rd(rig, VIRTIO_MMIO_QUEUE_NUM_MAX), 0);
	rig_free(rig);
}

/* Which no register that the driver writes has caused (virtio 1.2, 2.5.1). */
static void a_change_of_the_configuration_is_read_at_once(void **state)
{
	struct rig *rig = rig_new(state);
	uint32_t before;

	to_driver_ok(rig);
	before = rd(rig, VIRTIO_MMIO_CONFIG_GENERATION);
	assert_int_equal(virtio_dev_try_change_config(&rig->dev, 4, "\1\2\3\4", 4), 0);
	assert_int_equal(rd(rig, VIRTIO_MMIO_CONFIG + 4), 0x04030201);
	assert_int_equal(rd(rig, VIRTIO_MMIO_CONFIG), 0xa3a2a1a0);
	assert_int_not_equal(rd(rig, VIRTIO_MMIO_CONFIG_GENERATION), before);
	rig_free(rig);
}

static void a_configuration_is_not_changed_while_a_vcpu_refreshes_the_page(void **state)
{
	struct rig *rig = rig_new(state);

	to_driver_ok(rig);
	pthread_mutex_lock(&rig->mmio.page_lock);
	assert_int_equal(virtio_dev_try_change_config(&rig->dev, 4, "\1\2\3\4", 4), -EBUSY);
	assert_int_equal(rd(rig, VIRTIO_MMIO_CONFIG + 4), 0xa7a6a5a4);
	pthread_mutex_unlock(&rig->mmio.page_lock);
	assert_int_equal(virtio_dev_try_change_config(&rig->dev, 4, "\1\2\3\4", 4), 0);
	rig_free(rig);
}

static void *break_device(void *arg)
{
	struct rig *rig = arg;
	struct irq_line line = rig->dev.transport_ops->config_line(rig->dev.transport);

	atomic_fetch_or(rig->dev.status, VIRTIO_CONFIG_S_NEEDS_RESET);
	irq_line_signal(&line);
	return NULL;
}

static void a_refresh_loses_no_bit_of_another_thread(void **state)
{
	struct rig *rig = rig_new(state);
	pthread_t thread;

	to_driver_ok(rig);
	for (unsigned round = 0; round < 200; round++) {
		wr(rig, VIRTIO_MMIO_INTERRUPT_ACK, VIRTIO_MMIO_INT_CONFIG);
		atomic_fetch_and(rig->dev.status, ~VIRTIO_CONFIG_S_NEEDS_RESET);
		assert_int_equal(pthread_create(&thread, NULL, break_device, rig), 0);
		for (unsigned i = 0; i < 30; i++)
			wr(rig, VIRTIO_MMIO_INTERRUPT_ACK, VIRTIO_MMIO_INT_VRING);
		pthread_join(thread, NULL);
		assert_true(rd(rig, VIRTIO_MMIO_INTERRUPT_STATUS) & VIRTIO_MMIO_INT_CONFIG);
		assert_true(rd(rig, VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET);
	}
	rig_free(rig);
}

/* ---- the memory behind pages ----------------------------------------------------------------- */

static void pages_are_one_read_only_slot(void **state)
{
	const struct vm vm = { .fd = VM_FD, .kvm_fd = VM_FD };
	struct virtio_mmio_pages pages = { 0 };

	fake_kvm_reset();
	assert_true(virtio_mmio_pages_possible(&vm));
	assert_null(virtio_mmio_pages_at(&pages, 0));
	assert_int_equal(virtio_mmio_pages_init(&pages, &vm, BASE, 3, NULL), 0);
	assert_int_equal(fake_kvm.slot.slot, GUEST_MEMORY_MAX_SLOTS);
	assert_int_equal(fake_kvm.slot.flags, KVM_MEM_READONLY);
	assert_int_equal(fake_kvm.slot.guest_phys_addr, BASE);
	assert_int_equal(fake_kvm.slot.memory_size, 0x3000);
	assert_ptr_equal(virtio_mmio_pages_at(&pages, BASE), fake_kvm.slot.userspace_addr);
	assert_ptr_equal(virtio_mmio_pages_at(&pages, BASE + 0x2000),
			 fake_kvm.slot.userspace_addr + 0x2000);
	assert_null(virtio_mmio_pages_at(&pages, BASE + 0x3000));
	assert_null(virtio_mmio_pages_at(&pages, BASE - 0x1000));
	virtio_mmio_pages_destroy(&pages);
	assert_null(virtio_mmio_pages_at(&pages, BASE));
}

static void pages_that_kvm_refuses_are_an_error(void **state)
{
	const struct vm vm = { .fd = VM_FD, .kvm_fd = VM_FD };
	struct virtio_mmio_pages pages = { 0 };
	struct error err;

	fake_kvm_reset();
	fake_kvm.no_readonly = true;
	assert_false(virtio_mmio_pages_possible(&vm));
	fake_kvm_fail(KVM_SET_USER_MEMORY_REGION, ENOMEM, 1);
	assert_int_equal(virtio_mmio_pages_init(&pages, &vm, BASE, 3, &err), -ENOMEM);
	assert_non_null(strstr(err.text, "register pages"));
	virtio_mmio_pages_destroy(&pages);
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

#define EXITS(test) cmocka_unit_test(test)
/* clang-format off */
#define PAGE(test) {.name = #test ", page", .test_func = (test), .initial_state = &page}
/* clang-format on */
#define BOTH(test) EXITS(test), PAGE(test)

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
		PAGE(with_a_page_used_buffers_are_acknowledged_without_an_exit),
		PAGE(with_a_page_a_configuration_interrupt_shows_until_acknowledged),
		BOTH(needs_reset_shows_at_once),
		BOTH(a_failed_start_shows_needs_reset_and_interrupts),
		PAGE(the_page_reads_as_the_exits_do_after_every_write),
		PAGE(vcpus_that_race_for_a_selector_leave_a_true_page),
		BOTH(a_change_of_the_configuration_is_read_at_once),
		PAGE(a_configuration_is_not_changed_while_a_vcpu_refreshes_the_page),
		PAGE(a_refresh_loses_no_bit_of_another_thread),
		EXITS(pages_are_one_read_only_slot),
		EXITS(pages_that_kvm_refuses_are_an_error),
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
