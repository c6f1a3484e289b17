/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio over PCI, modern only (virtio 1.2, 4.1): one 32-bit BAR with the common, ISR, device and
 * notify areas and the MSI-X table, one doorbell address per queue (multiplier 4). No legacy, no
 * INTx.
 *
 * BAR 0, an area per page, so that a guest can map them apart:
 *
 *	0x0000	common configuration
 *	0x1000	ISR status: one byte, reading clears it
 *	0x2000	the device's configuration space
 *	0x3000	doorbells, 4 bytes per queue; the value written does not matter
 *	0x4000	MSI-X table, 16 bytes per vector
 *	0x5000	MSI-X pending bits
 *	0x6000	nothing, to
 *	0x8000
 */
#ifndef MVMM_VIRTIO_PCI_H
#define MVMM_VIRTIO_PCI_H

#include "virtio/virtio_dev.h"
#include "vmm/msix.h"
#include "vmm/pci.h"
#include "vmm/vm.h"

#define VIRTIO_PCI_AREA	    0x1000u
#define VIRTIO_PCI_COMMON   0x0000u
#define VIRTIO_PCI_ISR_AREA 0x1000u
#define VIRTIO_PCI_DEVICE   0x2000u
#define VIRTIO_PCI_NOTIFY   0x3000u
#define VIRTIO_PCI_MSIX	    0x4000u
#define VIRTIO_PCI_PBA	    0x5000u
#define VIRTIO_PCI_BAR_SIZE 0x8000u

#define VIRTIO_PCI_NOTIFY_MULTIPLIER 4

struct virtio_pci {
	struct pci_func func;
	struct virtio_dev *dev;
	struct vm *vm;
	struct msix msix;
	unsigned slot;
	/* Single words that vCPUs may race for: their own fault, so no lock. */
	_Atomic uint32_t device_feature_select;
	_Atomic uint32_t driver_feature_select;
	_Atomic uint16_t queue_select;
	_Atomic uint16_t config_vector;
	_Atomic uint16_t queue_vector[VIRTIO_MAX_QUEUES];
	uint8_t cfg_cap; /* offset of VIRTIO_PCI_CAP_PCI_CFG */
	uint8_t msix_cap;
	/* The doorbells in KVM; under the bridge's lock. */
	unsigned doorbell_len;	/* bytes; 0: any, where KVM can */
	gpa_t doorbells;	/* where they are assigned */
	uint64_t doorbell_mask; /* a bit per queue that KVM catches; others exit and work as well */
};

/* `class_code`: 24 bits, 0x018000 for a disk. One vector per queue and one for the configuration.
 * The guest sees the device when `func` is shown. -errno: nothing left behind. Main, vCPUs may run. */
int virtio_pci_init(struct virtio_pci *vpci, struct virtio_dev *dev, struct vm *vm,
		    struct pci_bus *pci, uint32_t class_code, struct error *err);

/* Main, about once a second: interrupts that KVM would not set up are tried again. */
void virtio_pci_watch(struct virtio_pci *vpci);

/*
 * Taking a device out of a guest that runs: its function is hidden; once that is quiet (`left_fd` of
 * the bus tells) nobody sends it anything any more, and main shuts it down; then it is destroyed,
 * doorbells and interrupts with it.
 */
bool virtio_pci_is_quiet(struct virtio_pci *vpci);

/* Main; vCPUs stopped, or the device quiet; reset or shut down. */
void virtio_pci_destroy(struct virtio_pci *vpci);

#endif
