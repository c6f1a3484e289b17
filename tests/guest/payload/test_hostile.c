/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A driver that lies. A broken ring stops the device with NEEDS_RESET and a configuration
 * interrupt, and a reset brings it back (virtio 1.2, 2.1.2); what a driver may not touch does not
 * change.
 */
#include <linux/virtio_mmio.h>
#include <linux/virtio_pci.h>

#include "guest/io.h"
#include "guest/irq.h"
#include "guest/lib.h"
#include "tests.h"

static struct virtq *start(uint64_t features)
{
	struct blk *blk = disk(0);

	if (!blk_start(blk, features, 1, VQ_MAX_SIZE))
		ok(false, "the device starts");
	return &blk->queue[0];
}

/* Offers one head as it stands. */
static void offer(struct virtq *vq, uint16_t head)
{
	vq->avail->ring[vq->avail_idx++ % vq->size] = head;
	__atomic_store_n(&vq->avail->idx, vq->avail_idx, __ATOMIC_RELEASE);
}

static void set_desc(struct virtq *vq, unsigned i, uint64_t addr, uint32_t len, uint16_t flags,
		     uint16_t next)
{
	vq->desc[i] = (struct vring_desc){ addr, len, flags, next };
}

static void index_jump(struct virtq *vq)
{
	vq->avail->idx += vq->size + 1;
}

static void head_out_of_range(struct virtq *vq)
{
	offer(vq, vq->size);
}

static void next_out_of_range(struct virtq *vq)
{
	set_desc(vq, 0, (uintptr_t)vq->tables, 16, VRING_DESC_F_NEXT, vq->size);
	offer(vq, 0);
}

static void self_loop(struct virtq *vq)
{
	set_desc(vq, 0, (uintptr_t)vq->tables, 16, VRING_DESC_F_NEXT, 0);
	offer(vq, 0);
}

static void two_cycle(struct virtq *vq)
{
	set_desc(vq, 0, (uintptr_t)vq->tables, 16, VRING_DESC_F_NEXT, 1);
	set_desc(vq, 1, (uintptr_t)vq->tables, 16, VRING_DESC_F_NEXT, 0);
	offer(vq, 0);
}

static void indirect_odd_length(struct virtq *vq)
{
	set_desc(vq, 0, (uintptr_t)vq->tables, 40, VRING_DESC_F_INDIRECT, 0);
	offer(vq, 0);
}

static void indirect_no_memory(struct virtq *vq)
{
	set_desc(vq, 0, 0xb0000000, 48, VRING_DESC_F_INDIRECT, 0);
	offer(vq, 0);
}

static void indirect_nested(struct virtq *vq)
{
	vq->tables[0] =
		(struct vring_desc){ (uintptr_t)(vq->tables + 8), 48, VRING_DESC_F_INDIRECT, 0 };
	set_desc(vq, 0, (uintptr_t)vq->tables, 48, VRING_DESC_F_INDIRECT, 0);
	offer(vq, 0);
}

static void indirect_loop(struct virtq *vq)
{
	vq->tables[0] = (struct vring_desc){ (uintptr_t)vq->tables, 16, VRING_DESC_F_NEXT, 0 };
	set_desc(vq, 0, (uintptr_t)vq->tables, 48, VRING_DESC_F_INDIRECT, 0);
	offer(vq, 0);
}

/* A read whose chain is whole; offered a second time while it cannot have been used yet. */
static void same_head_twice(struct virtq *vq)
{
	struct virtio_blk_outhdr *hdr = alloc_pages(PAGE_SIZE);

	hdr->type = VIRTIO_BLK_T_IN;
	set_desc(vq, 0, (uintptr_t)hdr, sizeof(*hdr), VRING_DESC_F_NEXT, 1);
	set_desc(vq, 1, (uintptr_t)hdr + 512, 512, VRING_DESC_F_NEXT | VRING_DESC_F_WRITE, 2);
	set_desc(vq, 2, (uintptr_t)hdr + 1024, 1, VRING_DESC_F_WRITE, 0);
	vq->avail->ring[0] = 0;
	vq->avail->ring[1] = 0;
	__atomic_store_n(&vq->avail->idx, 2, __ATOMIC_RELEASE);
}

static const struct {
	const char *what;
	void (*harm)(struct virtq *vq);
} harms[] = {
	{ "an avail index that jumps", index_jump },
	{ "a head out of range", head_out_of_range },
	{ "a next out of range", next_out_of_range },
	{ "a descriptor that follows itself", self_loop },
	{ "a cycle of two", two_cycle },
	{ "an indirect table of odd length", indirect_odd_length },
	{ "an indirect table where no memory is", indirect_no_memory },
	{ "an indirect table in an indirect table", indirect_nested },
	{ "a loop in an indirect table", indirect_loop },
	{ "a head offered twice", same_head_twice },
};

