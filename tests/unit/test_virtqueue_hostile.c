/* SPDX-License-Identifier: Apache-2.0 */
/* A driver that breaks its ring: every way is noticed, nothing outside guest memory is touched. H
 * numbers are the cases of docs/security.md. */
#include "tests/unit/virtqueue_rig.h"

/* ---- a queue that is not to start ------------------------------------------------------------ */

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

/* ---- rings that are broken ------------------------------------------------------------------- */

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
		cmocka_unit_test(a_refused_pop_changes_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
