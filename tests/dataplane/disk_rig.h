/* SPDX-License-Identifier: Apache-2.0 */
/* A disk as a virtio device, with a transport of two eventfds, and a driver for it. */
#ifndef MVMM_TESTS_DISK_RIG_H
#define MVMM_TESTS_DISK_RIG_H

#include <sys/mman.h>

#include "tests/dataplane/rig.h"
#include "tests/dataplane/slow.h"
#include "virtio/blk/throttle_group.h"
#include "virtio/blk/virtio_blk.h"

static _Atomic int setup_errno;

int io_setup(int n, io_context_t *ctx)
{
	if (setup_errno)
		return -setup_errno;
	return syscall(SYS_io_setup, n, ctx) ? -errno : 0;
}

struct disk {
	struct rig rig; /* guest, driver, files; no dataplane of its own */
	struct virtio_blk blk;
	struct throttle_groups groups;
	struct throttle_group *group;
	int stop_fd;
	_Atomic bool cut_off; /* the transport has lost its way to memory */
};

static inline struct irq_line queue_line(void *transport, unsigned q)
{
	struct rig *rig = transport;

	return (struct irq_line){ .fd = rig->irq_fd[q] };
}

static inline struct irq_line config_line(void *transport)
{
	struct rig *rig = transport;

	return (struct irq_line){ .fd = rig->config_fd };
}

static inline bool may_run(void *transport)
{
	return !((struct disk *)transport)->cut_off;
}

static const struct virtio_transport_ops transport_ops = {
	.queue_line = queue_line,
	.config_line = config_line,
	.may_run = may_run,
};

static const struct disk_config defaults = {
	.cache = DISK_AUTO,
	.aio = DISK_AUTO,
	.queue_size = 128,
	.aio_depth = 64,
	.block_size = 512,
	.cpu = -1,
	.serial = "WD-1234",
};

/* The defaults, or with one field changed: OPTIONS(.queues = 2). */
#define OPTIONS(...)                                                                               \
	({                                                                                         \
		struct disk_config o = defaults;                                                   \
		(void)(o __VA_ARGS__);                                                             \
		o;                                                                                 \
	})

static inline int disk_init(struct disk *disk, struct disk_config options, unsigned index,
			    unsigned nvcpus, struct error *err)
{
	struct rig *rig = &disk->rig;
	struct virtio_blk_place place = { .index = index,
					  .nvcpus = nvcpus,
					  .mem = &rig->guest.mem };
	struct block_backend be;
	int ret;

	memset(disk, 0, sizeof(*disk));
	rig->config = (struct rig_config){ .nqueues = 4, .queue_size = 128 };
	snprintf(rig->path, sizeof(rig->path), "/var/tmp/mvmm-test-XXXXXX");
	assert_int_equal(rig_file(rig), 0);
	rig_guest(rig);
	disk->stop_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	options.path = rig->path;
	assert_int_equal(throttle_group_join(&disk->groups, options.group, &options.limits,
					     &disk->group, err),
			 0);
	place.stop_fd = disk->stop_fd;
	place.event_fd = -1;
	place.group = disk->group;
	ret = block_backend_open(&be, &options, err);
	if (ret)
		return ret;
	ret = virtio_blk_init(&disk->blk, &be, &options, &place, err);
	if (ret)
		block_backend_close(&be);
	return ret;
}

static inline struct disk *disk_new(struct disk_config options)
{
	struct disk *disk = malloc(sizeof(*disk));
	struct error err;

	assert_non_null(disk);
	if (disk_init(disk, options, 0, 1, &err))
		fail_msg("%s", err.text);
	disk->blk.dev.transport_ops = &transport_ops;
	disk->blk.dev.transport = &disk->rig;
	return disk;
}

static inline void disk_free_files(struct disk *disk)
{
	for (unsigned q = 0; q < RIG_QUEUES; q++) {
		close(disk->rig.kick_fd[q]);
		close(disk->rig.irq_fd[q]);
	}
	close(disk->rig.config_fd);
	close(disk->stop_fd);
	throttle_group_leave(&disk->groups, disk->group);
	fake_guest_free(&disk->rig.guest);
	unlink(disk->rig.path);
	free(disk);
}

static inline void disk_free(struct disk *disk)
{
	assert_int_equal(virtio_blk_shutdown(&disk->blk, RIG_WAIT_MS), 0);
	virtio_blk_destroy(&disk->blk);
	disk_free_files(disk);
}

static inline uint64_t offered(struct disk *disk)
{
	return virtio_dev_get_features(&disk->blk.dev, 0) |
	       (uint64_t)virtio_dev_get_features(&disk->blk.dev, 1) << 32;
}

static inline bool offers(struct disk *disk, unsigned bit)
{
	return offered(disk) & (1ULL << bit);
}

static inline struct virtio_blk_config read_config(struct disk *disk)
{
	struct virtio_blk_config c;

	virtio_dev_read_config(&disk->blk.dev, 0, &c, sizeof(c));
	return c;
}

/* A driver's way to DRIVER_OK with one queue (3.1.1). */
static inline void drive(struct disk *disk, uint64_t features)
{
	struct virtio_dev *dev = &disk->blk.dev;
	const struct virtq_config *c = &disk->rig.drv[0].config;

	virtio_dev_set_status(dev, VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER);
	features |= 1ULL << VIRTIO_F_VERSION_1;
	virtio_dev_set_driver_features(dev, 0, features);
	virtio_dev_set_driver_features(dev, 1, features >> 32);
	virtio_dev_set_status(dev, virtio_dev_get_status(dev) | VIRTIO_CONFIG_S_FEATURES_OK);
	assert_true(virtio_dev_get_status(dev) & VIRTIO_CONFIG_S_FEATURES_OK);
	virtio_dev_set_queue(dev, 0, VIRTQ_SIZE, c->size);
	virtio_dev_set_queue(dev, 0, VIRTQ_DESC_LO, c->desc);
	virtio_dev_set_queue(dev, 0, VIRTQ_AVAIL_LO, c->avail);
	virtio_dev_set_queue(dev, 0, VIRTQ_USED_LO, c->used);
	virtio_dev_set_queue(dev, 0, VIRTQ_READY, 1);
	virtio_dev_set_status(dev, virtio_dev_get_status(dev) | VIRTIO_CONFIG_S_DRIVER_OK);
	assert_int_equal(virtio_dev_get_status(dev),
			 VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER |
				 VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_DRIVER_OK);
	/* The doorbells are the device's. */
	for (unsigned q = 0; q < dev->nqueues; q++)
		dup2(dev->kick_fd[q], disk->rig.kick_fd[q]);
}

#endif
