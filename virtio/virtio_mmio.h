/* SPDX-License-Identifier: Apache-2.0 */
/* virtio-mmio version 2 (virtio 1.2, 4.2.2): one register page, one edge interrupt per device. */
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
	_Atomic uint32_t features_sel; /* single words that vCPUs may race for: their own fault */
	_Atomic uint32_t driver_features_sel;
	_Atomic uint32_t queue_sel;
};

/*
 * Puts `dev` at `base` on the VM's mmio bus with its interrupt on `gsi`, assigns the irqfd and one
 * ioeventfd per queue (QueueNotify, length 4, datamatch = queue). Main, before the vCPUs run. 0 or
 * -errno, nothing left behind.
 */
int virtio_mmio_init(struct virtio_mmio *mmio, struct virtio_dev *dev, struct vm *vm, gpa_t base,
		     uint32_t gsi, struct error *err);

/* Main, vCPUs stopped, the device reset or shut down. */
void virtio_mmio_destroy(struct virtio_mmio *mmio);

#endif
