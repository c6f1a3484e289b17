/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bytes of a kernel file -> the loaders, into guest RAM with nothing accessible beside it.
 *
 * An input is 8 bytes of configuration (how much RAM, an initrd, a command line, zeroes behind the
 * file) and then the file.
 */
#include <asm/bootparam.h>
#include <elf.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "loader/boot.h"
#include "loader/e820.h"
#include "loader/kernel.h"
#include "tests/fuzz/bytes.h"
#include "tests/fuzz/target.h"
#include "tests/unit/guarded_map.h"
#include "vmm/x86/layout.h"

const char fuzz_target[] = "kernel";

#define MIB	  (1ULL << 20)
#define PAGE	  4096ULL
#define GUARD	  (1ULL << 30)
#define HIGH_SIZE MIB
#define SIZES	  4
#define MAX_LOW	  (40 * MIB)
#define RSDP	  0xe0000
#define COMPARED  (1U << 20) /* of a segment: enough, and quick */

static const uint64_t low_size[SIZES] = { MIB, 4 * MIB, 20 * MIB, MAX_LOW };

static struct {
	uint8_t *low[SIZES], *high;
	int kernel_fd, initrd_fd;
	char kernel_path[32], initrd_path[32], cmdline[0x10100];
	const uint8_t *file;
	size_t size; /* of what the input has of it; zeroes follow */
	struct guest_memory mem;
	struct kernel kernel; /* as the format's loader left it */
	bool loaded;
	struct {
		uint64_t from, to;
	} may_be_set[4];
} rig;

/* ---- set-up ---------------------------------------------------------------------------------- */

static uint8_t *map_guarded(uint64_t size)
{
	uint8_t *p = guarded_map(size, GUARD);

	fuzz_check(p, "no memory for a guest");
	return p;
}

static int make_file(char path[32])
{
	const int fd = memfd_create("fuzz", MFD_CLOEXEC);

	fuzz_check(fd >= 0, "no memory for a file");
	snprintf(path, 32, "/proc/self/fd/%d", fd);
	return fd;
}

static void rig_init(unsigned which, bool high)
{
	if (!rig.high) {
		for (unsigned i = 0; i < SIZES; i++)
			rig.low[i] = map_guarded(low_size[i]);
		rig.high = map_guarded(HIGH_SIZE);
		rig.kernel_fd = make_file(rig.kernel_path);
		rig.initrd_fd = make_file(rig.initrd_path);
	}
	memset(&rig.mem, 0, sizeof(rig.mem));
	guest_memory_add(&rig.mem, 0, low_size[which], rig.low[which]);
	if (high)
		guest_memory_add(&rig.mem, 4096 * MIB, HIGH_SIZE, rig.high);
	rig.loaded = false;
	memset(rig.may_be_set, 0, sizeof(rig.may_be_set));
}

/* All zero again, at the price of what was touched. */
static void rig_clear(void)
{
	for (unsigned i = 0; i < rig.mem.nslots; i++)
		madvise(rig.mem.slot[i].hva, rig.mem.slot[i].size, MADV_DONTNEED);
}

static void put_file(int fd, const void *data, size_t len, uint64_t size)
{
	fuzz_check(!ftruncate(fd, 0) && pwrite(fd, data, len, 0) == (ssize_t)len &&
			   !ftruncate(fd, size),
		   "a file cannot be written");
}

/* ---- what the loaders say -------------------------------------------------------------------- */

typedef int load_fn(const struct image *img, const struct guest_memory *mem, struct kernel *kernel,
		    struct error *err);

load_fn __real_bzimage_load, __real_elf_load, __wrap_bzimage_load, __wrap_elf_load;

static int note(int ret, const struct kernel *kernel)
{
	rig.loaded = !ret;
	rig.kernel = *kernel;
	return ret;
}

int __wrap_bzimage_load(const struct image *img, const struct guest_memory *mem,
			struct kernel *kernel, struct error *err)
{
	return note(__real_bzimage_load(img, mem, kernel, err), kernel);
}

int __wrap_elf_load(const struct image *img, const struct guest_memory *mem, struct kernel *kernel,
		    struct error *err)
{
	return note(__real_elf_load(img, mem, kernel, err), kernel);
}

/* ---- what must hold -------------------------------------------------------------------------- */

