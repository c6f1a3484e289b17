/* SPDX-License-Identifier: Apache-2.0 */
/* Requests that are left in flight, and what must be true of memory and disk after it. */
#include "flight.h"
#include "guest/irq.h"
#include "guest/lib.h"
#include "tests.h"

#define QUIET_US 3000
#define POISON	 0xa5

struct flight *flight_new(unsigned n, unsigned sectors)
{
	struct flight *f = alloc_pages(sizeof(*f));

	f->n = n;
	f->sectors = sectors;
	for (unsigned i = 0; i < n; i++)
		f->req[i].data = alloc_pages(sectors * SECTOR);
	return f;
}

static void add_write(struct flight *f, struct blk_req *req)
{
	for (uint32_t s = 0; s < f->sectors; s++) {
		f->shadow->generation[req->sector + s]++;
		shadow_fill(f->shadow, req->sector + s, (uint64_t *)(req->data + s * SECTOR));
	}
	blk_add(f->vq, req, VIRTIO_BLK_T_OUT, 3);
}

/* With gaps: the device may make one request for its storage of neighbours. */
uint64_t flight_sector(const struct flight *f, unsigned i)
{
	return 2 * i * f->sectors;
}

static struct blk_req *place(struct flight *f, unsigned i)
{
	struct blk_req *req = &f->req[i];

	req->sector = flight_sector(f, i);
	req->nsectors = f->sectors;
	return req;
}

void flight_take_off(struct flight *f, struct blk *blk, unsigned round)
{
	f->vq = &blk->queue[0];
	f->shadow = disk_shadow();
	for (unsigned i = 0; i < f->n; i++) {
		struct blk_req *req = place(f, i);

		if ((i + round) % 2)
			add_write(f, req);
		else
			blk_add(f->vq, req, VIRTIO_BLK_T_IN, 3);
	}
	virtq_kick(f->vq);
}

void flight_take_off_writes(struct flight *f, struct blk *blk)
{
	f->vq = &blk->queue[0];
	f->shadow = disk_shadow();
	for (unsigned i = 0; i < f->n; i++)
		add_write(f, place(f, i));
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

bool flight_memory_is_quiet(struct flight *f)
{
	bool quiet = true;

	for (unsigned i = 0; i < f->n; i++) {
		memset(f->req[i].data, POISON, f->sectors * SECTOR);
		f->req[i].status = POISON;
	}
	memset(f->vq->used, POISON, PAGE_SIZE);
	delay_us(QUIET_US);
	for (unsigned i = 0; i < f->n; i++) {
		quiet &= all_poison(f->req[i].data, f->sectors * SECTOR);
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

bool flight_settle(struct flight *f, struct blk *blk)
{
	bool good = true;

	for (unsigned i = 0; i < f->n; i++) {
		struct blk_req *req = &f->req[i];
		bool write = req->hdr.type == VIRTIO_BLK_T_OUT;

		good &= blk_read(blk, req->sector, req->data, f->sectors) == VIRTIO_BLK_S_OK;
		for (uint32_t s = 0; s < f->sectors; s++) {
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
bool flight_irqs_are_quiet(struct virtio *dev, uint32_t before)
{
	if (irq_seen(dev->queue_vector, dev->nvectors) == before)
		return true;
	return dev->base && dev->ops->ack(dev) == 0;
}
