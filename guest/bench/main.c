/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest behind `mvmm bench`, and the load that `make bench` gives to every monitor: disks under
 * a closed loop of requests. Boots by PVH; runs in ring 3 (see guest/start.S), natively even where
 * the host emulates ring 0.
 *
 *	rw=randread|randwrite|randrw|read|write
 *	bs=BYTES		of a request
 *	depth=N			requests in flight on each queue
 *	complete=irq|busy|poll	by sleeping, by interrupts without sleep, by looking
 *	time=MS warmup=MS	the latter is not counted
 *	cpus=N			each drives its share of the disks or, where there are fewer
 *				disks, queues of them
 *	disks=N skip=N		not all disks
 *	mmio=, virtio_mmio.device=, apic=, tsc_khz=	see guest/virtio.h, irq.h, lib.h
 *
 * Ends by QEMU's debug-exit port with 0x10, or with another value after a line that says why.
 */
#include "guest/bench/bench.h"
#include "guest/end.h"
#include "guest/lib.h"
#include "guest/pci.h"
#include "guest/smp.h"
#include "guest/start.h"

#define START_WAIT_US 2000000
#define MAX_BS	      (1 << 20)

struct bench {
	struct params params;
	struct virtio dev[VIRTIO_MAX_DEVICES];
	struct blk blk[VIRTIO_MAX_DEVICES];
	unsigned ndisks;
	struct lane lane[MAX_LANES];
	unsigned nlanes;
	struct worker worker[MAX_LANES];
	unsigned nworkers;
};

static const struct {
	const char *name;
	enum pattern pattern;
	unsigned write_percent;
} loads[] = {
	{ "randread", PATTERN_RANDOM, 0 },    { "randwrite", PATTERN_RANDOM, 100 },
	{ "randrw", PATTERN_RANDOM, 50 },     { "read", PATTERN_SEQUENTIAL, 0 },
	{ "write", PATTERN_SEQUENTIAL, 100 },
};

static void read_load(struct params *params)
{
	for (unsigned i = 0; i < ARRAY_SIZE(loads); i++) {
		if (option("rw", 0) ? !option_is("rw", loads[i].name) : i != 0)
			continue;
		params->pattern = loads[i].pattern;
		params->write_percent = loads[i].write_percent;
		return;
	}
	end_abort("rw=: not randread, randwrite, randrw, read or write");
}

static enum completion read_completion(void)
{
	if (option_is("complete", "poll"))
		return COMPLETE_POLL;
	return option_is("complete", "busy") ? COMPLETE_BUSY : COMPLETE_IRQ;
}

static void read_params(struct params *params)
{
	read_load(params);
	params->complete = read_completion();
	params->bs = option_u64("bs", 4096);
	params->depth = option_u64("depth", 32);
	params->warmup = ns_to_ticks(option_u64("warmup", 300) * 1000000);
	params->time = ns_to_ticks(option_u64("time", 2000) * 1000000);
	if (!params->bs || params->bs % SECTOR || params->bs > MAX_BS)
		end_abort("bs=: not a multiple of 512 up to 1048576");
	if (!params->depth)
		end_abort("depth=: not 1 or more");
}

/* Moves the disks that are wanted to the front. */
static void find_disks(struct bench *b)
{
	unsigned found = virtio_find(VIRTIO_ID_BLOCK, b->dev, ARRAY_SIZE(b->dev));
	unsigned skip = option_u64("skip", 0), wanted = option_u64("disks", found);

	for (unsigned i = skip; i < found && b->ndisks < wanted; i++)
		b->blk[b->ndisks++].dev = &b->dev[i];
	if (!b->ndisks)
		end_abort("no disk");
}

static void start_cpus(struct bench *b)
{
	unsigned cpus = option_u64("cpus", 1);

	while (smp_count() < cpus) {
		if (!smp_start(smp_count(), START_WAIT_US))
			end_abort("a CPU does not start");
	}
	b->nworkers = cpus;
}

static struct lane *add_lane(struct bench *b, unsigned disk, unsigned q)
{
	struct lane *lane = &b->lane[b->nlanes];

	if (b->nlanes == MAX_LANES)
		end_abort("too many queues");
	lane->disk = disk;
	lane_init(lane, &b->params, &b->blk[disk], &b->blk[disk].queue[q]);
	b->nlanes++;
	return lane;
}

/* Its interrupts go to the CPU that drives it. */
static void give_lane(struct bench *b, struct lane *lane, unsigned cpu)
{
	struct worker *w = &b->worker[cpu];
	struct virtio *dev = lane->vq->dev;

	if (dev->base)
		irq_ioapic_route_to(dev->pin, lane->vq->vector, smp_apic_id(cpu));
	else
		pci_msix_set(&dev->pci, 1 + lane->vq->index % dev->nvectors,
			     irq_msi_address_of(smp_apic_id(cpu)), lane->vq->vector);
	w->params = &b->params;
	w->lane[w->nlanes++] = lane;
}

static void start_disk(struct bench *b, unsigned disk, unsigned queues)
{
	struct blk *blk = &b->blk[disk];

	if (!blk_start(blk, BLK_FEATURES, queues, VQ_MAX_SIZE))
		end_abort("a disk does not start");
	if (!blk->queue[0].indirect)
		end_abort("a disk without indirect descriptors");
	if (blk->capacity * SECTOR < b->params.bs)
		end_abort("a disk smaller than bs");
}

/* Over MMIO the queues of a disk share a vector, and so a CPU. */
static void start_disks(struct bench *b)
{
	unsigned queues = (b->nworkers + b->ndisks - 1) / b->ndisks;

	for (unsigned i = 0; i < b->ndisks; i++) {
		start_disk(b, i, b->blk[i].dev->base ? 1 : queues);
		for (unsigned q = 0; q < b->blk[i].nqueues; q++)
			give_lane(b, add_lane(b, i, q), (i + q * b->ndisks) % b->nworkers);
	}
}

static void run_workers(struct bench *b)
{
	for (unsigned i = b->nworkers; i-- > 0;) {
		if (!b->worker[i].nlanes)
			continue;
		if (i)
			smp_run(i, worker_run, &b->worker[i]);
		else
			worker_run(&b->worker[0]);
	}
	for (unsigned i = 0; i < b->nworkers; i++) {
		if (i)
			smp_wait(i);
		if (b->worker[i].failed)
			end_abort(b->worker[i].failed);
	}
}

static struct bench bench;

_Noreturn void guest_main(void)
{
	struct bench *b = &bench;

	serial_init();
	boot_init();
	irq_init();
	time_init();
	read_params(&b->params);
	find_disks(b);
	irq_start_tick(); /* its vector, before there are more CPUs to ask for it */
	start_cpus(b);
	start_disks(b);
	print("\nbench begin\n");
	run_workers(b);
	report(b->lane, b->nlanes, b->ndisks, b->worker[0].measured);
	print("bench end\n");
	end_now(END_GOOD);
}
