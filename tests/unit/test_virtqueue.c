/* SPDX-License-Identifier: Apache-2.0 */
/* The split ring against an honest and a hostile driver in plain memory. H numbers are the cases of
 * the hostile-guest list. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <linux/virtio_config.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "tests/unit/fake_driver.h"
#include "virtio/barrier.h"
#include "virtio/virtqueue.h"

#define RAM_BASE   0x100000ULL
#define RAM_SIZE   0x100000ULL
#define RAM_END	   (RAM_BASE + RAM_SIZE)
#define BUFFER	   (RAM_END - 0x10000) /* never handed out in these tests */
#define F_EVENT	   (1ULL << VIRTIO_RING_F_EVENT_IDX)
#define F_INDIRECT (1ULL << VIRTIO_RING_F_INDIRECT_DESC)
#define W	   VRING_DESC_F_WRITE
#define NEXT	   VRING_DESC_F_NEXT
#define INDIRECT   VRING_DESC_F_INDIRECT

struct rig {
	struct fake_guest guest;
	struct fake_queue drv;
	struct virtqueue vq;
	struct desc_chain chain;
};

static struct rig *rig_new(uint16_t size, uint64_t features)
{
	struct rig *rig = calloc(1, sizeof(*rig));

	assert_non_null(rig);
	fake_guest_init(&rig->guest, RAM_BASE, RAM_SIZE);
	fake_queue_init(&rig->drv, &rig->guest, size, features);
	assert_int_equal(virtq_start(&rig->vq, &rig->guest.mem, &rig->drv.config, features), 0);
	return rig;
}

static void rig_free(struct rig *rig)
{
	fake_guest_free(&rig->guest);
	free(rig);
}

static int pop(struct rig *rig)
{
	memset(&rig->chain, 0xa5, sizeof(rig->chain)); /* nothing may rely on what was there */
	return virtq_pop(&rig->vq, &rig->chain);
}

/* One readable buffer of `len` bytes, published. */
static int offer_one(struct rig *rig, uint32_t len)
{
	int head = fake_queue_add(&rig->drv, &(struct fake_buf){ BUFFER, len, 0 }, 1, len);

	fake_queue_publish(&rig->drv);
	return head;
}

/* ---- start ----------------------------------------------------------------------------------- */

static int start_with(struct rig *rig, struct virtq_config config)
{
	return virtq_start(&rig->vq, &rig->guest.mem, &config, F_EVENT);
}

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

static void unpop_gives_the_same_chain_again(void **state)
{
	struct rig *rig = rig_new(8, 0);
	int a = offer_one(rig, 1), b = offer_one(rig, 2);

	assert_int_equal(pop(rig), 1);
	assert_int_equal(pop(rig), 1);
	assert_int_equal(rig->chain.head, b);
	virtq_unpop(&rig->vq, &rig->chain);
	assert_true(virtq_has_work(&rig->vq));
	assert_true(virtq_enable_notify(&rig->vq));
	assert_int_equal(rig->vq.in_flight, 1);
	assert_int_equal(pop(rig), 1);
	assert_int_equal(rig->chain.head, b);
	assert_int_equal(rig->chain.readable, 2);
	assert_int_not_equal(a, b);
	assert_int_equal(pop(rig), 0);
	rig_free(rig);
}

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

/* H12: another vCPU rewrites the descriptor while we look at it. Whatever we saw, what we use was
 * checked: it is all in RAM and adds up. A race on purpose, so not for TSan. */
#ifndef MVMM_TSAN
struct flipper {
	struct rig *rig;
	_Atomic bool stop;
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
	}
	return NULL;
}

