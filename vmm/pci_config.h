/* SPDX-License-Identifier: Apache-2.0 */
/* Configuration space: its words, little-endian, wherever they lie, and the ways to it. Private to
 * vmm/pci*.c. */
#ifndef MVMM_PCI_CONFIG_H
#define MVMM_PCI_CONFIG_H

#include <stdint.h>
#include <string.h>

#include "vmm/bus.h"

struct pci_bus;

extern const struct bus_ops pci_ecam_ops, pci_port_ops; /* opaque: the bridge */

/* `len` bytes at `off` of a function; all-ones where there is none. A vCPU's thread. */
void pci_config_read(struct pci_bus *pci, unsigned devfn, unsigned off, void *data, unsigned len);
void pci_config_write(struct pci_bus *pci, unsigned devfn, unsigned off, const void *data,
		      unsigned len);

static inline void pci_put16(uint8_t *config, unsigned off, uint16_t value)
{
	memcpy(config + off, &value, sizeof(value));
}

static inline void pci_put32(uint8_t *config, unsigned off, uint32_t value)
{
	memcpy(config + off, &value, sizeof(value));
}

static inline uint16_t pci_get16(const uint8_t *config, unsigned off)
{
	uint16_t value;

	memcpy(&value, config + off, sizeof(value));
	return value;
}

static inline uint32_t pci_get32(const uint8_t *config, unsigned off)
{
	uint32_t value;

	memcpy(&value, config + off, sizeof(value));
	return value;
}

#endif
