/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reset with requests in flight. When the status reads 0 the device is done with guest memory:
 * nothing is written to buffers or rings any more, no interrupt comes, and each sector of a write
 * that was in flight holds what was there before or what was to be written.
 */
#include "guest/io.h"
#include "guest/irq.h"
#include "guest/lib.h"
#include "tests.h"

#define IN_FLIGHT   32
#define REQ_SECTORS 64
#define SETTLE_US   100
#define QUIET_US    3000
#define POISON	    0xa5

struct flight {
	struct blk_req req[IN_FLIGHT];
	struct virtq *vq;
	struct shadow *shadow;
};

/* Writes and reads in turn, each on its own range. */
static void take_off(struct flight *f, unsigned round)
{
	for (unsigned i = 0; i < IN_FLIGHT; i++) {
		struct blk_req *req = &f->req[i];
		bool write = (i + round) % 2;

		req->sector = i * REQ_SECTORS;
		req->nsectors = REQ_SECTORS;
		for (uint32_t s = 0; write && s < REQ_SECTORS; s++) {
			f->shadow->generation[req->sector + s]++;
			shadow_fill(f->shadow, req->sector + s,
				    (uint64_t *)(req->data + s * SECTOR));
		}
		blk_add(f->vq, req, write ? VIRTIO_BLK_T_OUT : VIRTIO_BLK_T_IN, 3);
	}
	virtq_kick(f->vq);
}

static bool all_poison(const uint8_t *data, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (data[i] != POISON)
			return false;
	}
	return true;
}

/* Everything the device could still write to is poisoned, then looked at again. */
static bool memory_is_quiet(struct flight *f)
{
	bool quiet = true;

	for (unsigned i = 0; i < IN_FLIGHT; i++) {
		memset(f->req[i].data, POISON, REQ_SECTORS * SECTOR);
		f->req[i].status = POISON;
	}
	memset(f->vq->used, POISON, PAGE_SIZE);
	delay_us(QUIET_US);
	for (unsigned i = 0; i < IN_FLIGHT; i++) {
		quiet &= all_poison(f->req[i].data, REQ_SECTORS * SECTOR);
		quiet &= f->req[i].status == POISON;
	}
	return quiet && all_poison((uint8_t *)f->vq->used, PAGE_SIZE);
}

/* Finds which of the two contents a sector has, and makes it the expected one. */
static bool settle_sector(struct shadow *shadow, uint64_t sector, const uint8_t *data)
{
	if (shadow_check(shadow, sector, (const uint64_t *)data))
		return true;
	shadow->generation[sector]--;
	return shadow_check(shadow, sector, (const uint64_t *)data);
}

static bool settle(struct flight *f, struct blk *blk)
{
	bool good = true;

	for (unsigned i = 0; i < IN_FLIGHT; i++) {
		struct blk_req *req = &f->req[i];
		bool write = req->hdr.type == VIRTIO_BLK_T_OUT;

		good &= blk_read(blk, req->sector, req->data, REQ_SECTORS) == VIRTIO_BLK_S_OK;
		for (uint32_t s = 0; s < REQ_SECTORS; s++) {
			const uint8_t *data = req->data + s * SECTOR;

			good &= write ? settle_sector(f->shadow, req->sector + s, data)
				      : shadow_check(f->shadow, req->sector + s, (uint64_t *)data);
		}
	}
	return good;
}

/*
 * A message is in the APIC when its irqfd has been written. A pin's irqfd goes through a work queue
 * of the host's kernel and may come later than all that waited for the device: then the interrupt
 * status must say that it means nothing.
 */
static bool irqs_are_quiet(struct virtio *dev, uint32_t before)
{
	if (irq_seen(dev->queue_vector, dev->nvectors) == before)
		return true;
	return dev->base && dev->ops->ack(dev) == 0;
}

static void reset_in_flight(void)
{
	struct blk *blk = disk(0);
	struct virtio *dev = blk->dev;
	unsigned rounds = option_u64("rounds", 20), quiet = 0, silent = 0, whole = 0, started = 0;
	struct flight *f = alloc_pages(sizeof(*f));

	for (unsigned i = 0; i < IN_FLIGHT; i++)
		f->req[i].data = alloc_pages(REQ_SECTORS * SECTOR);
	for (unsigned r = 0; r < rounds; r++) {
		uint32_t irqs;

		started += blk_start(blk, BLK_FEATURES, 1, VQ_MAX_SIZE);
		f->vq = &blk->queue[0];
		f->shadow = disk_shadow();
		virtq_enable_irq(f->vq, 0);
		take_off(f, r);
		delay_us(r * 10);
		virtio_reset(dev);
		delay_us(SETTLE_US);
		irqs = irq_seen(dev->queue_vector, dev->nvectors);
		quiet += memory_is_quiet(f);
		silent += irqs_are_quiet(dev, irqs);
		started += blk_start(blk, BLK_FEATURES, 1, VQ_MAX_SIZE);
		whole += settle(f, blk);
	}
	ok(started == 2 * rounds, "the device starts again after %u resets", rounds);
	ok(quiet == rounds, "after a reset it writes to no memory (%u of %u)", quiet, rounds);
	ok(silent == rounds, "and sends no interrupt (%u of %u)", silent, rounds);
	ok(whole == rounds, "sectors hold the old or the new (%u of %u)", whole, rounds);
}

static void reset_often(void)
{
	struct virtio *dev = disk(0)->dev;
	unsigned n = option_u64("resets", 300);

	for (unsigned i = 0; i < n; i++)
		virtio_reset(dev);
	ok(disk_works(), "the disk works after %u resets of an idle device", n);
	for (unsigned i = 0; i < 20; i++)
		blk_start(disk(0), BLK_FEATURES, 1, VQ_MAX_SIZE);
	ok(disk_works(), "and after 20 of a started one");
}

const struct test reset_tests[] = {
	{ "reset", reset_in_flight },
	{ "reset-often", reset_often },
	{ NULL, NULL },
};
