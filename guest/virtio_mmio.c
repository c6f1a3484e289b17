/* SPDX-License-Identifier: Apache-2.0 */
/* The register transport, version 2 (virtio 1.2, 4.2): one page, one interrupt. */
#include <linux/virtio_mmio.h>

#include "guest/io.h"
#include "guest/irq.h"
#include "guest/virtio.h"

#define MMIO_MAGIC   0x74726976 /* "virt" */
#define MMIO_VERSION 2
#define REG(name)    (dev->base + VIRTIO_MMIO_##name)

static void select_queue(struct virtio *dev, unsigned q)
{
	write32(REG(QUEUE_SEL), q);
}

static uint32_t features(struct virtio *dev, unsigned half)
{
	write32(REG(DEVICE_FEATURES_SEL), half);
	return read32(REG(DEVICE_FEATURES));
}

static void accept(struct virtio *dev, unsigned half, uint32_t bits)
{
	write32(REG(DRIVER_FEATURES_SEL), half);
	write32(REG(DRIVER_FEATURES), bits);
}

static uint8_t status(struct virtio *dev)
{
	return read32(REG(STATUS));
}

static void set_status(struct virtio *dev, uint8_t value)
{
	write32(REG(STATUS), value);
}

static uint16_t queue_max(struct virtio *dev, unsigned q)
{
	select_queue(dev, q);
	return read32(REG(QUEUE_NUM_MAX));
}

static void queue_set_size(struct virtio *dev, unsigned q, uint16_t size)
{
	select_queue(dev, q);
	write32(REG(QUEUE_NUM), size);
}

/* QueueNum is write-only (virtio 1.2, 4.2.2). */
static uint16_t queue_get_size(struct virtio *dev, unsigned q)
{
	return 0;
}

static void queue_set_desc(struct virtio *dev, unsigned q, uint64_t addr)
{
	select_queue(dev, q);
	write32(REG(QUEUE_DESC_LOW), addr);
	write32(REG(QUEUE_DESC_HIGH), addr >> 32);
}

static bool queue_ready(struct virtio *dev, unsigned q)
{
	select_queue(dev, q);
	return read32(REG(QUEUE_READY));
}

static bool queue_enable(struct virtio *dev, struct virtq *vq)
{
	uintptr_t avail = (uintptr_t)vq->avail, used = (uintptr_t)vq->used;

	queue_set_size(dev, vq->index, vq->size);
	queue_set_desc(dev, vq->index, (uintptr_t)vq->desc);
	write32(REG(QUEUE_AVAIL_LOW), avail);
	write32(REG(QUEUE_AVAIL_HIGH), avail >> 32);
	write32(REG(QUEUE_USED_LOW), used);
	write32(REG(QUEUE_USED_HIGH), used >> 32);
	vq->vector = dev->queue_vector[0];
	vq->doorbell = REG(QUEUE_NOTIFY);
	write32(REG(QUEUE_READY), 1);
	return read32(REG(QUEUE_READY)) == 1;
}

static void config_read(struct virtio *dev, unsigned off, void *to, unsigned len)
{
	uint8_t *byte = to;

	for (unsigned i = 0; i < len; i++)
		byte[i] = read8(REG(CONFIG) + off + i);
}

static void config_write8(struct virtio *dev, unsigned off, uint8_t value)
{
	write8(REG(CONFIG) + off, value);
}

static uint32_t generation(struct virtio *dev)
{
	return read32(REG(CONFIG_GENERATION));
}

static uint32_t ack(struct virtio *dev)
{
	uint32_t isr = read32(REG(INTERRUPT_STATUS));

	if (isr)
		write32(REG(INTERRUPT_ACK), isr);
	return isr;
}

static bool irq_setup(struct virtio *dev)
{
	dev->config_vector = irq_alloc();
	dev->queue_vector[0] = dev->config_vector;
	dev->nvectors = 1;
	irq_ioapic_route(dev->pin, dev->config_vector);
	return true;
}

static const struct virtio_ops mmio_ops = {
	.features = features,
	.accept = accept,
	.status = status,
	.set_status = set_status,
	.queue_max = queue_max,
	.queue_enable = queue_enable,
	.queue_ready = queue_ready,
	.queue_set_size = queue_set_size,
	.queue_get_size = queue_get_size,
	.queue_set_desc = queue_set_desc,
	.config_read = config_read,
	.config_write8 = config_write8,
	.generation = generation,
	.ack = ack,
	.irq_setup = irq_setup,
};

bool virtio_mmio_open(struct virtio *dev, uintptr_t base, unsigned pin)
{
	*dev = (struct virtio){ .ops = &mmio_ops, .transport = "mmio", .base = base, .pin = pin };
	if (read32(REG(MAGIC_VALUE)) != MMIO_MAGIC || read32(REG(VERSION)) != MMIO_VERSION)
		return false;
	dev->id = read32(REG(DEVICE_ID));
	return true;
}
