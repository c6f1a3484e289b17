/* SPDX-License-Identifier: Apache-2.0 */
/* Configuration space by both mechanisms, BARs that are sized and moved, MSI-X masks. */
#include "guest/io.h"
#include "guest/irq.h"
#include "guest/lib.h"
#include "tests.h"

#define ECAM	      0xe0000000
#define BAR_ELSEWHERE 0xcf000000
#define QUEUE_ENTRY   1

static struct pci_dev *disk_pci(void)
{
	return &disk(0)->dev->pci;
}

static void config(void)
{
	struct pci_dev bridge, none;
	unsigned differ = 0, absent = 0;
	uint32_t extended;

	ok(pci_probe(&bridge, 0), "slot 0 has a host bridge");
	ok(pci_read16(&bridge, PCI_CLASS_DEVICE) == 0x0600, "of that class");
	for (unsigned reg = 0; reg < 256; reg += 4)
		differ += pci_read32(disk_pci(), reg) !=
			  read32(ECAM + (disk_pci()->slot << 15) + reg);
	ok(differ == 0, "ports and ECAM show the same");
	for (unsigned slot = 20; slot < PCI_SLOTS; slot++)
		absent += !pci_probe(&none, slot);
	ok(absent == PCI_SLOTS - 20, "empty slots read as ones");
	ok(pci_read8(disk_pci(), PCI_INTERRUPT_PIN) == 0, "there is no INTx");
	extended = read32(ECAM + (disk_pci()->slot << 15) + 0x100);
	ok(extended == 0 || extended == ~0u, "there are no extended capabilities");
	ok(disk_works(), "the disk works");
}

