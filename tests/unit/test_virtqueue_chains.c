/* SPDX-License-Identifier: Apache-2.0 */
/* Chains that are not what they should be: indirect tables, and the order, length and place of
 * buffers. H numbers are the cases of docs/security.md. */
#include <pthread.h>

#include "tests/unit/virtqueue_rig.h"
#include "virtio/barrier.h"

static struct rig *rig_indirect(uint64_t features, struct vring_desc ring, gpa_t *table)
{
	struct rig *rig = rig_new(8, features);
	gpa_t gpa = fake_guest_alloc(&rig->guest, 4096, 4096);
	struct vring_desc *d = fake_guest_ptr(&rig->guest, gpa);

	for (unsigned i = 0; i < 8; i++)
		d[i] = (struct vring_desc){ BUFFER, 1, 0, 0 };
	if (!ring.addr)
		ring.addr = gpa;
	rig->drv.desc[0] = ring;
	if (table)
		*table = gpa;
	return rig;
}

static void H5_indirect_needs_the_feature(void **state)
{
	expect_broken(rig_indirect(F_EVENT, (struct vring_desc){ 0, 16, INDIRECT, 0 }, NULL), 0);
}

static void H5_indirect_with_next_breaks_the_ring(void **state)
{
	struct vring_desc ring = { 0, 16, INDIRECT | NEXT, 1 };

	expect_broken(rig_indirect(F_INDIRECT, ring, NULL), 0);
}

static void H5_bad_table_lengths_break_the_ring(void **state)
{
	static const uint32_t len[] = { 0,	    1,	       15, 17, 40, 16 * VIRTQ_MAX_SIZE + 16,
					0xfffffff0, 0xffffffff };

	for (unsigned i = 0; i < sizeof(len) / sizeof(*len); i++) {
		struct vring_desc ring = { 0, len[i], INDIRECT, 0 };

		expect_broken(rig_indirect(F_INDIRECT, ring, NULL), 0);
	}
}

static void H5_a_table_outside_ram_breaks_the_ring(void **state)
{
	static const gpa_t addr[] = { RAM_END - 16, RAM_END, RAM_BASE - 16, ~15ULL, 16 };

	for (unsigned i = 0; i < sizeof(addr) / sizeof(*addr); i++) {
		struct vring_desc ring = { addr[i], 32, INDIRECT, 0 };

		expect_broken(rig_indirect(F_INDIRECT, ring, NULL), 0);
	}
}

static void H5_a_nested_table_breaks_the_ring(void **state)
{
	gpa_t table;
	struct rig *rig =
		rig_indirect(F_INDIRECT, (struct vring_desc){ 0, 32, INDIRECT, 0 }, &table);
	struct vring_desc *d = fake_guest_ptr(&rig->guest, table);

	d[0] = (struct vring_desc){ table + 64, 16, INDIRECT, 0 };
	expect_broken(rig, 0);
}

static void H5_the_rings_own_table_as_indirect_breaks_the_ring(void **state)
{
	struct rig *rig = rig_new(8, F_INDIRECT);

	fake_queue_set_desc(&rig->drv, 0, BUFFER, 1, 0, 0);
	fake_queue_set_desc(&rig->drv, 3, rig->drv.config.desc, 128, INDIRECT, 0);
	expect_broken(rig, 3);
}

static void H5_next_beyond_the_table_breaks_the_ring(void **state)
{
	gpa_t table;
	struct rig *rig =
		rig_indirect(F_INDIRECT, (struct vring_desc){ 0, 32, INDIRECT, 0 }, &table);
	struct vring_desc *d = fake_guest_ptr(&rig->guest, table);

	d[0].flags = NEXT;
	d[0].next = 2;
	expect_broken(rig, 0);
}

