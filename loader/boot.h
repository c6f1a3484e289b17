/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Direct kernel boot: reads a kernel and an initrd into guest memory, writes the command line and
 * the boot information the kernel's protocol wants, and says where the boot vCPU starts.
 *
 * Files are hostile: every header field is checked against the file and against guest memory before
 * it is used. The kernel file is read, never mapped writable. Main only.
 */
#ifndef MVMM_LOADER_BOOT_H
#define MVMM_LOADER_BOOT_H

#include "vmm/arch.h"
#include "vmm/error.h"
#include "vmm/memory.h"

struct boot_config {
	const char *kernel;
	const char *initrd;  /* NULL: none */
	const char *cmdline; /* complete */
	gpa_t acpi_rsdp;     /* 0: none */
};

/* bzImage (64-bit entry) or ELF (PVH note first, else 64-bit entry), told by their magic. */
int boot_load(struct guest_memory *mem, const struct boot_config *config, struct boot_entry *entry,
	      struct error *err);

#endif
