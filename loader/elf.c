/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ELF kernels (vmlinux, unikernels): loaded segment by segment at their physical addresses, started
 * by their PVH note where they have one and else at their 64-bit entry with a zero page. Runs on
 * main; the file is hostile, and nothing of it is used before it was checked.
 */
#include "loader/kernel.h"

#include <elf.h>
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <string.h>

#include "loader/e820.h"
#include "loader/elf_note.h"
#include "vmm/x86/layout.h"

#define MAX_PHDRS 64 /* Linux has five or six */

/* An ELF does not say how long a command line it takes: Linux's COMMAND_LINE_SIZE less the NUL. */
#define CMDLINE_MAX 2047

struct elf {
	const struct image *img;
	Elf64_Ehdr ehdr;
	Elf64_Phdr phdr[MAX_PHDRS];
};

static int check_ident(const struct elf *elf, struct error *err)
{
	const Elf64_Ehdr *ehdr = &elf->ehdr;

	if (ehdr->e_ident[EI_CLASS] != ELFCLASS64)
		return image_error(elf->img, err, ENOEXEC, "is not a 64-bit ELF file");
	if (ehdr->e_ident[EI_DATA] != ELFDATA2LSB)
		return image_error(elf->img, err, ENOEXEC, "is not a little-endian ELF file");
	if (ehdr->e_machine != EM_X86_64)
		return image_error(elf->img, err, ENOEXEC,
				   "is an ELF file for machine %u, not x86-64", ehdr->e_machine);
	if (ehdr->e_type != ET_EXEC && ehdr->e_type != ET_DYN)
		return image_error(elf->img, err, ENOEXEC,
				   "is an ELF file of type %u, not executable", ehdr->e_type);
	return 0;
}

static int read_headers(struct elf *elf, struct error *err)
{
	const Elf64_Ehdr *ehdr = &elf->ehdr;
	int ret;

	ret = image_read(elf->img, 0, &elf->ehdr, sizeof(elf->ehdr), err);
	if (!ret)
		ret = check_ident(elf, err);
	if (ret)
		return ret;
	if (ehdr->e_phentsize != sizeof(Elf64_Phdr))
		return image_error(elf->img, err, EINVAL,
				   "has program headers of %u bytes, not %zu", ehdr->e_phentsize,
				   sizeof(Elf64_Phdr));
	if (ehdr->e_phnum == 0 || ehdr->e_phnum > MAX_PHDRS)
		return image_error(elf->img, err, EINVAL,
				   "has %u program headers, 1 to %u are taken", ehdr->e_phnum,
				   MAX_PHDRS);
	return image_read(elf->img, ehdr->e_phoff, elf->phdr, ehdr->e_phnum * sizeof(Elf64_Phdr),
			  err);
}

static bool is_load(const Elf64_Phdr *ph)
{
	return ph->p_type == PT_LOAD && (ph->p_memsz > 0 || ph->p_filesz > 0);
}

static int check_segment(const struct elf *elf, unsigned i, const struct guest_memory *mem,
			 struct error *err)
{
	const Elf64_Phdr *ph = &elf->phdr[i];

	if (ph->p_filesz > ph->p_memsz)
		return image_error(elf->img, err, EINVAL,
				   "segment %u has %#" PRIx64 " bytes in the file, %#" PRIx64
				   " in memory",
				   i, ph->p_filesz, ph->p_memsz);
	if (ph->p_offset > elf->img->size || ph->p_filesz > elf->img->size - ph->p_offset)
		return image_error(elf->img, err, EINVAL,
				   "is truncated: segment %u is at offset %#" PRIx64 ", +%#" PRIx64
				   ", the file has %#" PRIx64 " bytes",
				   i, ph->p_offset, ph->p_filesz, elf->img->size);
	/* Below 1 MiB lie our own tables and the boot information. */
	if (ph->p_paddr < X86_HIGH_RAM)
		return image_error(elf->img, err, EINVAL,
				   "segment %u loads at %#" PRIx64 ", below 1 MiB", i, ph->p_paddr);
	if (ph->p_paddr > X86_HOLE || ph->p_memsz > X86_HOLE)
		return image_error(elf->img, err, EINVAL,
				   "segment %u, %#" PRIx64 " bytes at %#" PRIx64
				   ", is not below the 32-bit hole",
				   i, ph->p_memsz, ph->p_paddr);
	if (ph->p_paddr + ph->p_memsz > e820_low_end(mem))
		return image_too_large(elf->img, mem, ph->p_paddr + ph->p_memsz, err);
	return 0;
}

