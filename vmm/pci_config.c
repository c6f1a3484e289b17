/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The two ways to configuration space: ECAM, and ports 0xCF8 and 0xCFC. On vCPU threads; must not know
 * what answers there.
 */
#include "vmm/pci_config.h"

#include <string.h>

#define PCI_PORT_CONFIG	  0xcf8 /* address at +0, data at +4 */
#define PCI_CONFIG_ENABLE 0x80000000u

static void ecam_read(void *opaque, uint64_t off, void *data, unsigned len)
{
	pci_config_read(opaque, off >> 12, off & 0xfff, data, len);
}

static void ecam_write(void *opaque, uint64_t off, const void *data, unsigned len)
{
	pci_config_write(opaque, off >> 12, off & 0xfff, data, len);
}

static const struct bus_ops ecam_ops = { ecam_read, ecam_write };

static uint32_t get_latch(struct pci_bus *pci)
{
	uint32_t address;

	pthread_mutex_lock(&pci->lock);
	address = pci->address;
	pthread_mutex_unlock(&pci->lock);
	return address;
}

/* Where the latch points: false when it is disabled, or to another bus, or has reserved bits set
 * (some chipsets put register bits 8-11 there). */
static bool decode_latch(struct pci_bus *pci, unsigned *devfn, unsigned *off)
{
	const uint32_t address = get_latch(pci);

	*devfn = address >> 8 & 0xff;
	*off += address & 0xfc;
	return (address & 0xffff0000) == PCI_CONFIG_ENABLE;
}

static void port_read(void *opaque, uint64_t port, void *data, unsigned len)
{
	struct pci_bus *pci = opaque;
	unsigned devfn, off = port - 4;
	uint32_t address;

	if (port == 0 && len == 4) {
		address = get_latch(pci);
		memcpy(data, &address, sizeof(address));
	} else if (port >= 4 && decode_latch(pci, &devfn, &off)) {
		pci_config_read(pci, devfn, off, data, len);
	}
}

/* Narrow writes to the latch are other registers on real chipsets (0xCF9): not ours. */
static void port_write(void *opaque, uint64_t port, const void *data, unsigned len)
{
	struct pci_bus *pci = opaque;
	unsigned devfn, off = port - 4;

	if (port == 0 && len == 4) {
		pthread_mutex_lock(&pci->lock);
		memcpy(&pci->address, data, sizeof(pci->address));
		pthread_mutex_unlock(&pci->lock);
	} else if (port >= 4 && decode_latch(pci, &devfn, &off)) {
		pci_config_write(pci, devfn, off, data, len);
	}
}

static const struct bus_ops port_ops = { port_read, port_write };

int pci_config_init(struct pci_bus *pci, struct bus *pio, struct bus *mmio, gpa_t ecam,
		    struct error *err)
{
	int ret = bus_add(mmio, "PCI configuration", ecam, PCI_ECAM_SIZE, &ecam_ops, pci, err);

	if (!ret && pio)
		ret = bus_add(pio, "PCI configuration", PCI_PORT_CONFIG, 8, &port_ops, pci, err);
	return ret;
}
