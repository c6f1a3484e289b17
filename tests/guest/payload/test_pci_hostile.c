/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PCI functions abused while their disk works: functions that are not there, BARs sized and moved
 * under I/O onto everything else, the door to the BAR in configuration space, MSI-X entries that
 * lead nowhere. A notification written while the doorbells are elsewhere is lost, and the driver's
 * own fault: what disturbs I/O here notifies afterwards.
 */
#include <linux/virtio_pci.h>

#include "guest/io.h"
#include "guest/irq.h"
#include "guest/lib.h"
#include "tests.h"

#define CONFIG_ADDRESS 0xcf8
#define CONFIG_DATA    0xcfc
#define ECAM	       0xe0000000
#define ECAM_SIZE      0x100000
#define BAR_ELSEWHERE  0xcf000000
#define QUEUE_ENTRY    1
#define NO_VECTOR      0xffff
#define DOOR_SIZE      20

static struct pci_dev *disk_pci(void)
{
	return &disk(0)->dev->pci;
}

static void notify(struct virtio *dev)
{
	virtq_notify(&disk(0)->queue[0]);
}

/* VIRTIO_PCI_CAP_PCI_CFG: four bytes that lead into the BAR. */
static uint8_t door_cap(void)
{
	const struct pci_dev *pci = disk_pci();
	uint8_t at = 0;

	while ((at = pci_find_cap(pci, PCI_CAP_ID_VNDR, at))) {
		if (pci_read8(pci, at + VIRTIO_PCI_CAP_CFG_TYPE) == VIRTIO_PCI_CAP_PCI_CFG)
			break;
	}
	return at;
}

/* ---- configuration space --------------------------------------------------------------------- */

static bool latch_answers(uint32_t address)
{
	outl(CONFIG_ADDRESS, address);
	return inl(CONFIG_DATA) != ~0u || inw(CONFIG_DATA + 2) != 0xffff ||
	       inb(CONFIG_DATA + 3) != 0xff;
}

/* Nobody there: all ones, and a write reaches nobody. */
static void ghosts(void)
{
	const uint32_t here = disk_pci()->slot << 11;
	unsigned answers = 0;

	ok(disk_works(), "the disk works");
	for (uint32_t bus = 1; bus < 256; bus += 5)
		answers += latch_answers(0x80000000 | bus << 16 | here);
	for (uint32_t function = 1; function < 8; function++)
		answers += latch_answers(0x80000000 | here | function << 8);
	for (uint32_t slot = 20; slot < PCI_SLOTS; slot++)
		answers += latch_answers(0x80000000 | slot << 11);
	answers += latch_answers(here);		     /* not enabled */
	answers += latch_answers(0x81000000 | here); /* reserved bits */
	answers += latch_answers(0xff000000 | here);
	outl(CONFIG_DATA, ~0u);
	ok(answers == 0, "buses, devices and functions that are not there read as ones");
	for (uintptr_t at = ECAM; at < ECAM + ECAM_SIZE; at += 4096) {
		const uint32_t devfn = (at - ECAM) >> 12;

		if (devfn % 8 || devfn / 8 >= 20) {
			answers += read32(at) != ~0u;
			write64(at + 0x10, ~0ull);
		}
		answers += read32(at + 0x100) != ~0u && read32(at + 0x100) != 0;
		write32(at + 0xffc, ~0u);
	}
	ok(answers == 0, "so they do in ECAM, and all beyond 256 bytes");
	ok(disk_works(), "the disk works");
}

/* Any byte but those that move the device away and those of the door, by both ways and all widths. */
static void scribble(struct virtio *dev)
{
	const struct pci_dev *pci = &dev->pci;
	const unsigned door = door_cap();

	for (unsigned i = 0; i < 8; i++) {
		const uint64_t value = chance();
		const unsigned reg = value >> 40 & 0xff, dword = reg & ~3u;
		const uintptr_t ecam = ECAM + (pci->slot << 15) + reg;

		if (dword == PCI_COMMAND || dword == PCI_BASE_ADDRESS_0 || dword == pci->msix_cap ||
		    (dword >= door && dword < door + DOOR_SIZE))
			continue;
		switch (value >> 60 & 3) {
		case 0:
			write8(ecam, value);
			break;
		case 1:
			write16(ecam, value);
			break;
		case 2:
			write32(ecam, value);
			break;
		default:
			pci_write32(pci, reg, value);
		}
	}
}

