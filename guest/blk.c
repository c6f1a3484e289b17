/* SPDX-License-Identifier: Apache-2.0 */
/* A virtio-blk driver (virtio 1.2, 5.2): bring-up and requests. */
#include "guest/blk.h"
#include "guest/io.h"
#include "guest/lib.h"

bool blk_has(const struct blk *blk, unsigned feature)
{
	return blk->dev->features & VIRTIO_BIT(feature);
}

uint32_t blk_config32(struct blk *blk, unsigned offset)
{
	uint32_t value;

	blk->dev->ops->config_read(blk->dev, offset, &value, sizeof(value));
	return value;
}

static unsigned count_queues(struct blk *blk)
{
	uint16_t n = 1;

	if (blk_has(blk, VIRTIO_BLK_F_MQ))
		blk->dev->ops->config_read(blk->dev, offsetof(struct virtio_blk_config, num_queues),
					   &n, sizeof(n));
	return n;
}

bool blk_start(struct blk *blk, uint64_t features, unsigned max_queues, uint16_t size)
{
	struct virtio *dev = blk->dev;

	if (!dev->nvectors && !dev->ops->irq_setup(dev))
		return false;
	if (!virtio_negotiate(dev, features))
		return false;
	dev->ops->config_read(dev, 0, &blk->capacity, sizeof(blk->capacity));
	blk->nqueues = count_queues(blk);
	if (blk->nqueues > max_queues)
		blk->nqueues = max_queues;
	for (unsigned q = 0; q < blk->nqueues; q++) {
		if (!virtq_setup(&blk->queue[q], dev, q, size))
			return false;
		virtq_disable_irq(&blk->queue[q]);
	}
	virtio_driver_ok(dev);
	return !virtio_needs_reset(dev);
}

bool blk_add(struct virtq *vq, struct blk_req *req, uint32_t type, unsigned nsg)
{
	struct sg sg[BLK_MAX_SG + 2] = { { &req->hdr, sizeof(req->hdr), false } };
	uint32_t left = req->nsectors * SECTOR, done = 0;
	unsigned n = 1;

	req->hdr = (struct virtio_blk_outhdr){ .type = type, .sector = req->sector };
	req->status = BLK_NO_STATUS;
	req->vq = vq;
	for (; nsg && left; nsg--) {
		uint32_t len = nsg == 1 ? left : left / nsg / SECTOR * SECTOR;

		if (!len)
			continue;
		sg[n++] = (struct sg){ req->data + done, len, type == VIRTIO_BLK_T_IN };
		done += len;
		left -= len;
	}
	sg[n++] = (struct sg){ &req->status, 1, true };
	return virtq_add(vq, sg, n, req) >= 0;
}

void *blk_wait(struct virtq *vq, uint32_t *len)
{
	uint64_t deadline = time_us() + PATIENCE_US;
	void *cookie;

	while (!(cookie = virtq_get(vq, len))) {
		if (time_us() > deadline)
			return NULL;
		cpu_relax();
	}
	return cookie;
}

uint8_t blk_do(struct virtq *vq, uint32_t type, uint64_t sector, const struct sg *data, unsigned n,
	       uint32_t *used_len)
{
	/* Not on the stack: a chain that comes too late must not find another function there. */
	static struct virtio_blk_outhdr hdr;
	static volatile uint8_t status;
	struct sg sg[BLK_MAX_SG + 2];

	hdr = (struct virtio_blk_outhdr){ .type = type, .sector = sector };
	status = BLK_NO_STATUS;
	sg[0] = (struct sg){ &hdr, sizeof(hdr), false };
	for (unsigned i = 0; i < n; i++)
		sg[1 + i] = data[i];
	sg[1 + n] = (struct sg){ (void *)&status, 1, true };
	if (virtq_add(vq, sg, n + 2, &hdr) < 0)
		return BLK_NO_STATUS;
	virtq_kick(vq);
	blk_wait(vq, used_len);
	return status;
}

uint8_t blk_read(struct blk *blk, uint64_t sector, void *data, uint32_t nsectors)
{
	const struct sg sg = { data, nsectors * SECTOR, true };

	return blk_do(&blk->queue[0], VIRTIO_BLK_T_IN, sector, &sg, 1, NULL);
}

uint8_t blk_write(struct blk *blk, uint64_t sector, void *data, uint32_t nsectors)
{
	const struct sg sg = { data, nsectors * SECTOR, false };

	return blk_do(&blk->queue[0], VIRTIO_BLK_T_OUT, sector, &sg, 1, NULL);
}

uint8_t blk_flush(struct blk *blk)
{
	return blk_do(&blk->queue[0], VIRTIO_BLK_T_FLUSH, 0, NULL, 0, NULL);
}
