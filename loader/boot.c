/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tells the kernel's format by its magic and puts kernel, initrd, command line and boot information
 * in place, in the order in which each depends on the other. Runs on main before the vCPUs start;
 * knows nothing of registers: that is arch_vcpu_boot()'s.
 */
#include "loader/boot.h"

#include <elf.h>
#include <errno.h>
#include <string.h>

#include "loader/e820.h"
#include "loader/kernel.h"
#include "vmm/x86/layout.h"

struct format {
	unsigned off;
	const char *magic;
	unsigned len;
	int (*load)(const struct image *img, const struct guest_memory *mem, struct kernel *kernel,
		    struct error *err);
	const char *refusal; /* when there is no `load` */
};

/* In order: an EFI-stub bzImage begins with "MZ" too. */
static const struct format formats[] = {
	{ 0x202, "HdrS", 4, bzimage_load, NULL },
	{ 0, ELFMAG, SELFMAG, elf_load, NULL },
	{ 0x38, "ARM\x64", 4, NULL, "is a kernel for arm64, this is x86-64" },
	{ 0, "\x1f\x8b", 2, NULL, "is compressed with gzip: unpack it first" },
	{ 0, "\xfd\x37zXZ", 5, NULL, "is compressed with xz: unpack it first" },
	{ 0, "\x28\xb5\x2f\xfd", 4, NULL, "is compressed with zstd: unpack it first" },
	{ 0, "BZh", 3, NULL, "is compressed with bzip2: unpack it first" },
	{ 0, "070701", 6, NULL, "is a cpio archive: give it with --initrd" },
	{ 0, "MZ", 2, NULL, "is an EFI program without a Linux setup header" },
};

static int kernel_load(const struct image *img, const struct guest_memory *mem,
		       struct kernel *kernel, struct error *err)
{
	uint8_t head[0x206] = { 0 };
	size_t len = img->size < sizeof(head) ? img->size : sizeof(head);
	const struct format *f;
	int ret;

	ret = image_read(img, 0, head, len, err);
	if (ret)
		return ret;
	for (f = formats; f < formats + sizeof(formats) / sizeof(formats[0]); f++) {
		if (memcmp(head + f->off, f->magic, f->len) != 0)
			continue;
		if (!f->load)
			return image_error(img, err, ENOEXEC, "%s", f->refusal);
		return f->load(img, mem, kernel, err);
	}
	return image_error(img, err, ENOEXEC, "is neither a bzImage nor an ELF file");
}

static int initrd_load_path(const char *path, const struct guest_memory *mem,
			    const struct kernel *kernel, struct initrd *initrd, struct error *err)
{
	struct image img;
	int ret;

	ret = image_open(&img, "initrd", path, err);
	if (ret)
		return ret;
	ret = initrd_load(&img, mem, kernel, initrd, err);
	image_close(&img);
	return ret;
}

static int kernel_load_path(const char *path, const struct guest_memory *mem, struct kernel *kernel,
			    struct error *err)
{
	struct image img;
	int ret;

	ret = image_open(&img, "kernel", path, err);
	if (ret)
		return ret;
	ret = kernel_load(&img, mem, kernel, err);
	image_close(&img);
	return ret;
}

int boot_load(struct guest_memory *mem, const struct boot_config *config, struct boot_entry *entry,
	      struct error *err)
{
	struct kernel kernel = { 0 };
	struct initrd initrd = { 0 };
	int ret;

	if (e820_low_end(mem) <= X86_HIGH_RAM)
		return error_setx(err, EINVAL, "guest memory: a kernel needs more than %llu KiB",
				  X86_HIGH_RAM / 1024);
	ret = kernel_load_path(config->kernel, mem, &kernel, err);
	if (!ret && config->initrd)
		ret = initrd_load_path(config->initrd, mem, &kernel, &initrd, err);
	if (!ret)
		ret = cmdline_load(mem, config->cmdline, kernel.cmdline_max, err);
	if (!ret && kernel.protocol == BOOT_PVH)
		ret = pvh_write(mem, &initrd, config->acpi_rsdp, err);
	else if (!ret)
		ret = zero_page_write(mem, &kernel, &initrd, config->acpi_rsdp, err);
	if (ret)
		return ret;
	entry->protocol = kernel.protocol;
	entry->entry = kernel.entry;
	entry->arg = kernel.protocol == BOOT_PVH ? X86_PVH_START_INFO : X86_ZERO_PAGE;
	return 0;
}