static void registers(void)
{
	struct pci_dev *pci = disk_pci();
	uint32_t before[64];
	unsigned differ = 0;

	ok(disk_works(), "the disk works");
	for (unsigned i = 0; i < 64; i++)
		before[i] = pci_read32(pci, 4 * i);
	run_disturbed("its configuration is written at random", scribble);
	for (unsigned i = 0; i < 16; i++)
		differ += before[i] != pci_read32(pci, 4 * i);
	ok(differ == 0, "the header has not changed");
	for (unsigned reg = 0; reg < 256; reg += 4) {
		if (reg != PCI_COMMAND && reg != PCI_BASE_ADDRESS_0 && reg != pci->msix_cap)
			pci_write32(pci, reg, ~0u);
	}
	ok(pci_find_cap(pci, PCI_CAP_ID_MSIX, 0) == pci->msix_cap,
	   "the list of capabilities holds");
	ok(disk_works(), "the disk works");
}

/* ---- the BAR --------------------------------------------------------------------------------- */

static void size_bar(struct virtio *dev)
{
	const uint32_t bar = pci_read32(&dev->pci, PCI_BASE_ADDRESS_0);

	pci_write32(&dev->pci, PCI_BASE_ADDRESS_0, ~0u);
	pci_read32(&dev->pci, PCI_BASE_ADDRESS_0);
	pci_write32(&dev->pci, PCI_BASE_ADDRESS_0, bar);
	notify(dev);
}

static void bar_probe(void)
{
	run_disturbed("its BAR is sized with decoding on", size_bar);
}

/* RAM, the chips, ECAM, the ends of the window and of 4 GiB, a place of its own, the other disk. */
static uint32_t next_place(void)
{
	static const uint32_t places[] = {
		0,	    0x100000,	0x2000000,  0xbfff8000, 0xc0000000,    0xcfff8000,
		0xd0000000, 0xe0000000, 0xe0100000, 0xfec00000, 0xfee00000,    0xfeffc000,
		0xfffff000, 0xfffffff0, 0xffff8000, 0xffffffff, BAR_ELSEWHERE,
	};
	static unsigned n;

	n++;
	if (n % 4 == 0 && disk_count() > 1)
		return pci_bar(&disk(1)->dev->pci, 0);
	return places[n % ARRAY_SIZE(places)];
}

static void move_bar(struct virtio *dev)
{
	const uint32_t bar = pci_read32(&dev->pci, PCI_BASE_ADDRESS_0);

	pci_write32(&dev->pci, PCI_BASE_ADDRESS_0, next_place());
	notify(dev);
	apic_read(0x20);
	pci_write32(&dev->pci, PCI_BASE_ADDRESS_0, bar);
	notify(dev);
}

static void bar_roams(void)
{
	volatile uint64_t *ram = alloc_pages(PAGE_SIZE);
	uint32_t bar;

	run_disturbed("its BAR goes everywhere", move_bar);
	bar = pci_read32(disk_pci(), PCI_BASE_ADDRESS_0);
	*ram = 0x1122334455667788;
	pci_write32(disk_pci(), PCI_BASE_ADDRESS_0, (uintptr_t)ram & ~0x7fffu);
	ok(*ram == 0x1122334455667788, "RAM stays RAM under a BAR");
	*ram = 1;
	ok(*ram == 1, "and takes writes");
	pci_write32(disk_pci(), PCI_BASE_ADDRESS_0, 0xfee00000);
	ok(apic_read(0x20) >> 24 == 0, "the local APIC is where it was");
	pci_write32(disk_pci(), PCI_BASE_ADDRESS_0, ECAM);
	ok(read32(ECAM) == 0x00081b36, "and so is ECAM");
	pci_write32(disk_pci(), PCI_BASE_ADDRESS_0, bar);
	ok(disk_works(), "the disk works");
}

