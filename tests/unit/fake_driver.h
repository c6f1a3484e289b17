/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A driver in plain memory: the other end of a split virtqueue, for tests.
 *
 * What Linux's virtio_ring.c does, and nothing more: free descriptors, avail and used indexes,
 * EVENT_IDX. It is an honest driver; a test that wants a hostile one writes to q->desc, q->avail
 * and q->used itself and uses the raw helpers at the end. Safe against a device on another thread
 * (one driver thread per queue); every shared index is an atomic access, so TSan can follow.
 *
 *	struct fake_guest g;
 *	struct fake_queue q;
 *
 *	fake_guest_init(&g, 0, 4 << 20);		g.mem is the guest_memory
 *	fake_queue_init(&q, &g, 256, features);		q.config is what a transport would hold
 *	fake_queue_add(&q, (struct fake_buf[]){ ... }, n, cookie);
 *	if (fake_queue_publish(&q))
 *		... kick ...
 *	while (fake_queue_poll(&q, &done))
 *		... done.cookie, done.head, done.len ...
 */
#ifndef MVMM_TESTS_FAKE_DRIVER_H
#define MVMM_TESTS_FAKE_DRIVER_H

#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/guarded_map.h"
#include "virtio/barrier.h"
#include "virtio/virtqueue.h"
#include "vmm/memory.h"

/* ---- guest memory: one slot, a bump allocator ------------------------------------------------ */

#define FAKE_GUARD 4096

struct fake_guest {
	struct guest_memory mem;
	uint8_t *ram;
	gpa_t base;
	uint64_t size;
	gpa_t next; /* where the next allocation goes */
};

static inline void fake_die(const char *what)
{
	fprintf(stderr, "fake driver: %s\n", what);
	abort();
}

/* RAM of `size` bytes at `base`, both page multiples, zeroed. The first page is never handed out:
 * ring address 0 means "not set". */
static inline void fake_guest_init(struct fake_guest *g, gpa_t base, uint64_t size)
{
	memset(g, 0, sizeof(*g));
	g->ram = guarded_map(size, FAKE_GUARD);
	if (!g->ram)
		fake_die("out of memory");
	g->base = base;
	g->size = size;
	g->next = base + 4096;
	if (guest_memory_add(&g->mem, base, size, g->ram))
		fake_die("guest_memory_add");
}

static inline void fake_guest_free(struct fake_guest *g)
{
	guarded_unmap(g->ram, g->size, FAKE_GUARD);
	memset(g, 0, sizeof(*g));
}

/* `align` is a power of two. Never freed on its own. */
static inline gpa_t fake_guest_alloc(struct fake_guest *g, uint64_t len, uint64_t align)
{
	gpa_t gpa = (g->next + align - 1) & ~(align - 1);

	if (gpa + len > g->base + g->size)
		fake_die("guest RAM is full: give fake_guest_init() more");
	g->next = gpa + len;
	return gpa;
}

static inline void *fake_guest_ptr(const struct fake_guest *g, gpa_t gpa)
{
	if (gpa < g->base || gpa - g->base >= g->size)
		fake_die("address outside guest RAM");
	return g->ram + (gpa - g->base);
}

/* ---- one queue, driver side ------------------------------------------------------------------ */

#define FAKE_INDIRECT_MAX 256

struct fake_buf {
	gpa_t gpa;
	uint32_t len;
	uint16_t flags; /* VRING_DESC_F_WRITE or 0; NEXT is added where needed */
};

struct fake_done {
	uint16_t head;
	uint32_t len; /* as the device wrote it */
	uint64_t cookie;
};

struct fake_queue {
	struct fake_guest *guest;
	struct virtq_config config;
	bool event_idx;
	struct vring_desc *desc;
	struct vring_avail *avail;
	struct vring_used *used;
	uint16_t avail_idx; /* what avail->idx becomes at the next publish */
	uint16_t published; /* what avail->idx is */
	uint16_t last_used; /* next used element to take */
	uint16_t nfree;	    /* free descriptors */
	uint16_t free_head;
	uint16_t next[VIRTQ_MAX_SIZE];	    /* our own chain of each descriptor */
	uint16_t chain_len[VIRTQ_MAX_SIZE]; /* by head; 0: not in flight */
	gpa_t indirect[VIRTQ_MAX_SIZE];	    /* by head, allocated at first use */
	uint64_t cookie[VIRTQ_MAX_SIZE];
};

