/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Disk 0 on storage that does not answer until the host says so: what a guest may do while all its
 * requests really are in flight in the host's kernel, which holds on to the guest's pages. The host
 * is asked on the console, and answers there.
 */
#include "flight.h"
#include "guest/io.h"
#include "guest/irq.h"
#include "guest/lib.h"
#include "neighbours.h"
#include "tests.h"
#include "ways.h"

#define IN_FLIGHT   128 /* as many as the device takes; `held=` of them at a time */
#define REQ_SECTORS 8
#define FROZEN_US   800000 /* at least */
/* "release" is so many tenths of a second later: time enough for the other disks to get on, whose files'
 * storage may be busy with others; or less than mvmm waits at its end */
#define FROZEN_TENTHS  10
#define LANDING_TENTHS 3

#define COM1	 0x3f8
#define COM1_LSR 0x3fd
#define LSR_DR	 1

/* Asks the host to do something to the storage; true once it has. */
static bool ask(const char *what, unsigned n)
{
	uint64_t deadline = time_us() + PATIENCE_US;

	print("# please %s %u\n", what, n);
	while (!(inb(COM1_LSR) & LSR_DR)) {
		if (time_us() > deadline)
			return ok(false, "the host does not answer");
		delay_us(1000);
	}
	inb(COM1);
	return true;
}

/* Requests in flight, as many of them in the hands of the host's kernel as the device lets be. */
static struct flight *freeze(unsigned n, bool writes_only)
{
	struct flight *f = flight_new(n, REQ_SECTORS);

	ask("hold", 0);
	if (writes_only)
		flight_take_off_writes(f, disk(0));
	else
		flight_take_off(f, disk(0), 0);
	ask("wait", option_u64("held", n));
	return f;
}

/* What must be true when the device says that it has stopped. */
static void check_stopped(struct flight *f, uint64_t us, uint64_t others)
{
	struct virtio *dev = disk(0)->dev;
	uint32_t irqs = irq_seen(dev->queue_vector, dev->nvectors);

	ok(us >= FROZEN_US, "it waits for the storage (%lu us)", us);
	ok(neighbours_done() > others, "the other disks do not");
	ok(flight_memory_is_quiet(f), "then nothing is written to memory");
	ok(flight_irqs_are_quiet(dev, irqs), "and no interrupt comes");
}

static void check_restart(struct flight *f)
{
	if (ok(blk_start(disk(0), BLK_FEATURES, 1, VQ_MAX_SIZE), "the device starts again"))
		ok(flight_settle(f, disk(0)), "sectors hold the old or the new");
	ok(disk_works(), "and the disk works");
}

static void frozen_reset(void)
{
	struct flight *f;
	uint64_t others, begin;

	ok(blk_start(disk(0), BLK_FEATURES, 1, VQ_MAX_SIZE), "the device starts");
	virtq_enable_irq(&disk(0)->queue[0], 0);
	f = freeze(IN_FLIGHT, false);
	others = neighbours_done();
	begin = time_us();
	ask("release", FROZEN_TENTHS);
	virtio_reset(disk(0)->dev);
	check_stopped(f, time_us() - begin, others);
	check_restart(f);
}

static bool wait_needs_reset(struct virtio *dev)
{
	uint64_t deadline = time_us() + PATIENCE_US;

	while (!virtio_needs_reset(dev)) {
		if (time_us() > deadline)
			return false;
		delay_us(100);
	}
	return true;
}

/* CVE-2026-45782: heads in flight are offered again. */
static void frozen_twice(void)
{
	struct virtq *vq = &disk(0)->queue[0];
	struct flight *f;
	uint64_t others, begin;

	ok(blk_start(disk(0), BLK_FEATURES, 1, VQ_MAX_SIZE), "the device starts");
	f = freeze(IN_FLIGHT / 2, false);
	others = neighbours_done();
	vq->avail->ring[vq->avail_idx % vq->size] = vq->avail->ring[5];
	__atomic_store_n(&vq->avail->idx, vq->avail_idx + 1, __ATOMIC_RELEASE);
	virtq_notify(vq);
	ok(wait_needs_reset(vq->dev), "a head in flight offered again: NEEDS_RESET");
	ok(vq->used->idx == 0, "nothing was used up meanwhile");
	begin = time_us();
	ask("release", FROZEN_TENTHS);
	virtio_reset(vq->dev);
	check_stopped(f, time_us() - begin, others);
	check_restart(f);
}

