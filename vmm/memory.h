/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guest memory: the one place where a guest physical address becomes a pointer.
 *
 * Slots are sorted by address, do not touch each other, and do not change while vCPUs run, so any
 * thread may translate without a lock. The guest can change the bytes behind a pointer at any
 * moment: copy once, check the copy, use the copy.
 */
#ifndef MVMM_MEMORY_H
#define MVMM_MEMORY_H

#include <stddef.h>
#include <stdint.h>

#include "vmm/error.h"

/* A guest physical address. Never dereferenced, never cast to a pointer outside memory.c. */
typedef uint64_t gpa_t;

#define GUEST_MEMORY_MAX_SLOTS 4

struct memslot {
	gpa_t gpa;
	uint64_t size; /* bytes, page multiple for slots that KVM sees */
	uint8_t *hva;
};

struct guest_memory {
	struct memslot slot[GUEST_MEMORY_MAX_SLOTS];
	unsigned nslots;
	uint64_t size;	 /* sum of the slots, bytes */
	void *mapping;	 /* what guest_memory_alloc() mapped; NULL for borrowed memory */
	uint64_t mapped; /* its length */
};

#define GUEST_MEMORY_HUGE_PAGE (2ULL << 20)

/* How the host is to provide guest memory. */
#define GUEST_MEMORY_POPULATE (1U << 0) /* all of it now */
#define GUEST_MEMORY_HUGETLB  (1U << 1) /* as huge pages from the host's pool, all of them now */

/*
 * Maps `size` bytes of anonymous memory (page aligned, not inherited by fork) and lays it out as
 * slots: [0, low) and, for what does not fit below the hole, [high_base, ...). `low_max` is the end
 * of RAM below the hole. Without `flags` nothing is reserved. With them, memory that is not there is
 * an error here and never a signal later: -ENOMEM, with how much there is. Main thread, before KVM is
 * told.
 */
int guest_memory_alloc(struct guest_memory *mem, uint64_t size, uint64_t low_max, gpa_t high_base,
		       unsigned flags, struct error *err);

/* Adds a slot of borrowed memory; for tests and for read-only pages. Slots must come in order. */
int guest_memory_add(struct guest_memory *mem, gpa_t gpa, uint64_t size, void *hva);

void guest_memory_free(struct guest_memory *mem);

/*
 * The host address of [gpa, gpa + len), or NULL unless every byte lies in one slot. Safe for any
 * gpa and len the guest can make up: no overflow, no partial answer. A len of 0 is answered for a
 * gpa inside RAM only.
 */
void *guest_memory_ptr(const struct guest_memory *mem, gpa_t gpa, uint64_t len);

/* A checked copy for set-up code; -EFAULT when the range is not RAM. */
int guest_memory_write(const struct guest_memory *mem, gpa_t gpa, const void *src, size_t len);

#endif
