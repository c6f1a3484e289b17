/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Addresses a guest may try: where nothing is, where registers are, and the borders between, by every
 * width and by string instructions; and the same places as buffers of a request.
 */
#include <linux/virtio_mmio.h>

#include "guest/io.h"
#include "guest/irq.h"
#include "guest/lib.h"
#include "tests.h"

#define CONFIG_END 0x200
#define ECAM	   0xe0000000
#define IOAPIC	   0xfec00000
#define LAPIC	   0xfee00000
#define EMPTY_PORT 0x2e8
#define COM1_SCR   0x3ff
#define COM1_LSR   0x3fd
#define HIGH_RAM   (1ULL << 32)
#define BUFFER	   (16 * PAGE_SIZE)
#define HUGE_PAGE  (2UL << 20)
#define PTE_TABLE  0x007 /* present, writable, user */
#define PTE_DEVICE 0x09f /* a 2 MiB page, uncached */

extern volatile uint64_t pdpt[]; /* start.S */

/* ---- the device's own registers -------------------------------------------------------------- */

static uint64_t read_width(uintptr_t at, unsigned width)
{
	switch (width) {
	case 1:
		return read8(at);
	case 2:
		return read16(at);
	case 4:
		return read32(at);
	default:
		return read64(at);
	}
}

static void write_width(uintptr_t at, unsigned width, uint64_t value)
{
	switch (width) {
	case 1:
		write8(at, value);
		break;
	case 2:
		write16(at, value);
		break;
	case 4:
		write32(at, value);
		break;
	default:
		write64(at, value);
	}
}

static uintptr_t config_space(const struct virtio *dev)
{
	return dev->base ? dev->base + VIRTIO_MMIO_CONFIG : dev->config;
}

/* Every width at every offset shows the same bytes, and zeroes beyond the end. */
static void config_bytes(void)
{
	struct virtio *dev = disk(0)->dev;
	const uintptr_t config = config_space(dev);
	uint8_t *bytes = alloc_pages(PAGE_SIZE);
	unsigned differ = 0, beyond = 0;

	ok(disk_works(), "the disk works");
	for (unsigned i = 0; i < CONFIG_END + 8; i++)
		bytes[i] = read8(config + i);
	for (unsigned i = 64; i < CONFIG_END; i++)
		beyond += bytes[i] != 0;
	for (unsigned width = 2; width <= 8; width *= 2) {
		for (unsigned i = 0; i < CONFIG_END; i++) {
			const uint64_t value = read_width(config + i, width);

			differ += memcmp(&value, bytes + i, width) != 0;
		}
	}
	ok(beyond == 0, "configuration ends in zeroes");
	ok(differ == 0, "and reads the same by all widths at all places");
}

/* Only the writeback byte takes anything, and it takes 0 and 1. */
static void config_writes(void)
{
	struct virtio *dev = disk(0)->dev;
	const uintptr_t config = config_space(dev);
	const unsigned wce = offsetof(struct virtio_blk_config, wce);
	uint8_t *before = alloc_pages(PAGE_SIZE);
	unsigned differ = 0;

	ok(disk_works(), "the disk works");
	for (unsigned i = 0; i < CONFIG_END; i++)
		before[i] = read8(config + i);
	for (unsigned width = 1; width <= 8; width *= 2) {
		for (unsigned i = 0; i < CONFIG_END; i++)
			write_width(config + i, width, 0x5a5a5a5a5a5a5a5a);
	}
	for (unsigned i = 0; i < CONFIG_END; i++)
		differ += i != wce && read8(config + i) != before[i];
	ok(differ == 0, "configuration is read-only");
	ok(read8(config + wce) <= 1, "but for the writeback byte, which is 0 or 1");
	for (unsigned i = 0; i < 200; i++)
		write8(config + wce, i);
	ok(disk_works(), "the disk works");
}

/* Every offset and width of the registers' page or BAR, read only: reads have no effect but for the
 * ISR, and none may touch what is not there. */
static void register_reads(struct virtio *dev)
{
	static const unsigned areas[] = { 0, 0x1000, 0x2000, 0x3000, 0x4000, 0x5000, 0x6000 };
	const uintptr_t base = dev->base ? dev->base : dev->common;

	for (unsigned a = 0; a < (dev->base ? 1 : ARRAY_SIZE(areas)); a++) {
		for (unsigned width = 1; width <= 8; width *= 2) {
			for (unsigned i = 0; i < 0x100; i++)
				read_width(base + areas[a] + i, width);
			read_width(base + areas[a] + 0x1000 - width, width);
		}
	}
}

/* Writes of widths that no register has. On PCI a byte is the status' own width. */
static void register_writes(struct virtio *dev)
{
	const uintptr_t base = dev->base ? dev->base : dev->common;

	for (unsigned i = 0; i < 0x100; i++) {
		write64(base + i, 0);
		write16(base + i + !dev->base, 0);
		if (dev->base)
			write8(base + i, 0);
		if (i % 4)
			write32(base + i, 0);
	}
}

