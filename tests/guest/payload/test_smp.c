/* SPDX-License-Identifier: Apache-2.0 */
/* Several CPUs: they start, reach each other, drive queues of their own, and race the device. */
#include "guest/io.h"
#include "guest/irq.h"
#include "guest/lib.h"
#include "guest/smp.h"
#include "guest/start.h"
#include "tests.h"

#define TRUE_SECTOR 8
#define RACE_DEPTH  8
#define ABSENT_US   50000
#define RACE_US	    1500000
#define RACES_MIN   4 /* on a host where that time is nothing */

bool start_all_cpus(void)
{
	unsigned n = option_u64("cpus", 2);

	while (smp_count() < n) {
		if (!smp_start(smp_count(), PATIENCE_US))
			return ok(false, "CPU %u does not start", smp_count());
	}
	return ok(true, "%u CPUs run", n);
}

static void say_id(void *arg)
{
	*(uint32_t *)arg = irq_apic_id();
}

static void cpus(void)
{
	unsigned good = 0;
	uint32_t id = ~0u;

	if (!start_all_cpus())
		return;
	for (unsigned i = 1; i < smp_count(); i++) {
		smp_run(i, say_id, &id);
		smp_wait(i);
		good += id == i && smp_apic_id(i) == i;
	}
	ok(good == smp_count() - 1, "each answers an interrupt from the first, by its own APIC id");
	ok(!smp_start(200, ABSENT_US), "one that is not there does not");
}

static void run_workload(void *arg)
{
	workload_run(arg);
}

/* Over MMIO all queues share one vector, which goes to the first CPU. */
static void aim_vectors(struct blk *blk)
{
	for (unsigned q = 0; !blk->dev->base && q < blk->nqueues; q++)
		pci_msix_set(&blk->dev->pci, 1 + q, irq_msi_address_of(q % smp_count()),
			     blk->queue[q].vector);
}

/* CPU i has queue i and its own part of the disk. */
static void parallel(void)
{
	struct blk *blk = disk(0);
	struct workload *w = alloc_pages(MAX_CPUS * sizeof(*w));
	uint64_t share;

	if (!start_all_cpus() || !blk_start(blk, BLK_FEATURES, smp_count(), VQ_MAX_SIZE))
		return;
	ok(blk->nqueues == smp_count(), "a queue for each CPU");
	aim_vectors(blk);
	share = disk_shadow()->sectors / blk->nqueues;
	for (unsigned i = blk->nqueues; i-- > 0;) {
		w[i] = (struct workload){
			.queue = &blk->queue[i],
			.nqueues = 1,
			.shadow = disk_shadow(),
			.first = i * share,
			.sectors = share,
			.waiting = blk->dev->base ? WAIT_POLL : WAIT_IRQ,
			.depth = 16,
			.max_sectors = 8,
			.write_percent = 50,
			.total = option_u64("ios", 1000),
			.seed = i,
		};
		workload_init(&w[i]);
		if (i)
			smp_run(i, run_workload, &w[i]);
		else
			workload_run(&w[0]);
	}
	for (unsigned i = 0; i < blk->nqueues; i++) {
		if (i)
			smp_wait(i);
		ok(w[i].done == w[i].total && !w[i].bad_status && !w[i].bad_data &&
			   !w[i].bad_length,
		   "CPU %u: %lu verified requests", i, w[i].done);
		workload_report(&w[i]);
	}
}

/*
 * What one CPU changes while the device reads it for another. Whatever the device makes of it, it
 * writes at most 4096 bytes behind a place in `area` or in the queue's indirect tables.
 */
struct race {
	struct virtq *vq;
	uint8_t *area; /* headers, status bytes, data: a page or more for each kind */
	bool stop;
	uint64_t flips;
};

#define AREA_HEADER(r, i) ((struct virtio_blk_outhdr *)((r)->area + (i)*64))
#define AREA_STATUS(r, i) ((r)->area + 4 * PAGE_SIZE + (i))
#define AREA_DATA(r, i)	  ((r)->area + (8 + (i)) * PAGE_SIZE)
#define AREA_SIZE	  ((10 + RACE_DEPTH) * PAGE_SIZE)

static void flip_desc(struct race *r, uint64_t dice)
{
	static const uint32_t lens[] = { 512, 0xffffffff, 0, 4096 };
	const uint64_t addrs[] = { (uintptr_t)r->area, 0xb0000000, 0xfee00000, UINT64_MAX - 15 };
	static const uint16_t flags[] = { 0, VRING_DESC_F_NEXT, VRING_DESC_F_WRITE,
					  VRING_DESC_F_INDIRECT };
	volatile struct vring_desc *desc =
		(dice & 1) ? &r->vq->tables[dice >> 32 & 0xff] : &r->vq->desc[dice >> 32 & 0x1f];

	if (dice & 2)
		desc->len = lens[dice >> 8 & 3];
	else if (dice & 4)
		desc->addr = addrs[dice >> 8 & 3];
	else if (dice & 8)
		desc->flags = flags[dice >> 8 & 3];
	else
		desc->next = dice >> 8 & 0x1f;
}

static void flip_header(struct race *r, uint64_t dice)
{
	static const uint32_t types[] = {
		VIRTIO_BLK_T_IN,  VIRTIO_BLK_T_GET_ID,	VIRTIO_BLK_T_FLUSH,	   7,
		VIRTIO_BLK_T_OUT, VIRTIO_BLK_T_DISCARD, VIRTIO_BLK_T_WRITE_ZEROES, UINT32_MAX,
	};
	static const uint64_t sectors[] = { TRUE_SECTOR, UINT64_MAX, 1ULL << 55, 0 };
	volatile struct virtio_blk_outhdr *hdr = AREA_HEADER(r, dice >> 32 & (RACE_DEPTH - 1));

	if (dice & 1)
		hdr->type = types[dice >> 8 & 7];
	else
		hdr->sector = sectors[dice >> 8 & 3];
}