static void expect_checked(const struct rig *rig)
{
	const struct desc_chain *chain = &rig->chain;
	const unsigned n = chain->nreadable + chain->nwritable;
	uint64_t sum = 0;

	assert_in_range(n, 0, VIRTQ_MAX_CHAIN);
	for (unsigned i = 0; i < n; i++) {
		const uint8_t *base = chain->iov[i].iov_base;

		sum += chain->iov[i].iov_len;
		if (base)
			assert_in_range(base + chain->iov[i].iov_len - rig->guest.ram,
					chain->iov[i].iov_len, RAM_SIZE);
		else
			assert_true(chain->bad_address);
	}
	assert_true(sum == chain->readable + chain->writable);
}

static void H12_a_descriptor_changed_while_read_is_used_as_checked(void **state)
{
	struct flipper flipper = { .rig = rig_new(8, 0) };
	struct rig *rig = flipper.rig;
	pthread_t thread;

	fake_queue_set_desc(&rig->drv, 0, BUFFER, 1, 0, 0);
	fake_queue_offer(&rig->drv, 0);
	fake_queue_publish(&rig->drv);
	assert_int_equal(pthread_create(&thread, NULL, flip_descriptor, &flipper), 0);
	for (unsigned i = 0; i < 50000; i++) {
		if (virtq_pop(&rig->vq, &rig->chain) != 1)
			continue;
		virtq_unpop(&rig->vq, &rig->chain);
		expect_checked(rig);
	}
	atomic_store(&flipper.stop, true);
	pthread_join(thread, NULL);
	rig_free(rig);
}
#endif

/* ---- push and publish ------------------------------------------------------------------------ */

static void complete_one(struct rig *rig, uint32_t written)
{
	offer_one(rig, 1);
	assert_int_equal(pop(rig), 1);
	virtq_push(&rig->vq, rig->chain.head, written);
}

static void push_is_seen_only_after_publish(void **state)
{
	struct rig *rig = rig_new(8, 0);
	struct fake_done done;

	complete_one(rig, 11);
	complete_one(rig, 22);
	assert_false(fake_queue_poll(&rig->drv, &done));
	assert_int_equal(rig->vq.in_flight, 0);
	assert_true(virtq_publish(&rig->vq));
	assert_int_equal(rig->drv.used->idx, 2);
	assert_true(fake_queue_poll(&rig->drv, &done));
	assert_int_equal(done.len, 11);
	assert_true(fake_queue_poll(&rig->drv, &done));
	assert_int_equal(done.len, 22);
	assert_false(fake_queue_poll(&rig->drv, &done));
	rig_free(rig);
}

static void completions_may_come_in_any_order(void **state)
{
	struct rig *rig = rig_new(8, 0);
	struct fake_done done;
	int a = offer_one(rig, 1), b = offer_one(rig, 2);

	assert_int_equal(pop(rig), 1);
	assert_int_equal(pop(rig), 1);
	virtq_push(&rig->vq, b, 2);
	virtq_push(&rig->vq, a, 1);
	virtq_publish(&rig->vq);
	assert_true(fake_queue_poll(&rig->drv, &done));
	assert_int_equal(done.head, b);
	assert_int_equal(done.cookie, 2);
	assert_true(fake_queue_poll(&rig->drv, &done));
	assert_int_equal(done.head, a);
	rig_free(rig);
}

static void publish_of_nothing_wants_no_interrupt(void **state)
{
	struct rig *rig = rig_new(8, 0);

	assert_false(virtq_publish(&rig->vq));
	complete_one(rig, 0);
	assert_true(virtq_publish(&rig->vq));
	assert_false(virtq_publish(&rig->vq));
	rig_free(rig);
}

static void publish_obeys_no_interrupt(void **state)
{
	struct rig *rig = rig_new(8, 0);
	struct fake_done done;

	fake_queue_disable_interrupts(&rig->drv);
	complete_one(rig, 0);
	assert_false(virtq_publish(&rig->vq));
	assert_true(fake_queue_enable_interrupts(&rig->drv, 0));
	assert_true(fake_queue_poll(&rig->drv, &done));
	complete_one(rig, 0);
	assert_true(virtq_publish(&rig->vq));
	rig_free(rig);
}

