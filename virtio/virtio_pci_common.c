/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The common configuration structure of virtio over PCI (virtio 1.2, 4.1.4.3): features, status,
 * queues and the vectors a driver chooses.
 *
 * Runs on vCPU threads. Must not know where the structure lies or how it was reached.
 */
#include "virtio/virtio_pci_common.h"

#include <linux/virtio_pci.h>

#define NO_VECTOR     VIRTIO_MSI_NO_VECTOR
#define REG(off, len) ((off) << 4 | (len)) /* a register is its place and its width */

/* A vector that does not exist reads back as none (4.1.5.1.2.1). */
static void set_vector(struct virtio_pci *vpci, _Atomic uint16_t *slot, uint16_t vector)
{
	if (virtio_dev_get_status(vpci->dev) & VIRTIO_CONFIG_S_DRIVER_OK)
		log_guest(&vpci->dev->log, "%s: MSI-X vector changed after DRIVER_OK: ignored",
			  vpci->dev->name);
	else
		*slot = vector < vpci->msix.nvectors ? vector : NO_VECTOR;
}

void virtio_pci_forget_vectors(struct virtio_pci *vpci)
{
	vpci->config_vector = NO_VECTOR;
	for (unsigned q = 0; q < vpci->dev->nqueues; q++)
		vpci->queue_vector[q] = NO_VECTOR;
}

/* The registers that are a field of the selected queue. */
struct queue_register {
	uint8_t off;
	uint8_t len;
	enum virtq_field field;
};

static const struct queue_register queue_registers[] = {
	{ VIRTIO_PCI_COMMON_Q_SIZE, 2, VIRTQ_SIZE },
	{ VIRTIO_PCI_COMMON_Q_ENABLE, 2, VIRTQ_READY },
	{ VIRTIO_PCI_COMMON_Q_DESCLO, 4, VIRTQ_DESC_LO },
	{ VIRTIO_PCI_COMMON_Q_DESCHI, 4, VIRTQ_DESC_HI },
	{ VIRTIO_PCI_COMMON_Q_AVAILLO, 4, VIRTQ_AVAIL_LO },
	{ VIRTIO_PCI_COMMON_Q_AVAILHI, 4, VIRTQ_AVAIL_HI },
	{ VIRTIO_PCI_COMMON_Q_USEDLO, 4, VIRTQ_USED_LO },
	{ VIRTIO_PCI_COMMON_Q_USEDHI, 4, VIRTQ_USED_HI },
};

static const struct queue_register *find_queue_register(uint64_t off, unsigned len)
{
	for (unsigned i = 0; i < sizeof(queue_registers) / sizeof(queue_registers[0]); i++)
		if (queue_registers[i].off == off && queue_registers[i].len == len)
			return &queue_registers[i];
	return NULL;
}

static uint32_t read_queue(struct virtio_pci *vpci, uint64_t off, unsigned len)
{
	const struct queue_register *reg = find_queue_register(off, len);

	return reg ? virtio_dev_get_queue(vpci->dev, vpci->queue_select, reg->field) : 0;
}

static void write_queue(struct virtio_pci *vpci, uint64_t off, unsigned len, uint32_t value)
{
	const struct queue_register *reg = find_queue_register(off, len);

	/* 4.1.4.3.2: a driver must not write 0 to queue_enable. */
	if (reg && (reg->field != VIRTQ_READY || value == 1))
		virtio_dev_set_queue(vpci->dev, vpci->queue_select, reg->field, value);
}

/* 4.1.3.1: fields are accessed in their own width, 64-bit ones as two halves. Others read 0. */
uint32_t virtio_pci_common_read(struct virtio_pci *vpci, uint64_t off, unsigned len)
{
	struct virtio_dev *dev = vpci->dev;
	const uint16_t q = vpci->queue_select;

	switch (REG(off, len)) {
	case REG(VIRTIO_PCI_COMMON_DFSELECT, 4):
		return vpci->device_feature_select;
	case REG(VIRTIO_PCI_COMMON_DF, 4):
		return virtio_dev_get_features(dev, vpci->device_feature_select);
	case REG(VIRTIO_PCI_COMMON_GFSELECT, 4):
		return vpci->driver_feature_select;
	case REG(VIRTIO_PCI_COMMON_GF, 4):
		return virtio_dev_get_driver_features(dev, vpci->driver_feature_select);
	case REG(VIRTIO_PCI_COMMON_MSIX, 2):
		return vpci->config_vector;
	case REG(VIRTIO_PCI_COMMON_NUMQ, 2):
		return dev->nqueues;
	case REG(VIRTIO_PCI_COMMON_STATUS, 1):
		return virtio_dev_get_status(dev);
	case REG(VIRTIO_PCI_COMMON_CFGGENERATION, 1):
		return (uint8_t)atomic_load(&dev->generation);
	case REG(VIRTIO_PCI_COMMON_Q_SELECT, 2):
		return q;
	case REG(VIRTIO_PCI_COMMON_Q_MSIX, 2):
		return q < dev->nqueues ? vpci->queue_vector[q] : NO_VECTOR;
	case REG(VIRTIO_PCI_COMMON_Q_NOFF, 2):
		return q < dev->nqueues ? q : 0;
	default:
		return read_queue(vpci, off, len);
	}
}

static void write_status(struct virtio_pci *vpci, uint8_t status)
{
	virtio_dev_set_status(vpci->dev, status);
	if (status)
		return;
	/* 4.1.5.1.2: no vector is mapped after a reset. Nothing signals any more: what it left
	 * pending in masked vectors would be an interrupt from the past. */
	virtio_pci_forget_vectors(vpci);
	msix_clear_pending(&vpci->msix);
}

void virtio_pci_common_write(struct virtio_pci *vpci, uint64_t off, unsigned len, uint32_t value)
{
	struct virtio_dev *dev = vpci->dev;
	const uint16_t q = vpci->queue_select;

	switch (REG(off, len)) {
	case REG(VIRTIO_PCI_COMMON_DFSELECT, 4):
		vpci->device_feature_select = value;
		break;
	case REG(VIRTIO_PCI_COMMON_GFSELECT, 4):
		vpci->driver_feature_select = value;
		break;
	case REG(VIRTIO_PCI_COMMON_GF, 4):
		virtio_dev_set_driver_features(dev, vpci->driver_feature_select, value);
		break;
	case REG(VIRTIO_PCI_COMMON_MSIX, 2):
		set_vector(vpci, &vpci->config_vector, value);
		break;
	case REG(VIRTIO_PCI_COMMON_STATUS, 1):
		write_status(vpci, value);
		break;
	case REG(VIRTIO_PCI_COMMON_Q_SELECT, 2):
		vpci->queue_select = value;
		break;
	case REG(VIRTIO_PCI_COMMON_Q_MSIX, 2):
		if (q < dev->nqueues)
			set_vector(vpci, &vpci->queue_vector[q], value);
		break;
	default:
		write_queue(vpci, off, len, value);
		break;
	}
}
