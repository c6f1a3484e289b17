/* SPDX-License-Identifier: Apache-2.0 */
/* The split virtqueue, driver's side (virtio 1.2, 2.7). */
#include "guest/virtio.h"
#include "guest/io.h"
#include "guest/lib.h"

/* EVENT_IDX: the last word of either ring (virtio 1.2, 2.7.7 and 2.7.10). */
static volatile uint16_t *used_event(const struct virtq *vq)
{
	return (volatile uint16_t *)&vq->avail->ring[vq->size];
}

static volatile uint16_t *avail_event(const struct virtq *vq)
{
	return (volatile uint16_t *)&vq->used->ring[vq->size];
}

static void alloc_rings(struct virtq *vq)
{
	if (!vq->desc) {
		vq->desc = alloc_pages(VQ_MAX_SIZE * sizeof(struct vring_desc));
		vq->avail = alloc_pages(PAGE_SIZE);
		vq->used = alloc_pages(PAGE_SIZE);
		vq->tables = alloc_pages(VQ_MAX_SIZE * VQ_MAX_INDIRECT * sizeof(struct vring_desc));
	}
	memset(vq->desc, 0, VQ_MAX_SIZE * sizeof(struct vring_desc));
	memset(vq->avail, 0, PAGE_SIZE);
	memset(vq->used, 0, PAGE_SIZE);
}

bool virtq_setup(struct virtq *vq, struct virtio *dev, unsigned index, uint16_t max_size)
{
	uint16_t size = dev->ops->queue_max(dev, index);

	if (!size)
		return false;
	if (size > max_size)
		size = max_size;
	vq->dev = dev;
	vq->index = index;
	vq->size = size;
	vq->event_idx = dev->features & VIRTIO_BIT(VIRTIO_RING_F_EVENT_IDX);
	vq->indirect = dev->features & VIRTIO_BIT(VIRTIO_RING_F_INDIRECT_DESC);
	vq->free_head = vq->avail_idx = vq->kicked_idx = vq->last_used = 0;
	vq->nfree = size;
	alloc_rings(vq);
	for (unsigned i = 0; i < size; i++)
		vq->desc[i].next = i + 1;
	return dev->ops->queue_enable(dev, vq);
}

static void fill(struct vring_desc *desc, const struct sg *sg, uint16_t next, bool last)
{
	desc->addr = (uintptr_t)sg->addr;
	desc->len = sg->len;
	desc->flags = (sg->write ? VRING_DESC_F_WRITE : 0) | (last ? 0 : VRING_DESC_F_NEXT);
	desc->next = next;
}

static void add_direct(struct virtq *vq, const struct sg *sg, unsigned n)
{
	uint16_t at = vq->free_head;

	for (unsigned i = 0; i < n; i++) {
		uint16_t next = vq->desc[at].next;

		fill(&vq->desc[at], &sg[i], next, i == n - 1);
		at = next;
	}
	vq->free_head = at;
	vq->nfree -= n;
}

static void add_indirect(struct virtq *vq, const struct sg *sg, unsigned n)
{
	uint16_t head = vq->free_head, next = vq->desc[head].next;
	struct vring_desc *table = vq->tables + head * VQ_MAX_INDIRECT;

	for (unsigned i = 0; i < n; i++)
		fill(&table[i], &sg[i], i + 1, i == n - 1);
	vq->desc[head] = (struct vring_desc){
		.addr = (uintptr_t)table,
		.len = n * sizeof(*table),
		.flags = VRING_DESC_F_INDIRECT,
		.next = next,
	};
	vq->free_head = next;
	vq->nfree--;
}

static unsigned entries_needed(const struct virtq *vq, unsigned n)
{
	return vq->indirect && n > 1 && n <= VQ_MAX_INDIRECT ? 1 : n;
}

bool virtq_has_room(const struct virtq *vq, unsigned n)
{
	return entries_needed(vq, n) <= vq->nfree;
}

int virtq_add(struct virtq *vq, const struct sg *sg, unsigned n, void *cookie)
{
	unsigned need = entries_needed(vq, n);
	uint16_t head = vq->free_head;

	if (!virtq_has_room(vq, n))
		return -1;
	if (need < n)
		add_indirect(vq, sg, n);
	else
		add_direct(vq, sg, n);
	vq->chain_len[head] = need;
	vq->cookie[head] = cookie;
	vq->avail->ring[vq->avail_idx++ % vq->size] = head;
	return head;
}

void virtq_notify(struct virtq *vq)
{
	/* The queue's index, in the width the transport's register has. */
	if (vq->dev->base)
		write32(vq->doorbell, vq->index);
	else
		write16(vq->doorbell, vq->index);
	vq->kicks++;
}

static bool kick_wanted(const struct virtq *vq)
{
	if (vq->event_idx)
		return vring_need_event(*avail_event(vq), vq->avail_idx, vq->kicked_idx);
	return !(__atomic_load_n(&vq->used->flags, __ATOMIC_RELAXED) & VRING_USED_F_NO_NOTIFY);
}

void virtq_kick(struct virtq *vq)
{
	if (vq->avail_idx == vq->kicked_idx)
		return;
	/*
	 * Entries before index (release), index before the look at the device's wish (fence): the
	 * device does it the other way round, so either it sees the new index or we its wish.
	 */
	__atomic_store_n(&vq->avail->idx, vq->avail_idx, __ATOMIC_RELEASE);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (kick_wanted(vq))
		virtq_notify(vq);
	vq->kicked_idx = vq->avail_idx;
}

bool virtq_has_used(const struct virtq *vq)
{
	return __atomic_load_n(&vq->used->idx, __ATOMIC_ACQUIRE) != vq->last_used;
}

static void free_chain(struct virtq *vq, uint16_t head)
{
	uint16_t last = head;

	for (unsigned i = 1; i < vq->chain_len[head]; i++)
		last = vq->desc[last].next;
	vq->desc[last].next = vq->free_head;
	vq->free_head = head;
	vq->nfree += vq->chain_len[head];
}

void *virtq_get(struct virtq *vq, uint32_t *len)
{
	const struct vring_used_elem *used = &vq->used->ring[vq->last_used % vq->size];
	void *cookie;

	if (!virtq_has_used(vq))
		return NULL;
	cookie = used->id < vq->size ? vq->cookie[used->id] : NULL;
	if (!cookie) {
		ok(false, "used ring names head %u, which was not in flight", used->id);
		vq->last_used++;
		return NULL;
	}
	vq->cookie[used->id] = NULL;
	if (len)
		*len = used->len;
	free_chain(vq, used->id);
	vq->last_used++;
	return cookie;
}

/* With EVENT_IDX an event behind us: it comes up again only after 65535 more (2.7.7). */
void virtq_disable_irq(struct virtq *vq)
{
	if (vq->event_idx)
		*used_event(vq) = vq->last_used - 1;
	else
		__atomic_store_n(&vq->avail->flags, VRING_AVAIL_F_NO_INTERRUPT, __ATOMIC_RELAXED);
}

bool virtq_enable_irq(struct virtq *vq, uint16_t after)
{
	if (vq->event_idx)
		*used_event(vq) = vq->last_used + after;
	else
		__atomic_store_n(&vq->avail->flags, 0, __ATOMIC_RELAXED);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return (uint16_t)(__atomic_load_n(&vq->used->idx, __ATOMIC_ACQUIRE) - vq->last_used) <=
	       after;
}