static bool wait_needs_reset(struct virtio *dev)
{
	uint64_t deadline = time_us() + PATIENCE_US;

	while (!virtio_needs_reset(dev)) {
		if (time_us() > deadline)
			return false;
		delay_us(100);
	}
	return true;
}

static bool wait_config_interrupt(struct virtio *dev, uint32_t before)
{
	if (!irq_wait(&dev->config_vector, 1, before, false))
		return false;
	/* Over MMIO one interrupt serves all: bit 1 says that the configuration is meant. */
	return !dev->base || (dev->ops->ack(dev) & VIRTIO_MMIO_INT_CONFIG);
}

static void break_rings(struct virtio *dev)
{
	for (size_t i = 0; i < ARRAY_SIZE(harms); i++) {
		struct virtq *vq = start(BLK_FEATURES);
		uint32_t before = irq_seen(&dev->config_vector, 1);

		harms[i].harm(vq);
		virtq_notify(vq);
		ok(wait_needs_reset(dev), "%s: NEEDS_RESET", harms[i].what);
		ok(wait_config_interrupt(dev, before), "with an interrupt");
		ok(disk_works(), "a reset brings it back");
	}
}

static void broken_rings(void)
{
	for (unsigned i = 0; i < option_u64("times", 1); i++)
		break_rings(disk(0)->dev);
}

/* CVE-2026-5747: queue registers written after DRIVER_OK. */
static void sealed_queue(void)
{
	struct virtq *vq = start(BLK_FEATURES);
	struct virtio *dev = vq->dev;
	uint8_t *data = alloc_pages(PAGE_SIZE);
	uint16_t size = dev->ops->queue_get_size(dev, 0);

	for (unsigned bad = 0; bad < 3; bad++) {
		static const uint16_t sizes[] = { 0, 3, 32768 };

		dev->ops->queue_set_size(dev, 0, sizes[bad]);
		dev->ops->queue_set_desc(dev, 0, 0xfee00000);
		ok(dev->ops->queue_get_size(dev, 0) == size, "the size stays");
		ok(blk_read(disk(0), 5, data, 1) == VIRTIO_BLK_S_OK, "and the queue works");
	}
	dev->ops->accept(dev, 0, 0);
	ok(blk_read(disk(0), 5, data, 1) == VIRTIO_BLK_S_OK, "features do not change either");
}

/* One write out of turn after every kick; what is read back does not matter. */
static void touch_sealed(struct virtio *dev)
{
	const uint64_t value = chance();

	switch (value >> 60 & 7) {
	case 0:
		dev->ops->queue_set_size(dev, 0, value);
		break;
	case 1:
		dev->ops->queue_set_desc(dev, 0, value);
		break;
	case 2:
		dev->ops->accept(dev, value & 1, value >> 8);
		break;
	case 3: /* queue_enable 0, QueueReady 0 */
		if (dev->base)
			write32(dev->base + VIRTIO_MMIO_QUEUE_READY, 0);
		else
			write16(dev->common + VIRTIO_PCI_COMMON_Q_ENABLE, 0);
		break;
	case 4: /* the vector of the queue */
		if (!dev->base)
			write16(dev->common + VIRTIO_PCI_COMMON_Q_MSIX, value);
		break;
	case 5:
		if (!dev->base)
			write16(dev->common + VIRTIO_PCI_COMMON_MSIX, value);
		break;
	case 6: /* bits that are set already, and one that is not the driver's */
		dev->ops->set_status(dev, VIRTIO_CONFIG_S_NEEDS_RESET | 1);
		break;
	case 7: /* a queue that does not exist, until the next access selects another */
		dev->ops->queue_set_size(dev, value, value >> 16);
		break;
	}
}

static void sealed_busy(void)
{
	run_disturbed("its queue registers are written", touch_sealed);
}

