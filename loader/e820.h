/* SPDX-License-Identifier: Apache-2.0 */
/* The map of guest physical memory as BIOS call E820 would tell it. Main only. */
#ifndef MVMM_LOADER_E820_H
#define MVMM_LOADER_E820_H

#include <stdint.h>

#include "vmm/memory.h"

#define E820_RAM      1 /* ACPI 6.5, table 15.6; PVH's memory map uses the same numbers */
#define E820_RESERVED 2
#define E820_MAX      16

struct e820_range {
	gpa_t addr;
	uint64_t size;
	uint32_t type;
};

/* Fills `map` in ascending order and returns the number of ranges, at most E820_MAX. */
unsigned e820_build(const struct guest_memory *mem, struct e820_range map[E820_MAX]);

/* Where RAM below the 32-bit hole ends; 0 when there is none at address 0. */
gpa_t e820_low_end(const struct guest_memory *mem);

#endif
