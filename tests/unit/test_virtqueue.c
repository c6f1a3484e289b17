/* SPDX-License-Identifier: Apache-2.0 */
/* Starting a split ring and taking chains from it, as an honest driver makes them. */
#include "tests/unit/virtqueue_rig.h"

/* ---- start ----------------------------------------------------------------------------------- */

static void start_takes_every_power_of_two(void **state)
{
	struct rig *rig = rig_new(1024, 0);
	struct virtq_config config = rig->drv.config;

	for (unsigned size = 1; size <= VIRTQ_MAX_SIZE; size *= 2) {
		config.size = size;
		assert_int_equal(start_with(rig, config), 0);
		assert_int_equal(rig->vq.size, size);
	}
	rig_free(rig);
}

static void start_takes_areas_up_to_the_last_byte(void **state)
{
	struct rig *rig = rig_new(256, 0);
	struct virtq_config config = rig->drv.config;

	config.desc = RAM_END - 4096;
	assert_int_equal(start_with(rig, config), 0);
	config = rig->drv.config;
	config.avail = RAM_END - 6 - 2 * 256;
	assert_int_equal(start_with(rig, config), 0);
	config.avail = config.desc + 4096; /* right behind, not overlapping */
	assert_int_equal(start_with(rig, config), 0);
	rig_free(rig);
}

static void start_writes_nothing_to_the_guest(void **state)
{
	struct rig *rig = rig_new(256, F_EVENT);
	static uint8_t before[RAM_SIZE];

	memset(rig->guest.ram, 0x5a, RAM_SIZE);
	memset(before, 0x5a, sizeof(before));
	assert_int_equal(start_with(rig, rig->drv.config), 0);
	assert_memory_equal(rig->guest.ram, before, RAM_SIZE);
	rig_free(rig);
}

static void a_queue_that_is_not_running_does_nothing(void **state)
{
	struct virtqueue vq;
	static struct desc_chain chain;

	memset(&vq, 0xff, sizeof(vq));
	virtq_stop(&vq);
	assert_int_equal(virtq_pop(&vq, &chain), 0);
	assert_false(virtq_has_work(&vq));
	assert_false(virtq_publish(&vq));
	virtq_disable_notify(&vq);
	assert_false(virtq_enable_notify(&vq));
}

/* ---- pop ------------------------------------------------------------------------------------- */

static void pop_of_an_empty_ring_is_0(void **state)
{
	struct rig *rig = rig_new(8, 0);

	assert_int_equal(pop(rig), 0);
	assert_false(virtq_has_work(&rig->vq));
	rig_free(rig);
}

static void pop_translates_a_chain(void **state)
{
	struct rig *rig = rig_new(8, 0);
	const struct fake_buf bufs[] = { { BUFFER, 16, 0 },
					 { BUFFER + 512, 512, W },
					 { BUFFER + 100, 1, W } };
	int head = fake_queue_add(&rig->drv, bufs, 3, 0);

	fake_queue_publish(&rig->drv);
	assert_true(virtq_has_work(&rig->vq));
	assert_int_equal(pop(rig), 1);
	assert_int_equal(rig->chain.head, head);
	assert_int_equal(rig->chain.nreadable, 1);
	assert_int_equal(rig->chain.nwritable, 2);
	assert_int_equal(rig->chain.readable, 16);
	assert_int_equal(rig->chain.writable, 513);
	assert_false(rig->chain.bad_address);
	assert_false(rig->chain.bad_order);
	for (unsigned i = 0; i < 3; i++) {
		assert_ptr_equal(rig->chain.iov[i].iov_base,
				 fake_guest_ptr(&rig->guest, bufs[i].gpa));
		assert_int_equal(rig->chain.iov[i].iov_len, bufs[i].len);
	}
	assert_int_equal(rig->vq.in_flight, 1);
	assert_int_equal(pop(rig), 0);
	rig_free(rig);
}

static void pop_follows_an_indirect_table(void **state)
{
	struct rig *rig = rig_new(8, F_INDIRECT);
	const struct fake_buf bufs[] = { { BUFFER, 16, 0 }, { BUFFER + 512, 512, W } };
	int head = fake_queue_add_indirect(&rig->drv, bufs, 2, 0);

	fake_queue_publish(&rig->drv);
	assert_int_equal(pop(rig), 1);
	assert_int_equal(rig->chain.head, head);
	assert_int_equal(rig->chain.readable, 16);
	assert_int_equal(rig->chain.writable, 512);
	rig_free(rig);
}

