/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Interrupts: a line is an eventfd that KVM turns into an interrupt (irqfd), and the router owns the
 * table that says into which.
 */
#ifndef MVMM_IRQ_H
#define MVMM_IRQ_H

#include <linux/kvm.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <unistd.h>

#include "vmm/error.h"

/*
 * What a device holds to interrupt the guest: plain values, copied freely. `fd` -1 means the guest
 * asked for no interrupt. `status` is virtio-mmio's InterruptStatus, shared with the vCPUs; NULL
 * where the vector itself says what happened (MSI-X). `deferred`: a pin of an interrupt chip, which
 * KVM raises not in the write but in a kernel thread of the writer's CPU (irqfd_wakeup()).
 */
struct irq_line {
	int fd;
	_Atomic uint32_t *status;
	uint32_t bits;
	bool deferred;
};

/*
 * Any thread. The status is set before the eventfd is written: the release below pairs with the
 * acquire of the vCPU that reads InterruptStatus in its handler; the other way round a guest could
 * take the interrupt, read 0 and call it spurious (virtio 1.2, 4.2.2.1). A full counter (EAGAIN)
 * means an interrupt is already pending, which is all we want.
 */
static inline void irq_line_signal(const struct irq_line *line)
{
	const uint64_t one = 1;

	if (line->status)
		atomic_fetch_or_explicit(line->status, line->bits, memory_order_release);
	if (line->fd >= 0 && write(line->fd, &one, sizeof(one)) < 0)
		return;
}

#define IRQ_ROUTER_MAX_PINS 256
#define IRQ_ROUTER_MAX_MSI  2048

/*
 * The VM's GSI table: the chips' own pins (arch_irq_pins) first, then MSI routes. KVM takes the
 * table whole and waits for a grace period, so it is only sent when a route really changes.
 */
struct irq_router {
	int vm_fd;
	pthread_mutex_t lock; /* vCPUs unmask vectors concurrently */
	struct kvm_irq_routing *table;
	struct kvm_irq_routing *sent; /* what KVM gets: the entries that have a route */
	bool devid;		      /* MSIs carry a requester id (GICv3 ITS) */
	unsigned pins;		      /* entries that belong to the chips */
	uint32_t msi_base;	      /* first GSI of ours */
	uint32_t msi_next;
	uint32_t free_head; /* given-back GSIs, chained through the entry's msi.pad */
};

int irq_router_init(struct irq_router *r, int vm_fd, struct error *err);
void irq_router_destroy(struct irq_router *r);

/* A GSI for one MSI vector, or -ENOSPC. It has no route until irq_router_set_msi(). */
int irq_router_alloc_msi(struct irq_router *r);
void irq_router_free_msi(struct irq_router *r, uint32_t gsi);

/* Points `gsi` at an MSI address and data; no call to KVM when it already points there. */
int irq_router_set_msi(struct irq_router *r, uint32_t gsi, uint64_t addr, uint32_t data,
		       uint32_t devid);

/* Binds and unbinds an eventfd to a GSI. One eventfd binds one GSI; assigning injects what its
 * counter already holds. 0 or -errno. Any thread; never the dataplane. */
int irqfd_assign(int vm_fd, int eventfd, uint32_t gsi);
int irqfd_deassign(int vm_fd, int eventfd, uint32_t gsi);

/*
 * Doorbells. `datamatch` < 0 means any value. `len` 0 matches any length on KVMs that can
 * (KVM_CAP_IOEVENTFD_ANY_LENGTH). `fd` stays the caller's.
 */
int ioeventfd_assign(int vm_fd, int eventfd, uint64_t addr, unsigned len, int64_t datamatch);
int ioeventfd_deassign(int vm_fd, int eventfd, uint64_t addr, unsigned len, int64_t datamatch);

#endif
