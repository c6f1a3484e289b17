/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The driver's side of virtio 1.x: a device behind either transport, and its split virtqueues.
 */
#ifndef GUEST_VIRTIO_H
#define GUEST_VIRTIO_H

#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_ring.h>
#include <stdbool.h>
#include <stdint.h>

#include "guest/pci.h"

#define VIRTIO_MAX_DEVICES 16
#define VIRTIO_MAX_QUEUES  16
#define VQ_MAX_SIZE	   256
#define VQ_MAX_INDIRECT	   64

#define VIRTIO_BIT(f) (1ULL << (f))

struct virtio;

struct virtq {
	struct virtio *dev;
	unsigned index;
	unsigned vector;
	uint16_t size;
	bool event_idx, indirect;
	struct vring_desc *desc;
	struct vring_avail *avail;
	struct vring_used *used;
	struct vring_desc *tables; /* VQ_MAX_INDIRECT entries for each head */
	uint16_t free_head, nfree;
	uint16_t avail_idx;  /* chains added */
	uint16_t kicked_idx; /* and told about */
	uint16_t last_used;
	uint16_t chain_len[VQ_MAX_SIZE];
	void *cookie[VQ_MAX_SIZE];
	uintptr_t doorbell;
	uint64_t kicks;
};

/* What a transport must do; `q` selects a queue. */
struct virtio_ops {
	uint32_t (*features)(struct virtio *dev, unsigned half);
	void (*accept)(struct virtio *dev, unsigned half, uint32_t features);
	uint8_t (*status)(struct virtio *dev);
	void (*set_status)(struct virtio *dev, uint8_t status);
	uint16_t (*queue_max)(struct virtio *dev, unsigned q);
	/* Addresses, size and vector, then ready; false if the device says it is not. */
	bool (*queue_enable)(struct virtio *dev, struct virtq *vq);
	bool (*queue_ready)(struct virtio *dev, unsigned q);
	/* The raw register, for drivers that misbehave. */
	void (*queue_set_size)(struct virtio *dev, unsigned q, uint16_t size);
	uint16_t (*queue_get_size)(struct virtio *dev, unsigned q);
	void (*queue_set_desc)(struct virtio *dev, unsigned q, uint64_t addr);
	void (*config_read)(struct virtio *dev, unsigned off, void *to, unsigned len);
	void (*config_write8)(struct virtio *dev, unsigned off, uint8_t value);
	uint32_t (*generation)(struct virtio *dev);
	/* Reads and acknowledges the interrupt status. */
	uint32_t (*ack)(struct virtio *dev);
	/* Interrupt vectors are set up; once per device. */
	bool (*irq_setup)(struct virtio *dev);
};

struct virtio {
	const struct virtio_ops *ops;
	const char *transport; /* "pci" or "mmio" */
	uint16_t id;
	uint64_t features; /* negotiated */
	unsigned config_vector;
	unsigned nvectors; /* for queues */
	unsigned queue_vector[VIRTIO_MAX_QUEUES];
	/* pci */
	struct pci_dev pci;
	uintptr_t common, notify, isr, config;
	unsigned notify_multiplier;
	/* mmio */
	uintptr_t base;
	unsigned pin;
};

/* A buffer's part: `write` means by the device. */
struct sg {
	void *addr;
	uint32_t len;
	bool write;
};

/* virtio_pci.c, virtio_mmio.c: false if there is no virtio device. */
bool virtio_pci_open(struct virtio *dev, unsigned slot);
bool virtio_mmio_open(struct virtio *dev, uintptr_t base, unsigned pin);

/* virtio.c: PCI slots in order, then what the command line says of MMIO, as `mmio=ADDRESS:PIN`
 * or as Linux has it, `virtio_mmio.device=SIZE@ADDRESS:PIN`. Returns how many of kind `id`. */
unsigned virtio_find(uint16_t id, struct virtio *devs, unsigned max);

void virtio_reset(struct virtio *dev); /* returns when the status reads 0 */
/* Reset, ACKNOWLEDGE, DRIVER, offered & wanted, FEATURES_OK. */
bool virtio_negotiate(struct virtio *dev, uint64_t wanted);
uint64_t virtio_offered(struct virtio *dev);
void virtio_driver_ok(struct virtio *dev);
bool virtio_needs_reset(struct virtio *dev);

/* virtq.c. A queue's memory is kept over resets; `virtq_setup` begins afresh. */
bool virtq_setup(struct virtq *vq, struct virtio *dev, unsigned index, uint16_t max_size);
bool virtq_has_room(const struct virtq *vq, unsigned n);
/* The head used, or -1 if the chain does not fit. Readable parts come first. */
int virtq_add(struct virtq *vq, const struct sg *sg, unsigned n, void *cookie);
/* Makes what was added available and notifies the device unless it asked not to. */
void virtq_kick(struct virtq *vq);
/* Notifies, asked for or not. */
void virtq_notify(struct virtq *vq);
/* The cookie of a used chain, or NULL; `len` is what the device says it wrote. */
void *virtq_get(struct virtq *vq, uint32_t *len);
bool virtq_has_used(const struct virtq *vq);
void virtq_disable_irq(struct virtq *vq);
/* Interrupt me for the `after`th used chain from now on (0: the next). False if there are used
 * chains to take already. */
bool virtq_enable_irq(struct virtq *vq, uint16_t after);

#endif
