/* SPDX-License-Identifier: Apache-2.0 */
/* virtio-mmio with a driver at the other end, on a real bus and with a KVM in the test: with an
 * exit for each read, or with a page that the guest reads. */
#ifndef MVMM_TESTS_VIRTIO_MMIO_RIG_H
#define MVMM_TESTS_VIRTIO_MMIO_RIG_H

#include <linux/virtio_mmio.h>

#include "tests/unit/transport_rig.h"
#include "virtio/virtio_mmio.h"

#define BASE 0xd0003000ULL
#define GSI  9

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

static inline int rig_start(struct virtio_dev *dev)
{
	struct rig *rig = dev->opaque;

	rig->starts++;
	return rig->start_fails ? -EIO : 0;
}

static inline int rig_reset(struct virtio_dev *dev)
{
	((struct rig *)dev->opaque)->resets++;
	return 0;
}

static const struct virtio_dev_ops rig_ops = { rig_start, rig_reset, write_config, NULL };

static inline struct rig *rig_without_mmio(void)
{
	struct rig *rig = calloc(1, sizeof(*rig));

	assert_non_null(rig);
	fake_kvm_reset();
	rig->vm.fd = VM_FD;
	rig->vm.kvm_fd = VM_FD;
	init_device(&rig->dev, &rig_ops, rig, &rig->guest, &rig->drv);
	return rig;
}

static inline void rig_attach(struct rig *rig, bool page)
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
static inline struct rig *rig_new(void **state)
{
	struct rig *rig = rig_without_mmio();

	rig_attach(rig, *state);
	return rig;
}

static inline void rig_free_dev(struct rig *rig)
{
	virtio_dev_destroy(&rig->dev);
	fake_guest_free(&rig->guest);
	free(rig);
}

static inline void rig_free(struct rig *rig)
{
	virtio_mmio_destroy(&rig->mmio);
	assert_int_equal(fake_kvm.nirqfds, 0);
	assert_int_equal(fake_kvm.nio, 0);
	free(rig->page);
	rig_free_dev(rig);
}

static inline void rd_bytes(struct rig *rig, uint64_t off, void *data, unsigned len)
{
	if (rig->page)
		memcpy(data, rig->page + off, len);
	else
		bus_read(&rig->vm.mmio, BASE + off, data, len);
}

static inline uint32_t rd(struct rig *rig, uint64_t off)
{
	uint32_t value;

	rd_bytes(rig, off, &value, 4);
	return value;
}

static inline void wr(struct rig *rig, uint64_t off, uint32_t value)
{
	bus_write(&rig->vm.mmio, BASE + off, &value, 4);
}

static inline void setup_queue(struct rig *rig, uint32_t q, const struct virtq_config *config)
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

static inline void accept_features(struct rig *rig, uint64_t features)
{
	wr(rig, VIRTIO_MMIO_STATUS, 1);
	wr(rig, VIRTIO_MMIO_STATUS, 3);
	wr(rig, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
	wr(rig, VIRTIO_MMIO_DRIVER_FEATURES, features >> 32);
	wr(rig, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 0);
	wr(rig, VIRTIO_MMIO_DRIVER_FEATURES, (uint32_t)features);
	wr(rig, VIRTIO_MMIO_STATUS, 0xb);
}

static inline void to_driver_ok(struct rig *rig)
{
	accept_features(rig, OFFERED);
	setup_queue(rig, 0, &rig->drv.config);
	wr(rig, VIRTIO_MMIO_STATUS, 0xf);
}

static inline bool kicked(struct rig *rig, unsigned q)
{
	return fake_kvm_take(rig->dev.kick_fd[q]);
}

#define EXITS(test) cmocka_unit_test(test)
/* clang-format off */
#define PAGE(test) {.name = #test ", page", .test_func = (test), .initial_state = &page}
/* clang-format on */
#define BOTH(test) EXITS(test), PAGE(test)

#endif