static void register_widths(void)
{
	struct virtio *dev = disk(0)->dev;

	ok(disk_works(), "the disk works");
	register_reads(dev);
	ok(blk_read(disk(0), 0, alloc_pages(SECTOR), 1) == VIRTIO_BLK_S_OK,
	   "registers are read by all widths");
	if (dev->base) {
		register_writes(dev);
		ok(!virtio_needs_reset(dev) &&
			   blk_read(disk(0), 0, alloc_pages(SECTOR), 1) == VIRTIO_BLK_S_OK,
		   "and written by widths they do not have");
	} else {
		virtio_reset(dev);
		register_writes(dev);
		ok(dev->ops->status(dev) == 0, "and written by widths they do not have");
	}
	ok(disk_works(), "the disk works");
}

/* Registers of version 1, at places that version 2 leaves empty (virtio 1.2, 4.2.4). */
static void legacy_registers(void)
{
	static const unsigned legacy[] = { 0x28, 0x3c, 0x40 };
	struct virtio *dev = disk(0)->dev;

	ok(disk_works(), "the disk works");
	for (unsigned i = 0; dev->base && i < ARRAY_SIZE(legacy); i++) {
		write32(dev->base + legacy[i], 0x1000);
		ok(read32(dev->base + legacy[i]) == 0, "register 0x%x is not there", legacy[i]);
	}
	ok(blk_read(disk(0), 0, alloc_pages(SECTOR), 1) == VIRTIO_BLK_S_OK, "the queue works");
}

/* ---- holes ----------------------------------------------------------------------------------- */

/* Chips whose registers are KVM's, and devices, which have tests of their own. */
static bool is_hole(uint64_t at)
{
	if (at < boot.ram_end || (at >= 0xc0000000 && at < 0xc0400000) ||
	    (at >= 0xd0000000 && at < 0xd0020000) || (at >= ECAM && at < ECAM + 0x100000))
		return false;
	return at < IOAPIC || at >= 0xff000000;
}

static unsigned try_hole(uintptr_t at)
{
	unsigned answers = 0;

	for (unsigned width = 1; width <= 8; width *= 2) {
		const uint64_t ones = width == 8 ? ~0ull : (1ULL << 8 * width) - 1;

		write_width(at, width, 0);
		answers += read_width(at, width) != ones;
	}
	return answers;
}

/* The borders of everything, accesses across them and across pages, and places at random. */
static void memory_holes(void)
{
	static const uint64_t borders[] = {
		0xc0000000, 0xc0400000, 0xd0000000, 0xd0020000, 0xe0000000, 0xe0100000,
		0xfec00000, 0xfec01000, 0xfee00000, 0xff000000, 0xfffff000,
	};
	unsigned answers = 0, n = option_u64("places", 500);

	for (unsigned i = 0; i < ARRAY_SIZE(borders); i++) {
		if (is_hole(borders[i] - 8))
			answers += try_hole(borders[i] - 8);
		if (is_hole(borders[i]))
			answers += try_hole(borders[i]);
	}
	ok(answers == 0, "holes read as ones at their borders");
	for (unsigned i = 1; i < 8; i++) {
		read_width(boot.ram_end - i, 8);
		answers += read_width(0xb0000ff8 + i, 8) != ~0ull;
		write_width(0xb0000ff8 + i, 8, 0);
		/* From nothing into the window, from there into nothing. */
		read_width(0xc0000000 - i, 8);
		read_width(0xd0000000 - i, 8);
		read_width(0xe0000000 - i, 8);
	}
	ok(answers == 0, "and across pages");
	while (n) {
		const uint64_t at = chance() & 0xffffffff;

		if (!is_hole(at) || !is_hole(at + 8))
			continue;
		answers += try_hole(at);
		n--;
	}
	ok(answers == 0, "and everywhere");
	ok(disk_works(), "the disk works");
}

/* Above 4 GiB nothing is mapped: the fifth gigabyte leads where it is needed. */
static uintptr_t map_far(unsigned i, uint64_t gpa)
{
	static uint64_t *directory;

	if (!directory) {
		directory = alloc_pages(PAGE_SIZE);
		pdpt[4] = (uintptr_t)directory | PTE_TABLE;
	}
	directory[i] = gpa | PTE_DEVICE;
	return HIGH_RAM + i * HUGE_PAGE;
}

