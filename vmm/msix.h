/* SPDX-License-Identifier: Apache-2.0 */
/*
 * MSI-X (PCI 3.0, 6.8.2) on irqfd. A vector is an eventfd that its device writes whatever the mask
 * says. Masking takes the irqfd off the eventfd, unmasking puts it back: a signal that came
 * meanwhile waits in the counter, the pending bit is a poll of that counter, and KVM injects it
 * when the irqfd is assigned. So masking costs the dataplane nothing.
 */
#ifndef MVMM_MSIX_H
#define MVMM_MSIX_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "vmm/error.h"
#include "vmm/irq.h"
#include "vmm/log.h"

struct msix_vector {
	int fd; /* owned, non-blocking */
	uint32_t gsi;
	bool assigned;				  /* the irqfd is in place */
	bool refused;				  /* KVM would not have it otherwise */
	uint32_t addr_lo, addr_hi, data, control; /* the table entry as the guest wrote it */
};

struct msix {
	pthread_mutex_t lock; /* vCPUs; never a disk's thread */
	struct irq_router *router;
	unsigned nvectors;
	bool enabled;
	bool function_masked;
	bool refused;	/* so is a vector, or was */
	uint32_t devid; /* requester id, for GICv3 ITS */
	struct msix_vector *vector;
	struct log_limit log;
};

/* Main. 0 or -errno, nothing left behind; all vectors masked. */
int msix_init(struct msix *msix, struct irq_router *router, unsigned nvectors, uint32_t devid,
	      struct error *err);
void msix_destroy(struct msix *msix);

/* The line of a vector; fd -1 for those that do not exist. */
struct irq_line msix_line(const struct msix *msix, uint16_t vector);

/* Message control as written in configuration space (bits 15 enable, 14 function mask). */
void msix_set_control(struct msix *msix, uint16_t control);

/* Accesses to the table and the pending bits; 4 and 8 bytes, aligned, inside the table; others read
 * as all-ones and are dropped. Pending bits beyond the vectors read as 0; there are no writes. */
void msix_table_read(struct msix *msix, uint64_t off, void *data, unsigned len);
void msix_table_write(struct msix *msix, uint64_t off, const void *data, unsigned len);
void msix_pba_read(struct msix *msix, uint64_t off, void *data, unsigned len);

/*
 * Main, about once a second: asks KVM again for what it has refused. Does not wait for a vCPU: one
 * that is here now asks again itself, as every access to the table or the pending bits does.
 */
void msix_retry(struct msix *msix);

/* For a device that was stopped: what it signalled while masked is forgotten. */
void msix_clear_pending(struct msix *msix);

#endif
