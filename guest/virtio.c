/* SPDX-License-Identifier: Apache-2.0 */
/* Finding virtio devices and bringing them up (virtio 1.2, 3.1.1), whatever the transport. */
#include "guest/virtio.h"
#include "guest/io.h"
#include "guest/lib.h"

static bool mmio_option(unsigned nth, uintptr_t *base, unsigned *pin)
{
	const char *at = option("mmio", nth);

	if (!at)
		at = option("virtio_mmio.device", nth);
	if (!at)
		return false;
	for (const char *s = at; *s && *s != ' '; s++) {
		if (*s == '@')
			at = s + 1;
	}
	*base = parse_u64(at, &at);
	*pin = *at == ':' ? parse_u64(at + 1, NULL) : 0;
	return true;
}

unsigned virtio_find(uint16_t id, struct virtio *devs, unsigned max)
{
	uintptr_t base;
	unsigned pin, n = 0;

	for (unsigned slot = 0; slot < PCI_SLOTS && n < max; slot++) {
		if (virtio_pci_open(&devs[n], slot) && devs[n].id == id)
			n++;
	}
	for (unsigned i = 0; mmio_option(i, &base, &pin) && n < max; i++) {
		if (virtio_mmio_open(&devs[n], base, pin) && devs[n].id == id)
			n++;
	}
	return n;
}

void virtio_reset(struct virtio *dev)
{
	dev->ops->set_status(dev, 0);
	while (dev->ops->status(dev))
		cpu_relax();
}

uint64_t virtio_offered(struct virtio *dev)
{
	return dev->ops->features(dev, 0) | (uint64_t)dev->ops->features(dev, 1) << 32;
}

static void add_status(struct virtio *dev, uint8_t bits)
{
	dev->ops->set_status(dev, dev->ops->status(dev) | bits);
}

bool virtio_negotiate(struct virtio *dev, uint64_t wanted)
{
	virtio_reset(dev);
	add_status(dev, VIRTIO_CONFIG_S_ACKNOWLEDGE);
	add_status(dev, VIRTIO_CONFIG_S_DRIVER);
	dev->features = virtio_offered(dev) & (wanted | VIRTIO_BIT(VIRTIO_F_VERSION_1));
	dev->ops->accept(dev, 0, dev->features);
	dev->ops->accept(dev, 1, dev->features >> 32);
	add_status(dev, VIRTIO_CONFIG_S_FEATURES_OK);
	return dev->ops->status(dev) & VIRTIO_CONFIG_S_FEATURES_OK;
}

void virtio_driver_ok(struct virtio *dev)
{
	add_status(dev, VIRTIO_CONFIG_S_DRIVER_OK);
}

bool virtio_needs_reset(struct virtio *dev)
{
	return dev->ops->status(dev) & VIRTIO_CONFIG_S_NEEDS_RESET;
}