static void H5_a_loop_in_the_table_breaks_the_ring(void **state)
{
	gpa_t table;
	struct rig *rig =
		rig_indirect(F_INDIRECT, (struct vring_desc){ 0, 32, INDIRECT, 0 }, &table);
	struct vring_desc *d = fake_guest_ptr(&rig->guest, table);

	d[0].flags = NEXT;
	d[0].next = 0;
	expect_broken(rig, 0);
}

static void H6_readable_after_writable_shows_nothing_and_goes_on(void **state)
{
	struct rig *rig = rig_new(8, 0);
	const struct fake_buf bufs[] = {
		{ BUFFER, 16, 0 }, { BUFFER, 512, W }, { BUFFER, 8, 0 }, { BUFFER, 1, W }
	};
	struct fake_done done;
	int head = fake_queue_add(&rig->drv, bufs, 4, 7);

	offer_one(rig, 5);
	assert_int_equal(pop(rig), 1);
	assert_true(rig->chain.bad_order);
	assert_int_equal(rig->chain.head, head);
	assert_int_equal(rig->chain.nreadable + rig->chain.nwritable, 0);
	assert_int_equal(rig->chain.readable + rig->chain.writable, 0);
	virtq_push(&rig->vq, head, 0);
	virtq_publish(&rig->vq);
	assert_true(fake_queue_poll(&rig->drv, &done));
	assert_int_equal(done.cookie, 7);
	assert_int_equal(pop(rig), 1);
	assert_false(rig->chain.bad_order);
	assert_int_equal(rig->chain.readable, 5);
	rig_free(rig);
}

static void H8_lengths_are_summed_in_64_bits(void **state)
{
	struct rig *rig = rig_new(128, 0);
	struct fake_buf bufs[128];

	for (unsigned i = 0; i < 128; i++)
		bufs[i] = (struct fake_buf){ BUFFER, 0xffffffff, i < 64 ? 0 : W };
	fake_queue_add(&rig->drv, bufs, 128, 0);
	fake_queue_publish(&rig->drv);
	assert_int_equal(pop(rig), 1);
	assert_true(rig->chain.bad_address);
	assert_true(rig->chain.readable == 64 * 0xffffffffULL);
	assert_true(rig->chain.writable == 64 * 0xffffffffULL);
	assert_null(rig->chain.iov[127].iov_base);
	assert_int_equal(rig->chain.iov[127].iov_len, 0xffffffff);
	rig_free(rig);
}

static void H10_only_whole_buffers_in_ram_are_translated(void **state)
{
	static const struct {
		gpa_t gpa;
		uint32_t len;
		bool ok;
	} cases[] = {
		{ RAM_BASE, 1, true },
		{ RAM_END - 1, 1, true },
		{ RAM_BASE, RAM_SIZE, true },
		{ RAM_END, 1, false },
		{ RAM_END - 1, 2, false },
		{ RAM_BASE - 1, 2, false },
		{ RAM_BASE, RAM_SIZE + 1, false },
		{ 0, 1, false },
		{ ~0ULL, 1, false },
		{ ~0ULL, 0xffffffff, false },
		{ -(RAM_SIZE), 0xffffffff, false },
		{ 0xfee00000, 4, false },
		{ 0xc0000000, 4096, false },
	};

	for (unsigned i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct rig *rig = rig_new(8, 0);
		struct fake_buf buf = { cases[i].gpa, cases[i].len, W };

		fake_queue_add(&rig->drv, &buf, 1, 0);
		fake_queue_publish(&rig->drv);
		assert_int_equal(pop(rig), 1);
		assert_int_equal(rig->chain.bad_address, !cases[i].ok);
		assert_int_equal(rig->chain.writable, cases[i].len);
		if (cases[i].ok)
			assert_ptr_equal(rig->chain.iov[0].iov_base,
					 fake_guest_ptr(&rig->guest, cases[i].gpa));
		else
			assert_null(rig->chain.iov[0].iov_base);
		rig_free(rig);
	}
}