static void event_idx_interrupts_once_when_used_event_is_passed(void **state)
{
	struct rig *rig = rig_new(8, F_EVENT);

	assert_false(fake_queue_enable_interrupts(&rig->drv, 2)); /* at the third */
	for (unsigned i = 0; i < 6; i++) {
		complete_one(rig, 0);
		assert_int_equal(virtq_publish(&rig->vq), i == 2);
	}
	rig_free(rig);
}

static void event_idx_interrupts_when_a_batch_passes_used_event(void **state)
{
	struct rig *rig = rig_new(8, F_EVENT);

	fake_queue_enable_interrupts(&rig->drv, 2);
	for (unsigned i = 0; i < 5; i++)
		complete_one(rig, 0);
	assert_true(virtq_publish(&rig->vq));
	complete_one(rig, 0);
	assert_false(virtq_publish(&rig->vq));
	rig_free(rig);
}

static void event_idx_ignores_the_flags_word(void **state)
{
	struct rig *rig = rig_new(8, F_EVENT);

	rig->drv.avail->flags = VRING_AVAIL_F_NO_INTERRUPT;
	complete_one(rig, 0);
	assert_true(virtq_publish(&rig->vq));
	virtq_disable_notify(&rig->vq);
	assert_int_equal(rig->drv.used->flags, 0);
	rig_free(rig);
}

/* ---- kicks ----------------------------------------------------------------------------------- */

static bool kicks(struct rig *rig)
{
	fake_queue_add(&rig->drv, &(struct fake_buf){ BUFFER, 1, 0 }, 1, 0);
	return fake_queue_publish(&rig->drv);
}

static void kicks_come_only_while_asked_for(void **state)
{
	for (unsigned event = 0; event < 2; event++) {
		struct rig *rig = rig_new(16, event ? F_EVENT : 0);

		assert_true(kicks(rig)); /* a fresh ring wants them */
		virtq_disable_notify(&rig->vq);
		assert_false(kicks(rig));
		assert_true(virtq_enable_notify(&rig->vq)); /* those two are still there */
		assert_int_equal(pop(rig), 1);
		assert_int_equal(pop(rig), 1);
		assert_false(virtq_enable_notify(&rig->vq));
		assert_true(kicks(rig));
		virtq_disable_notify(&rig->vq);
		assert_int_equal(pop(rig), 1);
		assert_false(kicks(rig));
		rig_free(rig);
	}
}

static void enable_notify_counts_a_jump_as_work(void **state)
{
	struct rig *rig = rig_new(8, F_EVENT);

	fake_queue_set_avail_idx(&rig->drv, 0x4000);
	assert_true(virtq_enable_notify(&rig->vq));
	assert_int_equal(pop(rig), -EPROTO);
	rig_free(rig);
}

/* ---- both sides at once: no lost kick, no lost interrupt ------------------------------------- */

#define ROUNDS 5000

struct machine {
	struct rig *rig;
	int kick, irq;
};

static bool wait_for(int fd)
{
	struct pollfd pfd = { .fd = fd, .events = POLLIN };
	uint64_t n;

	return poll(&pfd, 1, 10000) == 1 && read(fd, &n, sizeof(n)) == sizeof(n);
}

static void ring_bell(int fd)
{
	const uint64_t one = 1;

	assert_int_equal(write(fd, &one, sizeof(one)), sizeof(one));
}

static void *device_thread(void *arg)
{
	struct machine *m = arg;
	struct virtqueue *vq = &m->rig->vq;
	static struct desc_chain chain;
	unsigned done = 0;

	while (done < ROUNDS) {
		virtq_disable_notify(vq);
		do {
			while (virtq_pop(vq, &chain) == 1) {
				*(uint8_t *)chain.iov[0].iov_base ^= 0xff;
				virtq_push(vq, chain.head, 1);
				done++;
			}
			if (virtq_publish(vq))
				ring_bell(m->irq);
		} while (virtq_enable_notify(vq));
		if (done < ROUNDS && !wait_for(m->kick))
			return "lost kick";
	}
	return NULL;
}

