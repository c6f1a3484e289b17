/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The split virtqueue (virtio 1.2, 2.7), device side: takes descriptor chains out of the avail ring
 * and puts used elements into the used ring.
 *
 * Runs on whatever one thread owns the queue; takes no lock, allocates nothing, logs nothing. Must
 * not know what the buffers are for, which transport set the queue up, or what an interrupt is.
 *
 * Three areas in guest memory, `size` a power of two:
 *
 *	avail (driver writes)        desc (driver writes)              used (device writes)
 *	+-----------------+          +------+-----+-------+------+     +------------------+
 *	| flags           |          | addr | len | flags | next |     | flags            |
 *	| idx             |       +->| ...  | 16  | NEXT  |  3   |-+   | idx              |
 *	+-----------------+       |  +------+-----+-------+------+ |   +----------+-------+
 *	| ring[0]  head   |-------+  |      |     |       |      | |   | ring[0] id,len   |
 *	| ring[1]  head   |          +------+-----+-------+------+ |   | ring[1] id,len   |
 *	|  ...            |       +--| ...  | 513 | WRITE |      |<+   |  ...             |
 *	| ring[size-1]    |       |  +------+-----+-------+------+     | ring[size-1]     |
 *	+-----------------+       v                                    +------------------+
 *	| used_event      |    end of                                  | avail_event      |
 *	+-----------------+    chain                                   +------------------+
 *
 * Both idx words count for ever and wrap at 65536; ring slot = idx mod size. With EVENT_IDX
 * used_event says "interrupt me when used->idx passes this" and avail_event says "kick me when
 * avail->idx passes this"; without it the flags words say yes or no.
 *
 *	last_avail .. avail->idx	available, not yet popped	(at most size apart)
 *	popped, not pushed		in flight: `busy`, one bit per head
 *	signalled .. next_used		pushed, not yet published
 *
 * Everything in the two left-hand areas is hostile: each word is loaded once into a local, the
 * local is checked, and the local is used.
 */
#include "virtio/virtqueue.h"

#include <errno.h>
#include <linux/virtio_config.h>
#include <string.h>

#include "virtio/barrier.h"

/* Entries of one indirect table: the longest chain 2.7.5.3.1 lets a driver build on any queue of
 * ours. Only VIRTQ_MAX_CHAIN of them may be in use. */
#define VIRTQ_MAX_INDIRECT VIRTQ_MAX_SIZE

/* A table of descriptors: the queue's own or an indirect one. */
struct desc_table {
	const struct vring_desc *desc;
	uint32_t n;
};

static uint16_t *used_event(const struct virtqueue *vq)
{
	return &vq->avail->ring[vq->size];
}

static uint16_t *avail_event(const struct virtqueue *vq)
{
	return (uint16_t *)&vq->used->ring[vq->size];
}

static inline bool is_busy(const struct virtqueue *vq, uint16_t head)
{
	return vq->busy[head / 64] & (1ULL << (head % 64));
}

static inline void flip_busy(struct virtqueue *vq, uint16_t head)
{
	vq->busy[head / 64] ^= 1ULL << (head % 64);
}

/* ---- start and stop -------------------------------------------------------------------------- */

struct area {
	gpa_t gpa;
	uint64_t len;
	unsigned align;
};

static void *map_area(const struct guest_memory *mem, const struct area *area)
{
	if (!area->gpa || area->gpa & (area->align - 1))
		return NULL;
	return guest_memory_ptr(mem, area->gpa, area->len);
}

/* Both are RAM: no sum overflows. */
static bool overlap(const struct area *a, const struct area *b)
{
	return a->gpa < b->gpa + b->len && b->gpa < a->gpa + a->len;
}

int virtq_start(struct virtqueue *vq, const struct guest_memory *mem,
		const struct virtq_config *config, uint64_t features)
{
	const bool event_idx = features & (1ULL << VIRTIO_RING_F_EVENT_IDX);
	const uint64_t n = config->size, event = event_idx ? 2 : 0;
	/* virtio 1.2, 2.7: sizes and alignments of the three areas. */
	const struct area desc = { config->desc, 16 * n, 16 };
	const struct area avail = { config->avail, 4 + 2 * n + event, 2 };
	const struct area used = { config->used, 4 + 8 * n + event, 4 };

	memset(vq, 0, sizeof(*vq));
	if (!n || n > VIRTQ_MAX_SIZE || n & (n - 1))
		return -EINVAL;
	vq->desc = map_area(mem, &desc);
	vq->avail = map_area(mem, &avail);
	vq->used = map_area(mem, &used);
	if (!vq->desc || !vq->avail || !vq->used)
		return -EINVAL;
	if (overlap(&desc, &avail) || overlap(&desc, &used) || overlap(&avail, &used))
		return -EINVAL;
	vq->mem = mem;
	vq->event_idx = event_idx;
	vq->indirect = features & (1ULL << VIRTIO_RING_F_INDIRECT_DESC);
	vq->size = n;
	return 0;
}

