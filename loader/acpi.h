/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The machine described in ACPI 6.5 tables (hardware-reduced): RSDP, XSDT, FADT, MADT, MCFG, DSDT,
 * written by a small AML writer of our own. What is described is decided by docs/design.md.
 */
#ifndef MVMM_LOADER_ACPI_H
#define MVMM_LOADER_ACPI_H

#include <stdbool.h>
#include <stdint.h>

#include "vmm/error.h"
#include "vmm/memory.h"

struct acpi_mmio_dev {
	gpa_t base;
	uint32_t size;
	uint32_t gsi;
};

struct acpi_config {
	unsigned ncpus;				 /* APIC ids 0 .. ncpus-1 */
	bool pci;				 /* host bridge, MCFG */
	uint32_t hotplug;			 /* PCI slots in which devices come and go */
	const struct acpi_mmio_dev *virtio_mmio; /* LNRO0005 nodes, in this order */
	unsigned nvirtio_mmio;
};

/* Writes all tables to guest memory at X86_ACPI_RSDP; *rsdp is where. */
int acpi_write(struct guest_memory *mem, const struct acpi_config *config, gpa_t *rsdp,
	       struct error *err);

#endif
