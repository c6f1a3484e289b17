/* SPDX-License-Identifier: Apache-2.0 */
/* A transport-neutral device that counts what is asked of it, and what a transport does for a
 * driver. */
#ifndef MVMM_TESTS_VIRTIO_DEV_RIG_H
#define MVMM_TESTS_VIRTIO_DEV_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/fake_driver.h"
#include "virtio/virtio_dev.h"

#define ACK	    VIRTIO_CONFIG_S_ACKNOWLEDGE
#define DRIVER	    VIRTIO_CONFIG_S_DRIVER
#define DRIVER_OK   VIRTIO_CONFIG_S_DRIVER_OK
#define FEATURES_OK VIRTIO_CONFIG_S_FEATURES_OK
#define NEEDS_RESET VIRTIO_CONFIG_S_NEEDS_RESET
#define FAILED	    VIRTIO_CONFIG_S_FAILED

#define VERSION_1 (1ULL << VIRTIO_F_VERSION_1)
#define OFFERED	  (VERSION_1 | 1ULL << VIRTIO_RING_F_EVENT_IDX | 1ULL << 9)

/* A device that counts what is asked of it. */
struct rig {
	struct virtio_dev dev;
	struct fake_guest guest;
	struct fake_queue drv[2];
	unsigned starts, resets;
	int start_error;
	uint8_t status_in_reset;
	unsigned write_off, write_len;
	_Atomic uint32_t line_status;
	int pipe[2];	  /* holds a byte while a slow reset runs */
	atomic_bool seen; /* that byte */
};

static inline int rig_start(struct virtio_dev *dev)
{
	struct rig *rig = dev->opaque;

	rig->starts++;
	return rig->start_error;
}

static inline int rig_reset(struct virtio_dev *dev)
{
	struct rig *rig = dev->opaque;

	rig->resets++;
	rig->status_in_reset = (uint8_t)atomic_load(dev->status);
	return 0;
}

/* Byte 4 is writable, the rest is not. */
static inline void rig_config_write(struct virtio_dev *dev, unsigned off, const void *data,
				    unsigned len)
{
	struct rig *rig = dev->opaque;

	rig->write_off = off;
	rig->write_len = len;
	if (off <= 4 && off + len > 4)
		dev->config[4] = ((const uint8_t *)data)[4 - off];
}

static const struct virtio_dev_ops rig_ops = { rig_start, rig_reset, rig_config_write, NULL };
static const struct virtio_dev_ops rig_readonly_ops = { rig_start, rig_reset, NULL, NULL };

static inline struct irq_line rig_line(void *transport)
{
	struct rig *rig = transport;

	return (struct irq_line){ .fd = -1, .status = &rig->line_status, .bits = 2 };
}

static const struct virtio_transport_ops rig_transport = { .config_line = rig_line };

static inline struct rig *rig_new(void)
{
	struct rig *rig = calloc(1, sizeof(*rig));

	assert_non_null(rig);
	fake_guest_init(&rig->guest, 0, 1 << 20);
	assert_int_equal(virtio_dev_init(&rig->dev, 2, 2, 256, &rig->guest.mem, NULL), 0);
	rig->dev.features = OFFERED;
	rig->dev.ops = &rig_ops;
	rig->dev.opaque = rig;
	rig->dev.transport_ops = &rig_transport;
	rig->dev.transport = rig;
	rig->dev.config_len = 12;
	for (unsigned i = 0; i < 12; i++)
		rig->dev.config[i] = 0x10 + i;
	strcpy(rig->dev.name, "test");
	for (unsigned q = 0; q < 2; q++)
		fake_queue_init(&rig->drv[q], &rig->guest, 64, OFFERED);
	return rig;
}

static inline void rig_free(struct rig *rig)
{
	virtio_dev_destroy(&rig->dev);
	fake_guest_free(&rig->guest);
	free(rig);
}

static inline void set_features(struct rig *rig, uint64_t features)
{
	virtio_dev_set_driver_features(&rig->dev, 0, (uint32_t)features);
	virtio_dev_set_driver_features(&rig->dev, 1, features >> 32);
}

static inline uint8_t write_status(struct rig *rig, uint8_t status)
{
	virtio_dev_set_status(&rig->dev, status);
	return virtio_dev_get_status(&rig->dev);
}

static inline void to_features_ok(struct rig *rig)
{
	write_status(rig, ACK);
	write_status(rig, ACK | DRIVER);
	set_features(rig, OFFERED);
	assert_int_equal(write_status(rig, ACK | DRIVER | FEATURES_OK), ACK | DRIVER | FEATURES_OK);
}

static inline void set_queue(struct rig *rig, uint32_t q, const struct virtq_config *config)
{
	struct virtio_dev *dev = &rig->dev;

	virtio_dev_set_queue(dev, q, VIRTQ_SIZE, config->size);
	virtio_dev_set_queue(dev, q, VIRTQ_DESC_LO, (uint32_t)config->desc);
	virtio_dev_set_queue(dev, q, VIRTQ_DESC_HI, config->desc >> 32);
	virtio_dev_set_queue(dev, q, VIRTQ_AVAIL_LO, (uint32_t)config->avail);
	virtio_dev_set_queue(dev, q, VIRTQ_AVAIL_HI, config->avail >> 32);
	virtio_dev_set_queue(dev, q, VIRTQ_USED_LO, (uint32_t)config->used);
	virtio_dev_set_queue(dev, q, VIRTQ_USED_HI, config->used >> 32);
}

static inline uint32_t enable_queue(struct rig *rig, uint32_t q, const struct virtq_config *config)
{
	set_queue(rig, q, config);
	virtio_dev_set_queue(&rig->dev, q, VIRTQ_READY, 1);
	return virtio_dev_get_queue(&rig->dev, q, VIRTQ_READY);
}

static inline void to_driver_ok(struct rig *rig)
{
	to_features_ok(rig);
	assert_int_equal(enable_queue(rig, 0, &rig->drv[0].config), 1);
	write_status(rig, ACK | DRIVER | FEATURES_OK | DRIVER_OK);
}

#endif
