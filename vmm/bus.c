/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Finds the device that answers an address.
 *
 * Main fills and seals a bus; after that vCPU threads only read it, so there is no lock. Knows no
 * device and no architecture.
 */
#include "vmm/bus.h"

#include <errno.h>
#include <string.h>

static bool overlaps(const struct bus_dev *dev, uint64_t base, uint64_t len)
{
	return base < dev->base + dev->len && dev->base < base + len;
}

int bus_add(struct bus *bus, const char *name, uint64_t base, uint64_t len,
	    const struct bus_ops *ops, void *opaque, struct error *err)
{
	unsigned at = 0;

	if (bus->sealed)
		return error_setx(err, EBUSY, "device '%s' at %#llx came after the machine started",
				  name, (unsigned long long)base);
	if (!len || base > UINT64_MAX - len)
		return error_setx(err, EINVAL, "device '%s' at %#llx has an impossible range", name,
				  (unsigned long long)base);
	if (bus->n == BUS_MAX_DEVS)
		return error_setx(err, ENOSPC, "device '%s' is one too many: a bus has room for %u",
				  name, BUS_MAX_DEVS);
	for (unsigned i = 0; i < bus->n; i++) {
		if (overlaps(&bus->dev[i], base, len))
			return error_setx(err, EEXIST,
					  "device '%s' at %#llx overlaps '%s' at %#llx", name,
					  (unsigned long long)base, bus->dev[i].name,
					  (unsigned long long)bus->dev[i].base);
		at += bus->dev[i].base < base;
	}
	memmove(&bus->dev[at + 1], &bus->dev[at], (bus->n - at) * sizeof(bus->dev[0]));
	bus->dev[at] = (struct bus_dev){ base, len, ops, opaque, name };
	bus->n++;
	return 0;
}

void bus_seal(struct bus *bus)
{
	bus->sealed = true;
}

/*
 * The device that owns every byte of the access, or NULL. Lengths other than 1, 2, 4 and 8 are real:
 * KVM splits an access at a page's end (1 + 3 bytes). No device of ours ends a page with a register.
 */
static const struct bus_dev *bus_find(const struct bus *bus, uint64_t addr, unsigned len)
{
	unsigned lo = 0, hi = bus->n;

	if (len != 1 && len != 2 && len != 4 && len != 8)
		return NULL;
	while (lo < hi) {
		const unsigned mid = (lo + hi) / 2;
		const struct bus_dev *dev = &bus->dev[mid];

		if (addr < dev->base)
			hi = mid;
		else if (addr - dev->base >= dev->len)
			lo = mid + 1;
		else
			return len <= dev->len - (addr - dev->base) ? dev : NULL;
	}
	return NULL;
}

void bus_read(const struct bus *bus, uint64_t addr, void *data, unsigned len)
{
	const struct bus_dev *dev = bus_find(bus, addr, len);

	memset(data, 0xff, len);
	if (dev && dev->ops->read)
		dev->ops->read(dev->opaque, addr - dev->base, data, len);
}

void bus_write(const struct bus *bus, uint64_t addr, const void *data, unsigned len)
{
	const struct bus_dev *dev = bus_find(bus, addr, len);

	if (dev && dev->ops->write)
		dev->ops->write(dev->opaque, addr - dev->base, data, len);
}
