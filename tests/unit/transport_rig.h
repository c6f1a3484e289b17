/* SPDX-License-Identifier: Apache-2.0 */
/* What is behind a transport under test, whichever it is: a device of three queues and 16 bytes of
 * configuration, and a KVM in the test. */
#ifndef MVMM_TESTS_TRANSPORT_RIG_H
#define MVMM_TESTS_TRANSPORT_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/fake_driver.h"
#include "tests/unit/fake_kvm.h"
#include "virtio/virtio_dev.h"

#define VM_FD	1000000 /* nothing the kernel knows */
#define NQUEUES 3
#define OFFERED (1ULL << VIRTIO_F_VERSION_1 | 1ULL << VIRTIO_RING_F_EVENT_IDX)

static inline void write_config(struct virtio_dev *dev, unsigned off, const void *data,
				unsigned len)
{
	memcpy(dev->config + off, data, len);
}

static inline void init_device(struct virtio_dev *dev, const struct virtio_dev_ops *ops,
			       void *opaque, struct fake_guest *guest, struct fake_queue *drv)
{
	fake_guest_init(guest, 0, 1 << 20);
	fake_queue_init(drv, guest, 64, OFFERED);
	assert_int_equal(virtio_dev_init(dev, 2, NQUEUES, 256, &guest->mem, NULL), 0);
	dev->features = OFFERED;
	dev->ops = ops;
	dev->opaque = opaque;
	dev->config_len = 16;
	for (unsigned i = 0; i < 16; i++)
		dev->config[i] = 0xa0 + i;
	strcpy(dev->name, "vda");
}

#endif
