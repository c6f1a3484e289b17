/* SPDX-License-Identifier: Apache-2.0 */
/* The initial RAM disk: at the top of what the kernel can reach, out of its way. Main only. */
#include "loader/kernel.h"

#include <errno.h>
#include <inttypes.h>

#include "loader/e820.h"

#define PAGE 4096ULL

static uint64_t page_align(uint64_t v)
{
	return (v + PAGE - 1) & ~(PAGE - 1);
}

int initrd_load(const struct image *img, const struct guest_memory *mem,
		const struct kernel *kernel, struct initrd *initrd, struct error *err)
{
	/* No sum wraps: the kernel ends below 4 GiB and a file's size is a positive off_t. */
	gpa_t end = page_align(kernel->end) + page_align(img->size);
	gpa_t top = e820_low_end(mem);

	if (end > top)
		return image_too_large(img, mem, end, err);
	if (top > kernel->initrd_max)
		top = kernel->initrd_max + 1;
	top &= ~(PAGE - 1);
	if (end > top)
		return image_error(img, err, EFBIG,
				   "%" PRIu64 " bytes do not fit between the kernel's end %#" PRIx64
				   " and the highest address it takes, %#" PRIx64,
				   img->size, kernel->end, kernel->initrd_max);
	initrd->addr = (top - img->size) & ~(PAGE - 1);
	initrd->size = img->size;
	return image_load(img, 0, img->size, mem, initrd->addr, err);
}