/* Ends the ring's life soon: seldom, so that the rest is raced as well. */
static void flip_ring(struct race *r, uint64_t dice)
{
	volatile struct vring_avail *avail = r->vq->avail;

	if (dice & 1)
		avail->idx = dice >> 8;
	else
		avail->ring[dice >> 32 & 0x1f] = dice >> 8;
}

static void racer(void *arg)
{
	struct race *r = arg;
	uint64_t seed = chance();

	while (!__atomic_load_n(&r->stop, __ATOMIC_RELAXED)) {
		uint64_t dice = random_u64(&seed);

		if (dice >> 52 == 0)
			flip_ring(r, dice);
		else if (dice >> 63)
			flip_desc(r, dice);
		else
			flip_header(r, dice);
		r->flips++;
	}
}

static void submit_all(struct race *r)
{
	for (unsigned i = 0; i < RACE_DEPTH; i++) {
		const struct sg sg[] = {
			{ AREA_HEADER(r, i), sizeof(struct virtio_blk_outhdr), false },
			{ AREA_DATA(r, i), SECTOR, true },
			{ AREA_STATUS(r, i), 1, true },
		};

		AREA_HEADER(r, i)->type = VIRTIO_BLK_T_IN;
		AREA_HEADER(r, i)->sector = TRUE_SECTOR;
		virtq_add(r->vq, sg, 3, r);
	}
	__atomic_store_n(&r->vq->avail->idx, r->vq->avail_idx, __ATOMIC_RELEASE);
	virtq_notify(r->vq);
}

/* What a race may have written is gone: the disk is as it was made. */
static bool wipe_disk(struct blk *blk)
{
	uint8_t *zeroes = alloc_pages(32768);
	bool good = blk_start(blk, BLK_FEATURES, 1, VQ_MAX_SIZE);

	for (uint64_t s = 0; good && s < blk->capacity; s += 64)
		good = blk_write(blk, s, zeroes, 64) == VIRTIO_BLK_S_OK;
	shadow_zero(disk_shadow(), 0, blk->capacity);
	return good;
}

/*
 * Descriptors and headers change while they are read (FreeBSD SA-24:17, Xen XSA-155). What becomes
 * of the requests is open; the monitor stays whole and a reset brings the device back.
 */
static void double_fetch(void)
{
	struct blk *blk = disk(0);
	struct race *r = alloc_pages(sizeof(*r));
	uint64_t deadline = time_us() + option_u64("us", RACE_US);
	const unsigned cpu = option_u64("cpus", 2) - 1;
	unsigned rounds = 0, broken = 0;

	if (!start_all_cpus() || !ok(disk_works(), "the disk works"))
		return;
	r->area = alloc_pages(AREA_SIZE);
	while (rounds < RACES_MIN || time_us() < deadline) {
		uint64_t features = BLK_FEATURES;

		if (rounds % 2)
			features &= ~VIRTIO_BIT(VIRTIO_RING_F_INDIRECT_DESC);
		blk_start(blk, features, 1, 32);
		r->vq = &blk->queue[0];
		r->stop = false;
		smp_run(cpu, racer, r);
		for (unsigned i = 0; i < 20; i++) {
			submit_all(r);
			delay_us(50);
			r->vq->nfree = r->vq->size; /* forget them: ids and lengths are open */
			memset(r->vq->cookie, 0, sizeof(r->vq->cookie));
		}
		__atomic_store_n(&r->stop, true, __ATOMIC_RELAXED);
		smp_wait(cpu);
		broken += virtio_needs_reset(blk->dev);
		rounds++;
	}
	note("%u rounds, %lu changes, the ring broke in %u rounds", rounds, r->flips, broken);
	ok(wipe_disk(blk), "a reset brings the disk back");
	ok(disk_works(), "and it works");
}

/* Start-up messages for CPUs that are not there, or that run already, and with words that the manual
 * reserves (SDM vol. 3, 11.6.1): nobody starts, nobody stops. */
static void absent_cpus(void)
{
	static const uint32_t ids[] = { 100, 200, 254, 255, 256, 1000, 65535, 0x10000, 0xffffffff };
	static const uint32_t words[] = {
		0x4500, 0x4600, 0x46ff, 0xc500, 0x4200, 0x4300, 0x4700, 0x0000, 0x40000,
	};

	if (!start_all_cpus())
		return;
	for (unsigned i = 0; i < ARRAY_SIZE(ids); i++) {
		/* In xAPIC mode 255 and what is cut down to it is everybody. */
		if (!irq_x2apic() && (ids[i] & 0xff) == 0xff)
			continue;
		if ((irq_x2apic() ? ids[i] : ids[i] & 0xff) < option_u64("cpus", 2) ||
		    ids[i] == UINT32_MAX)
			continue;
		for (unsigned w = 0; w < ARRAY_SIZE(words); w++)
			irq_send(ids[i], words[w]);
	}
	/* A CPU that runs does not listen to a start-up message without an INIT before it. */
	if (smp_count() > 1)
		irq_send(smp_apic_id(1), 0x4600 | 0x99);
	delay_us(20000);
	ok(disk_count() == 0 || disk_works(), "nobody came and nobody went");
}

const struct test smp_tests[] = {
	{ "cpus", cpus },
	{ "parallel", parallel },
	{ "double-fetch", double_fetch },
	{ "absent-cpus", absent_cpus },
	{ NULL, NULL },
};
