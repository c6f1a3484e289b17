/* SPDX-License-Identifier: Apache-2.0 */
/* A driver that breaks its ring: every way is noticed, nothing outside guest memory is touched. H
 * numbers are the cases of docs/security.md. */
#include <pthread.h>

#include "tests/unit/virtqueue_rig.h"
#include "virtio/barrier.h"

/* ---- a queue that is not to start ------------------------------------------------------------- */

static void H17_start_refuses_bad_sizes(void **state)
{
	static const uint16_t sizes[] = { 0, 3, 6, 255, 1023, 2048, 32768, 65535 };
	struct rig *rig = rig_new(1024, 0);
	struct virtq_config config = rig->drv.config;

	for (unsigned i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
		config.size = sizes[i];
		assert_int_equal(start_with(rig, config), -EINVAL);
		assert_int_equal(rig->vq.size, 0);
	}
	rig_free(rig);
}

static void H17_start_refuses_bad_areas(void **state)
{
	struct rig *rig = rig_new(256, 0);
	const struct virtq_config good = rig->drv.config;
	const uint64_t avail_len = 6 + 2 * 256, used_len = 6 + 8 * 256;
	const struct {
		gpa_t desc, avail, used;
	} bad[] = {
		{ 0, good.avail, good.used },
		{ good.desc, 0, good.used },
		{ good.desc, good.avail, 0 },
		{ good.desc + 8, good.avail, good.used },
		{ good.desc, good.avail + 1, good.used },
		{ good.desc, good.avail, good.used + 2 },
		{ RAM_END, good.avail, good.used },
		{ RAM_END - 4096 + 16, good.avail, good.used },
		{ good.desc, RAM_END - avail_len + 2, good.used },
		{ good.desc, good.avail, ((RAM_END - used_len) & ~3ULL) + 4 },
		{ good.desc, good.avail, RAM_BASE - 4 },
		{ ~15ULL, good.avail, good.used },
		{ good.desc, ~1ULL, good.used },
		{ good.desc, good.avail, ~3ULL },
		{ good.desc, good.desc, good.used },
		{ good.desc, good.desc + 4094, good.used },
		{ good.desc, good.avail, good.avail },
		{ good.desc, good.avail, good.desc - 4 },
		{ good.desc, good.used + 2052, good.used },
	};

	for (unsigned i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		struct virtq_config config = { 256, true, bad[i].desc, bad[i].avail, bad[i].used };

		assert_int_equal(start_with(rig, config), -EINVAL);
		assert_int_equal(rig->vq.size, 0);
	}
	rig_free(rig);
}

/* ---- rings that are broken -------------------------------------------------------------------- */

static void H1_an_index_jump_breaks_the_ring(void **state)
{
	static const uint16_t jump[] = { 9, 10, 0x8000, 0xffff };

	for (unsigned i = 0; i < 4; i++) {
		struct rig *rig = rig_new(8, 0);

		fake_queue_set_avail_idx(&rig->drv, jump[i]);
		assert_true(virtq_has_work(&rig->vq));
		assert_int_equal(pop(rig), -EPROTO);
		assert_int_equal(pop(rig), -EPROTO);
		rig_free(rig);
	}
}

static void H1_a_full_ring_is_no_jump(void **state)
{
	struct rig *rig = rig_new(8, 0);

	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(offer_one(rig, i + 1), i);
	for (unsigned i = 0; i < 8; i++) {
		assert_int_equal(pop(rig), 1);
		assert_int_equal(rig->chain.readable, i + 1);
	}
	assert_int_equal(pop(rig), 0);
	assert_int_equal(rig->vq.in_flight, 8);
	rig_free(rig);
}

static void H1_the_index_wraps_at_65536(void **state)
{
	struct rig *rig = rig_new(4, F_EVENT);
	struct fake_done done;

	for (unsigned i = 0; i < 70000; i++) {
		offer_one(rig, 1 + i % 100);
		assert_int_equal(pop(rig), 1);
		assert_int_equal(rig->chain.readable, 1 + i % 100);
		virtq_push(&rig->vq, rig->chain.head, i);
		assert_true(virtq_publish(&rig->vq)); /* used_event follows below */
		assert_true(fake_queue_poll(&rig->drv, &done));
		assert_int_equal(done.len, i);
		assert_false(fake_queue_enable_interrupts(&rig->drv, 0));
	}
	assert_int_equal(rig->vq.in_flight, 0);
	rig_free(rig);
}