static const char *drive(struct machine *m)
{
	struct fake_queue *drv = &m->rig->drv;
	unsigned sent = 0, got = 0;
	struct fake_done done;

	while (got < ROUNDS) {
		/* One to four at a time, so that both sides often run dry. */
		for (unsigned n = 1 + sent % 4; n && sent < ROUNDS && drv->nfree; n--, sent++) {
			*(uint8_t *)fake_guest_ptr(&m->rig->guest, BUFFER + drv->free_head) = sent;
			fake_queue_add(drv, &(struct fake_buf){ BUFFER + drv->free_head, 1, W }, 1,
				       sent);
		}
		if (fake_queue_publish(drv))
			ring_bell(m->kick);
		fake_queue_disable_interrupts(drv);
		do {
			while (fake_queue_poll(drv, &done)) {
				uint8_t *p = fake_guest_ptr(&m->rig->guest, BUFFER + done.head);

				if (*p != (uint8_t)~done.cookie || done.len != 1)
					return "wrong data";
				got++;
			}
		} while (fake_queue_enable_interrupts(drv, 0));
		if (got < sent && !wait_for(m->irq))
			return "lost interrupt";
	}
	return NULL;
}

static void run_both_sides(uint64_t features)
{
	struct machine m = { rig_new(8, features), eventfd(0, EFD_CLOEXEC),
			     eventfd(0, EFD_CLOEXEC) };
	pthread_t thread;
	const char *bad;
	void *ret;

	assert_int_equal(pthread_create(&thread, NULL, device_thread, &m), 0);
	bad = drive(&m);
	pthread_join(thread, &ret);
	assert_null(bad);
	assert_null(ret);
	close(m.kick);
	close(m.irq);
	rig_free(m.rig);
}

/*
 * The two races at their narrowest: both sides store their own word and look at the other's at the
 * same moment, again and again. One of them must have seen the other. Without any one of the four
 * fences this fails on x86 within these rounds, nearly always.
 */
#define RACES 50000

struct race {
	struct rig *rig;
	_Atomic unsigned turn[2]; /* how far each side is */
	bool device_saw_work, driver_kicked;
	bool device_signalled, driver_saw_done;
};

static void meet(struct race *race, unsigned me, unsigned turn)
{
	atomic_store(&race->turn[me], turn);
	for (unsigned spins = 0; atomic_load(&race->turn[!me]) < turn; spins++)
		if (spins > 1000)
			sched_yield(); /* one CPU only, or somebody else on it */
}

static void *race_device(void *arg)
{
	struct race *race = arg;
	struct virtqueue *vq = &race->rig->vq;
	static struct desc_chain chain;

	for (unsigned i = 0; i < RACES; i++) {
		virtq_disable_notify(vq);
		meet(race, 0, 3 * i + 1);
		race->device_saw_work = virtq_enable_notify(vq);
		meet(race, 0, 3 * i + 2);
		virtq_pop(vq, &chain);
		virtq_push(vq, chain.head, 0);
		race->device_signalled = virtq_publish(vq);
		meet(race, 0, 3 * i + 3);
	}
	return NULL;
}

static unsigned race_driver(struct race *race)
{
	struct fake_queue *drv = &race->rig->drv;
	struct fake_done done;
	unsigned lost = 0;

	for (unsigned i = 0; i < RACES; i++) {
		fake_queue_add(drv, &(struct fake_buf){ BUFFER, 1, 0 }, 1, 0);
		fake_queue_disable_interrupts(drv);
		meet(race, 1, 3 * i + 1);
		race->driver_kicked = fake_queue_publish(drv);
		meet(race, 1, 3 * i + 2);
		lost += !race->device_saw_work && !race->driver_kicked;
		race->driver_saw_done = fake_queue_enable_interrupts(drv, 0);
		meet(race, 1, 3 * i + 3);
		lost += !race->device_signalled && !race->driver_saw_done;
		fake_queue_poll(drv, &done);
	}
	return lost;
}

