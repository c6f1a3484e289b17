/* SPDX-License-Identifier: Apache-2.0 */
/* I/O on the other disks by CPU 1: half of the rounds by polling, half by interrupts. */
#include "neighbours.h"
#include "guest/irq.h"
#include "guest/lib.h"
#include "guest/smp.h"
#include "tests.h"

#define CPU	  1
#define ROUND_IOS 8

struct neighbours {
	struct workload w[VIRTIO_MAX_DEVICES];
	unsigned n;
	bool stop, good;
	uint64_t done;
};

static struct neighbours others;

static void count(struct neighbours *o, const struct workload *w)
{
	__atomic_store_n(&o->done, o->done + w->done, __ATOMIC_RELAXED);
}

static void run_others(void *arg)
{
	struct neighbours *o = arg;

	for (unsigned round = 0; o->good && !__atomic_load_n(&o->stop, __ATOMIC_RELAXED); round++) {
		struct workload *w = &o->w[round % o->n];

		w->done = 0;
		w->waiting = round / o->n % 2 ? WAIT_IRQ : WAIT_POLL;
		o->good = workload_run(w);
		count(o, w);
	}
}

/* Its interrupts go to the CPU that waits for them. */
static void aim_at(struct blk *blk, unsigned cpu)
{
	struct virtio *dev = blk->dev;

	if (dev->base)
		irq_ioapic_route_to(dev->pin, dev->config_vector, smp_apic_id(cpu));
	else
		pci_msix_set(&dev->pci, 1, irq_msi_address_of(smp_apic_id(cpu)),
			     blk->queue[0].vector);
}

static bool add(struct neighbours *o, unsigned n)
{
	struct blk *blk = disk(n);
	struct workload *w = &o->w[o->n];

	if (!blk_start(blk, BLK_FEATURES, 1, VQ_MAX_SIZE))
		return false;
	aim_at(blk, CPU);
	*w = (struct workload){
		.queue = blk->queue,
		.nqueues = 1,
		.shadow = disk_shadow_of(n),
		.depth = 8,
		.max_sectors = 8,
		.write_percent = 50,
		.total = ROUND_IOS,
		.seed = n,
	};
	workload_init(w);
	o->n++;
	return true;
}

void neighbours_start(void)
{
	bool up = true;

	if (!ok(disk_count() > 1 && start_all_cpus() && smp_count() > 1,
		"there are other disks and CPUs"))
		return;
	others = (struct neighbours){ .good = true };
	for (unsigned i = 1; i < disk_count(); i++)
		up &= add(&others, i);
	ok(up, "%u other disks start", disk_count() - 1);
	smp_run(CPU, run_others, &others);
}

uint64_t neighbours_done(void)
{
	return __atomic_load_n(&others.done, __ATOMIC_RELAXED);
}

void neighbours_end(void)
{
	uint64_t before = neighbours_done(), deadline = time_us() + PATIENCE_US;

	if (!others.n)
		return;
	/* They still get on, whatever became of disk 0. */
	while (neighbours_done() < before + 2 * ROUND_IOS * others.n && time_us() < deadline)
		delay_us(100);
	__atomic_store_n(&others.stop, true, __ATOMIC_RELAXED);
	smp_wait(CPU);
	ok(others.good && neighbours_done() > before,
	   "the other disks did %lu verified requests meanwhile", neighbours_done());
	for (unsigned i = 0; !others.good && i < others.n; i++)
		workload_report(&others.w[i]);
	others.n = 0;
}
