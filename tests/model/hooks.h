/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Put in front of the monitor's own sources (-include), so that each of their atomic accesses,
 * fences and pauses becomes a step of the explorer in explore.c. The sources stay as they are: only
 * virtio/barrier.h and vmm/cpu_relax.h are stood in for, and the macros of <stdatomic.h>.
 *
 * Each place in the source where an access or a fence stands is a `struct site`; the explorer can
 * take the order away from one of them and look what is lost.
 */
#ifndef MVMM_TESTS_MODEL_HOOKS_H
#define MVMM_TESTS_MODEL_HOOKS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum site_kind { SITE_LOAD, SITE_STORE, SITE_RMW, SITE_FENCE };

struct site {
	const char *file, *function;
	int line;
	enum site_kind kind;
	int order;	  /* __ATOMIC_...: as the source says */
	uint64_t reached; /* by which explorations: see model_explore() */
	struct site *next;
};

uint64_t model_load(const volatile void *p, unsigned size, struct site *site);
void model_store(volatile void *p, unsigned size, uint64_t value, struct site *site);
/* The value before; `next` makes the new one of it. */
typedef uint64_t model_rmw_fn(uint64_t old, uint64_t operand);
uint64_t model_rmw(volatile void *p, unsigned size, model_rmw_fn *next, uint64_t operand,
		   struct site *site);
bool model_cas(volatile void *p, unsigned size, void *expected, uint64_t value, struct site *site);
void model_fence(struct site *site);
void model_relax(void);

model_rmw_fn model_add, model_sub, model_and, model_or, model_swap;

#define MODEL_SITE(k, o)                                                                           \
	static struct site model_site = {                                                          \
		.file = __FILE__, .function = __func__, .line = __LINE__, .kind = k, .order = o    \
	}

/* The type of what an atomic pointer points to, without _Atomic. */
#define MODEL_TYPE(p) __typeof__((void)0, *(p))

#define MODEL_LOAD(p, o)                                                                           \
	({                                                                                         \
		MODEL_SITE(SITE_LOAD, o);                                                          \
		MODEL_TYPE(p) model_value;                                                         \
		uint64_t model_raw = model_load(p, sizeof(model_value), &model_site);              \
		memcpy(&model_value, &model_raw, sizeof(model_value));                             \
		model_value;                                                                       \
	})

/* Little-endian, like virtio/barrier.h. */
#define MODEL_RAW(p, v)                                                                            \
	({                                                                                         \
		MODEL_TYPE(p) model_typed = (v);                                                   \
		uint64_t model_bits = 0;                                                           \
		memcpy(&model_bits, &model_typed, sizeof(model_typed));                            \
		model_bits;                                                                        \
	})

#define MODEL_STORE(p, v, o)                                                                       \
	({                                                                                         \
		MODEL_SITE(SITE_STORE, o);                                                         \
		model_store(p, sizeof(*(p)), MODEL_RAW(p, v), &model_site);                        \
	})

#define MODEL_RMW(p, next, v, o)                                                                   \
	({                                                                                         \
		MODEL_SITE(SITE_RMW, o);                                                           \
		MODEL_TYPE(p) model_value;                                                         \
		uint64_t model_raw =                                                               \
			model_rmw(p, sizeof(*(p)), next, MODEL_RAW(p, v), &model_site);            \
		memcpy(&model_value, &model_raw, sizeof(model_value));                             \
		model_value;                                                                       \
	})

#define MODEL_CAS(p, e, v, o)                                                                      \
	({                                                                                         \
		MODEL_SITE(SITE_RMW, o);                                                           \
		model_cas(p, sizeof(*(p)), e, MODEL_RAW(p, v), &model_site);                       \
	})

#undef atomic_load
#undef atomic_load_explicit
#undef atomic_store
#undef atomic_store_explicit
#undef atomic_exchange
#undef atomic_exchange_explicit
#undef atomic_fetch_add
#undef atomic_fetch_add_explicit
#undef atomic_fetch_sub
#undef atomic_fetch_sub_explicit
#undef atomic_fetch_and
#undef atomic_fetch_and_explicit
#undef atomic_fetch_or
#undef atomic_fetch_or_explicit
#undef atomic_compare_exchange_weak_explicit

#define atomic_load(p)			   MODEL_LOAD(p, __ATOMIC_SEQ_CST)
#define atomic_load_explicit(p, o)	   MODEL_LOAD(p, o)
#define atomic_store(p, v)		   MODEL_STORE(p, v, __ATOMIC_SEQ_CST)
#define atomic_store_explicit(p, v, o)	   MODEL_STORE(p, v, o)
#define atomic_exchange(p, v)		   MODEL_RMW(p, model_swap, v, __ATOMIC_SEQ_CST)
#define atomic_exchange_explicit(p, v, o)  MODEL_RMW(p, model_swap, v, o)
#define atomic_fetch_add(p, v)		   MODEL_RMW(p, model_add, v, __ATOMIC_SEQ_CST)
#define atomic_fetch_add_explicit(p, v, o) MODEL_RMW(p, model_add, v, o)
#define atomic_fetch_sub(p, v)		   MODEL_RMW(p, model_sub, v, __ATOMIC_SEQ_CST)
#define atomic_fetch_sub_explicit(p, v, o) MODEL_RMW(p, model_sub, v, o)
#define atomic_fetch_and(p, v)		   MODEL_RMW(p, model_and, v, __ATOMIC_SEQ_CST)
#define atomic_fetch_and_explicit(p, v, o) MODEL_RMW(p, model_and, v, o)
#define atomic_fetch_or(p, v)		   MODEL_RMW(p, model_or, v, __ATOMIC_SEQ_CST)
#define atomic_fetch_or_explicit(p, v, o)  MODEL_RMW(p, model_or, v, o)
/* A failure leaves the new value in *e and orders nothing. */
#define atomic_compare_exchange_weak_explicit(p, e, v, o, f) MODEL_CAS(p, e, v, o)

/* virtio/barrier.h */
#define MVMM_BARRIER_H
#define full_fence()                                                                               \
	({                                                                                         \
		MODEL_SITE(SITE_FENCE, __ATOMIC_SEQ_CST);                                          \
		model_fence(&model_site);                                                          \
	})
#define guest_load16(p)		    MODEL_LOAD(p, __ATOMIC_RELAXED)
#define guest_load16_acquire(p)	    MODEL_LOAD(p, __ATOMIC_ACQUIRE)
#define guest_store16(p, v)	    MODEL_STORE(p, v, __ATOMIC_RELAXED)
#define guest_store16_release(p, v) MODEL_STORE(p, v, __ATOMIC_RELEASE)

/* vmm/cpu_relax.h */
#define MVMM_CPU_RELAX_H
#define cpu_relax() model_relax()

#endif
