/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The start information of the PVH boot protocol (Xen public/arch-x86/hvm/start_info.h, version 1):
 * header, module list and memory map, in one page. Main only.
 */
#include "loader/kernel.h"

#include <errno.h>

#include "loader/e820.h"
#include "vmm/x86/layout.h"

#define PVH_MAGIC   0x336ec578 /* "xEn3" with the top bit of the E set */
#define PVH_VERSION 1	       /* the first with a memory map */

struct pvh_info {
	uint32_t magic;
	uint32_t version;
	uint32_t flags;
	uint32_t nr_modules;
	uint64_t modlist_paddr;
	uint64_t cmdline_paddr;
	uint64_t rsdp_paddr;
	uint64_t memmap_paddr;
	uint32_t memmap_entries;
	uint32_t reserved;
};

struct pvh_module {
	uint64_t paddr;
	uint64_t size;
	uint64_t cmdline_paddr;
	uint64_t reserved;
};

struct pvh_memmap {
	uint64_t addr;
	uint64_t size;
	uint32_t type;
	uint32_t reserved;
};

struct pvh_page {
	struct pvh_info info;
	struct pvh_module module;
	struct pvh_memmap memmap[E820_MAX];
};

_Static_assert(sizeof(struct pvh_info) == 56, "start_info.h");
_Static_assert(sizeof(struct pvh_module) == 32, "start_info.h");
_Static_assert(sizeof(struct pvh_memmap) == 24, "start_info.h");
_Static_assert(sizeof(struct pvh_page) <= 4096, "one page");

static gpa_t addr_of(size_t off)
{
	return X86_PVH_START_INFO + off;
}

int pvh_write(const struct guest_memory *mem, const struct initrd *initrd, gpa_t rsdp,
	      struct error *err)
{
	struct e820_range map[E820_MAX];
	struct pvh_page page = {
	    .info =
		{
		    .magic = PVH_MAGIC,
		    .version = PVH_VERSION,
		    .cmdline_paddr = X86_CMDLINE,
		    .rsdp_paddr = rsdp,
		    .memmap_paddr = addr_of(offsetof(struct pvh_page, memmap)),
		    .memmap_entries = e820_build(mem, map),
		},
	};
	unsigned i;
	int ret;

	if (initrd->size) {
		page.info.nr_modules = 1;
		page.info.modlist_paddr = addr_of(offsetof(struct pvh_page, module));
		page.module = (struct pvh_module){ .paddr = initrd->addr, .size = initrd->size };
	}
	for (i = 0; i < page.info.memmap_entries; i++)
		page.memmap[i] = (struct pvh_memmap){ .addr = map[i].addr,
						      .size = map[i].size,
						      .type = map[i].type };
	ret = guest_memory_write(mem, X86_PVH_START_INFO, &page, sizeof(page));
	if (ret)
		return error_set(err, -ret, "PVH start info: cannot write to guest memory");
	return 0;
}
