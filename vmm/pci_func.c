/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The 256 bytes of a function: its header and its list of capabilities. Main, before the function is
 * on a bus; knows no bus.
 */
#include <errno.h>
#include <string.h>

#include "vmm/pci.h"
#include "vmm/pci_words.h"

#define PCI_COMMAND_WRITABLE (PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_INTX_DISABLE)

void pci_func_init(struct pci_func *func, uint16_t vendor, uint16_t device, uint32_t class_code,
		   uint8_t revision, uint16_t subsystem)
{
	memset(func, 0, sizeof(*func));
	pci_put16(func->config, PCI_VENDOR_ID, vendor);
	pci_put16(func->config, PCI_DEVICE_ID, device);
	pci_put32(func->config, PCI_CLASS_REVISION, class_code << 8 | revision);
	pci_put16(func->config, PCI_SUBSYSTEM_VENDOR_ID, vendor);
	pci_put16(func->config, PCI_SUBSYSTEM_ID, subsystem);
	pci_put16(func->writable, PCI_COMMAND, PCI_COMMAND_WRITABLE);
	func->cap_end = PCI_STD_HEADER_SIZEOF;
}

/* The byte that is to name the next capability: of the last one, or of the header. */
static uint8_t *last_link(struct pci_func *func)
{
	unsigned off = PCI_CAPABILITY_LIST;

	while (func->config[off])
		off = func->config[off] + PCI_CAP_LIST_NEXT;
	return &func->config[off];
}

int pci_func_add_cap(struct pci_func *func, uint8_t id, const void *body, unsigned len)
{
	const unsigned off = func->cap_end;

	if (off + len > PCI_CONFIG_SIZE - 4) /* so that cap_end never wraps */
		return -ENOSPC;
	memcpy(func->config + off, body, len);
	func->config[off + PCI_CAP_LIST_ID] = id;
	func->config[off + PCI_CAP_LIST_NEXT] = 0;
	*last_link(func) = off;
	func->config[PCI_STATUS] |= PCI_STATUS_CAP_LIST;
	func->cap_end = (off + len + 3) & ~3u;
	return off;
}