/* The other disk loses its doorbells to this one, and gets them back. */
static void bar_taken(void)
{
	struct pci_dev *mine = disk_pci(), *other;
	uint32_t bar, place;

	if (disk_count() < 2) {
		skip("there is no other disk");
		return;
	}
	other = &disk(1)->dev->pci;
	ok(disk_works(), "the disk works");
	virtio_reset(disk(0)->dev);
	bar = pci_read32(mine, PCI_BASE_ADDRESS_0);
	place = pci_read32(other, PCI_BASE_ADDRESS_0);
	for (unsigned i = 0; i < option_u64("moves", 20); i++) {
		/* The other one first, then it meets this one there, then decoding in turn. */
		pci_write32(mine, PCI_BASE_ADDRESS_0, place);
		pci_write16(mine, PCI_COMMAND, PCI_COMMAND_MASTER);
		delay_us(200);
		pci_write16(mine, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
		pci_write32(mine, PCI_BASE_ADDRESS_0, bar);
		delay_us(200);
	}
	ok(disk_works(), "the disk works");
}

/* ---- the door in configuration space --------------------------------------------------------- */

static void point_door(uint8_t cap, uint8_t bar, uint32_t offset, uint32_t length)
{
	const uintptr_t ecam = ECAM + (disk_pci()->slot << 15) + cap;

	write8(ecam + VIRTIO_PCI_CAP_BAR, bar);
	write32(ecam + VIRTIO_PCI_CAP_OFFSET, offset);
	write32(ecam + VIRTIO_PCI_CAP_LENGTH, length);
}

static void knock(struct virtio *dev)
{
	static const uint32_t lengths[] = { 0, 1, 2, 3, 4, 5, 8, 16, 0x80000000, 0xffffffff };
	const uint64_t value = chance();
	const uint8_t cap = door_cap();

	/* Reads only where there is something: the status is not to be written by chance. */
	point_door(cap, value & 1 ? 0 : value >> 8, value >> 16, lengths[value >> 56 & 7]);
	pci_read32(&dev->pci, cap + sizeof(struct virtio_pci_cap));
	pci_read8(&dev->pci, cap + sizeof(struct virtio_pci_cap) + (value & 3));
	point_door(cap, 1 + (value >> 8) % 254, value >> 16, 4);
	pci_write32(&dev->pci, cap + sizeof(struct virtio_pci_cap), value);
	point_door(cap, 0, 0x8000 + (value >> 16 & 0xffffff), 4);
	pci_write32(&dev->pci, cap + sizeof(struct virtio_pci_cap), value);
	point_door(cap, 0, 0xfffffffc, lengths[value >> 56 & 7]);
	pci_write32(&dev->pci, cap + sizeof(struct virtio_pci_cap), value);
}

static void door(void)
{
	const struct pci_dev *pci = disk_pci();
	const uint8_t cap = door_cap(), data = cap + sizeof(struct virtio_pci_cap);

	if (!ok(cap != 0, "there is a door"))
		return;
	ok(disk_works(), "the disk works");
	point_door(cap, 0, VIRTIO_PCI_COMMON_STATUS, 1);
	ok(pci_read8(pci, data) == disk(0)->dev->ops->status(disk(0)->dev), "it leads to the BAR");
	point_door(cap, 3, VIRTIO_PCI_COMMON_STATUS, 1);
	ok(pci_read32(pci, data) == ~0u, "not to a BAR that is not there");
	point_door(cap, 0, 0x8000, 4);
	ok(pci_read32(pci, data) == ~0u, "nor beyond its end");
	point_door(cap, 0, 0x7ffe, 4);
	ok(pci_read32(pci, data) == ~0u, "nor across it");
	point_door(cap, 0, 0xfffffffc, 4);
	ok(pci_read32(pci, data) == ~0u, "nor to where the address wraps");
	point_door(cap, 0, 0, 3);
	ok(pci_read32(pci, data) == ~0u, "nor by three bytes at a time");
	run_disturbed("the door is led everywhere", knock);
	ok(disk_works(), "the disk works");
}

/* ---- MSI-X ----------------------------------------------------------------------------------- */

static uint16_t set_vector(uintptr_t reg, uint16_t vector)
{
	write16(reg, vector);
	return read16(reg);
}

/* Vectors that do not exist read back as none (virtio 1.2, 4.1.5.1.2.1); without one a driver has
 * to look for itself. */
static void no_vectors(void)
{
	struct virtio *dev = disk(0)->dev;
	uint16_t bad[] = { 0, 0x7ff, 0xfffe, NO_VECTOR };
	const uintptr_t config = dev->common + VIRTIO_PCI_COMMON_MSIX,
			queue = dev->common + VIRTIO_PCI_COMMON_Q_MSIX;
	struct blk *blk = disk(0);

	ok(disk_works(), "the disk works");
	bad[0] = dev->pci.msix_vectors;
	virtio_negotiate(dev, BLK_FEATURES);
	virtq_setup(&blk->queue[0], dev, 0, VQ_MAX_SIZE);
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++)
		ok(set_vector(config, bad[i]) == NO_VECTOR &&
			   set_vector(queue, bad[i]) == NO_VECTOR,
		   "vector 0x%x is none", bad[i]);
	virtio_driver_ok(dev);
	ok(blk_read(blk, 0, alloc_pages(SECTOR), 1) == VIRTIO_BLK_S_OK,
	   "without a vector the disk works by looking");
	ok(set_vector(queue, QUEUE_ENTRY) == NO_VECTOR, "none after DRIVER_OK either");
	ok(disk_works(), "the disk works");
}

