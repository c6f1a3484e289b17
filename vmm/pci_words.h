/* SPDX-License-Identifier: Apache-2.0 */
/* The words of configuration space, little-endian, wherever they lie. Private to vmm/pci*.c. */
#ifndef MVMM_PCI_WORDS_H
#define MVMM_PCI_WORDS_H

#include <stdint.h>
#include <string.h>

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