static int check_overlap(const struct elf *elf, unsigned i, struct error *err)
{
	const Elf64_Phdr *a = &elf->phdr[i];
	unsigned k;

	for (k = 0; k < i; k++) {
		const Elf64_Phdr *b = &elf->phdr[k];

		if (is_load(b) && a->p_paddr < b->p_paddr + b->p_memsz &&
		    b->p_paddr < a->p_paddr + a->p_memsz)
			return image_error(elf->img, err, EINVAL,
					   "segments %u and %u overlap at %#" PRIx64, k, i,
					   a->p_paddr > b->p_paddr ? a->p_paddr : b->p_paddr);
	}
	return 0;
}

static int check_segments(const struct elf *elf, const struct guest_memory *mem, gpa_t *end,
			  struct error *err)
{
	unsigned i;
	int ret;

	*end = 0;
	for (i = 0; i < elf->ehdr.e_phnum; i++) {
		const Elf64_Phdr *ph = &elf->phdr[i];

		if (!is_load(ph))
			continue;
		ret = check_segment(elf, i, mem, err);
		if (!ret)
			ret = check_overlap(elf, i, err);
		if (ret)
			return ret;
		if (ph->p_paddr + ph->p_memsz > *end)
			*end = ph->p_paddr + ph->p_memsz;
	}
	if (*end == 0)
		return image_error(elf->img, err, ENOEXEC, "has nothing to load");
	return 0;
}

/*
 * What lies between p_filesz and p_memsz must be zero, and is: guest memory is anonymous memory
 * that nobody has written above 1 MiB, a VM is never loaded twice, and segments do not overlap.
 * Writing zeros would only make the host allocate the pages.
 */
static int load_segments(const struct elf *elf, const struct guest_memory *mem, struct error *err)
{
	unsigned i;
	int ret;

	for (i = 0; i < elf->ehdr.e_phnum; i++) {
		const Elf64_Phdr *ph = &elf->phdr[i];

		if (!is_load(ph) || !ph->p_filesz)
			continue;
		ret = image_load(elf->img, ph->p_offset, ph->p_filesz, mem, ph->p_paddr, err);
		if (ret)
			return ret;
	}
	return 0;
}

/* Physical is what Linux's e_entry is; others name the virtual address. Both are understood. */
static int resolve_entry(const struct elf *elf, uint64_t entry, gpa_t *gpa, struct error *err)
{
	unsigned i;

	for (i = 0; i < elf->ehdr.e_phnum; i++) {
		const Elf64_Phdr *ph = &elf->phdr[i];

		*gpa = entry;
		if (is_load(ph) && entry >= ph->p_paddr && entry - ph->p_paddr < ph->p_filesz)
			return 0;
	}
	for (i = 0; i < elf->ehdr.e_phnum; i++) {
		const Elf64_Phdr *ph = &elf->phdr[i];

		*gpa = ph->p_paddr + (entry - ph->p_vaddr);
		if (is_load(ph) && entry >= ph->p_vaddr && entry - ph->p_vaddr < ph->p_filesz)
			return 0;
	}
	return image_error(elf->img, err, EINVAL,
			   "its entry %#" PRIx64 " is in none of its segments", entry);
}

/* The setup header a vmlinux lost when it was not made into a bzImage. */
static void make_header(struct kernel *kernel)
{
	struct setup_header hdr = {
		.boot_flag = 0xaa55,
		.header = 0x53726448, /* "HdrS" */
		.version = 0x020c,
		.loadflags = LOADED_HIGH,
		.kernel_alignment = 0x1000000,
		.cmdline_size = CMDLINE_MAX,
	};

	memcpy(kernel->header, &hdr, sizeof(hdr));
}

static int find_entry(const struct elf *elf, struct kernel *kernel, struct error *err)
{
	uint64_t entry;
	unsigned i;
	int ret;

	for (i = 0; i < elf->ehdr.e_phnum; i++) {
		if (elf->phdr[i].p_type != PT_NOTE)
			continue;
		ret = elf_note_pvh_entry(elf->img, &elf->phdr[i], &entry, err);
		if (ret < 0)
			return ret;
		if (ret > 0) {
			kernel->protocol = BOOT_PVH;
			return resolve_entry(elf, entry, &kernel->entry, err);
		}
	}
	kernel->protocol = BOOT_LINUX64;
	make_header(kernel);
	return resolve_entry(elf, elf->ehdr.e_entry, &kernel->entry, err);
}

int elf_load(const struct image *img, const struct guest_memory *mem, struct kernel *kernel,
	     struct error *err)
{
	struct elf elf = { .img = img };
	int ret;

	ret = read_headers(&elf, err);
	if (!ret)
		ret = check_segments(&elf, mem, &kernel->end, err);
	if (!ret)
		ret = find_entry(&elf, kernel, err);
	if (!ret)
		ret = load_segments(&elf, mem, err);
	if (ret)
		return ret;
	kernel->initrd_max = X86_HOLE - 1;
	kernel->cmdline_max = CMDLINE_MAX;
	return 0;
}
