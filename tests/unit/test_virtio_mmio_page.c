/* SPDX-License-Identifier: Apache-2.0 */
/* The page that a guest reads instead of the virtio-mmio registers: it says what they would,
 * whatever other threads do meanwhile. */
#include "tests/unit/virtio_mmio_rig.h"
#include "virtio/virtio_mmio_pages.h"

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
	/* Whoever was the last, on a busy host either. */
	assert_int_equal(rd(rig, VIRTIO_MMIO_QUEUE_READY), rig->mmio.queue_sel == 0);
	assert_int_equal(rd(rig, VIRTIO_MMIO_QUEUE_NUM_MAX) != 0, rig->mmio.queue_sel == 0);
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

int main(void)
{
	bool page = true;
	const struct CMUnitTest tests[] = {
		PAGE(with_a_page_used_buffers_are_acknowledged_without_an_exit),
		PAGE(with_a_page_a_configuration_interrupt_shows_until_acknowledged),
		PAGE(the_page_reads_as_the_exits_do_after_every_write),
		PAGE(vcpus_that_race_for_a_selector_leave_a_true_page),
		BOTH(a_change_of_the_configuration_is_read_at_once),
		PAGE(a_configuration_is_not_changed_while_a_vcpu_refreshes_the_page),
		PAGE(a_refresh_loses_no_bit_of_another_thread),
		EXITS(pages_are_one_read_only_slot),
		EXITS(pages_that_kvm_refuses_are_an_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