static const uint8_t *guest(uint64_t gpa, uint64_t len)
{
	const uint8_t *p = guest_memory_ptr(&rig.mem, gpa, len);

	fuzz_check(p, "[%#llx, +%#llx) is not RAM", (unsigned long long)gpa,
		   (unsigned long long)len);
	return p;
}

/* Guest bytes are the file's from `off` on. */
static void check_copy(uint64_t gpa, uint64_t off, uint64_t len)
{
	const uint8_t *p = guest(gpa, len);

	if (len > COMPARED)
		len = COMPARED;
	for (uint64_t i = 0; i < len; i++)
		fuzz_check(p[i] == (off + i < rig.size ? rig.file[off + i] : 0),
			   "byte %#llx is not the file's", (unsigned long long)(gpa + i));
}

static void check_elf(const struct boot_entry *entry)
{
	Elf64_Ehdr ehdr;
	bool inside = false;

	memcpy(&ehdr, rig.file, sizeof(ehdr));
	for (unsigned i = 0; i < ehdr.e_phnum; i++) {
		Elf64_Phdr ph = { 0 };
		const uint64_t off = ehdr.e_phoff + i * sizeof(ph);

		for (unsigned k = 0; k < sizeof(ph); k++)
			if (off + k < rig.size)
				((uint8_t *)&ph)[k] = rig.file[off + k];
		if (ph.p_type != PT_LOAD || !ph.p_memsz)
			continue;
		fuzz_check(ph.p_paddr >= MIB && ph.p_paddr + ph.p_memsz <= rig.kernel.end,
			   "segment %u is outside the kernel", i);
		check_copy(ph.p_paddr, ph.p_offset, ph.p_filesz);
		inside |= entry->entry - ph.p_paddr < ph.p_filesz;
	}
	fuzz_check(inside, "entry %#llx is in no segment", (unsigned long long)entry->entry);
}

static void check_bzimage(const struct boot_entry *entry)
{
	const unsigned sects = rig.file[0x1f1] ? rig.file[0x1f1] : 4;
	const uint64_t off = (sects + 1) * 512ULL, load = entry->entry - 0x200;
	uint32_t paragraphs;
	uint64_t len;

	memcpy(&paragraphs, rig.file + 0x1f4, sizeof(paragraphs));
	len = paragraphs * 16ULL;
	fuzz_check(entry->protocol == BOOT_LINUX64, "a bzImage is started as something else");
	fuzz_check(load >= MIB && load + len - 15 <= rig.kernel.end, "a kernel behind its end");
	check_copy(load, off, len - 15);
}

static void check_initrd(const uint8_t *content, uint64_t size, uint64_t at, uint64_t said)
{
	fuzz_check(said == size, "an initrd of %llu bytes, not %llu", (unsigned long long)said,
		   (unsigned long long)size);
	fuzz_check(at % PAGE == 0 && at >= rig.kernel.end && at + size - 1 <= rig.kernel.initrd_max,
		   "the initrd is at %#llx", (unsigned long long)at);
	fuzz_check(at + size <= rig.mem.slot[0].size, "the initrd ends outside RAM");
	fuzz_check(!memcmp(guest(at, size), content, size), "the initrd is not what it was");
	rig.may_be_set[0].from = at;
	rig.may_be_set[0].to = at + size;
}

/* Where the boot information says the initrd is. */
static void find_initrd(const struct boot_entry *entry, uint64_t *at, uint64_t *size)
{
	const uint8_t *p = guest(entry->arg, PAGE);
	const struct boot_params *bp = (const void *)p;
	uint64_t modlist;

	if (entry->protocol == BOOT_LINUX64) {
		*at = bp->hdr.ramdisk_image | (uint64_t)bp->ext_ramdisk_image << 32;
		*size = bp->hdr.ramdisk_size | (uint64_t)bp->ext_ramdisk_size << 32;
		fuzz_check(bp->hdr.cmd_line_ptr == X86_CMDLINE && !bp->hdr.setup_data &&
				   bp->e820_entries <= E820_MAX_ENTRIES_ZEROPAGE,
			   "the zero page");
		return;
	}
	*at = *size = 0;
	memcpy(&modlist, p + 16, sizeof(modlist));
	if (p[12]) {
		memcpy(at, guest(modlist, 16), 8);
		memcpy(size, guest(modlist + 8, 8), 8);
	}
}