static void H1_a_jump_over_the_wrap_is_a_jump(void **state)
{
	static const uint16_t last[] = { 65535, 65534, 65528 };

	for (unsigned i = 0; i < 3; i++) {
		struct rig *rig = rig_new(8, 0);

		rig->vq.last_avail = rig->vq.seen_avail = last[i];
		fake_queue_set_avail_idx(&rig->drv, last[i] + 9);
		assert_int_equal(pop(rig), -EPROTO);
		fake_queue_set_avail_idx(&rig->drv, last[i] - 1); /* backwards is far ahead */
		assert_int_equal(pop(rig), -EPROTO);
		fake_queue_set_avail_idx(&rig->drv, last[i] + 8);
		assert_int_equal(pop(rig), 1);
		rig_free(rig);
	}
}

static void H2_a_head_out_of_range_breaks_the_ring(void **state)
{
	static const uint16_t heads[] = { 8, 9, 0x7fff, 0xffff };

	for (unsigned i = 0; i < 4; i++) {
		struct rig *rig = rig_new(8, 0);

		fake_queue_offer(&rig->drv, heads[i]);
		fake_queue_publish(&rig->drv);
		assert_int_equal(pop(rig), -EPROTO);
		assert_int_equal(rig->vq.in_flight, 0);
		rig_free(rig);
	}
}

/* Where the bitmap of busy heads ends. */
static void H2_the_head_behind_the_largest_ring_breaks_it(void **state)
{
	struct rig *rig = rig_new(VIRTQ_MAX_SIZE, 0);

	fake_queue_offer(&rig->drv, VIRTQ_MAX_SIZE - 1);
	fake_queue_offer(&rig->drv, VIRTQ_MAX_SIZE);
	fake_queue_publish(&rig->drv);
	assert_int_equal(pop(rig), 1);
	assert_int_equal(pop(rig), -EPROTO);
	rig_free(rig);
}

static void expect_broken(struct rig *rig, uint16_t head)
{
	fake_queue_offer(&rig->drv, head);
	fake_queue_publish(&rig->drv);
	assert_int_equal(pop(rig), -EPROTO);
	rig_free(rig);
}

static void H3_a_self_loop_breaks_the_ring(void **state)
{
	struct rig *rig = rig_new(8, 0);

	fake_queue_set_desc(&rig->drv, 0, BUFFER, 1, NEXT, 0);
	expect_broken(rig, 0);
}

static void H3_a_loop_of_empty_buffers_breaks_the_ring(void **state)
{
	struct rig *rig = rig_new(8, 0);

	fake_queue_set_desc(&rig->drv, 0, BUFFER, 0, NEXT, 1);
	fake_queue_set_desc(&rig->drv, 1, BUFFER, 0, NEXT, 0);
	expect_broken(rig, 0);
}

static void H3_a_cycle_of_two_breaks_the_ring(void **state)
{
	struct rig *rig = rig_new(8, 0);

	fake_queue_set_desc(&rig->drv, 2, BUFFER, 1, NEXT, 5);
	fake_queue_set_desc(&rig->drv, 5, BUFFER, 1, NEXT, 2);
	expect_broken(rig, 2);
}

static void H3_a_cycle_in_bad_order_breaks_the_ring(void **state)
{
	struct rig *rig = rig_new(8, 0);

	fake_queue_set_desc(&rig->drv, 0, BUFFER, 1, NEXT | W, 1);
	fake_queue_set_desc(&rig->drv, 1, BUFFER, 1, NEXT, 0);
	expect_broken(rig, 0);
}

static void H3_next_out_of_range_breaks_the_ring(void **state)
{
	static const uint16_t next[] = { 8, 255, 0xffff };

	for (unsigned i = 0; i < 3; i++) {
		struct rig *rig = rig_new(8, 0);

		fake_queue_set_desc(&rig->drv, 0, BUFFER, 1, NEXT, next[i]);
		expect_broken(rig, 0);
	}
}

static void H3_a_chain_as_long_as_the_ring_works(void **state)
{
	struct rig *rig = rig_new(64, 0);
	struct fake_buf bufs[64];

	for (unsigned i = 0; i < 64; i++)
		bufs[i] = (struct fake_buf){ BUFFER + i, 1, i < 32 ? 0 : W };
	assert_int_equal(fake_queue_add(&rig->drv, bufs, 64, 0), 0);
	fake_queue_publish(&rig->drv);
	assert_int_equal(pop(rig), 1);
	assert_int_equal(rig->chain.readable, 32);
	assert_int_equal(rig->chain.writable, 32);
	rig_free(rig);
}