/* Sizing as firmware does it (PCI 3.0, 6.2.5.1), then elsewhere: doorbells have to follow. */
static void bars(void)
{
	struct pci_dev *pci = disk_pci();
	struct virtio *dev = disk(0)->dev;
	uint32_t bar, mask, delta;

	ok(disk_works(), "the disk works");
	virtio_reset(dev);
	pci_write16(pci, PCI_COMMAND, PCI_COMMAND_MASTER);
	bar = pci_read32(pci, PCI_BASE_ADDRESS_0);
	pci_write32(pci, PCI_BASE_ADDRESS_0, ~0u);
	mask = pci_read32(pci, PCI_BASE_ADDRESS_0) & PCI_BASE_ADDRESS_MEM_MASK;
	ok(mask && (mask & -mask) == ~mask + 1 && -mask >= PAGE_SIZE, "the BAR has 0x%x bytes",
	   -mask);
	pci_write32(pci, PCI_BASE_ADDRESS_0, BAR_ELSEWHERE);
	pci_write16(pci, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	ok(read32(dev->common) == ~0u, "the old place is empty");
	delta = BAR_ELSEWHERE - (bar & PCI_BASE_ADDRESS_MEM_MASK);
	dev->common += delta;
	dev->notify += delta;
	dev->isr += delta;
	dev->config += delta;
	pci->msix_table += delta;
	pci->msix_pba += delta;
	ok(disk_works(), "the disk works at its new place");
}

/* A vector masked while its interrupt comes: pending, and delivered when unmasked. */
static void msix_mask(void)
{
	struct blk *blk = disk(0);
	struct virtio *dev = blk->dev;
	const unsigned *vector = &dev->queue_vector[0];
	uint8_t *data = alloc_pages(PAGE_SIZE);
	uint32_t seen;

	ok(blk_start(blk, BLK_FEATURES, 1, VQ_MAX_SIZE), "the device starts");
	virtq_enable_irq(&blk->queue[0], 0);
	seen = irq_seen(vector, 1);
	ok(blk_read(blk, 0, data, 8) == VIRTIO_BLK_S_OK && irq_wait(vector, 1, seen, false),
	   "an open vector interrupts");
	ok(!pci_msix_pending(&dev->pci, QUEUE_ENTRY), "and is not pending");
	pci_msix_mask(&dev->pci, QUEUE_ENTRY, true);
	virtq_enable_irq(&blk->queue[0], 0);
	seen = irq_seen(vector, 1);
	blk_read(blk, 0, data, 8);
	delay_us(20000);
	ok(irq_seen(vector, 1) == seen, "a masked one does not");
	ok(pci_msix_pending(&dev->pci, QUEUE_ENTRY), "but is pending");
	pci_msix_mask(&dev->pci, QUEUE_ENTRY, false);
	ok(irq_wait(vector, 1, seen, false), "and interrupts when unmasked");
	ok(irq_seen(vector, 1) == seen + 1, "once");
	ok(!pci_msix_pending(&dev->pci, QUEUE_ENTRY), "and is pending no more");
	ok(disk_works(), "the disk works");
}

/* The entry points elsewhere while the device runs: the next interrupt goes there. */
static void msix_move(void)
{
	struct blk *blk = disk(0);
	struct virtio *dev = blk->dev;
	unsigned other = irq_alloc();
	uint8_t *data = alloc_pages(PAGE_SIZE);
	uint32_t seen;

	ok(blk_start(blk, BLK_FEATURES, 1, VQ_MAX_SIZE), "the device starts");
	pci_msix_set(&dev->pci, QUEUE_ENTRY, irq_msi_address(), other);
	virtq_enable_irq(&blk->queue[0], 0);
	seen = irq_seen(&dev->queue_vector[0], 1);
	ok(blk_read(blk, 0, data, 8) == VIRTIO_BLK_S_OK && irq_wait(&other, 1, 0, false),
	   "the new vector interrupts");
	ok(irq_seen(&dev->queue_vector[0], 1) == seen, "the old one does not");
	pci_msix_set(&dev->pci, QUEUE_ENTRY, irq_msi_address(), dev->queue_vector[0]);
	ok(disk_works(), "and back again");
}

/* An interrupt that comes while its vector is masked comes when it is not: none is lost. */
static void toggle_mask(struct virtio *dev)
{
	pci_msix_mask(&dev->pci, QUEUE_ENTRY, true);
	pci_msix_mask(&dev->pci, QUEUE_ENTRY, false);
}

static void toggle_function_mask(struct virtio *dev)
{
	const unsigned reg = dev->pci.msix_cap + PCI_MSIX_FLAGS;

	pci_write16(&dev->pci, reg, PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL);
	pci_write16(&dev->pci, reg, PCI_MSIX_FLAGS_ENABLE);
}

/* Notifications written meanwhile would be lost, and are the driver's own fault. */
static void toggle_memory(struct virtio *dev)
{
	pci_write16(&dev->pci, PCI_COMMAND, PCI_COMMAND_MASTER);
	pci_write16(&dev->pci, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
}

static void msix_storm(void)
{
	run_disturbed("its vector is masked and unmasked", toggle_mask);
	run_disturbed("all vectors are", toggle_function_mask);
}

static void memory_storm(void)
{
	run_disturbed("memory decoding goes off and on", toggle_memory);
}

/*
 * Nonsense in the MSI-X table and the registers of the function: entries that do not exist,
 * messages to nowhere, odd widths, BARs on top of what is there already.
 */
static void abuse(void)
{
	static const uint32_t bars[] = {
		0, 0x100000, 0xfee00000, 0xfec00000, 0xe0000000, 0xfffffff0
	};
	struct pci_dev *pci = disk_pci();
	struct virtio *dev = disk(0)->dev;
	uint32_t bar;

	ok(disk_works(), "the disk works");
	for (unsigned i = 0; i < 4096 / 4; i++)
		write32(pci->msix_table + pci->msix_vectors * PCI_MSIX_ENTRY_SIZE % 2048 +
				4 * i % 2048,
			i * 0x10001);
	for (unsigned i = 0; i < 64; i++) {
		write8(pci->msix_table + i, i);
		write16(pci->msix_table + i, i);
		write64(pci->msix_table + i, ~0ull);
		write32(pci->msix_pba + i, ~0u);
	}
	for (unsigned i = 0; i < 256; i++)
		pci_msix_set(pci, 0, random_u64(&(uint64_t){ i }), i << 8 | i);
	virtio_reset(dev);
	bar = pci_read32(pci, PCI_BASE_ADDRESS_0);
	for (unsigned i = 0; i < ARRAY_SIZE(bars); i++) {
		pci_write32(pci, PCI_BASE_ADDRESS_0, bars[i]);
		pci_read32(pci, PCI_BASE_ADDRESS_0);
		apic_read(0x20);
	}
	pci_write32(pci, PCI_BASE_ADDRESS_0, bar);
	for (unsigned reg = 0; reg < 256; reg += 4) {
		if (reg != PCI_COMMAND && reg != PCI_BASE_ADDRESS_0)
			pci_write32(pci, reg, ~0u);
	}
	dev->nvectors = 0; /* all vectors are set up anew */
	ok(disk_works(), "and works afterwards");
}

static void keep_shortest(uint64_t *shortest, uint64_t begin)
{
	const uint64_t took = time_us() - begin;

	if (took < *shortest)
		*shortest = took;
}

/* How long 50 of one kind take when nobody comes between: the shortest of 40 times, by turns. */
static void doorbell(void)
{
	struct blk *blk = disk(0);
	uint64_t begin, bell = UINT64_MAX, reg = UINT64_MAX;

	ok(blk_start(blk, BLK_FEATURES, 1, VQ_MAX_SIZE), "the device starts");
	for (unsigned n = 0; n < 40; n++) {
		begin = time_us();
		for (unsigned i = 0; i < 50; i++)
			virtq_notify(&blk->queue[0]);
		keep_shortest(&bell, begin);
		begin = time_us();
		for (unsigned i = 0; i < 50; i++)
			blk->dev->ops->status(blk->dev);
		keep_shortest(&reg, begin);
	}
	note("50 doorbells %lu us, 50 status reads %lu us", bell, reg);
	/* The one is caught in the kernel, the other one the monitor answers. */
	ok(2 * bell < reg, "a doorbell is at least twice as fast as a register");
	ok(disk_works(), "the disk works");
}

const struct test pci_tests[] = {
	{ "pci-config", config },	  { "pci-bars", bars },	      { "pci-abuse", abuse },
	{ "msix-mask", msix_mask },	  { "msix-move", msix_move }, { "msix-storm", msix_storm },
	{ "memory-storm", memory_storm }, { "doorbell", doorbell },   { NULL, NULL },
};
