/* SPDX-License-Identifier: Apache-2.0 */
/* PCI bus 0 by ports 0xCF8 and 0xCFC, and MSI-X. */
#ifndef GUEST_PCI_H
#define GUEST_PCI_H

#include <linux/pci_regs.h>
#include <stdbool.h>
#include <stdint.h>

#define PCI_SLOTS 32

struct pci_dev {
	unsigned slot; /* function 0 */
	uint16_t vendor, device;
	uintptr_t msix_table; /* 0: no MSI-X */
	uintptr_t msix_pba;
	unsigned msix_vectors;
	uint8_t msix_cap;
};

uint32_t pci_read32(const struct pci_dev *pci, unsigned reg);
uint16_t pci_read16(const struct pci_dev *pci, unsigned reg);
uint8_t pci_read8(const struct pci_dev *pci, unsigned reg);
void pci_write32(const struct pci_dev *pci, unsigned reg, uint32_t value);
void pci_write16(const struct pci_dev *pci, unsigned reg, uint16_t value);

/* False: nothing in that slot. Turns on memory decoding and bus mastering. */
bool pci_probe(struct pci_dev *pci, unsigned slot);

/* The next capability after `at` (0: the first) with this id; 0: none. */
uint8_t pci_find_cap(const struct pci_dev *pci, uint8_t id, uint8_t at);

/* Where a memory BAR decodes. */
uintptr_t pci_bar(const struct pci_dev *pci, unsigned bar);

/* Finds the table and enables MSI-X with every entry masked. */
bool pci_msix_enable(struct pci_dev *pci);
/* Points an entry at a CPU's vector and unmasks it. */
void pci_msix_set(const struct pci_dev *pci, unsigned entry, uint64_t address, uint32_t data);
void pci_msix_mask(const struct pci_dev *pci, unsigned entry, bool masked);
bool pci_msix_pending(const struct pci_dev *pci, unsigned entry);

#endif