/* Above all memory: just behind it, and up to the last address the CPU has. */
static void far_holes(void)
{
	unsigned answers = 0, bits;
	struct cpuid id;

	cpu_id(0x80000008, 0, &id);
	bits = id.eax & 0xff;
	note("%u bits of physical address", bits);
	for (unsigned bit = 32; bit < bits; bit++) {
		answers += try_hole(map_far(2 * (bit - 32), 1ULL << bit));
		answers += try_hole(map_far(2 * (bit - 32) + 1, (2ULL << bit) - HUGE_PAGE) +
				    HUGE_PAGE - 8);
	}
	ok(answers == 0, "addresses above 4 GiB read as ones");
}

/* Ports that end the machine, belong to KVM's chips, or have tests of their own. */
static bool may_touch(unsigned port)
{
	static const struct {
		uint16_t from, to;
	} taken[] = {
		{ 0x20, 0x21 },	  { 0x40, 0x43 },   { 0x60, 0x64 },   { 0x70, 0x71 },
		{ 0x92, 0x92 },	  { 0xa0, 0xa1 },   { 0xf4, 0xf7 },   { 0x3f8, 0x3ff },
		{ 0x4d0, 0x4d1 }, { 0x505, 0x505 }, { 0x600, 0x607 }, { 0xcf8, 0xcff },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(taken); i++) {
		if (port + 3 >= taken[i].from && port <= taken[i].to)
			return false;
	}
	return true;
}

static unsigned try_port(uint16_t port)
{
	outb(port, 0);
	outw(port, 0);
	outl(port, 0);
	return (inb(port) != 0xff) + (inw(port) != 0xffff) + (inl(port) != ~0u);
}

/* An access of four bytes there, which ring 3 has no permission for. */
static uint64_t ring0_last_port(uint64_t unused)
{
	outl(0xffff, ~0u);
	return inl(0xffff);
}

/* All of the first 4096, then every `stride`th. */
static void port_holes(void)
{
	unsigned answers = 0, stride = option_u64("stride", 61);

	for (unsigned port = 0; port < 0x10000; port += port < 0x1000 ? 1 : stride) {
		if (may_touch(port) && port + 3 < 0x10000)
			answers += try_port(port);
	}
	ok(answers == 0, "ports with nothing behind them read as ones");
	ring0(ring0_last_port, 0);
	ok(inb(0xffff) == 0xff, "so does the last one");
	ok(disk_works(), "the disk works");
}

/* ---- string instructions --------------------------------------------------------------------- */

static void ins8(uint16_t port, void *to, size_t n)
{
	__asm__ volatile("rep insb" : "+D"(to), "+c"(n) : "d"(port) : "memory");
}

static void ins32(uint16_t port, void *to, size_t n)
{
	__asm__ volatile("rep insl" : "+D"(to), "+c"(n) : "d"(port) : "memory");
}

static void outs8(uint16_t port, const void *from, size_t n)
{
	__asm__ volatile("rep outsb" : "+S"(from), "+c"(n) : "d"(port) : "memory");
}

static void outs32(uint16_t port, const void *from, size_t n)
{
	__asm__ volatile("rep outsl" : "+S"(from), "+c"(n) : "d"(port) : "memory");
}

static bool all_bytes(const uint8_t *data, size_t n, uint8_t byte)
{
	for (size_t i = 0; i < n; i++) {
		if (data[i] != byte)
			return false;
	}
	return true;
}

static void string_ports(void)
{
	uint8_t *data = alloc_pages(BUFFER);

	ins8(EMPTY_PORT, data + 1, 9000);
	ok(all_bytes(data + 1, 9000, 0xff) && !data[0] && !data[9001],
	   "9000 bytes from an empty port, over three pages");
	memset(data, 0, BUFFER);
	ins32(EMPTY_PORT, data + 3, 2000);
	ok(all_bytes(data + 3, 8000, 0xff) && !data[8003], "2000 words");
	outs8(EMPTY_PORT, data, 9000);
	outs32(EMPTY_PORT, data + 1, 3000);
	ins8(COM1_LSR, data, 5000);
	ok(data[0] == data[4999], "5000 times the line status");
	outs8(COM1_SCR, data, 5000);
	ok(inb(COM1_SCR) == data[4999], "5000 writes to the scratch register, the last one stays");
	ins32(0xcfc, data, 1500);
	/* From and to places that are no memory. */
	outs8(EMPTY_PORT, (void *)0xb0000000, 20);
	ins8(EMPTY_PORT, (void *)0xb0000000, 20);
	outs8(EMPTY_PORT, (void *)(0xb0000000 - 5), 10);
	ok(inb(EMPTY_PORT) == 0xff, "strings from and to where no memory is");
}

