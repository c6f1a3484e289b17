/* SPDX-License-Identifier: Apache-2.0 */
/* Command line and memory map, from a PVH start_info or a Linux zero page; and the page allocator.
 */
#include "guest/end.h"
#include "guest/lib.h"

#define PVH_MAGIC 0x336ec578
#define E820_RAM  1

struct pvh_start_info {
	uint32_t magic, version, flags, nr_modules;
	uint64_t modules, cmdline, rsdp;
	uint64_t memmap; /* since version 1 */
	uint32_t memmap_entries, reserved;
};

struct pvh_memmap {
	uint64_t addr, size;
	uint32_t type, reserved;
};

/* Documentation/arch/x86/zero-page.rst */
#define ZP_RSDP		0x070
#define ZP_EXT_CMDLINE	0x0c8
#define ZP_E820_ENTRIES 0x1e8
#define ZP_CMDLINE	0x228
#define ZP_E820		0x2d0

struct e820_entry {
	uint64_t addr, size;
	uint32_t type;
} __attribute__((packed));

struct boot_info boot = { .cmdline = "" };

extern uint32_t boot_start_info, boot_zero_page; /* start.S */
extern char image_end[];

static uintptr_t next_page;

static void add_ram(uint64_t addr, uint64_t size, uint32_t type)
{
	if (type != E820_RAM)
		return;
	boot.ram_size += size;
	if (addr + size <= 1ULL << 32 && addr + size > boot.ram_end)
		boot.ram_end = addr + size;
}

static void read_start_info(const struct pvh_start_info *info)
{
	const struct pvh_memmap *map = (void *)info->memmap;

	boot.protocol = "pvh";
	if (info->magic != PVH_MAGIC)
		return;
	if (info->cmdline)
		boot.cmdline = (const char *)info->cmdline;
	boot.rsdp = info->rsdp;
	for (uint32_t i = 0; info->version >= 1 && i < info->memmap_entries; i++)
		add_ram(map[i].addr, map[i].size, map[i].type);
}

static void read_zero_page(const uint8_t *page)
{
	const struct e820_entry *map = (void *)(page + ZP_E820);
	uint32_t lo, hi;

	boot.protocol = "linux64";
	memcpy(&lo, page + ZP_CMDLINE, 4);
	memcpy(&hi, page + ZP_EXT_CMDLINE, 4);
	if (lo)
		boot.cmdline = (const char *)((uint64_t)hi << 32 | lo);
	memcpy(&boot.rsdp, page + ZP_RSDP, 8);
	for (unsigned i = 0; i < page[ZP_E820_ENTRIES]; i++)
		add_ram(map[i].addr, map[i].size, map[i].type);
}

void boot_init(void)
{
	if (boot_start_info)
		read_start_info((void *)(uintptr_t)boot_start_info);
	else if (boot_zero_page)
		read_zero_page((void *)(uintptr_t)boot_zero_page);
	next_page = (uintptr_t)image_end;
}

const char *option(const char *key, unsigned nth)
{
	size_t n = strlen(key);

	for (const char *s = boot.cmdline; *s; s++) {
		bool begins = s == boot.cmdline || s[-1] == ' ';

		if (begins && strncmp(s, key, n) == 0 && s[n] == '=' && nth-- == 0)
			return s + n + 1;
	}
	return NULL;
}

uint64_t option_u64(const char *key, uint64_t otherwise)
{
	const char *value = option(key, 0);

	return value ? parse_u64(value, NULL) : otherwise;
}

bool option_is(const char *key, const char *value)
{
	const char *found = option(key, 0);
	size_t n = strlen(value);

	return found && strncmp(found, value, n) == 0 && (found[n] == ' ' || !found[n]);
}

void *alloc_pages(size_t bytes)
{
	uintptr_t page = next_page;

	bytes = (bytes + PAGE_SIZE - 1) & ~(PAGE_SIZE - 1);
	if (page + bytes > boot.ram_end)
		end_abort("out of memory");
	next_page += bytes;
	return memset((void *)page, 0, bytes);
}
