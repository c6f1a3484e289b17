/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The split virtqueue (virtio 1.2, 2.7), device side.
 *
 * Knows guest memory and nothing else. One thread owns a running queue; there is no lock. All that
 * the guest can write is read once, checked, and used from the copy.
 *
 * A batch runs like this:
 *
 *	virtq_disable_notify(vq);
 *	do {
 *		while (... there is room for a request ... && (n = virtq_pop(vq, &chain)) > 0)
 *			... start it ...
 *	} while (virtq_enable_notify(vq));
 *	...
 *	virtq_push(vq, head, written);			for each completion
 *	if (virtq_publish(vq))				once per batch
 *		irq_line_signal(line);
 */
#ifndef MVMM_VIRTQUEUE_H
#define MVMM_VIRTQUEUE_H

#include <linux/virtio_ring.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "vmm/memory.h"

#define VIRTQ_MAX_SIZE 1024
/* Descriptors one chain may use: a whole queue's worth for small queues, capped for large ones.
 * virtio-blk offers seg_max = 126 and needs a header and a status besides. */
#define VIRTQ_MAX_CHAIN 128

/* What the driver told the transport about a queue. */
struct virtq_config {
	uint16_t size;
	bool ready;
	gpa_t desc;  /* descriptor table */
	gpa_t avail; /* driver area */
	gpa_t used;  /* device area */
};

/* One chain, translated: host copies only, the guest cannot change it any more. Buffers of length
 * 0 are left out. */
struct desc_chain {
	uint16_t head;
	uint16_t nreadable; /* iov[0 .. nreadable) the device may read ... */
	uint16_t nwritable; /* ... and iov[nreadable .. nreadable + nwritable) it may write */
	bool bad_address;   /* a buffer is not RAM: its iov has no base and its full length */
	bool bad_order;	    /* a readable buffer after a writable one (against 2.7.4.2): the chain
			     * is empty here, nothing of it may be touched; complete it with 0 */
	uint64_t readable;  /* bytes, summed in 64 bits: the guest may name 128 x 4 GiB */
	uint64_t writable;
	struct iovec iov[VIRTQ_MAX_CHAIN];
};

struct virtqueue {
	const struct guest_memory *mem;
	struct vring_desc *desc;
	struct vring_avail *avail;
	struct vring_used *used;
	uint16_t size;			    /* 0: not running */
	uint16_t last_avail;		    /* next avail entry to take */
	uint16_t seen_avail;		    /* avail->idx as last read */
	uint16_t next_used;		    /* next used entry to write */
	uint16_t signalled;		    /* used->idx at the last virtq_publish() */
	uint16_t in_flight;		    /* popped, not pushed */
	bool event_idx;			    /* VIRTIO_F_EVENT_IDX negotiated */
	bool indirect;			    /* VIRTIO_F_INDIRECT_DESC negotiated */
	uint64_t busy[VIRTQ_MAX_SIZE / 64]; /* heads in flight: a reused head breaks the queue */
};

/*
 * Checks size (power of two, at most VIRTQ_MAX_SIZE), alignment (16, 2, 4), that the three areas
 * are RAM, not at address 0 (what a register never written holds) and do not overlap, and
 * translates them once. Writes nothing to guest memory. The transports call it when the driver
 * enables a queue, the dataplane at start. 0 or -EINVAL; on error the queue is not running.
 * `features`: the negotiated set.
 */
int virtq_start(struct virtqueue *vq, const struct guest_memory *mem,
		const struct virtq_config *config, uint64_t features);
void virtq_stop(struct virtqueue *vq);

/*
 * Takes the next chain. 1: `chain` is filled. 0: the ring is empty or the queue not running.
 * -EPROTO: the ring is broken (index jump, head or next out of range, loop, chain longer than
 * VIRTQ_MAX_CHAIN, head in flight, bad indirect table): the device must go to NEEDS_RESET and not
 * touch the queue again before a reset. Only after 1 has anything changed.
 */
int virtq_pop(struct virtqueue *vq, struct desc_chain *chain);

/* How many chains the guest has made available that were not popped: one relaxed look at the index,
 * for polling and for planning. An index that jumped too far counts too, and virtq_pop() refuses
 * it. */
uint16_t virtq_waiting(const struct virtqueue *vq);

static inline bool virtq_has_work(const struct virtqueue *vq)
{
	return virtq_waiting(vq);
}

/* Writes one used element; the guest sees it at the next virtq_publish(). `written` is what the
 * device really wrote, at most the chain's writable bytes. */
void virtq_push(struct virtqueue *vq, uint16_t head, uint32_t written);

/* Stores used->idx once for the whole batch. True when the driver wants an interrupt for it. */
bool virtq_publish(struct virtqueue *vq);

/* Tells the driver that kicks are not needed for now. A hint: the driver may kick all the same. */
void virtq_disable_notify(struct virtqueue *vq);

/* Asks for kicks again. True when buffers arrived meanwhile and the caller must look once more
 * before it sleeps: no kick will come for those. */
bool virtq_enable_notify(struct virtqueue *vq);

#endif
