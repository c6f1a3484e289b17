/* SPDX-License-Identifier: Apache-2.0 */
/* Verified random I/O: expected content, and a loop that keeps a number of requests in flight. */
#include "workload.h"
#include "guest/io.h"
#include "guest/irq.h"
#include "guest/lib.h"
#include "md5.h"

#define WORDS (SECTOR / 8)

void shadow_init(struct shadow *shadow, uint64_t sectors)
{
	shadow->sectors = sectors;
	shadow->generation = alloc_pages(sectors * sizeof(*shadow->generation));
	shadow->busy = alloc_pages(sectors);
	for (uint64_t s = 0; s < sectors; s++)
		shadow->generation[s] = option_u64("generation", 0);
}

static uint64_t sector_seed(const struct shadow *shadow, uint64_t sector)
{
	uint64_t state = sector << 32 | shadow->generation[sector];

	return random_u64(&state);
}

void shadow_fill(const struct shadow *shadow, uint64_t sector, uint64_t *data)
{
	uint64_t seed = shadow->generation[sector] ? sector_seed(shadow, sector) : 0;

	for (unsigned i = 0; i < WORDS; i++)
		data[i] = seed ? seed + i * 0x9e3779b97f4a7c15 : 0;
}

bool shadow_check(const struct shadow *shadow, uint64_t sector, const uint64_t *data)
{
	uint64_t want[WORDS];

	shadow_fill(shadow, sector, want);
	for (unsigned i = 0; i < WORDS; i++) {
		if (data[i] != want[i])
			return false;
	}
	return true;
}

void shadow_zero(struct shadow *shadow, uint64_t sector, uint64_t n)
{
	memset(shadow->generation + sector, 0, n * sizeof(*shadow->generation));
}

void shadow_md5(const struct shadow *shadow, char *text)
{
	struct md5 md5;
	uint64_t data[WORDS];

	md5_init(&md5);
	for (uint64_t s = 0; s < shadow->sectors; s++) {
		shadow_fill(shadow, s, data);
		md5_add(&md5, data, SECTOR);
	}
	md5_end(&md5, text);
}

static bool range_busy(const struct shadow *shadow, uint64_t sector, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		if (shadow->busy[sector + i])
			return true;
	}
	return false;
}

/* A range that no request in flight touches: what it must hold would not be known. */
static void choose_range(struct workload *w, struct blk_req *req)
{
	struct shadow *shadow = w->shadow;

	do {
		uint64_t blocks = 1 + random_u64(&w->seed) % (w->max_sectors / w->unit);
		uint64_t places = w->sectors / w->unit - blocks + 1;

		req->nsectors = blocks * w->unit;
		req->sector = w->first + random_u64(&w->seed) % places * w->unit;
	} while (range_busy(shadow, req->sector, req->nsectors));
	memset(shadow->busy + req->sector, 1, req->nsectors);
}

static bool submit(struct workload *w, struct blk_req *req)
{
	struct virtq *vq = &w->queue[(req - w->req) % w->nqueues];
	bool write = random_u64(&w->seed) % 100 < w->write_percent;
	unsigned nsg = 1 + random_u64(&w->seed) % BLK_MAX_SG;

	if (!virtq_has_room(vq, nsg + 2))
		return false;
	choose_range(w, req);
	for (uint32_t i = 0; write && i < req->nsectors; i++) {
		w->shadow->generation[req->sector + i]++;
		shadow_fill(w->shadow, req->sector + i, (uint64_t *)(req->data + i * SECTOR));
	}
	if (!write)
		memset(req->data, 0x5a, req->nsectors * SECTOR);
	return blk_add(vq, req, write ? VIRTIO_BLK_T_OUT : VIRTIO_BLK_T_IN, nsg);
}

static void check(struct workload *w, struct blk_req *req)
{
	bool read = req->hdr.type == VIRTIO_BLK_T_IN;

	w->bad_status += req->status != VIRTIO_BLK_S_OK;
	/* What the device wrote: the data of a read and the status byte (virtio 1.2, 2.7.8). */
	w->bad_length += req->used_len != (read ? req->nsectors * SECTOR : 0) + 1;
	for (uint32_t i = 0; read && i < req->nsectors; i++)
		w->bad_data += !shadow_check(w->shadow, req->sector + i,
					     (uint64_t *)(req->data + i * SECTOR));
	memset(w->shadow->busy + req->sector, 0, req->nsectors);
}

