/* SPDX-License-Identifier: Apache-2.0 */
/* A virtqueue and the driver at its other end, in plain memory. */
#ifndef MVMM_TESTS_VIRTQUEUE_RIG_H
#define MVMM_TESTS_VIRTQUEUE_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/fake_driver.h"
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

static inline struct rig *rig_new(uint16_t size, uint64_t features)
{
	struct rig *rig = calloc(1, sizeof(*rig));

	assert_non_null(rig);
	fake_guest_init(&rig->guest, RAM_BASE, RAM_SIZE);
	fake_queue_init(&rig->drv, &rig->guest, size, features);
	assert_int_equal(virtq_start(&rig->vq, &rig->guest.mem, &rig->drv.config, features), 0);
	return rig;
}

static inline void rig_free(struct rig *rig)
{
	fake_guest_free(&rig->guest);
	free(rig);
}

static inline int pop(struct rig *rig)
{
	memset(&rig->chain, 0xa5, sizeof(rig->chain)); /* nothing may rely on what was there */
	return virtq_pop(&rig->vq, &rig->chain);
}

/* One readable buffer of `len` bytes, published. */
static inline int offer_one(struct rig *rig, uint32_t len)
{
	int head = fake_queue_add(&rig->drv, &(struct fake_buf){ BUFFER, len, 0 }, 1, len);

	fake_queue_publish(&rig->drv);
	return head;
}

static inline int start_with(struct rig *rig, struct virtq_config config)
{
	return virtq_start(&rig->vq, &rig->guest.mem, &config, F_EVENT);
}

/* Of what was popped: in number, in length, and each piece in the guest's memory or said not to be. */
static inline void expect_checked(const struct rig *rig)
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

static inline void expect_broken(struct rig *rig, uint16_t head)
{
	fake_queue_offer(&rig->drv, head);
	fake_queue_publish(&rig->drv);
	assert_int_equal(pop(rig), -EPROTO);
	rig_free(rig);
}

#endif
