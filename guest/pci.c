/* SPDX-License-Identifier: Apache-2.0 */
/* PCI configuration (PCI 3.0, 3.2.2.3.2) and MSI-X (6.8.2). */
#include "guest/pci.h"
#include "guest/io.h"
#include "guest/lib.h"

#define CONFIG_ADDRESS 0xcf8
#define CONFIG_DATA    0xcfc
#define CONFIG_ENABLE  0x80000000

static uint16_t select(const struct pci_dev *pci, unsigned reg)
{
	outl(CONFIG_ADDRESS, CONFIG_ENABLE | pci->slot << 11 | (reg & 0xfc));
	return CONFIG_DATA + (reg & 3);
}

uint32_t pci_read32(const struct pci_dev *pci, unsigned reg)
{
	return inl(select(pci, reg));
}

uint16_t pci_read16(const struct pci_dev *pci, unsigned reg)
{
	return inw(select(pci, reg));
}

uint8_t pci_read8(const struct pci_dev *pci, unsigned reg)
{
	return inb(select(pci, reg));
}

void pci_write32(const struct pci_dev *pci, unsigned reg, uint32_t value)
{
	outl(select(pci, reg), value);
}

void pci_write16(const struct pci_dev *pci, unsigned reg, uint16_t value)
{
	outw(select(pci, reg), value);
}

bool pci_probe(struct pci_dev *pci, unsigned slot)
{
	*pci = (struct pci_dev){ .slot = slot };
	pci->vendor = pci_read16(pci, PCI_VENDOR_ID);
	if (pci->vendor == 0xffff)
		return false;
	pci->device = pci_read16(pci, PCI_DEVICE_ID);
	pci_write16(pci, PCI_COMMAND,
		    PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_INTX_DISABLE);
	return true;
}

/* At most 48 capabilities fit the configuration space: a loop in the list ends there. */
uint8_t pci_find_cap(const struct pci_dev *pci, uint8_t id, uint8_t at)
{
	uint8_t next = at ? at + PCI_CAP_LIST_NEXT : PCI_CAPABILITY_LIST;

	if (!(pci_read16(pci, PCI_STATUS) & PCI_STATUS_CAP_LIST))
		return 0;
	for (unsigned i = 0; i < 48; i++) {
		at = pci_read8(pci, next) & ~3;
		if (!at || pci_read8(pci, at) == id)
			return at;
		next = at + PCI_CAP_LIST_NEXT;
	}
	return 0;
}

uintptr_t pci_bar(const struct pci_dev *pci, unsigned bar)
{
	unsigned reg = PCI_BASE_ADDRESS_0 + 4 * bar;
	uint32_t low = pci_read32(pci, reg);
	uint64_t high = 0;

	if ((low & PCI_BASE_ADDRESS_MEM_TYPE_MASK) == PCI_BASE_ADDRESS_MEM_TYPE_64)
		high = pci_read32(pci, reg + 4);
	return high << 32 | (low & (uint32_t)PCI_BASE_ADDRESS_MEM_MASK);
}

static uintptr_t msix_area(const struct pci_dev *pci, unsigned reg)
{
	uint32_t where = pci_read32(pci, pci->msix_cap + reg);

	return pci_bar(pci, where & PCI_MSIX_TABLE_BIR) + (where & PCI_MSIX_TABLE_OFFSET);
}

bool pci_msix_enable(struct pci_dev *pci)
{
	uint16_t control;

	pci->msix_cap = pci_find_cap(pci, PCI_CAP_ID_MSIX, 0);
	if (!pci->msix_cap)
		return false;
	control = pci_read16(pci, pci->msix_cap + PCI_MSIX_FLAGS);
	pci->msix_vectors = (control & PCI_MSIX_FLAGS_QSIZE) + 1;
	pci->msix_table = msix_area(pci, PCI_MSIX_TABLE);
	pci->msix_pba = msix_area(pci, PCI_MSIX_PBA);
	for (unsigned i = 0; i < pci->msix_vectors; i++)
		pci_msix_mask(pci, i, true);
	pci_write16(pci, pci->msix_cap + PCI_MSIX_FLAGS, PCI_MSIX_FLAGS_ENABLE);
	return true;
}

void pci_msix_mask(const struct pci_dev *pci, unsigned entry, bool masked)
{
	write32(pci->msix_table + entry * PCI_MSIX_ENTRY_SIZE + PCI_MSIX_ENTRY_VECTOR_CTRL,
		masked ? PCI_MSIX_ENTRY_CTRL_MASKBIT : 0);
}

void pci_msix_set(const struct pci_dev *pci, unsigned entry, uint64_t address, uint32_t data)
{
	uintptr_t at = pci->msix_table + entry * PCI_MSIX_ENTRY_SIZE;

	pci_msix_mask(pci, entry, true);
	write32(at + PCI_MSIX_ENTRY_LOWER_ADDR, address);
	write32(at + PCI_MSIX_ENTRY_UPPER_ADDR, address >> 32);
	write32(at + PCI_MSIX_ENTRY_DATA, data);
	pci_msix_mask(pci, entry, false);
}

bool pci_msix_pending(const struct pci_dev *pci, unsigned entry)
{
	return read32(pci->msix_pba + entry / 32 * 4) & 1u << entry % 32;
}