void virtq_stop(struct virtqueue *vq)
{
	memset(vq, 0, sizeof(*vq));
}

/* ---- taking chains --------------------------------------------------------------------------- */

/* Loads the 16 bytes exactly once, whatever the optimiser would like: volatile. Packed because an
 * indirect table may start anywhere. */
static inline struct vring_desc load_desc(const struct vring_desc *desc)
{
	const volatile struct {
		uint64_t addr;
		uint64_t rest;
	} __attribute__((packed, may_alias)) *words = (const void *)desc;
	const uint64_t addr = words->addr, rest = words->rest;

	return (struct vring_desc){
		.addr = addr,
		.len = (uint32_t)rest,
		.flags = (uint16_t)(rest >> 32),
		.next = (uint16_t)(rest >> 48),
	};
}

/* A readable buffer after a writable one: nobody can say where the request ends, so none of it is
 * shown to the device. The walk goes on only to find out whether the ring is sound. */
static void spoil_chain(struct desc_chain *chain)
{
	chain->bad_order = true;
	chain->nreadable = 0;
	chain->nwritable = 0;
	chain->readable = 0;
	chain->writable = 0;
}

/* Appends one buffer. -EPROTO when the chain has more than we take. */
static inline int add_buffer(const struct virtqueue *vq, struct desc_chain *chain,
			     const struct vring_desc *desc)
{
	const unsigned n = chain->nreadable + chain->nwritable;
	void *base;

	if (!desc->len || chain->bad_order)
		return 0;
	if (n == VIRTQ_MAX_CHAIN)
		return -EPROTO;
	base = guest_memory_ptr(vq->mem, desc->addr, desc->len);
	if (!base)
		chain->bad_address = true;
	chain->iov[n] = (struct iovec){ base, desc->len };
	if (desc->flags & VRING_DESC_F_WRITE) {
		chain->nwritable++;
		chain->writable += desc->len;
	} else if (chain->nwritable) {
		spoil_chain(chain);
	} else {
		chain->nreadable++;
		chain->readable += desc->len;
	}
	return 0;
}

/*
 * 2.7.5.3: an INDIRECT descriptor needs the feature, ends the chain in the ring (no NEXT), and
 * names a non-empty table that has no INDIRECT of its own.
 */
static int open_indirect(const struct virtqueue *vq, const struct vring_desc *desc,
			 struct desc_table *table)
{
	if (!vq->indirect || table->desc != vq->desc || desc->flags & VRING_DESC_F_NEXT)
		return -EPROTO;
	if (!desc->len || desc->len % sizeof(struct vring_desc) ||
	    desc->len / sizeof(struct vring_desc) > VIRTQ_MAX_INDIRECT)
		return -EPROTO;
	table->desc = guest_memory_ptr(vq->mem, desc->addr, desc->len);
	table->n = desc->len / sizeof(struct vring_desc);
	/* A table laid over the ring's own is nested without saying so. */
	return table->desc && table->desc != vq->desc ? 0 : -EPROTO;
}

/* Follows a chain from `head`, in the ring's table and then perhaps in one indirect table. */
static int walk_chain(const struct virtqueue *vq, uint16_t head, struct desc_chain *chain)
{
	struct desc_table table = { vq->desc, vq->size };
	uint32_t i = head;

	/* One step more than buffers: the INDIRECT descriptor. Beyond: a loop, or too long. */
	for (unsigned step = 0; step <= VIRTQ_MAX_CHAIN; step++) {
		struct vring_desc desc;
		int err;

		if (i >= table.n)
			return -EPROTO;
		desc = load_desc(&table.desc[i]);
		if (desc.flags & VRING_DESC_F_INDIRECT) {
			err = open_indirect(vq, &desc, &table);
			i = 0;
		} else {
			err = add_buffer(vq, chain, &desc);
			i = desc.next;
		}
		if (err)
			return err;
		if (!(desc.flags & (VRING_DESC_F_NEXT | VRING_DESC_F_INDIRECT)))
			return 0;
	}
	return -EPROTO;
}