/* Registers as the operand of a string move, a read-modify-write and an exchange. */
static void string_registers(void)
{
	struct virtio *dev = disk(0)->dev;
	const uintptr_t base = dev->base ? dev->base : dev->common;
	uint8_t *data = alloc_pages(BUFFER);
	uint32_t word = 0;

	ok(disk_works(), "the disk works");
	memcpy(data, (void *)base, 256);
	memcpy((void *)0xb0000000, (void *)base, 64);
	memcpy(data, (void *)0xb0000ff0, 64);
	ok(all_bytes(data, 64, 0xff), "a string from nowhere is ones");
	memset((void *)0xb0000000, 0, 5000);
	__asm__ volatile("lock incl (%0)" : : "r"(0xb0000000UL) : "memory", "cc");
	__asm__ volatile("xchgl %0, (%1)" : "+r"(word) : "r"(0xb0000000UL) : "memory");
	ok(word == ~0u, "an exchange with nowhere gives ones");
	ok(blk_read(disk(0), 0, data, 1) == VIRTIO_BLK_S_OK, "the disk has not noticed");
	ok(disk_works(), "the disk works");
}

/* ---- as buffers ------------------------------------------------------------------------------ */

static uint8_t read_to(uint64_t gpa, uint32_t len)
{
	const struct sg sg = { (void *)gpa, len, true };

	return blk_do(&disk(0)->queue[0], VIRTIO_BLK_T_IN, 0, &sg, 1, NULL);
}

static uint8_t write_from(uint64_t gpa, uint64_t sector)
{
	const struct sg sg = { (void *)gpa, SECTOR, false };

	return blk_do(&disk(0)->queue[0], VIRTIO_BLK_T_OUT, sector, &sg, 1, NULL);
}

static void refuses(uint64_t gpa, const char *what)
{
	ok(read_to(gpa, SECTOR) == VIRTIO_BLK_S_IOERR, "no read to %s", what);
	ok(write_from(gpa, 0) == VIRTIO_BLK_S_IOERR, "and no write from it");
}

/* Memory is what requests may use, all of it and nothing else. */
static void buffer_places(void)
{
	struct virtio *dev = disk(0)->dev;
	const uintptr_t registers = dev->base ? dev->base : dev->common;
	uint32_t magic;

	ok(disk_works(), "the disk works");
	magic = read32(registers);
	refuses(registers, "the device's own registers");
	ok(read32(registers) == magic, "which have not changed");
	refuses(dev->base ? dev->base + VIRTIO_MMIO_QUEUE_NOTIFY : dev->notify, "its doorbells");
	refuses(ECAM, "PCI configuration");
	refuses(IOAPIC, "the IOAPIC");
	refuses(LAPIC, "the local APIC");
	refuses(0xd0020000, "where nothing is");
	refuses(boot.ram_end, "the end of memory");
	refuses(boot.ram_end - SECTOR + 1, "memory but for one byte");
	ok(read_to(boot.ram_end - SECTOR, SECTOR) == VIRTIO_BLK_S_OK, "a read to the last sector");
	refuses(UINT64_MAX - SECTOR + 1, "the last address of all");
	refuses(1ULL << 52, "an address no CPU has");
	ok(!virtio_needs_reset(dev), "none of it broke the device");
	ok(disk_works(), "the disk works");
}

/* Memory above 4 GiB by address alone: to there, from there, and not over its borders. */
static void high_buffers(void)
{
	uint8_t *data = alloc_pages(PAGE_SIZE);
	const uint64_t end = option_u64("ram", 0) * (1 << 20) - boot.ram_end + HIGH_RAM;

	ok(disk_works(), "the disk works");
	ok(read_to(HIGH_RAM, SECTOR) == VIRTIO_BLK_S_OK, "a read to memory above 4 GiB");
	ok(blk_read(disk(0), 0, data, 1) == VIRTIO_BLK_S_OK &&
		   write_from(HIGH_RAM, 0) == VIRTIO_BLK_S_OK &&
		   read_to((uintptr_t)data + SECTOR, SECTOR) == VIRTIO_BLK_S_OK &&
		   memcmp(data, data + SECTOR, SECTOR) == 0,
	   "and back from there");
	ok(read_to(end - SECTOR, SECTOR) == VIRTIO_BLK_S_OK, "its last sector");
	refuses(end - SECTOR + 1, "memory but for one byte");
	refuses(HIGH_RAM - 1, "the border from below");
	refuses(boot.ram_end - 256, "the hole from memory");
	refuses(0xc0000000 - 1, "from one side of the hole to the other");
	ok(disk_works(), "the disk works");
}

const struct test place_tests[] = {
	{ "config-bytes", config_bytes },
	{ "config-writes", config_writes },
	{ "register-widths", register_widths },
	{ "legacy-registers", legacy_registers },
	{ "memory-holes", memory_holes },
	{ "far-holes", far_holes },
	{ "port-holes", port_holes },
	{ "string-ports", string_ports },
	{ "string-registers", string_registers },
	{ "buffer-places", buffer_places },
	{ "high-buffers", high_buffers },
	{ NULL, NULL },
};
