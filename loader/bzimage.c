/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bzImage by its 64-bit entry (Linux Documentation/arch/x86/boot.rst), which is 0x200 after the
 * start of the protected-mode kernel. The real-mode part never runs; only its header counts. Runs
 * on main; the file is hostile, and nothing of it is used before it was checked.
 */
#include "loader/kernel.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <string.h>

#include "loader/e820.h"
#include "vmm/x86/layout.h"

#define SECTOR		    512
#define BOOT_FLAG	    0xaa55
#define HEADER_JUMP	    0x202 /* the jump instruction ends here; its operand leaps the header */
#define PROTOCOL_MIN	    0x020c /* the first with xloadflags */
#define ENTRY_64	    0x200
#define SETUP_SECTS_DEFAULT 4 /* "If the setup_sects field contains 0, the real value is 4" */

struct bzimage {
	const struct image *img;
	uint8_t raw[SETUP_HEADER_END]; /* the file's first bytes, 0 after the header's end */
	struct setup_header hdr;
	uint64_t off, len; /* of the protected-mode kernel, in the file */
	gpa_t load;
	gpa_t end; /* of what the kernel overwrites before it looks at the memory map */
};

/* The header as far as the image has one (it says how long it is); what lies beyond reads as 0. */
static int read_header(struct bzimage *bz, struct error *err)
{
	const struct image *img = bz->img;
	size_t len = img->size < SETUP_HEADER_END ? img->size : SETUP_HEADER_END;
	size_t end;
	int ret;

	ret = image_read(img, 0, bz->raw, len, err);
	if (ret)
		return ret;
	end = HEADER_JUMP + bz->raw[HEADER_JUMP - 1];
	if (end > SETUP_HEADER_END)
		end = SETUP_HEADER_END;
	if (end > len)
		return image_error(img, err, EINVAL,
				   "is truncated: its setup header ends at %#zx, the file at %#zx",
				   end, len);
	memset(bz->raw + end, 0, SETUP_HEADER_END - end);
	memcpy(&bz->hdr, bz->raw + SETUP_HEADER_OFFSET, sizeof(bz->hdr));
	return 0;
}

static int check_protocol(const struct bzimage *bz, struct error *err)
{
	const struct setup_header *hdr = &bz->hdr;

	if (hdr->boot_flag != BOOT_FLAG)
		return image_error(bz->img, err, ENOEXEC, "its boot flag is %#x, not %#x",
				   hdr->boot_flag, BOOT_FLAG);
	if (hdr->version < PROTOCOL_MIN || !(hdr->xloadflags & XLF_KERNEL_64))
		return image_error(bz->img, err, ENOEXEC,
				   "has no 64-bit entry (boot protocol %u.%02u%s): kernels of"
				   " protocol 2.12 or later with XLF_KERNEL_64 can be started",
				   hdr->version >> 8, hdr->version & 0xff,
				   hdr->version < PROTOCOL_MIN ? "" : ", 32-bit code only");
	if (!(hdr->loadflags & LOADED_HIGH))
		return image_error(bz->img, err, ENOEXEC, "is a zImage, which loads below 1 MiB");
	return 0;
}

/* Where in the file the protected-mode kernel lies. */
static int find_payload(struct bzimage *bz, struct error *err)
{
	unsigned sects = bz->hdr.setup_sects ? bz->hdr.setup_sects : SETUP_SECTS_DEFAULT;
	uint64_t left;

	bz->off = (uint64_t)(sects + 1) * SECTOR;
	bz->len = (uint64_t)bz->hdr.syssize * 16;
	if (bz->len <= ENTRY_64)
		return image_error(bz->img, err, EINVAL,
				   "its protected-mode code of %" PRIu64
				   " bytes has no 64-bit entry",
				   bz->len);
	left = bz->img->size > bz->off ? bz->img->size - bz->off : 0;
	/* syssize counts paragraphs, the file need not fill its last one. */
	if (bz->len - 15 > left)
		return image_error(bz->img, err, EINVAL,
				   "is truncated: its header promises %" PRIu64
				   " bytes, the file has %" PRIu64,
				   bz->off + bz->len, bz->img->size);
	/* What follows in the file (a signature) is not part of the kernel. */
	if (bz->len > left)
		bz->len = left;
	return 0;
}

/*
 * The address to load at. A relocatable kernel runs at the load address, but never below
 * pref_address; others move themselves there (boot.rst, "init_size"). So a lower address saves no
 * memory, and where pref_address has no room nothing higher has: it is the one address, unless it
 * lies in the first MiB and the kernel can run elsewhere.
 */
static int choose_address(struct bzimage *bz, struct error *err)
{
	uint64_t align = bz->hdr.kernel_alignment;
	bool relocatable = bz->hdr.relocatable_kernel;

	bz->load = bz->hdr.pref_address;
	if (relocatable && (align == 0 || (align & (align - 1))))
		return image_error(bz->img, err, EINVAL,
				   "its kernel_alignment %#" PRIx64 " is not a power of two",
				   align);
	if (bz->load < X86_HIGH_RAM && relocatable)
		bz->load = (X86_HIGH_RAM + align - 1) & ~(align - 1);
	if (bz->load < X86_HIGH_RAM)
		return image_error(bz->img, err, EINVAL,
				   "runs at %#" PRIx64 " only, below 1 MiB: there is no room",
				   bz->load);
	if (relocatable && (bz->load & (align - 1)))
		return image_error(bz->img, err, EINVAL,
				   "its pref_address %#" PRIx64 " is not aligned to %#" PRIx64,
				   bz->load, align);
	return 0;
}

static int check_room(struct bzimage *bz, const struct guest_memory *mem, struct error *err)
{
	uint64_t need = bz->hdr.init_size > bz->len ? bz->hdr.init_size : bz->len;

	/* Each held alone first, so that the sum cannot wrap. */
	if (bz->load >= X86_HOLE || need >= X86_HOLE)
		return image_error(bz->img, err, EINVAL,
				   "wants %" PRIu64 " bytes at %#" PRIx64
				   ", but RAM below 4 GiB ends at %#llx",
				   need, bz->load, X86_HOLE);
	bz->end = bz->load + need;
	if (bz->end > e820_low_end(mem))
		return image_too_large(bz->img, mem, bz->end, err);
	return 0;
}

static void fill_kernel(const struct bzimage *bz, struct kernel *kernel)
{
	const struct setup_header *hdr = &bz->hdr;

	kernel->protocol = BOOT_LINUX64;
	kernel->entry = bz->load + ENTRY_64;
	kernel->end = bz->end;
	kernel->initrd_max = hdr->initrd_addr_max;
	kernel->cmdline_max = hdr->cmdline_size;
	memcpy(kernel->header, bz->raw + SETUP_HEADER_OFFSET, sizeof(kernel->header));
}

int bzimage_load(const struct image *img, const struct guest_memory *mem, struct kernel *kernel,
		 struct error *err)
{
	struct bzimage bz = { .img = img };
	int ret;

	ret = read_header(&bz, err);
	if (!ret)
		ret = check_protocol(&bz, err);
	if (!ret)
		ret = find_payload(&bz, err);
	if (!ret)
		ret = choose_address(&bz, err);
	if (!ret)
		ret = check_room(&bz, mem, err);
	if (!ret)
		ret = image_load(img, bz.off, bz.len, mem, bz.load, err);
	if (!ret)
		fill_kernel(&bz, kernel);
	return ret;
}