/* Messages for nobody: memory, other chips, 64-bit addresses, reserved delivery modes. */
static void wrong_message(struct virtio *dev)
{
	static const uint64_t addresses[] = {
		1,	    0x1000,	 0xfec00000, 0xfed00000,	 0xfeefffff,
		0xffffffff, 0xfee00fff0, 1ULL << 40, 0xffffffff00000000, ~0ull,
	};
	const uint64_t value = chance();

	/* Not to a CPU, which could do nothing but trap. */
	pci_msix_set(&dev->pci, QUEUE_ENTRY, addresses[value % ARRAY_SIZE(addresses)],
		     value >> 32 & 0xfffff800);
	pci_msix_set(&dev->pci, QUEUE_ENTRY, irq_msi_address(), dev->queue_vector[0]);
	notify(dev);
}

static void odd_widths(const struct pci_dev *pci)
{
	const uint64_t before = read64(pci->msix_table + PCI_MSIX_ENTRY_SIZE * QUEUE_ENTRY);

	for (unsigned i = 0; i < PCI_MSIX_ENTRY_SIZE * pci->msix_vectors; i++) {
		write8(pci->msix_table + i, 0x5a);
		write16(pci->msix_table + i, 0x5a5a);
		if (i % 4) {
			write32(pci->msix_table + i, 0x5a5a5a5a);
			write64(pci->msix_table + i, 0x5a5a5a5a5a5a5a5a);
		}
	}
	ok(read64(pci->msix_table + PCI_MSIX_ENTRY_SIZE * QUEUE_ENTRY) == before,
	   "entries take words only");
	write64(pci->msix_table + PCI_MSIX_ENTRY_SIZE * QUEUE_ENTRY, before);
	for (unsigned i = 0; i < 64; i += 4) {
		write32(pci->msix_pba + i, ~0u);
		write64(pci->msix_pba + i, ~0ull);
	}
	ok(read64(pci->msix_pba) == 0 && read32(pci->msix_pba + 32) == 0,
	   "pending bits take nothing");
	for (unsigned i = pci->msix_vectors; i < pci->msix_vectors + 32; i++) {
		write64(pci->msix_table + PCI_MSIX_ENTRY_SIZE * i, ~0ull);
		write32(pci->msix_table + PCI_MSIX_ENTRY_SIZE * i + PCI_MSIX_ENTRY_VECTOR_CTRL, 0);
	}
	ok(read32(pci->msix_table + PCI_MSIX_ENTRY_SIZE * pci->msix_vectors) == ~0u,
	   "entries beyond the last are not there");
}

static void toggle_enable(struct virtio *dev)
{
	const unsigned reg = dev->pci.msix_cap + PCI_MSIX_FLAGS;

	pci_write16(&dev->pci, reg, 0);
	pci_write16(&dev->pci, reg, PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL);
	pci_write16(&dev->pci, reg, PCI_MSIX_FLAGS_ENABLE);
}

static void msix_abuse(void)
{
	no_vectors();
	odd_widths(disk_pci());
	ok(disk_works(), "the disk works");
	run_disturbed_by(WAIT_POLL, "its message goes nowhere now and then", wrong_message);
	run_disturbed("MSI-X goes off and on", toggle_enable);
	ok(disk_works(), "the disk works");
}

const struct test pci_hostile_tests[] = {
	{ "pci-ghosts", ghosts },	{ "pci-registers", registers },
	{ "pci-bar-probe", bar_probe }, { "pci-bar-roams", bar_roams },
	{ "pci-bar-taken", bar_taken }, { "pci-door", door },
	{ "msix-abuse", msix_abuse },	{ NULL, NULL },
};
