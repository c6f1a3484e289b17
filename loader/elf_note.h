/* SPDX-License-Identifier: Apache-2.0 */
/* The one ELF note a PVH loader looks for. Private to loader/. Main only. */
#ifndef MVMM_LOADER_ELF_NOTE_H
#define MVMM_LOADER_ELF_NOTE_H

#include <elf.h>
#include <stdint.h>

#include "loader/image.h"
#include "vmm/error.h"

/*
 * Searches one PT_NOTE for Xen's PHYS32_ENTRY, the physical address of a 32-bit entry. 1: *entry is
 * it. 0: not there. -errno: the notes are broken.
 */
int elf_note_pvh_entry(const struct image *img, const Elf64_Phdr *ph, uint64_t *entry,
		       struct error *err);

#endif