/* 2.7.5.3.2: zero or more normal descriptors may come before the indirect one. */
static void pop_follows_a_chain_that_ends_indirect(void **state)
{
	struct rig *rig = rig_new(8, F_INDIRECT);
	gpa_t table = fake_guest_alloc(&rig->guest, 64, 16);
	struct vring_desc *d = fake_guest_ptr(&rig->guest, table);

	fake_queue_set_desc(&rig->drv, 0, BUFFER, 16, NEXT, 1);
	fake_queue_set_desc(&rig->drv, 1, table, 32, INDIRECT, 0);
	d[0] = (struct vring_desc){ BUFFER + 16, 8, NEXT, 1 };
	d[1] = (struct vring_desc){ BUFFER + 32, 4, W, 0 };
	fake_queue_offer(&rig->drv, 0);
	fake_queue_publish(&rig->drv);
	assert_int_equal(pop(rig), 1);
	assert_int_equal(rig->chain.nreadable, 2);
	assert_int_equal(rig->chain.readable, 24);
	assert_int_equal(rig->chain.writable, 4);
	rig_free(rig);
}

static void pop_takes_an_unaligned_indirect_table(void **state)
{
	struct rig *rig = rig_new(8, F_INDIRECT);
	gpa_t table = fake_guest_alloc(&rig->guest, 64, 16) + 3;
	const struct vring_desc d = { BUFFER, 77, W, 0 };

	memcpy(fake_guest_ptr(&rig->guest, table), &d, sizeof(d));
	fake_queue_set_desc(&rig->drv, 0, table, 16, INDIRECT, 0);
	fake_queue_offer(&rig->drv, 0);
	fake_queue_publish(&rig->drv);
	assert_int_equal(pop(rig), 1);
	assert_int_equal(rig->chain.writable, 77);
	rig_free(rig);
}

static void pop_leaves_empty_buffers_out(void **state)
{
	struct rig *rig = rig_new(8, 0);
	const struct fake_buf bufs[] = {
		{ 0, 0, 0 }, { BUFFER, 16, 0 }, { ~0ULL, 0, W }, { 0, 0, 0 }, { BUFFER, 1, W }
	};

	fake_queue_add(&rig->drv, bufs, 5, 0);
	fake_queue_publish(&rig->drv);
	assert_int_equal(pop(rig), 1);
	assert_int_equal(rig->chain.nreadable, 1);
	assert_int_equal(rig->chain.nwritable, 1);
	assert_false(rig->chain.bad_address);
	assert_false(rig->chain.bad_order);
	rig_free(rig);
}

/* Linux builds indirect chains longer than a small ring. */
static void an_indirect_chain_may_be_longer_than_the_ring(void **state)
{
	struct rig *rig = rig_new(4, F_INDIRECT);
	struct fake_buf bufs[100];

	for (unsigned i = 0; i < 100; i++)
		bufs[i] = (struct fake_buf){ BUFFER + i, 1, 0 };
	fake_queue_add_indirect(&rig->drv, bufs, 100, 0);
	fake_queue_publish(&rig->drv);
	assert_int_equal(pop(rig), 1);
	assert_int_equal(rig->chain.nreadable, 100);
	rig_free(rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(start_takes_every_power_of_two),
		cmocka_unit_test(start_takes_areas_up_to_the_last_byte),
		cmocka_unit_test(start_writes_nothing_to_the_guest),
		cmocka_unit_test(a_queue_that_is_not_running_does_nothing),
		cmocka_unit_test(pop_of_an_empty_ring_is_0),
		cmocka_unit_test(pop_translates_a_chain),
		cmocka_unit_test(pop_follows_an_indirect_table),
		cmocka_unit_test(pop_follows_a_chain_that_ends_indirect),
		cmocka_unit_test(pop_takes_an_unaligned_indirect_table),
		cmocka_unit_test(pop_leaves_empty_buffers_out),
		cmocka_unit_test(an_indirect_chain_may_be_longer_than_the_ring),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
