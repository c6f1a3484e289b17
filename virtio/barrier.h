/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The memory ordering between us and a driver in the guest, in five helpers.
 *
 * A store with RELEASE semantics: every load and store before it in program order is visible to
 * whoever sees the value stored. A load with ACQUIRE semantics: no load or store after it in
 * program order happens before it. So what was written before a release store can be read after the
 * acquire load that saw it: the driver publishes descriptors by avail->idx, we publish used
 * elements by used->idx.
 *
 * Neither keeps a store before a *later load of another word*. Where both sides store their own
 * word and then look at the other's ("I sleep" against "there is work"), each needs the FULL fence
 * between the two, or both may miss the other's store.
 *
 * Guest words are little-endian (virtio 1.2, 1.4.2), and so is every host this builds for.
 */
#ifndef MVMM_BARRIER_H
#define MVMM_BARRIER_H

#include <stdatomic.h>
#include <stdint.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "guest words are used as they are");

#if defined(__SANITIZE_THREAD__)
#define MVMM_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define MVMM_TSAN 1
#endif
#endif

static inline void full_fence(void)
{
#ifdef MVMM_TSAN
	/* TSan does not model fences (and gcc says so); a locked exchange is one on x86. */
	_Atomic int fence = 0;

	(void)atomic_exchange_explicit(&fence, 1, memory_order_seq_cst);
#else
	atomic_thread_fence(memory_order_seq_cst);
#endif
}

/* One load, never repeated or torn by the compiler; no order. */
static inline uint16_t guest_load16(const uint16_t *p)
{
	return __atomic_load_n(p, __ATOMIC_RELAXED);
}

static inline uint16_t guest_load16_acquire(const uint16_t *p)
{
	return __atomic_load_n(p, __ATOMIC_ACQUIRE);
}

/* One store, never split by the compiler; no order. */
static inline void guest_store16(uint16_t *p, uint16_t value)
{
	__atomic_store_n(p, value, __ATOMIC_RELAXED);
}

static inline void guest_store16_release(uint16_t *p, uint16_t value)
{
	__atomic_store_n(p, value, __ATOMIC_RELEASE);
}

#endif