static void run_race(uint64_t features)
{
	struct race race = { .rig = rig_new(8, features) };
	pthread_t thread;
	unsigned lost;

	assert_int_equal(pthread_create(&thread, NULL, race_device, &race), 0);
	lost = race_driver(&race);
	pthread_join(thread, NULL);
	assert_int_equal(lost, 0);
	assert_int_equal(race.rig->vq.last_avail, (uint16_t)RACES);
	rig_free(race.rig);
}

static void one_side_always_sees_the_other(void **state)
{
	run_race(0);
}

static void one_side_always_sees_the_other_with_event_idx(void **state)
{
	run_race(F_EVENT);
}

static void nothing_is_lost_between_two_threads(void **state)
{
	run_both_sides(0);
}

static void nothing_is_lost_between_two_threads_with_event_idx(void **state)
{
	run_both_sides(F_EVENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(start_takes_every_power_of_two),
		cmocka_unit_test(H17_start_refuses_bad_sizes),
		cmocka_unit_test(H17_start_refuses_bad_areas),
		cmocka_unit_test(start_takes_areas_up_to_the_last_byte),
		cmocka_unit_test(start_writes_nothing_to_the_guest),
		cmocka_unit_test(a_queue_that_is_not_running_does_nothing),
		cmocka_unit_test(pop_of_an_empty_ring_is_0),
		cmocka_unit_test(pop_translates_a_chain),
		cmocka_unit_test(pop_follows_an_indirect_table),
		cmocka_unit_test(pop_follows_a_chain_that_ends_indirect),
		cmocka_unit_test(pop_takes_an_unaligned_indirect_table),
		cmocka_unit_test(pop_leaves_empty_buffers_out),
		cmocka_unit_test(unpop_gives_the_same_chain_again),
		cmocka_unit_test(H1_an_index_jump_breaks_the_ring),
		cmocka_unit_test(H1_a_full_ring_is_no_jump),
		cmocka_unit_test(H1_the_index_wraps_at_65536),
		cmocka_unit_test(H2_a_head_out_of_range_breaks_the_ring),
		cmocka_unit_test(H2_the_head_behind_the_largest_ring_breaks_it),
		cmocka_unit_test(H3_a_self_loop_breaks_the_ring),
		cmocka_unit_test(H3_a_loop_of_empty_buffers_breaks_the_ring),
		cmocka_unit_test(H3_a_cycle_of_two_breaks_the_ring),
		cmocka_unit_test(H3_a_cycle_in_bad_order_breaks_the_ring),
		cmocka_unit_test(H3_next_out_of_range_breaks_the_ring),
		cmocka_unit_test(H3_a_chain_as_long_as_the_ring_works),
		cmocka_unit_test(H3_a_chain_longer_than_we_take_breaks_the_ring),
		cmocka_unit_test(an_indirect_chain_may_be_longer_than_the_ring),
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
		cmocka_unit_test(push_is_seen_only_after_publish),
		cmocka_unit_test(completions_may_come_in_any_order),
		cmocka_unit_test(publish_of_nothing_wants_no_interrupt),
		cmocka_unit_test(publish_obeys_no_interrupt),
		cmocka_unit_test(event_idx_interrupts_once_when_used_event_is_passed),
		cmocka_unit_test(event_idx_interrupts_when_a_batch_passes_used_event),
		cmocka_unit_test(event_idx_ignores_the_flags_word),
		cmocka_unit_test(kicks_come_only_while_asked_for),
		cmocka_unit_test(enable_notify_counts_a_jump_as_work),
		cmocka_unit_test(one_side_always_sees_the_other),
		cmocka_unit_test(one_side_always_sees_the_other_with_event_idx),
		cmocka_unit_test(nothing_is_lost_between_two_threads),
		cmocka_unit_test(nothing_is_lost_between_two_threads_with_event_idx),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