static void H10_gpa_0_is_memory_like_any_other(void **state)
{
	struct fake_guest guest;
	struct fake_queue drv;
	struct virtqueue vq;
	static struct desc_chain chain;

	fake_guest_init(&guest, 0, RAM_SIZE);
	fake_queue_init(&drv, &guest, 8, 0);
	assert_int_equal(virtq_start(&vq, &guest.mem, &drv.config, 0), 0);
	fake_queue_add(&drv, &(struct fake_buf){ 0, 512, W }, 1, 0);
	fake_queue_publish(&drv);
	assert_int_equal(virtq_pop(&vq, &chain), 1);
	assert_false(chain.bad_address);
	assert_ptr_equal(chain.iov[0].iov_base, guest.ram);
	fake_guest_free(&guest);
}

/* ---- a second vCPU --------------------------------------------------------------------------- */

/* H12: another vCPU rewrites the descriptor while we look at it. Whatever we saw, what we use was
 * checked: it is all in RAM and adds up. A race on purpose, so not for TSan. */
#ifndef MVMM_TSAN
struct flipper {
	struct rig *rig;
	_Atomic bool stop;
	_Atomic unsigned rounds;
};

static void *flip_descriptor(void *arg)
{
	struct flipper *flipper = arg;
	volatile struct vring_desc *d = &flipper->rig->drv.desc[0];

	while (!atomic_load(&flipper->stop)) {
		d->addr = RAM_END - 8;
		d->len = 8;
		d->flags = W;
		d->len = 0x10000;
		d->addr = ~0ULL - 4;
		d->flags = NEXT;
		atomic_fetch_add(&flipper->rounds, 1);
	}
	return NULL;
}

static void H12_a_descriptor_changed_while_read_is_used_as_checked(void **state)
{
	struct flipper flipper = { .rig = rig_new(8, 0) };
	struct rig *rig = flipper.rig;
	unsigned taken = 0, refused = 0;
	pthread_t thread;

	fake_queue_set_desc(&rig->drv, 0, BUFFER, 1, 0, 0);
	fake_queue_offer(&rig->drv, 0);
	fake_queue_publish(&rig->drv);
	assert_int_equal(pthread_create(&thread, NULL, flip_descriptor, &flipper), 0);
	for (unsigned i = 0; i < 50000 || !taken || !refused || flipper.rounds < 1000; i++) {
		if (virtq_pop(&rig->vq, &rig->chain) != 1) {
			refused++; /* of what the other one has made of it */
			continue;
		}
		taken++;
		expect_checked(rig);
		virtq_push(&rig->vq, 0, 0);
		fake_queue_offer(&rig->drv, 0);
		fake_queue_publish(&rig->drv);
	}
	atomic_store(&flipper.stop, true);
	pthread_join(thread, NULL);
	rig_free(rig);
}
#endif

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(H5_indirect_needs_the_feature),
		cmocka_unit_test(H5_indirect_with_next_breaks_the_ring),
		cmocka_unit_test(H5_bad_table_lengths_break_the_ring),
		cmocka_unit_test(H5_a_table_outside_ram_breaks_the_ring),
		cmocka_unit_test(H5_a_nested_table_breaks_the_ring),
		cmocka_unit_test(H5_the_rings_own_table_as_indirect_breaks_the_ring),
		cmocka_unit_test(H5_next_beyond_the_table_breaks_the_ring),
		cmocka_unit_test(H5_a_loop_in_the_table_breaks_the_ring),
		cmocka_unit_test(H6_readable_after_writable_shows_nothing_and_goes_on),
		cmocka_unit_test(H8_lengths_are_summed_in_64_bits),
		cmocka_unit_test(H10_only_whole_buffers_in_ram_are_translated),
		cmocka_unit_test(H10_gpa_0_is_memory_like_any_other),
#ifndef MVMM_TSAN
		cmocka_unit_test(H12_a_descriptor_changed_while_read_is_used_as_checked),
#endif
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
