/* SPDX-License-Identifier: Apache-2.0 */
/* The ways by which a guest reaches the configuration space of PCI bus 0. */
#ifndef MVMM_PCI_CONFIG_H
#define MVMM_PCI_CONFIG_H

#include "vmm/bus.h"
#include "vmm/error.h"
#include "vmm/pci.h"

#define PCI_ECAM_SIZE 0x100000ULL /* bus 0: 32 devices x 8 functions x 4 KiB */

/* Registers ECAM on `mmio`, and ports 0xCF8 and 0xCFC on `pio` (NULL: a machine without ports). Main,
 * after pci_bus_init(). */
int pci_config_init(struct pci_bus *pci, struct bus *pio, struct bus *mmio, gpa_t ecam,
		    struct error *err);

#endif
