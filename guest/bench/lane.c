/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One queue's load, a closed loop: each completion starts the next request in the same slot.
 *
 * Made so that the guest is not what is measured. Descriptors are written once: slot, head and
 * descriptor have the same number for good, so that a request costs a sector, an entry of the avail
 * ring and its index. What one look finds is followed by one notification at most. Interrupts are
 * asked for as Linux's virtio_blk does: off while there is something to take, then for the next
 * used chain.
 */
#include "guest/bench/bench.h"
#include "guest/io.h"
#include "guest/lib.h"

static void fill_slot(struct lane *lane, uint16_t head, uint8_t *data)
{
	struct slot *slot = &lane->slot[head];

	slot->desc[0] = (struct vring_desc){ (uintptr_t)&slot->hdr, sizeof(slot->hdr),
					     VRING_DESC_F_NEXT, 1 };
	slot->desc[1] =
		(struct vring_desc){ (uintptr_t)data, lane->params->bs, VRING_DESC_F_NEXT, 2 };
	slot->desc[2] = (struct vring_desc){ (uintptr_t)&slot->status, 1, VRING_DESC_F_WRITE, 0 };
	lane->vq->desc[head] = (struct vring_desc){ (uintptr_t)slot->desc, sizeof(slot->desc),
						    VRING_DESC_F_INDIRECT, 0 };
}

/* Not all zero: some storage has a short way for that. */
static void fill_data(uint64_t *data, size_t bytes, uint64_t seed)
{
	for (size_t i = 0; i < bytes / sizeof(*data); i++)
		data[i] = random_u64(&seed);
}

void lane_init(struct lane *lane, const struct params *params, struct blk *blk, struct virtq *vq)
{
	unsigned depth = params->depth < vq->size ? params->depth : vq->size;
	uint8_t *data = alloc_pages((size_t)depth * params->bs);

	lane->params = params;
	lane->vq = vq;
	lane->depth = depth;
	lane->slot = alloc_pages(depth * sizeof(struct slot));
	lane->blocks = blk->capacity * SECTOR / params->bs;
	lane->seed = (uintptr_t)lane;
	lane->next = lane->blocks / blk->nqueues * vq->index;
	if (params->write_percent)
		fill_data((uint64_t *)data, (size_t)depth * params->bs, lane->seed);
	for (unsigned i = 0; i < depth; i++)
		fill_slot(lane, i, data + (size_t)i * params->bs);
}

static uint64_t next_block(struct lane *lane)
{
	if (lane->params->pattern == PATTERN_RANDOM)
		return ((unsigned __int128)random_u64(&lane->seed) * lane->blocks) >> 64;
	if (lane->next == lane->blocks)
		lane->next = 0;
	return lane->next++;
}

static bool next_is_write(struct lane *lane)
{
	unsigned percent = lane->params->write_percent;

	if (percent == 0 || percent == 100)
		return percent;
	return random_u64(&lane->seed) % 100 < percent;
}

static void start_request(struct lane *lane, uint16_t head, uint64_t now)
{
	struct virtq *vq = lane->vq;
	struct slot *slot = &lane->slot[head];
	bool write = next_is_write(lane);

	slot->hdr.type = write ? VIRTIO_BLK_T_OUT : VIRTIO_BLK_T_IN;
	slot->hdr.sector = next_block(lane) * (lane->params->bs / SECTOR);
	slot->desc[1].flags = VRING_DESC_F_NEXT | (write ? 0 : VRING_DESC_F_WRITE);
	slot->started = now;
	vq->avail->ring[vq->avail_idx++ & (vq->size - 1)] = head;
	/* At once, as Linux does: a device that is looking need not wait for the rest. */
	__atomic_store_n(&vq->avail->idx, vq->avail_idx, __ATOMIC_RELEASE);
	lane->in_flight++;
}

void lane_start(struct lane *lane)
{
	uint64_t now = rdtsc();

	for (unsigned i = 0; i < lane->depth; i++)
		start_request(lane, i, now);
	lane->irqs_seen = *irq_counter(lane->vq->vector);
	if (lane->params->complete != COMPLETE_POLL)
		lane->pending = !virtq_enable_irq(lane->vq, 0);
	virtq_kick(lane->vq);
}

static void take_used(struct lane *lane)
{
	struct virtq *vq = lane->vq;
	uint32_t head = vq->used->ring[vq->last_used++ & (vq->size - 1)].id;

	if (head >= lane->depth) {
		lane->errors++;
		return;
	}
	lane->in_flight--;
	if (lane->stopping)
		return;
	hist_add(&lane->hist, rdtsc() - lane->slot[head].started);
	lane->errors += lane->slot[head].status != VIRTIO_BLK_S_OK;
	lane->done[lane->ndone++] = head;
}

static bool take_all(struct lane *lane)
{
	struct virtq *vq = lane->vq;
	uint16_t until = __atomic_load_n(&vq->used->idx, __ATOMIC_ACQUIRE);

	if (until == vq->last_used)
		return false;
	while (vq->last_used != until)
		take_used(lane);
	lane->passes++;
	return true;
}

/* Asks for as much as has been done. */
static void make_anew(struct lane *lane)
{
	while (lane->ndone)
		start_request(lane, lane->done[--lane->ndone], rdtsc());
	virtq_kick(lane->vq);
}

/* The one vector of virtio-mmio wants its status read and acknowledged, as Linux's handler does. */
static bool irq_has_come(struct lane *lane)
{
	struct virtio *dev = lane->vq->dev;
	uint32_t count = *irq_counter(lane->vq->vector);

	if (count == lane->irqs_seen)
		return false;
	lane->irqs_seen = count;
	if (dev->base)
		dev->ops->ack(dev);
	return true;
}

/*
 * In the order of Linux's virtblk_done(): everything used is taken and the next interrupt asked for,
 * and only then come new requests, from whoever the completions woke. The other way round a device
 * might complete a new request before the interrupt is asked for, and none would ever be needed.
 */
bool lane_serve(struct lane *lane)
{
	if (lane->params->complete == COMPLETE_POLL) {
		if (!take_all(lane))
			return false;
	} else {
		if (!irq_has_come(lane) && !lane->pending)
			return false;
		do
			take_all(lane);
		while (!virtq_enable_irq(lane->vq, 0));
		lane->pending = false;
	}
	make_anew(lane);
	return true;
}

void lane_measure(struct lane *lane)
{
	memset(&lane->hist, 0, sizeof(lane->hist));
	lane->passes = lane->errors = 0;
	lane->kicks = lane->vq->kicks;
	lane->irqs = *irq_counter(lane->vq->vector);
}

void lane_stop(struct lane *lane)
{
	lane->stopping = true;
	lane->kicks = lane->vq->kicks - lane->kicks;
	lane->irqs = *irq_counter(lane->vq->vector) - lane->irqs;
}
