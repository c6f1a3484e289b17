/* SPDX-License-Identifier: Apache-2.0 */
/* Inside of virtio over PCI: the common configuration structure. vCPU threads. */
#ifndef MVMM_VIRTIO_PCI_COMMON_H
#define MVMM_VIRTIO_PCI_COMMON_H

#include "virtio/virtio_pci.h"

/* Any offset and width; what is no register, or not in its own width, reads 0 and is dropped. */
uint32_t virtio_pci_common_read(struct virtio_pci *vpci, uint64_t off, unsigned len);
void virtio_pci_common_write(struct virtio_pci *vpci, uint64_t off, unsigned len, uint32_t value);

/* No vector is mapped: as after a reset. */
void virtio_pci_forget_vectors(struct virtio_pci *vpci);

#endif
