/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The completion ring that io_setup() maps into the process (fs/aio.c, struct aio_ring): reading it
 * here saves the io_getevents() call. Its layout is no promise of the kernel's, so it says of
 * itself what it is, and where it says something unknown we make the call.
 */
#ifndef MVMM_BLK_AIO_RING_H
#define MVMM_BLK_AIO_RING_H

#include <libaio.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define AIO_RING_MAGIC		 0xa10a10a1
#define AIO_RING_COMPAT_FEATURES 1

struct aio_ring {
	uint32_t id;
	uint32_t nr;	       /* events[] */
	_Atomic uint32_t head; /* ours: next event to read */
	_Atomic uint32_t tail; /* the kernel's: next event to write */
	uint32_t magic;
	uint32_t compat_features;
	uint32_t incompat_features;
	uint32_t header_length;
	struct io_event events[];
};

/* The ring behind a context, or NULL when it is not one we know. */
static inline struct aio_ring *aio_ring_of(io_context_t ctx)
{
	struct aio_ring *ring = (struct aio_ring *)ctx;

	if (ring->magic != AIO_RING_MAGIC || ring->incompat_features ||
	    ring->compat_features != AIO_RING_COMPAT_FEATURES ||
	    ring->header_length != sizeof(*ring) || ring->nr == 0)
		return NULL;
	return ring;
}

/* A look for polling: relaxed, aio_ring_reap() does the ordering. */
static inline bool aio_ring_has_events(const struct aio_ring *ring)
{
	return atomic_load_explicit(&ring->head, memory_order_relaxed) !=
	       atomic_load_explicit(&ring->tail, memory_order_relaxed);
}

/* Takes up to `max` events; never waits. */
static inline unsigned aio_ring_reap(struct aio_ring *ring, struct io_event *events, unsigned max)
{
	uint32_t head = atomic_load_explicit(&ring->head, memory_order_relaxed);
	/* Pairs with aio_complete()'s smp_wmb() before it stores tail: without it we could read an
	 * event that is still the one of a lap ago. */
	const uint32_t tail = atomic_load_explicit(&ring->tail, memory_order_acquire);
	unsigned n = 0;

	while (head != tail && n < max) {
		events[n++] = ring->events[head];
		if (++head >= ring->nr)
			head = 0;
	}
	/* Pairs with the smp_rmb() after user_refill_reqs_available() reads head: the kernel reuses
	 * the entries, and without it could do so before we have copied them. */
	if (n)
		atomic_store_explicit(&ring->head, head, memory_order_release);
	return n;
}

#endif