/* Looks at avail->idx. 1: there is something to take, 0: nothing, -EPROTO: the index jumped. */
static int look_at_avail(struct virtqueue *vq)
{
	uint16_t idx;

	if (!vq->size)
		return 0;
	/*
	 * Acquire: pairs with the driver's store of avail->idx after it filled the ring slot and
	 * the descriptors (2.7.13.2, 2.7.13.3). Without it we could read slots from before that
	 * store. Slots up to the index seen here need no further look at it.
	 */
	idx = guest_load16_acquire(&vq->avail->idx);
	if ((uint16_t)(idx - vq->last_avail) > vq->size)
		return -EPROTO;
	vq->seen_avail = idx;
	return idx != vq->last_avail;
}

int virtq_pop(struct virtqueue *vq, struct desc_chain *chain)
{
	uint16_t head;
	int ret;

	if (vq->last_avail == vq->seen_avail) {
		ret = look_at_avail(vq);
		if (ret <= 0)
			return ret;
	}
	head = guest_load16(&vq->avail->ring[vq->last_avail & (vq->size - 1)]);
	/* A head offered again before it was used would complete twice, into freed memory of the
	 * first request's owner (CVE-2026-45782). */
	if (head >= vq->size || is_busy(vq, head))
		return -EPROTO;
	chain->head = head;
	chain->nreadable = 0;
	chain->nwritable = 0;
	chain->bad_address = false;
	chain->bad_order = false;
	chain->readable = 0;
	chain->writable = 0;
	ret = walk_chain(vq, head, chain);
	if (ret)
		return ret;
	flip_busy(vq, head);
	vq->in_flight++;
	vq->last_avail++;
	return 1;
}

uint16_t virtq_waiting(const struct virtqueue *vq)
{
	return vq->size ? guest_load16(&vq->avail->idx) - vq->last_avail : 0;
}

/* ---- giving them back ------------------------------------------------------------------------ */

void virtq_push(struct virtqueue *vq, uint16_t head, uint32_t written)
{
	vq->used->ring[vq->next_used & (vq->size - 1)] =
		(struct vring_used_elem){ .id = head, .len = written };
	vq->next_used++;
	flip_busy(vq, head);
	vq->in_flight--;
}

bool virtq_publish(struct virtqueue *vq)
{
	const uint16_t old = vq->signalled, new = vq->next_used;

	if (old == new)
		return false;
	/* Release: pairs with the driver's read barrier after it loads used->idx (2.7.14). Without
	 * it the driver could read elements, and data, that are not there yet. */
	guest_store16_release(&vq->used->idx, new);
	vq->signalled = new;
	/*
	 * Full: our store of used->idx before our load of used_event or flags. Pairs with the
	 * driver's barrier between storing those and looking at used->idx a last time (2.7.7.2).
	 * Without it each side may miss the other's store: we send no interrupt, and the driver
	 * sleeps on a ring that has completions.
	 */
	full_fence();
	if (vq->event_idx)
		return vring_need_event(guest_load16(used_event(vq)), new, old);
	return !(guest_load16(&vq->avail->flags) & VRING_AVAIL_F_NO_INTERRUPT);
}

/* ---- kicks ----------------------------------------------------------------------------------- */

void virtq_disable_notify(struct virtqueue *vq)
{
	/* With EVENT_IDX nothing need be said: a kick comes only when avail->idx passes
	 * avail_event, and that stays where it is until virtq_enable_notify() moves it ahead. */
	if (vq->size && !vq->event_idx)
		guest_store16(&vq->used->flags, VRING_USED_F_NO_NOTIFY);
}

bool virtq_enable_notify(struct virtqueue *vq)
{
	if (!vq->size)
		return false;
	if (vq->event_idx)
		guest_store16(avail_event(vq), vq->last_avail);
	else
		guest_store16(&vq->used->flags, 0);
	/*
	 * Full: our request for kicks before our last look at avail->idx. Pairs with the driver's
	 * barrier between storing avail->idx and loading avail_event or flags (2.7.13.4.1). Without
	 * it each side may miss the other's store: the driver sends no kick, and we sleep on a ring
	 * that has work.
	 */
	full_fence();
	return virtq_has_work(vq);
}