/* Queues that are not there have no registers. */
static void absent_queues(void)
{
	static const uint32_t absent[] = { 64, 0x7fff, 0x8000, 0xffff };
	struct virtio *dev = disk(0)->dev;

	ok(disk_works(), "the disk works");
	for (unsigned i = 0; i < ARRAY_SIZE(absent); i++) {
		dev->ops->queue_set_size(dev, absent[i], 8);
		dev->ops->queue_set_desc(dev, absent[i], 0x1000);
		ok(!dev->ops->queue_max(dev, absent[i]) && !dev->ops->queue_ready(dev, absent[i]),
		   "there is no queue 0x%x", absent[i]);
	}
	if (dev->base) {
		write32(dev->base + VIRTIO_MMIO_QUEUE_SEL, 0x80000000);
		write32(dev->base + VIRTIO_MMIO_QUEUE_NUM, 8);
		ok(!read32(dev->base + VIRTIO_MMIO_QUEUE_NUM_MAX), "nor 0x80000000");
		write32(dev->base + VIRTIO_MMIO_QUEUE_SEL, ~0u);
		write32(dev->base + VIRTIO_MMIO_QUEUE_READY, 1);
		ok(!read32(dev->base + VIRTIO_MMIO_QUEUE_READY), "nor 0xffffffff");
	}
	ok(blk_read(disk(0), 0, alloc_pages(SECTOR), 1) == VIRTIO_BLK_S_OK,
	   "queue 0 has not noticed");
	ok(disk_works(), "the disk works");
}

static bool queue_taken(uint16_t size, uint64_t desc, uint64_t avail, uint64_t used)
{
	struct virtio *dev = disk(0)->dev;
	struct virtq vq = {
		.dev = dev,
		.size = size,
		.desc = (void *)desc,
		.avail = (void *)avail,
		.used = (void *)used,
	};

	virtio_negotiate(dev, BLK_FEATURES);
	return dev->ops->queue_enable(dev, &vq);
}

static uintptr_t device_registers(void)
{
	struct virtio *dev = disk(0)->dev;

	return dev->base ? dev->base : dev->common;
}

static void bad_queues(void)
{
	uint64_t a, b, c;

	disk_works(); /* sets the interrupts up */
	a = (uintptr_t)alloc_pages(PAGE_SIZE);
	b = (uintptr_t)alloc_pages(PAGE_SIZE);
	c = (uintptr_t)alloc_pages(PAGE_SIZE);
	ok(queue_taken(64, a, b, c), "a good queue is taken");
	ok(!queue_taken(0, a, b, c), "a queue of 0 is not");
	ok(!queue_taken(3, a, b, c), "a size that is no power of two is not");
	ok(!queue_taken(32768, a, b, c), "nor one beyond the maximum");
	ok(!queue_taken(64, a + 8, b, c), "nor a descriptor table that is not aligned");
	ok(!queue_taken(64, a, b + 1, c), "nor such an avail ring");
	ok(!queue_taken(64, a, b, c + 2), "nor such a used ring");
	ok(!queue_taken(64, 0xb0000000, b, c), "nor rings where no memory is");
	ok(!queue_taken(64, a, 0xfee00000, c), "nor on a device");
	ok(!queue_taken(64, a, b, UINT64_MAX - 4095), "nor at the end of the address space");
	ok(!queue_taken(64, 0, b, c), "nor at address 0");
	ok(!queue_taken(64, a, a + 64, c), "nor rings that overlap");
	ok(!queue_taken(64, a, b, boot.ram_end - 64), "nor beyond the end of memory");
	ok(!queue_taken(64, device_registers(), b, c), "nor on the device's own registers");
	ok(disk_works(), "and after all that the disk works");
}

static bool features_taken(uint64_t features)
{
	struct virtio *dev = disk(0)->dev;

	virtio_reset(dev);
	dev->ops->set_status(dev, VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER);
	dev->ops->accept(dev, 0, features);
	dev->ops->accept(dev, 1, features >> 32);
	dev->ops->set_status(dev, VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER |
					  VIRTIO_CONFIG_S_FEATURES_OK);
	return dev->ops->status(dev) & VIRTIO_CONFIG_S_FEATURES_OK;
}

static void bad_features(void)
{
	const uint64_t v1 = VIRTIO_BIT(VIRTIO_F_VERSION_1);
	uint64_t offered = virtio_offered(disk(0)->dev), missing = ~offered & -~offered;

	ok(features_taken(v1), "VERSION_1 alone is taken");
	ok(!features_taken(0), "nothing is not");
	ok(!features_taken(v1 | missing), "nor a feature that was not offered");
	ok(!features_taken(v1 | 1ULL << 63), "nor a far one");
	ok(disk_works(), "the disk works");
}

const struct test hostile_tests[] = {
	{ "broken-rings", broken_rings },
	{ "sealed-queue", sealed_queue },
	{ "sealed-busy", sealed_busy },
	{ "absent-queues", absent_queues },
	{ "bad-queues", bad_queues },
	{ "bad-features", bad_features },
	{ NULL, NULL },
};
