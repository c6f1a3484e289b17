/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The zero page of the Linux boot protocol (boot.rst, "The 64-bit boot protocol"): a clean page,
 * the kernel's own setup header, and what a boot loader must fill in. Main only.
 */
#include "loader/kernel.h"

#include <errno.h>
#include <string.h>

#include "loader/e820.h"
#include "vmm/x86/layout.h"

#define LOADER_UNDEFINED 0xff /* type_of_loader without an assigned id */
#define VID_MODE_NORMAL	 0xffff
#define HEAP_END	 0xfe00 /* what boot.rst suggests for a loaded-high kernel */

static void fill_header(struct setup_header *hdr, const struct initrd *initrd)
{
	hdr->type_of_loader = LOADER_UNDEFINED;
	hdr->loadflags |= CAN_USE_HEAP;
	hdr->heap_end_ptr = HEAP_END;
	hdr->vid_mode = VID_MODE_NORMAL;
	hdr->cmd_line_ptr = X86_CMDLINE;
	hdr->ramdisk_image = initrd->addr;
	hdr->ramdisk_size = initrd->size;
	hdr->setup_data = 0;
}

static void fill_e820(struct boot_params *bp, const struct guest_memory *mem)
{
	struct e820_range map[E820_MAX];
	unsigned i;

	bp->e820_entries = e820_build(mem, map);
	for (i = 0; i < bp->e820_entries; i++)
		bp->e820_table[i] = (struct boot_e820_entry){ .addr = map[i].addr,
							      .size = map[i].size,
							      .type = map[i].type };
}

int zero_page_write(const struct guest_memory *mem, const struct kernel *kernel,
		    const struct initrd *initrd, gpa_t rsdp, struct error *err)
{
	struct boot_params bp = { 0 };
	int ret;

	_Static_assert(sizeof(bp) == 4096, "the zero page is a page");
	/* The header may be longer than the one this was compiled with, so it goes in as bytes. */
	memcpy((uint8_t *)&bp + SETUP_HEADER_OFFSET, kernel->header, sizeof(kernel->header));
	fill_header(&bp.hdr, initrd);
	bp.ext_ramdisk_image = initrd->addr >> 32;
	bp.ext_ramdisk_size = initrd->size >> 32;
	bp.acpi_rsdp_addr = rsdp;
	fill_e820(&bp, mem);
	ret = guest_memory_write(mem, X86_ZERO_PAGE, &bp, sizeof(bp));
	if (ret)
		return error_set(err, -ret, "zero page: cannot write to guest memory");
	return 0;
}