static int pop_long_chain(unsigned n, bool indirect)
{
	struct rig *rig = rig_new(256, F_INDIRECT);
	struct fake_buf bufs[VIRTQ_MAX_CHAIN + 2];
	int ret;

	for (unsigned i = 0; i < n; i++)
		bufs[i] = (struct fake_buf){ BUFFER + i, 1, i ? W : 0 };
	if (indirect)
		assert_int_equal(fake_queue_add_indirect(&rig->drv, bufs, n, 0), 0);
	else
		assert_int_equal(fake_queue_add(&rig->drv, bufs, n, 0), 0);
	fake_queue_publish(&rig->drv);
	ret = pop(rig);
	if (ret == 1)
		assert_int_equal(rig->chain.writable, n - 1);
	rig_free(rig);
	return ret;
}

static void H3_a_chain_longer_than_we_take_breaks_the_ring(void **state)
{
	assert_int_equal(pop_long_chain(VIRTQ_MAX_CHAIN, false), 1);
	assert_int_equal(pop_long_chain(VIRTQ_MAX_CHAIN, true), 1);
	assert_int_equal(pop_long_chain(VIRTQ_MAX_CHAIN + 1, false), -EPROTO);
	assert_int_equal(pop_long_chain(VIRTQ_MAX_CHAIN + 1, true), -EPROTO);
}

static void H4_a_head_twice_in_one_batch_breaks_the_ring(void **state)
{
	struct rig *rig = rig_new(128, 0);

	fake_queue_set_desc(&rig->drv, 100, BUFFER, 1, 0, 0);
	fake_queue_offer(&rig->drv, 100);
	fake_queue_offer(&rig->drv, 100);
	fake_queue_publish(&rig->drv);
	assert_int_equal(pop(rig), 1);
	assert_int_equal(pop(rig), -EPROTO);
	assert_int_equal(rig->vq.in_flight, 1);
	rig_free(rig);
}

static void H4_a_head_offered_while_in_flight_breaks_the_ring(void **state)
{
	struct rig *rig = rig_new(8, 0);

	offer_one(rig, 1);
	assert_int_equal(pop(rig), 1);
	fake_queue_offer(&rig->drv, rig->chain.head);
	fake_queue_publish(&rig->drv);
	assert_int_equal(pop(rig), -EPROTO);
	/* Once pushed it is the driver's again. */
	virtq_push(&rig->vq, 0, 0);
	assert_int_equal(pop(rig), 1);
	rig_free(rig);
}

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

static void a_refused_pop_changes_nothing(void **state)
{
	struct rig *rig = rig_new(8, 0);
	struct virtqueue before;

	fake_queue_set_desc(&rig->drv, 3, BUFFER, 1, NEXT, 3);
	fake_queue_offer(&rig->drv, 3);
	fake_queue_publish(&rig->drv);
	assert_int_equal(pop(rig), -EPROTO);
	before = rig->vq;
	assert_int_equal(pop(rig), -EPROTO);
	assert_memory_equal(&before, &rig->vq, sizeof(before));
	assert_int_equal(rig->vq.in_flight, 0);
	assert_int_equal(rig->vq.last_avail, 0);
	rig_free(rig);
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
		cmocka_unit_test(H17_start_refuses_bad_sizes),
		cmocka_unit_test(H17_start_refuses_bad_areas),
		cmocka_unit_test(H1_an_index_jump_breaks_the_ring),
		cmocka_unit_test(H1_a_full_ring_is_no_jump),
		cmocka_unit_test(H1_the_index_wraps_at_65536),
		cmocka_unit_test(H1_a_jump_over_the_wrap_is_a_jump),
		cmocka_unit_test(H2_a_head_out_of_range_breaks_the_ring),
		cmocka_unit_test(H2_the_head_behind_the_largest_ring_breaks_it),
		cmocka_unit_test(H3_a_self_loop_breaks_the_ring),
		cmocka_unit_test(H3_a_loop_of_empty_buffers_breaks_the_ring),
		cmocka_unit_test(H3_a_cycle_of_two_breaks_the_ring),
		cmocka_unit_test(H3_a_cycle_in_bad_order_breaks_the_ring),
		cmocka_unit_test(H3_next_out_of_range_breaks_the_ring),
		cmocka_unit_test(H3_a_chain_as_long_as_the_ring_works),
		cmocka_unit_test(H3_a_chain_longer_than_we_take_breaks_the_ring),
		cmocka_unit_test(H4_a_head_twice_in_one_batch_breaks_the_ring),
		cmocka_unit_test(H4_a_head_offered_while_in_flight_breaks_the_ring),
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
		cmocka_unit_test(a_refused_pop_changes_nothing),
#ifndef MVMM_TSAN
		cmocka_unit_test(H12_a_descriptor_changed_while_read_is_used_as_checked),
#endif
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
