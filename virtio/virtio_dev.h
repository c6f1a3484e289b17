/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A virtio device as its driver sees it, whatever carries it: status, feature negotiation, queue
 * registers, configuration bytes (virtio 1.2, chapters 2 and 3). A transport knows this type and
 * never a device kind; a device fills it in and never knows its transport.
 *
 * Register accesses come from vCPU threads and hold `lock`. The dataplane takes no part: it is
 * started with copies and answers through NEEDS_RESET in `status` and its interrupt lines.
 */
#ifndef MVMM_VIRTIO_DEV_H
#define MVMM_VIRTIO_DEV_H

#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "virtio/virtqueue.h"
#include "vmm/irq.h"
#include "vmm/log.h"
#include "vmm/memory.h"

#define VIRTIO_MAX_QUEUES 64
#define VIRTIO_CONFIG_MAX 256

struct virtio_dev;

struct virtio_dev_ops {
	/*
	 * DRIVER_OK was written and every ready queue has been checked: begin. `line` of each queue
	 * is settled. 0 or -errno; on error the device shows NEEDS_RESET. Under the lock.
	 */
	int (*start)(struct virtio_dev *dev);
	/*
	 * Stop, and return only when nothing of this device touches guest memory any more and no
	 * interrupt of it can come: 0. -ECANCELED: the VM ends first, and the device still runs.
	 * Called for a started device only. Under the lock.
	 */
	int (*reset)(struct virtio_dev *dev);
	/* The driver wrote [off, off + len), all inside config_len; `data` is what it wrote. The
	 * device stores what it accepts into dev->config. NULL: read-only. Under the lock. */
	void (*config_write)(struct virtio_dev *dev, unsigned off, const void *data, unsigned len);
	/* A reset, of a device that was started or not: what config_write() has stored is as the driver
	 * found it. NULL: nothing to do. Under the lock. */
	void (*config_reset)(struct virtio_dev *dev);
};

/* How the device's side reaches the guest; filled by the transport. */
struct virtio_transport_ops {
	/* The line to signal for used buffers of queue q, as the driver has set it up now. */
	struct irq_line (*queue_line)(void *transport, unsigned q);
	/* The line for a configuration change (also used for NEEDS_RESET). */
	struct irq_line (*config_line)(void *transport);
	/* May the device reach the driver's memory and interrupt it? NULL: always. Takes no lock that
	 * is held while the device's is taken. */
	bool (*may_run)(void *transport);
	/* Where the driver reads the configuration without asking: main is about to change it (false: it
	 * would have to wait), and has. Both under the device's lock. NULL: the driver asks. */
	bool (*hold_config)(void *transport);
	void (*show_config)(void *transport);
};

struct virtio_dev {
	pthread_mutex_t lock;
	uint16_t id;	   /* VIRTIO_ID_BLOCK, ... */
	uint64_t features; /* offered, VIRTIO_F_VERSION_1 among them */
	uint64_t driver_features;
	/*
	 * The device status as the driver reads it (2.1). Changes under the lock, but for
	 * NEEDS_RESET, which the device's own thread ORs in when a ring is broken. Points to
	 * `own_status`, or to where a transport lets the driver read it without asking anybody.
	 */
	_Atomic uint32_t *status;
	_Atomic uint32_t own_status;
	bool started;		     /* ops->start succeeded, ops->reset is due */
	_Atomic uint32_t generation; /* changes with the configuration bytes */
	_Atomic uint32_t isr; /* bit 0 used buffers, bit 1 configuration; see irq_line.status */
	unsigned nqueues;
	uint16_t queue_size_max;
	struct virtq_config queue[VIRTIO_MAX_QUEUES];
	int kick_fd[VIRTIO_MAX_QUEUES]; /* the doorbells: non-blocking eventfds, owned */
	uint8_t config[VIRTIO_CONFIG_MAX];
	unsigned config_len;
	const struct guest_memory *mem;
	const struct virtio_dev_ops *ops;
	void *opaque; /* the device's own */
	const struct virtio_transport_ops *transport_ops;
	void *transport;
	struct log_limit log;
	char name[32]; /* for messages: "vda", ... */
};

/*
 * Main, before the vCPUs run. The caller fills features, config, ops, opaque and name between init
 * and attaching a transport. Creates the doorbells. 0 or -errno, nothing left behind.
 */
int virtio_dev_init(struct virtio_dev *dev, uint16_t id, unsigned nqueues, uint16_t queue_size_max,
		    const struct guest_memory *mem, struct error *err);
void virtio_dev_destroy(struct virtio_dev *dev);

/* What transports call on a vCPU's thread; each takes the lock. Out-of-range queues and selectors
 * read as 0 and ignore writes. */
uint32_t virtio_dev_get_features(struct virtio_dev *dev, uint32_t select);
void virtio_dev_set_driver_features(struct virtio_dev *dev, uint32_t select, uint32_t value);
uint32_t virtio_dev_get_driver_features(struct virtio_dev *dev, uint32_t select);
uint8_t virtio_dev_get_status(struct virtio_dev *dev);
/*
 * 0 resets, synchronously: on return all I/O has drained, or the VM ends and the status stays. Other
 * values follow 3.1.1: bits are never cleared; FEATURES_OK is refused for features not offered or
 * without VERSION_1; DRIVER_OK starts, with any number of ready queues, and is refused before
 * FEATURES_OK and after FAILED.
 */
void virtio_dev_set_status(struct virtio_dev *dev, uint8_t status);

/*
 * The transport has lost its way to the driver's memory (may_run() says no by now): on return all I/O
 * has drained, and nothing runs before a reset. A started device shows NEEDS_RESET from then on.
 */
void virtio_dev_stop(struct virtio_dev *dev);

enum virtq_field {
	VIRTQ_SIZE,
	VIRTQ_DESC_LO,
	VIRTQ_DESC_HI,
	VIRTQ_AVAIL_LO,
	VIRTQ_AVAIL_HI,
	VIRTQ_USED_LO,
	VIRTQ_USED_HI,
	VIRTQ_READY
};

/* Queue registers. Writes are ignored after DRIVER_OK and, but for READY, once the queue is ready
 * (CVE-2026-5747 is what happens otherwise). READY = 1 is refused, and reads back 0, before
 * FEATURES_OK and when virtq_start() would refuse the queue. */
uint32_t virtio_dev_get_queue(struct virtio_dev *dev, uint32_t q, enum virtq_field field);
void virtio_dev_set_queue(struct virtio_dev *dev, uint32_t q, enum virtq_field field,
			  uint32_t value);

/* Any offset and length. Bytes beyond config_len read as 0; a write that has some is dropped. */
void virtio_dev_read_config(struct virtio_dev *dev, uint64_t off, void *data, unsigned len);
void virtio_dev_write_config(struct virtio_dev *dev, uint64_t off, const void *data, unsigned len);

/*
 * Main, from the device's side: changes bytes of the configuration and tells the driver (2.5.1,
 * 4.1.5.4). Never waits: -EBUSY, and nothing is done, while a vCPU is in one of the device's registers,
 * where it may be waiting for storage.
 */
int virtio_dev_try_change_config(struct virtio_dev *dev, unsigned off, const void *data,
				 unsigned len);

/* A doorbell that KVM did not catch (odd width, other value): same effect as the ioeventfd. */
void virtio_dev_kick(struct virtio_dev *dev, uint32_t q);

#endif
