/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio over PCI, modern only (virtio 1.2, 4.1): one 32-bit BAR with the common, ISR, device and
 * notify areas and the MSI-X table, one doorbell address per queue (multiplier 4). No legacy, no
 * INTx.
 */
#ifndef MVMM_VIRTIO_PCI_H
#define MVMM_VIRTIO_PCI_H

#include "virtio/virtio_dev.h"
#include "vmm/msix.h"
#include "vmm/pci.h"
#include "vmm/vm.h"

struct virtio_pci {
	struct pci_func func;
	struct virtio_dev *dev;
	struct vm *vm;
	struct msix msix;
	unsigned slot;
	uint16_t config_vector;
	uint16_t queue_vector[VIRTIO_MAX_QUEUES];
	uint32_t device_feature_select;
	uint32_t driver_feature_select;
	uint16_t queue_select;
	uint8_t cfg_cap; /* offset of VIRTIO_PCI_CAP_PCI_CFG */
	uint8_t msix_cap;
	gpa_t doorbells; /* where they are assigned; 0: nowhere */
};

/* `class_code`: 24 bits, 0x018000 for a disk. One vector per queue and one for the configuration.
 * Main, before the vCPUs run. */
int virtio_pci_init(struct virtio_pci *vpci, struct virtio_dev *dev, struct vm *vm,
		    struct pci_bus *pci, uint32_t class_code, struct error *err);
void virtio_pci_destroy(struct virtio_pci *vpci);

#endif