static bool may_be_set(uint64_t gpa)
{
	for (unsigned i = 0; i < 4; i++)
		if (gpa >= rig.may_be_set[i].from && gpa < rig.may_be_set[i].to)
			return true;
	return false;
}

/* Whatever was touched besides is still zero. */
static void check_rest(void)
{
	static unsigned char resident[MAX_LOW / PAGE];
	const struct memslot *low = &rig.mem.slot[0];

	fuzz_check(!mincore(low->hva, low->size, resident), "mincore");
	for (uint64_t gpa = 0; gpa < low->size; gpa++) {
		if (gpa % PAGE == 0 && !(resident[gpa / PAGE] & 1)) {
			gpa += PAGE - 1;
			continue;
		}
		fuzz_check(!low->hva[gpa] || may_be_set(gpa), "byte %#llx was written",
			   (unsigned long long)gpa);
	}
}

static void check_loaded(const struct boot_entry *entry, const uint8_t *initrd, size_t initrd_size)
{
	uint64_t at, said;

	fuzz_check(rig.loaded && entry->entry == rig.kernel.entry, "nothing was loaded");
	fuzz_check(entry->entry >= MIB && entry->entry < rig.kernel.end &&
			   rig.kernel.end <= rig.mem.slot[0].size,
		   "entry %#llx", (unsigned long long)entry->entry);
	fuzz_check(entry->arg == (entry->protocol == BOOT_PVH ? X86_PVH_START_INFO : X86_ZERO_PAGE),
		   "boot information at %#llx", (unsigned long long)entry->arg);
	if (!memcmp(rig.file, ELFMAG, SELFMAG) && memcmp(rig.file + 0x202, "HdrS", 4))
		check_elf(entry);
	else
		check_bzimage(entry);
	find_initrd(entry, &at, &said);
	if (initrd)
		check_initrd(initrd, initrd_size, at, said);
	else
		fuzz_check(!said, "an initrd that nobody gave");
	fuzz_check(!strcmp((const char *)guest(X86_CMDLINE, strlen(rig.cmdline) + 1), rig.cmdline),
		   "the command line is not what it was");
	rig.may_be_set[1].from = MIB;
	rig.may_be_set[1].to = rig.kernel.end;
	rig.may_be_set[2].from = entry->arg;
	rig.may_be_set[2].to = entry->arg + PAGE;
	rig.may_be_set[3].from = X86_CMDLINE;
	rig.may_be_set[3].to = X86_CMDLINE + strlen(rig.cmdline);
	check_rest();
}

/* ---- one input ------------------------------------------------------------------------------- */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t initrd[0x10000];
	struct bytes in = bytes_init(data, size);
	const unsigned which = bytes_take(&in, 1), flags = bytes_take(&in, 1);
	const size_t initrd_size = 1 + bytes_take(&in, 2), cmdline = bytes_take(&in, 2);
	const uint64_t tail = bytes_take(&in, 2) << 8;
	struct boot_config config = { .cmdline = rig.cmdline, .acpi_rsdp = flags & 4 ? RSDP : 0 };
	struct boot_entry entry = { 0 };
	struct error err = { "" };
	uint8_t *file;

	rig_init(which % SIZES, flags & 1);
	/* The checks look into the header without asking how long the file is. */
	file = calloc(1, in.left + PAGE);
	rig.size = in.left;
	memcpy(file, in.at, in.left);
	rig.file = file;
	put_file(rig.kernel_fd, file, rig.size, rig.size + tail);
	config.kernel = rig.kernel_path;
	memset(rig.cmdline, 'c', cmdline);
	rig.cmdline[cmdline] = '\0';
	if (flags & 2) {
		for (size_t i = 0; i < initrd_size; i++)
			initrd[i % sizeof(initrd)] = i * 7 + 1;
		put_file(rig.initrd_fd, initrd, initrd_size, initrd_size);
		config.initrd = rig.initrd_path;
	}
	if (!boot_load(&rig.mem, &config, &entry, &err))
		check_loaded(&entry, config.initrd ? initrd : NULL, initrd_size);
	else
		fuzz_check(err.text[0] && !strchr(err.text, '\n'), "a message: '%s'", err.text);
	rig_clear();
	free(file);
	return 0;
}