/* Without bus mastering a PCI device touches no memory and sends no message. */
static void frozen_bus_master(void)
{
	struct virtio *dev = disk(0)->dev;
	struct flight *f;
	uint64_t others, begin;

	ok(blk_start(disk(0), BLK_FEATURES, 1, VQ_MAX_SIZE), "the device starts");
	virtq_enable_irq(&disk(0)->queue[0], 0);
	f = freeze(IN_FLIGHT, false);
	others = neighbours_done();
	begin = time_us();
	ask("release", FROZEN_TENTHS);
	pci_write16(&dev->pci, PCI_COMMAND, PCI_COMMAND_MEMORY);
	check_stopped(f, time_us() - begin, others);
	ok(virtio_needs_reset(dev), "NEEDS_RESET");
	pci_write16(&dev->pci, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	virtq_notify(f->vq);
	ok(virtio_needs_reset(dev) && flight_memory_is_quiet(f), "it stays stopped until a reset");
	check_restart(f);
	pci_write16(&dev->pci, PCI_COMMAND, PCI_COMMAND_MEMORY);
	ok(!blk_start(disk(0), BLK_FEATURES, 1, VQ_MAX_SIZE) && virtio_needs_reset(dev),
	   "and does not start without");
	pci_write16(&dev->pci, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	ok(disk_works(), "the disk works");
}

/* Writes only, and the storage answers soon: for a machine that ends now, see frozen_landed(). */
static void frozen_writes(void)
{
	ok(blk_start(disk(0), BLK_FEATURES, 1, VQ_MAX_SIZE), "the device starts");
	freeze(IN_FLIGHT, true);
	ask("release", LANDING_TENTHS);
}

/* What frozen_writes() wrote to there. */
static bool landed(struct flight *f, unsigned i)
{
	struct shadow *shadow = disk_shadow();
	uint8_t *data = f->req[i].data;
	bool good = blk_read(disk(0), flight_sector(f, i), data, f->sectors) == VIRTIO_BLK_S_OK;

	for (unsigned s = 0; s < f->sectors; s++) {
		shadow->generation[flight_sector(f, i) + s] = 1;
		good &= shadow_check(shadow, flight_sector(f, i) + s,
				     (uint64_t *)(data + s * SECTOR));
	}
	return good;
}

/* The next boot finds them all, and whole. */
static void frozen_landed(void)
{
	struct flight *f = flight_new(IN_FLIGHT, REQ_SECTORS);
	unsigned whole = 0;

	if (!ok(blk_start(disk(0), BLK_FEATURES, 1, VQ_MAX_SIZE), "the device starts"))
		return;
	for (unsigned i = 0; i < f->n; i++)
		whole += landed(f, i);
	ok(whole == f->n, "%u writes of %u are whole", whole, f->n);
}

/* Two boots: the first one reboots while it writes, the second looks. */
static void frozen_reboot(void)
{
	uint64_t *data = alloc_pages(SECTOR);

	if (!ok(blk_start(disk(0), BLK_FEATURES, 1, VQ_MAX_SIZE), "the device starts"))
		return;
	ok(blk_read(disk(0), 0, data, 1) == VIRTIO_BLK_S_OK, "a read");
	if (data[0]) {
		frozen_landed();
		return;
	}
	frozen_writes();
	end_by_name("end-i8042");
}

const struct test frozen_tests[] = {
	{ "frozen-reset", frozen_reset },
	{ "frozen-twice", frozen_twice },
	{ "frozen-bus-master", frozen_bus_master },
	{ "frozen-writes", frozen_writes },
	{ "frozen-landed", frozen_landed },
	{ "frozen-reboot", frozen_reboot },
	{ NULL, NULL },
};