/* Lays the three areas out in guest RAM, each on a page of its own, interrupts and kicks wanted. */
static inline void fake_queue_init(struct fake_queue *q, struct fake_guest *g, uint16_t size,
				   uint64_t features)
{
	memset(q, 0, sizeof(*q));
	q->guest = g;
	q->event_idx = features & (1ULL << VIRTIO_RING_F_EVENT_IDX);
	q->config.size = size;
	q->config.ready = true;
	q->config.desc = fake_guest_alloc(g, 16 * (uint64_t)size, 4096);
	q->config.avail = fake_guest_alloc(g, 6 + 2 * (uint64_t)size, 4096);
	q->config.used = fake_guest_alloc(g, 6 + 8 * (uint64_t)size, 4096);
	q->desc = fake_guest_ptr(g, q->config.desc);
	q->avail = fake_guest_ptr(g, q->config.avail);
	q->used = fake_guest_ptr(g, q->config.used);
	q->nfree = size;
	for (uint16_t i = 0; i < size; i++)
		q->next[i] = i + 1;
}

/* Forgets everything in flight and zeroes the rings: what a driver does after a device reset. */
static inline void fake_queue_reset(struct fake_queue *q)
{
	uint16_t size = q->config.size;

	memset(q->desc, 0, 16 * (size_t)size);
	memset(q->avail, 0, 6 + 2 * (size_t)size);
	memset(q->used, 0, 6 + 8 * (size_t)size);
	memset(q->chain_len, 0, sizeof(q->chain_len));
	q->avail_idx = q->published = q->last_used = q->free_head = 0;
	q->nfree = size;
	for (uint16_t i = 0; i < size; i++)
		q->next[i] = i + 1;
}

static inline uint16_t *fake_queue_used_event(const struct fake_queue *q)
{
	return &q->avail->ring[q->config.size];
}

static inline uint16_t *fake_queue_avail_event(const struct fake_queue *q)
{
	return (uint16_t *)&q->used->ring[q->config.size];
}

/* Puts a head into the avail ring; the device sees it at the next publish. */
static inline void fake_queue_offer(struct fake_queue *q, uint16_t head)
{
	guest_store16(&q->avail->ring[q->avail_idx & (q->config.size - 1)], head);
	q->avail_idx++;
}

/* A chain of n descriptors in the table. Returns its head, or -ENOSPC. */
static inline int fake_queue_add(struct fake_queue *q, const struct fake_buf *buf, unsigned n,
				 uint64_t cookie)
{
	uint16_t head = q->free_head, i = head;

	if (!n || n > q->nfree)
		return -ENOSPC;
	for (unsigned k = 0; k < n; k++, i = q->next[i]) {
		q->desc[i].addr = buf[k].gpa;
		q->desc[i].len = buf[k].len;
		q->desc[i].flags = buf[k].flags | (k + 1 < n ? VRING_DESC_F_NEXT : 0);
		q->desc[i].next = k + 1 < n ? q->next[i] : 0;
	}
	q->free_head = i;
	q->nfree -= n;
	q->chain_len[head] = n;
	q->cookie[head] = cookie;
	fake_queue_offer(q, head);
	return head;
}

