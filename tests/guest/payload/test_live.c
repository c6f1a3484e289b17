/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the host changes while the guest works: sizes, and what becomes of errors. Lines `# ask ...`
 * say what the guest wants next, and a line of the host's says that it is so; see ../live.sh.
 */
#include <linux/virtio_mmio.h>

#include "guest/io.h"
#include "guest/irq.h"
#include "guest/lib.h"
#include "tests.h"

#define COM1	 0x3f8
#define COM1_LSR 0x3fd
#define LSR_DR	 1

static bool host_has_said(void)
{
	if (!(inb(COM1_LSR) & LSR_DR))
		return false;
	inb(COM1);
	return true;
}

/* The load goes on until `n` more requests are done, and stays in flight. */
static bool go_on(struct workload *w, uint64_t n)
{
	w->leave = w->done + n;
	return workload_run(w);
}

static bool come_to_end(struct workload *w)
{
	w->leave = 0;
	w->total = w->done + w->in_flight;
	return workload_run(w);
}

static struct workload load(enum waiting waiting, unsigned depth, unsigned sectors)
{
	return (struct workload){
		.queue = disk(0)->queue,
		.nqueues = 1,
		.shadow = disk_shadow(),
		.unit = sectors,
		.waiting = waiting,
		.depth = depth,
		.max_sectors = sectors,
		.write_percent = 50,
		.total = UINT64_MAX,
		.seed = 1,
	};
}

/* ---- sizes */

static bool config_changed(struct virtio *dev, uint32_t before)
{
	if (dev->base)
		return dev->ops->ack(dev) & VIRTIO_MMIO_INT_CONFIG;
	return irq_seen(&dev->config_vector, 1) != before;
}

static bool reads(uint64_t sector, uint8_t status)
{
	static uint8_t *data;

	if (!data)
		data = alloc_pages(SECTOR);
	return blk_read(disk(0), sector, data, 1) == status;
}

static uint64_t capacity_now(void)
{
	return blk_config32(disk(0), 0) | (uint64_t)blk_config32(disk(0), 4) << 32;
}

static void one_size(struct workload *w, uint64_t want)
{
	struct virtio *dev = disk(0)->dev;
	const uint32_t before = irq_seen(&dev->config_vector, 1);
	bool changed;

	note("ask size %lu", want * SECTOR);
	do {
		changed = config_changed(dev, before);
	} while (!changed && go_on(w, 1));
	ok(changed, "%lu sectors: an interrupt for the configuration", want);
	ok(capacity_now() == want, "%lu sectors: that is the capacity", want);
	/* The requests of the load are the queue's. */
	ok(come_to_end(w), "%lu sectors: what was verified meanwhile", want);
	w->total = UINT64_MAX;
	ok(reads(want - 1, VIRTIO_BLK_S_OK), "%lu sectors: the last one is there", want);
	ok(reads(want, VIRTIO_BLK_S_IOERR), "%lu sectors: the one after it is not", want);
	while (!host_has_said())
		cpu_relax();
}

/* The load stays where there is a disk all the time. */
static void sizes(void)
{
	struct workload w;
	uint64_t capacity;

	if (!ok(blk_start(disk(0), BLK_FEATURES, 1, VQ_MAX_SIZE), "the device starts"))
		return;
	capacity = disk(0)->capacity;
	w = load(WAIT_POLL, 8, 8);
	w.sectors = capacity / 2;
	workload_init(&w);
	one_size(&w, capacity * 3);
	one_size(&w, capacity / 2);
	one_size(&w, capacity);
	workload_report(&w);
}

/* ---- errors */

/*
 * The image ends in the middle of the disk, where the host finds nothing to read: that stops the VM.
 * It is resumed once in vain, and once with the image whole again. We may find that it took long.
 */
static void stopped(void)
{
	struct workload w;
	unsigned waits = 0;

	if (!ok(blk_start(disk(0), BLK_FEATURES, 1, VQ_MAX_SIZE), "the device starts"))
		return;
	w = load(WAIT_HALT, 4, 8);
	w.first = w.sectors = disk(0)->capacity / 2;
	w.write_percent = 0;
	w.total = 200;
	workload_init(&w);
	note("ask for less of the image");
	while (!host_has_said())
		cpu_relax();
	do {
		w.stalled = false;
	} while (!workload_run(&w) && w.stalled && waits++ < 10);
	workload_report(&w);
	ok(w.done == w.total && !w.bad_status && !w.bad_data && !w.bad_length,
	   "%lu reads, and no error", w.done);
}

const struct test live_tests[] = {
	{ "sizes", sizes },
	{ "stopped", stopped },
	{ NULL, NULL },
};
