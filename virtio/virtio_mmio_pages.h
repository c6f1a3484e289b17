/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Register pages that the guest reads as memory: one read-only memslot for all virtio-mmio devices
 * of a VM. Writes to it leave the guest as ever.
 *
 * Guests map registers as device memory. Where that is not coherent with the host's caches (arm64),
 * they would read stale words: there these pages must not be used.
 */
#ifndef MVMM_VIRTIO_MMIO_PAGES_H
#define MVMM_VIRTIO_MMIO_PAGES_H

#include "vmm/error.h"
#include "vmm/vm.h"

/* All zero: there are no pages. */
struct virtio_mmio_pages {
	gpa_t base;
	unsigned n;
	void *hva;
};

/* Does this KVM have read-only slots? Main. */
bool virtio_mmio_pages_possible(const struct vm *vm);

/*
 * `n` pages from `base` on, zeroed, given to KVM as the first slot after RAM's: between vm_init()
 * and vm_create_machine(), as a slot costs 20 times more later. 0 or -errno, nothing left behind.
 */
int virtio_mmio_pages_init(struct virtio_mmio_pages *pages, const struct vm *vm, gpa_t base,
			   unsigned n, struct error *err);

/* What the guest reads at `base`; NULL: it is not among the pages. */
void *virtio_mmio_pages_at(const struct virtio_mmio_pages *pages, gpa_t base);

/* After vm_destroy(), or with no vCPU to run any more. */
void virtio_mmio_pages_destroy(struct virtio_mmio_pages *pages);

#endif