/* The same chain in an indirect table: takes one descriptor. n at most FAKE_INDIRECT_MAX. */
static inline int fake_queue_add_indirect(struct fake_queue *q, const struct fake_buf *buf,
					  unsigned n, uint64_t cookie)
{
	uint16_t head = q->free_head;
	struct vring_desc *table;

	if (!q->nfree || n > FAKE_INDIRECT_MAX)
		return -ENOSPC;
	if (!q->indirect[head])
		q->indirect[head] = fake_guest_alloc(q->guest, 16 * FAKE_INDIRECT_MAX, 16);
	table = fake_guest_ptr(q->guest, q->indirect[head]);
	for (unsigned k = 0; k < n; k++) {
		table[k].addr = buf[k].gpa;
		table[k].len = buf[k].len;
		table[k].flags = buf[k].flags | (k + 1 < n ? VRING_DESC_F_NEXT : 0);
		table[k].next = k + 1 < n ? k + 1 : 0;
	}
	return fake_queue_add(q,
			      &(struct fake_buf){ .gpa = q->indirect[head],
						  .len = 16 * n,
						  .flags = VRING_DESC_F_INDIRECT },
			      1, cookie);
}

/*
 * Stores avail->idx once for all that was added. True when the device asked for a kick.
 *
 * The release store pairs with the device's acquire load of avail->idx; the fence with the one in
 * virtq_enable_notify(): either the device's second look sees our index, or we see its request.
 */
static inline bool fake_queue_publish(struct fake_queue *q)
{
	uint16_t old = q->published;

	guest_store16_release(&q->avail->idx, q->avail_idx);
	q->published = q->avail_idx;
	full_fence();
	if (old == q->published)
		return false;
	if (q->event_idx)
		return vring_need_event(guest_load16(fake_queue_avail_event(q)), q->published, old);
	return !(guest_load16(&q->used->flags) & VRING_USED_F_NO_NOTIFY);
}

/* Takes one completion and frees its descriptors. False: nothing new. A head that is not in flight
 * is reported with cookie ~0 and nothing is freed: the device is wrong. */
static inline bool fake_queue_poll(struct fake_queue *q, struct fake_done *done)
{
	const struct vring_used_elem *e;
	uint16_t tail;

	/* Pairs with the device's release store of used->idx: the element is there to read. */
	if (guest_load16_acquire(&q->used->idx) == q->last_used)
		return false;
	e = &q->used->ring[q->last_used++ & (q->config.size - 1)];
	*done = (struct fake_done){ .head = e->id, .len = e->len, .cookie = ~0ULL };
	if (e->id >= q->config.size || !q->chain_len[e->id])
		return true;
	done->cookie = q->cookie[e->id];
	tail = e->id;
	for (uint16_t k = 1; k < q->chain_len[e->id]; k++)
		tail = q->next[tail];
	q->next[tail] = q->free_head;
	q->free_head = e->id;
	q->nfree += q->chain_len[e->id];
	q->chain_len[e->id] = 0;
	return true;
}

/* No interrupts please: a hint. With EVENT_IDX used_event simply stays behind. */
static inline void fake_queue_disable_interrupts(struct fake_queue *q)
{
	if (q->event_idx)
		guest_store16(fake_queue_used_event(q), q->last_used - 1);
	else
		guest_store16(&q->avail->flags, VRING_AVAIL_F_NO_INTERRUPT);
}

/* Asks for an interrupt when `more` further completions are there (0: at the next one; EVENT_IDX
 * only, else at the next one). True when completions came meanwhile: poll again before waiting. */
static inline bool fake_queue_enable_interrupts(struct fake_queue *q, uint16_t more)
{
	if (q->event_idx)
		guest_store16(fake_queue_used_event(q), q->last_used + more);
	else
		guest_store16(&q->avail->flags, 0);
	full_fence(); /* pairs with virtq_publish(): our request before our look */
	return (uint16_t)(guest_load16_acquire(&q->used->idx) - q->last_used) > more;
}

/* ---- for hostile drivers --------------------------------------------------------------------- */

/* Any value at all into avail->idx. */
static inline void fake_queue_set_avail_idx(struct fake_queue *q, uint16_t idx)
{
	q->avail_idx = q->published = idx;
	guest_store16_release(&q->avail->idx, idx);
}

/* One descriptor of the table, as it is. */
static inline void fake_queue_set_desc(struct fake_queue *q, uint16_t i, gpa_t gpa, uint32_t len,
				       uint16_t flags, uint16_t next)
{
	q->desc[i] = (struct vring_desc){ .addr = gpa, .len = len, .flags = flags, .next = next };
}

#endif