static unsigned reap(struct workload *w)
{
	unsigned n = 0;
	struct blk_req *req;
	uint32_t len;

	for (unsigned q = 0; q < w->nqueues; q++) {
		while ((req = virtq_get(&w->queue[q], &len))) {
			req->used_len = len;
			check(w, req);
			w->idle[--w->in_flight] = req;
			if (w->when)
				w->when[w->done] = time_us();
			w->done++;
			n++;
		}
	}
	return n;
}

/* A request whose chain does not fit stays idle until others have completed. */
static void refill(struct workload *w)
{
	while (w->in_flight < w->depth && w->done + w->in_flight < w->total) {
		if (!submit(w, w->idle[w->in_flight]))
			break;
		w->in_flight++;
	}
	for (unsigned q = 0; q < w->nqueues; q++)
		virtq_kick(&w->queue[q]);
}

static uint32_t interrupts(const struct workload *w)
{
	return irq_seen(w->vector, w->nvectors);
}

static bool wait_by_polling(struct workload *w)
{
	uint64_t deadline = time_us() + PATIENCE_US;

	while (time_us() < deadline) {
		for (unsigned q = 0; q < w->nqueues; q++) {
			if (virtq_has_used(&w->queue[q]))
				return true;
		}
		cpu_relax();
	}
	return false;
}

/* Where nothing was used before interrupts were asked for, only an interrupt ends the wait: chains
 * that are used without one are a failure. */
static bool wait_by_interrupt(struct workload *w)
{
	struct virtio *dev = w->queue->dev;

	for (unsigned q = 0; q < w->nqueues; q++) {
		if (!virtq_enable_irq(&w->queue[q], 0))
			return true;
	}
	if (!irq_wait(w->vector, w->nvectors, w->irqs_handled, w->waiting == WAIT_HALT))
		return false;
	w->irqs_handled = interrupts(w);
	if (dev->base)
		dev->ops->ack(dev);
	return true;
}

static void add_vector(struct workload *w, unsigned vector)
{
	for (unsigned i = 0; i < w->nvectors; i++) {
		if (w->vector[i] == vector)
			return;
	}
	w->vector[w->nvectors++] = vector;
}

void workload_init(struct workload *w)
{
	for (unsigned q = 0; q < w->nqueues; q++)
		add_vector(w, w->queue[q].vector);
	if (!w->sectors)
		w->sectors = w->shadow->sectors;
	if (!w->unit)
		w->unit = 1;
	w->req = alloc_pages(w->depth * sizeof(*w->req));
	w->idle = alloc_pages(w->depth * sizeof(*w->idle));
	for (unsigned i = 0; i < w->depth; i++) {
		w->req[i].data = alloc_pages(w->max_sectors * SECTOR);
		w->idle[i] = &w->req[i];
	}
}

static void set_irqs(struct workload *w)
{
	for (unsigned q = 0; q < w->nqueues; q++) {
		if (w->waiting == WAIT_POLL)
			virtq_disable_irq(&w->queue[q]);
		else
			virtq_enable_irq(&w->queue[q], 0);
	}
}

static uint64_t kicks(const struct workload *w)
{
	uint64_t n = 0;

	for (unsigned q = 0; q < w->nqueues; q++)
		n += w->queue[q].kicks;
	return n;
}

static bool is_over(const struct workload *w)
{
	return w->done >= w->total || (w->leave && w->done >= w->leave) || w->stalled;
}

bool workload_run(struct workload *w)
{
	uint32_t irqs_before = interrupts(w);
	uint64_t kicks_before = kicks(w), begin;

	set_irqs(w);
	w->irqs_handled = irqs_before;
	begin = time_us();
	while (!is_over(w)) {
		refill(w);
		if (w->disturb)
			w->disturb(w->queue->dev);
		if (reap(w) == 0)
			w->stalled = !(w->waiting == WAIT_POLL ? wait_by_polling(w)
							       : wait_by_interrupt(w));
	}
	w->us = time_us() - begin;
	w->interrupts = interrupts(w) - irqs_before;
	w->kicks = kicks(w) - kicks_before;
	for (unsigned q = 0; q < w->nqueues; q++)
		virtq_disable_irq(&w->queue[q]);
	return !w->stalled && !w->bad_status && !w->bad_data && !w->bad_length;
}

void workload_report(const struct workload *w)
{
	note("%lu requests in %lu us, %lu kicks, %lu interrupts%s", w->done, w->us, w->kicks,
	     w->interrupts, w->stalled ? ", STALLED" : "");
	if (w->bad_status || w->bad_data || w->bad_length)
		note("bad: %lu statuses, %lu sectors, %lu lengths", w->bad_status, w->bad_data,
		     w->bad_length);
}
