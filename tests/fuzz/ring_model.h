/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the ring target knows about each queue by itself: where its rings are, which heads the device
 * holds, and what every byte of guest RAM may be.
 */
#ifndef MVMM_TESTS_FUZZ_RING_MODEL_H
#define MVMM_TESTS_FUZZ_RING_MODEL_H

#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <stdbool.h>

#include "tests/fuzz/ring_memory.h"
#include "virtio/virtqueue.h"

#define MODEL_QUEUES 2
#define MODEL_SIZE   256 /* the largest queue */

/* A head that the device has taken and not given back. */
struct flight {
	bool live;
	bool known;	/* nothing changed under the device's eyes: `type` is what it saw */
	bool sent;	/* it has begun: no limit keeps it waiting */
	bool submitted; /* an engine has it */
	bool durable;	/* a WRITE must be on stable storage before it is OK */
	bool covered;	/* a FLUSH that came before the sync under way began */
	bool synced;	/* such a sync has succeeded */
	bool failed;	/* the host failed a part of it */
	bool resent;	/* sent again after that: on-error= */
	uint32_t type;
	uint64_t sector;
	uint64_t done; /* bytes the engine has moved */
	struct desc_chain chain;
};

struct model_queue {
	const struct virtqueue *vq; /* NULL: not running */
	uint16_t size, last_avail, seen, next_used, signalled;
	bool event_idx, indirect;
	uint8_t *desc, *avail, *used;
	struct flight flight[MODEL_SIZE];
};

static struct {
	struct model_queue queue[MODEL_QUEUES];
	unsigned order[MODEL_QUEUES]; /* the ready queues, as START will start them */
	unsigned nstarted;
	bool broken;	  /* a ring is: hands off until a reset */
	bool durable_now; /* what a WRITE that begins now must be */
	bool volatile_cache;
	bool keeps_failed; /* on-error= says so of some errors at least, or has once */
	bool throttled;	   /* there are limits, or were once */
	uint64_t size;	   /* of the disk, or of the larger one while it changes */
	bool syncing;	   /* a sync is under way; two might hear of a loss in the other order */
	bool sync_failed;  /* written data may be lost: no sync is honest any more */
	unsigned raced;	   /* times the guest wrote in the middle of the device's work */
	struct flight *last_popped;
} model;

static inline struct model_queue *model_of(const struct virtqueue *vq)
{
	for (unsigned i = 0; i < MODEL_QUEUES; i++)
		if (model.queue[i].vq == vq)
			return &model.queue[i];
	return NULL;
}

static inline struct flight *flight_of(unsigned queue, unsigned head)
{
	fuzz_check(queue < MODEL_QUEUES && head < MODEL_SIZE, "queue %u, head %u", queue, head);
	fuzz_check(model.queue[queue].flight[head].live, "I/O for head %u, which is not ours",
		   head);
	return &model.queue[queue].flight[head];
}

/* ---- syncs ------------------------------------------------------------------------------------ */

/* For whom it counts: FLUSHes may share one. */
static inline void model_cover(bool ended, bool well)
{
	for (unsigned q = 0; q < MODEL_QUEUES; q++) {
		for (unsigned h = 0; h < MODEL_SIZE; h++) {
			struct flight *f = &model.queue[q].flight[h];

			if (!f->live || f->type != VIRTIO_BLK_T_FLUSH)
				continue;
			f->synced |= ended && well && f->covered;
			f->covered = !ended;
		}
	}
}

static inline void model_sync_begins(void)
{
	fuzz_check(!model.syncing, "two syncs at once");
	model.syncing = true;
	model_cover(false, false);
}

static inline void model_sync_ends(bool well)
{
	model.syncing = false;
	model.sync_failed |= !well;
	model_cover(true, !model.sync_failed);
}

/* ---- memory ---------------------------------------------------------------------------------- */

static inline bool iov_covers(const struct iovec *iov, const uint8_t *p)
{
	return iov->iov_base && (uintptr_t)p - (uintptr_t)iov->iov_base < iov->iov_len;
}

/* Where the writable buffers of requests under way that hold `p` end; NULL: none does. */
static inline const uint8_t *writable_until(const uint8_t *p)
{
	for (unsigned q = 0; q < MODEL_QUEUES; q++) {
		for (unsigned h = 0; h < MODEL_SIZE; h++) {
			const struct flight *f = &model.queue[q].flight[h];
			const struct iovec *iov = f->chain.iov + f->chain.nreadable;

			for (unsigned i = 0; f->live && i < f->chain.nwritable; i++)
				if (iov_covers(&iov[i], p))
					return (uint8_t *)iov[i].iov_base + iov[i].iov_len;
		}
	}
	return NULL;
}

static inline void check_slot(uint8_t *at, uint8_t *shadow, uint64_t size, uint64_t gpa)
{
	uint64_t i = 0;

	if (!memcmp(at, shadow, size))
		return;
	while (i < size) {
		const uint8_t *end;

		if (at[i] == shadow[i]) {
			i++;
			continue;
		}
		end = writable_until(at + i);
		fuzz_check(end, "guest byte %#llx was written and is in no writable buffer",
			   (unsigned long long)(gpa + i));
		if (end > at + size)
			end = at + size;
		memcpy(shadow + i, at + i, end - (at + i));
		i = end - at;
	}
}

/* All of guest RAM is as it must be, but for buffers of requests under way. */
static inline void check_memory(void)
{
	check_slot(ram.low, ram.low_shadow, LOW_SIZE, 0);
	check_slot(ram.high, ram.high_shadow, HIGH_SIZE, HIGH_GPA);
}

/* A piece that an engine is given lies in the request's own buffers of the right direction. */
static inline void flight_check_buffer(const struct flight *f, const struct iovec *piece,
				       bool to_disk)
{
	const unsigned first = to_disk ? 0 : f->chain.nreadable;
	const unsigned n = to_disk ? f->chain.nreadable : f->chain.nwritable;

	fuzz_check(ram_holds(piece->iov_base, piece->iov_len), "I/O outside guest RAM");
	for (unsigned i = first; i < first + n; i++) {
		const struct iovec *iov = &f->chain.iov[i];

		if (iov_covers(iov, piece->iov_base) &&
		    (uint8_t *)piece->iov_base + piece->iov_len <=
			    (uint8_t *)iov->iov_base + iov->iov_len)
			return;
	}
	fuzz_fail("I/O outside the buffers of its request");
}

#endif
