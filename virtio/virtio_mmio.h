/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio-mmio version 2 (virtio 1.2, 4.2.2): one register page, one edge interrupt per device.
 *
 * The driver's accesses leave the guest, one exit each, or, with a page of virtio_mmio_pages.h,
 * only its writes do, and not even those that acknowledge used buffers: then an interrupt costs no
 * exit.
 */
#ifndef MVMM_VIRTIO_MMIO_H
#define MVMM_VIRTIO_MMIO_H

#include "virtio/virtio_dev.h"
#include "vmm/vm.h"

#define VIRTIO_MMIO_SIZE 0x1000ULL /* registers, from 0x100 on configuration space */

struct virtio_mmio {
	struct virtio_dev *dev;
	struct vm *vm;
	gpa_t base;
	uint32_t gsi;
	int irq_fd;		       /* the device's only line */
	_Atomic uint32_t *page;	       /* what the driver reads without an exit; NULL: nothing */
	pthread_mutex_t page_lock;     /* the last write refreshes it last */
	int ack_fd;		       /* with a page: counts acknowledgements, read by nobody */
	_Atomic uint32_t *isr;	       /* InterruptStatus: the device's word or the page's */
	uint32_t standing;	       /* bits of it that stay on while a driver is at work */
	_Atomic uint32_t features_sel; /* single words that vCPUs may race for: their own fault */
	_Atomic uint32_t driver_features_sel;
	_Atomic uint32_t queue_sel;
};

/*
 * Puts `dev` at `base` on the VM's mmio bus with its interrupt on `gsi`, assigns the irqfd and one
 * ioeventfd per queue (QueueNotify, length 4, datamatch = queue). `page` is NULL, or the zeroed
 * page that the guest reads at `base`; it outlives the transport, and so does `dev`. Main, before
 * the vCPUs run. 0 or -errno, nothing left behind.
 *
 * With a page, configuration bytes other than single ones may change only in a register write of
 * the driver's or while no vCPU runs: nothing makes a reader wait for the other half.
 */
int virtio_mmio_init(struct virtio_mmio *mmio, struct virtio_dev *dev, struct vm *vm, gpa_t base,
		     uint32_t gsi, void *page, struct error *err);

/* Main, vCPUs stopped, the device reset or shut down. */
void virtio_mmio_destroy(struct virtio_mmio *mmio);

#endif
