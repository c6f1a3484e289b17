/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Disks that come and go, by the registers behind ACPI hot-plug (devices/hotplug.h): a driver that does
 * as it is told, and a CPU that ejects, moves and uses whatever may be there, while the first disk works.
 * The host adds and removes: see plug_case in ../lib.sh.
 */
#include <linux/virtio_pci.h>

#include "guest/io.h"
#include "guest/irq.h"
#include "guest/lib.h"
#include "guest/smp.h"
#include "md5.h"
#include "tests.h"
#include "vmm/hotplug_regs.h"

#define HOTPLUG	   0x610
#define ECAM	   0xe0000000
#define PLAYGROUND 0xc0800000 /* where no BAR is preset */
#define PLACES	   4
#define BAR_SIZE   0x8000
#define OWN_SLOT   1
#define FIRST_SLOT 2
#define SLOTS	   4

static struct virtio late_dev;
static struct blk late = { .dev = &late_dev };
static struct shadow shadow;

static uintptr_t config_of(unsigned slot)
{
	return ECAM + (slot << 15);
}

/* The one slot of a register; 0: not in time, or several. */
static unsigned wait_for(unsigned reg)
{
	const uint64_t end = time_us() + PATIENCE_US;
	uint32_t slots;

	do
		slots = inl(HOTPLUG + reg);
	while (!slots && time_us() < end);
	return slots && !(slots & (slots - 1)) ? __builtin_ctz(slots) : 0;
}

/* Vectors are not given back: those of the last one serve the next. */
static bool open_late(unsigned slot)
{
	const struct virtio before = late_dev;

	if (!virtio_pci_open(&late_dev, slot) || late_dev.id != VIRTIO_ID_BLOCK)
		return false;
	if (before.nvectors) {
		if (!pci_msix_enable(&late_dev.pci))
			return false;
		late_dev.config_vector = before.config_vector;
		late_dev.nvectors = before.nvectors;
		pci_msix_set(&late_dev.pci, 0, irq_msi_address(), before.config_vector);
		for (unsigned i = 0; i < before.nvectors; i++) {
			late_dev.queue_vector[i] = before.queue_vector[i];
			pci_msix_set(&late_dev.pci, 1 + i, irq_msi_address(),
				     before.queue_vector[i]);
		}
	}
	return blk_start(&late, BLK_FEATURES, 1, 64);
}

static bool works(struct workload *w)
{
	w->queue = late.queue;
	w->done = 0;
	w->seed++;
	shadow_zero(&shadow, 0, shadow.sectors);
	return workload_run(w);
}

static void begin(struct workload *w)
{
	static const struct workload some = {
		.nqueues = 1,
		.waiting = WAIT_IRQ,
		.depth = 8,
		.max_sectors = 8,
		.write_percent = 60,
		.total = 40,
	};

	*w = some;
	w->shadow = &shadow;
	w->queue = late.queue;
	workload_init(w);
}

static bool round_works(unsigned n, struct workload *w)
{
	const unsigned slot = wait_for(HOTPLUG_INSERTED);
	char md5[MD5_TEXT];

	if (!slot || !open_late(slot))
		return ok(false, "round %u: a disk appears in slot %u", n, slot);
	if (!shadow.sectors) {
		shadow_init(&shadow, late.capacity);
		begin(w);
	}
	if (!works(w)) {
		workload_report(w);
		return ok(false, "round %u: verified I/O", n);
	}
	shadow_md5(&shadow, md5);
	note("round %u md5 %s", n, md5);
	if (wait_for(HOTPLUG_ASKED) != slot)
		return ok(false, "round %u: the disk in slot %u is asked for", n, slot);
	virtio_reset(&late_dev);
	outl(HOTPLUG + HOTPLUG_EJECT, 1u << slot);
	if (read32(config_of(slot)) != ~0u)
		return ok(false, "round %u: slot %u is empty", n, slot);
	return true;
}

static void rounds(void)
{
	const unsigned n = option_u64("rounds", 5);
	struct workload w = { 0 };
	unsigned done = 0;

	note("plug: ready");
	while (done < n && round_works(done + 1, &w))
		done++;
	ok(done == n, "%u disks came, worked and went", n);
	ok(disk_works(), "the first disk works");
}

/* ---- hostile --------------------------------------------------------------------------------- */

static volatile bool enough;

static void use_place(uintptr_t bar, uint64_t value)
{
	switch (value & 7) {
	case 0:
		write8(bar + offsetof(struct virtio_pci_common_cfg, device_status), value >> 8);
		break;
	case 1:
		write16(bar + 0x3000 + (value >> 8 & 0x1c), 0);
		break;
	case 2:
		write32(bar + 0x400c + (value >> 8 & 0x30), value >> 32); /* masks */
		break;
	case 3:
		write32(bar + (value >> 8 & 0x3ffc), value >> 32);
		break;
	default:
		read32(bar + (value >> 8 & 0x7ffc));
	}
}

static void move(unsigned slot, uintptr_t bar)
{
	write16(config_of(slot) + PCI_COMMAND, 0);
	write32(config_of(slot) + PCI_BASE_ADDRESS_0, bar);
	write16(config_of(slot) + PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
}

/* Slots 2 to 5, of which some are empty; never the first disk's. */
static void play(void *arg)
{
	uint64_t state = option_u64("seed", 1) + 99;

	while (!enough) {
		const uint64_t value = random_u64(&state);
		const unsigned slot = FIRST_SLOT + (value >> 8) % SLOTS;
		const uintptr_t bar = PLAYGROUND + (value >> 16) % PLACES * BAR_SIZE;

		switch (value & 7) {
		case 0:
			outl(HOTPLUG + HOTPLUG_EJECT, (value >> 32) & ~(1u << OWN_SLOT));
			break;
		case 1:
			move(slot, bar);
			break;
		case 2:
			write32(config_of(slot) + (value >> 24 & 0xfc), value >> 32);
			break;
		default:
			use_place(bar, value >> 24);
		}
	}
}

/* Until its own disk is asked for, which is the host's way to say that it is enough. */
static void hostile(void)
{
	unsigned good = 0, bad = 0;

	if (!start_all_cpus() || smp_count() < 2) {
		ok(false, "there is a second CPU");
		return;
	}
	ok(disk_works(), "the first disk works");
	smp_run(1, play, NULL);
	note("plug: ready");
	while (!(inl(HOTPLUG + HOTPLUG_ASKED) & 1u << OWN_SLOT)) {
		if (disk_works())
			good++;
		else
			bad++;
	}
	enough = true;
	smp_wait(1);
	note("%u rounds of I/O meanwhile", good);
	ok(good && !bad, "the first disk works all the while");
}

const struct test plug_tests[] = {
	{ "plug", rounds },
	{ "plug-hostile", hostile },
	{ 0 },
};
