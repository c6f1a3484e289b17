/* SPDX-License-Identifier: Apache-2.0 */
/* The modern PCI transport (virtio 1.2, 4.1), interrupts by MSI-X only. */
#include <linux/virtio_pci.h>

#include "guest/io.h"
#include "guest/irq.h"
#include "guest/lib.h"
#include "guest/virtio.h"

#define VIRTIO_VENDOR	    0x1af4
#define VIRTIO_DEVICE_FIRST 0x1040 /* + virtio id; lower ids are transitional */
#define COMMON(field)	    (dev->common + offsetof(struct virtio_pci_common_cfg, field))
#define CONFIG_ENTRY	    0 /* MSI-X entry; queue q has 1 + q, as far as they go */

static void select_queue(struct virtio *dev, unsigned q)
{
	write16(COMMON(queue_select), q);
}

static uint32_t features(struct virtio *dev, unsigned half)
{
	write32(COMMON(device_feature_select), half);
	return read32(COMMON(device_feature));
}

static void accept(struct virtio *dev, unsigned half, uint32_t bits)
{
	write32(COMMON(guest_feature_select), half);
	write32(COMMON(guest_feature), bits);
}

static uint8_t status(struct virtio *dev)
{
	return read8(COMMON(device_status));
}

static void set_status(struct virtio *dev, uint8_t value)
{
	write8(COMMON(device_status), value);
}

static uint16_t queue_get_size(struct virtio *dev, unsigned q)
{
	select_queue(dev, q);
	return read16(COMMON(queue_size));
}

static void queue_set_size(struct virtio *dev, unsigned q, uint16_t size)
{
	select_queue(dev, q);
	write16(COMMON(queue_size), size);
}

static void queue_set_desc(struct virtio *dev, unsigned q, uint64_t addr)
{
	select_queue(dev, q);
	write32(COMMON(queue_desc_lo), addr);
	write32(COMMON(queue_desc_hi), addr >> 32);
}

static bool queue_ready(struct virtio *dev, unsigned q)
{
	select_queue(dev, q);
	return read16(COMMON(queue_enable));
}

static bool queue_enable(struct virtio *dev, struct virtq *vq)
{
	unsigned entry = 1 + vq->index % dev->nvectors;
	uintptr_t avail = (uintptr_t)vq->avail, used = (uintptr_t)vq->used;

	queue_set_size(dev, vq->index, vq->size);
	queue_set_desc(dev, vq->index, (uintptr_t)vq->desc);
	write32(COMMON(queue_avail_lo), avail);
	write32(COMMON(queue_avail_hi), avail >> 32);
	write32(COMMON(queue_used_lo), used);
	write32(COMMON(queue_used_hi), used >> 32);
	write16(COMMON(queue_msix_vector), entry);
	if (read16(COMMON(queue_msix_vector)) != entry)
		return false;
	vq->vector = dev->queue_vector[entry - 1];
	vq->doorbell = dev->notify + read16(COMMON(queue_notify_off)) * dev->notify_multiplier;
	write16(COMMON(queue_enable), 1);
	return read16(COMMON(queue_enable)) == 1;
}

static void config_read(struct virtio *dev, unsigned off, void *to, unsigned len)
{
	uint8_t *byte = to;

	for (unsigned i = 0; i < len; i++)
		byte[i] = read8(dev->config + off + i);
}

static void config_write8(struct virtio *dev, unsigned off, uint8_t value)
{
	write8(dev->config + off, value);
}

static uint32_t generation(struct virtio *dev)
{
	return read8(COMMON(config_generation));
}

static uint32_t ack(struct virtio *dev)
{
	return read8(dev->isr);
}

static bool irq_setup(struct virtio *dev)
{
	if (!pci_msix_enable(&dev->pci) || dev->pci.msix_vectors < 2)
		return false;
	dev->config_vector = irq_alloc();
	pci_msix_set(&dev->pci, CONFIG_ENTRY, irq_msi_address(), dev->config_vector);
	while (dev->nvectors < dev->pci.msix_vectors - 1 && dev->nvectors < 4) {
		dev->queue_vector[dev->nvectors] = irq_alloc();
		pci_msix_set(&dev->pci, 1 + dev->nvectors, irq_msi_address(),
			     dev->queue_vector[dev->nvectors]);
		dev->nvectors++;
	}
	write16(COMMON(msix_config), CONFIG_ENTRY);
	return true;
}

/* The configuration vector does not outlive a reset, so it is set again with the features. */
static void accept_and_vector(struct virtio *dev, unsigned half, uint32_t bits)
{
	accept(dev, half, bits);
	if (dev->nvectors)
		write16(COMMON(msix_config), CONFIG_ENTRY);
}

static const struct virtio_ops pci_ops = {
	.features = features,
	.accept = accept_and_vector,
	.status = status,
	.set_status = set_status,
	.queue_max = queue_get_size,
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

static void take_cap(struct virtio *dev, uint8_t cap)
{
	const struct pci_dev *pci = &dev->pci;
	unsigned type = pci_read8(pci, cap + VIRTIO_PCI_CAP_CFG_TYPE);
	uintptr_t at;

	if (type == VIRTIO_PCI_CAP_PCI_CFG || type > VIRTIO_PCI_CAP_PCI_CFG)
		return;
	at = pci_bar(pci, pci_read8(pci, cap + VIRTIO_PCI_CAP_BAR)) +
	     pci_read32(pci, cap + VIRTIO_PCI_CAP_OFFSET);
	if (type == VIRTIO_PCI_CAP_COMMON_CFG)
		dev->common = at;
	else if (type == VIRTIO_PCI_CAP_ISR_CFG)
		dev->isr = at;
	else if (type == VIRTIO_PCI_CAP_DEVICE_CFG)
		dev->config = at;
	else if (type == VIRTIO_PCI_CAP_NOTIFY_CFG) {
		dev->notify = at;
		dev->notify_multiplier = pci_read32(pci, cap + VIRTIO_PCI_NOTIFY_CAP_MULT);
	}
}

bool virtio_pci_open(struct virtio *dev, unsigned slot)
{
	*dev = (struct virtio){ .ops = &pci_ops, .transport = "pci" };
	if (!pci_probe(&dev->pci, slot) || dev->pci.vendor != VIRTIO_VENDOR ||
	    dev->pci.device < VIRTIO_DEVICE_FIRST)
		return false;
	dev->id = dev->pci.device - VIRTIO_DEVICE_FIRST;
	for (uint8_t at = 0; (at = pci_find_cap(&dev->pci, PCI_CAP_ID_VNDR, at));)
		take_cap(dev, at);
	return dev->common && dev->notify && dev->isr && dev->config;
}
