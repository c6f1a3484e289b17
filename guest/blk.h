/* SPDX-License-Identifier: Apache-2.0 */
/* A virtio-blk driver (virtio 1.2, 5.2). */
#ifndef GUEST_BLK_H
#define GUEST_BLK_H

#include <linux/virtio_blk.h>
#include <stdbool.h>
#include <stdint.h>

#include "guest/virtio.h"

#define SECTOR	      512u
#define BLK_MAX_SG    8	   /* data segments of one request */
#define BLK_NO_STATUS 0xee /* in the status byte before the device wrote it */

struct blk {
	struct virtio *dev;
	uint64_t capacity; /* sectors */
	unsigned nqueues;
	struct virtq queue[VIRTIO_MAX_QUEUES];
};

/* One request; it and its buffer stay where they are while in flight. */
struct blk_req {
	struct virtio_blk_outhdr hdr;
	uint8_t status;
	struct virtq *vq;
	uint64_t sector;
	uint32_t nsectors;
	uint32_t used_len; /* as the device reported it */
	uint8_t *data;
};

/* All features the driver knows, but the `without` ones. */
#define BLK_FEATURES                                                                               \
	(VIRTIO_BIT(VIRTIO_BLK_F_SEG_MAX) | VIRTIO_BIT(VIRTIO_BLK_F_RO) |                          \
	 VIRTIO_BIT(VIRTIO_BLK_F_BLK_SIZE) | VIRTIO_BIT(VIRTIO_BLK_F_FLUSH) |                      \
	 VIRTIO_BIT(VIRTIO_BLK_F_TOPOLOGY) | VIRTIO_BIT(VIRTIO_BLK_F_CONFIG_WCE) |                 \
	 VIRTIO_BIT(VIRTIO_BLK_F_MQ) | VIRTIO_BIT(VIRTIO_BLK_F_DISCARD) |                          \
	 VIRTIO_BIT(VIRTIO_BLK_F_WRITE_ZEROES) | VIRTIO_BIT(VIRTIO_RING_F_INDIRECT_DESC) |         \
	 VIRTIO_BIT(VIRTIO_RING_F_EVENT_IDX))

/* Reset to DRIVER_OK with at most `max_queues` queues of at most `size`. May be called again. */
bool blk_start(struct blk *blk, uint64_t features, unsigned max_queues, uint16_t size);
bool blk_has(const struct blk *blk, unsigned feature);
uint32_t blk_config32(struct blk *blk, unsigned offset);
#define blk_config(blk, field) blk_config32(blk, offsetof(struct virtio_blk_config, field))

/* Adds a read or write of `nsectors`, its data cut into `nsg` pieces; no kick. False: ring full. */
bool blk_add(struct virtq *vq, struct blk_req *req, uint32_t type, unsigned nsg);

/* Adds a header, any parts, and a status byte; kicks and waits by polling. The status byte, or
 * BLK_NO_STATUS after PATIENCE_US. `req` may be NULL when nobody wants used_len. */
uint8_t blk_do(struct virtq *vq, uint32_t type, uint64_t sector, const struct sg *data, unsigned n,
	       uint32_t *used_len);
uint8_t blk_read(struct blk *blk, uint64_t sector, void *data, uint32_t nsectors);
uint8_t blk_write(struct blk *blk, uint64_t sector, void *data, uint32_t nsectors);
uint8_t blk_flush(struct blk *blk);

/* Waits for a used chain by polling; NULL after PATIENCE_US. */
void *blk_wait(struct virtq *vq, uint32_t *len);

#endif
