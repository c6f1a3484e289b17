/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A disk as a virtio device: feature bits and configuration space (virtio 1.2, 5.2.3 to 5.2.5) on
 * the guest's side, commands to the dataplane on the other.
 *
 * Main creates and ends it; the ops run on vCPU threads under the device's lock. Never on the I/O
 * path. Knows no transport and no KVM.
 */
#include "virtio/blk/virtio_blk.h"

#include <endian.h>
#include <errno.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_ring.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "virtio/blk/dataplane.h"
#include "virtio/blk/throttle_group.h"
#include "vmm/log.h"

_Static_assert(BLK_MAX_QUEUES == VIRTIO_MAX_QUEUES, "a command has room for every queue");
_Static_assert(sizeof(struct virtio_blk_config) <= VIRTIO_CONFIG_MAX, "the space holds it");

#define DEFAULT_QUEUES 4

static bool has_feature(uint64_t features, unsigned bit)
{
	return features & (1ULL << bit);
}

/*
 * FLUSH and CONFIG_WCE are offered with cache=unsafe as well, and on read-only disks: the guest
 * sees the same disk whatever the cache is, and a flush that has nothing to do costs it nothing.
 */
static uint64_t offered_features(const struct block_backend *be, unsigned nqueues)
{
	uint64_t f = 1ULL << VIRTIO_F_VERSION_1 | 1ULL << VIRTIO_RING_F_INDIRECT_DESC |
		     1ULL << VIRTIO_RING_F_EVENT_IDX | 1ULL << VIRTIO_BLK_F_SEG_MAX |
		     1ULL << VIRTIO_BLK_F_BLK_SIZE | 1ULL << VIRTIO_BLK_F_TOPOLOGY |
		     1ULL << VIRTIO_BLK_F_FLUSH | 1ULL << VIRTIO_BLK_F_CONFIG_WCE;

	if (be->readonly)
		f |= 1ULL << VIRTIO_BLK_F_RO;
	if (be->can_discard)
		f |= 1ULL << VIRTIO_BLK_F_DISCARD;
	if (!be->readonly)
		f |= 1ULL << VIRTIO_BLK_F_WRITE_ZEROES;
	if (nqueues > 1)
		f |= 1ULL << VIRTIO_BLK_F_MQ;
	return f;
}

/* All of a chain that fits the queue without INDIRECT, header and status apart (5.2.4). */
static uint32_t seg_max(unsigned queue_size)
{
	const uint32_t fits = queue_size > 2 ? queue_size - 2 : 1;

	return fits < BLK_SEG_MAX ? fits : BLK_SEG_MAX;
}

static void fill_limits(struct virtio_blk_config *c, const struct block_backend *be)
{
	if (be->can_discard) {
		c->max_discard_sectors = htole32(BLK_MAX_DISCARD_SECTORS);
		c->max_discard_seg = htole32(BLK_MAX_RANGES);
		c->discard_sector_alignment = htole32(be->physical_block_size / BLK_SECTOR_SIZE);
	}
	if (!be->readonly) {
		c->max_write_zeroes_sectors = htole32(BLK_MAX_ZEROES_SECTORS);
		c->max_write_zeroes_seg = htole32(BLK_MAX_RANGES);
		c->write_zeroes_may_unmap = be->can_discard;
	}
}

static void fill_config(struct virtio_blk *blk, unsigned queue_size)
{
	const struct block_backend *be = &blk->backend;
	struct virtio_blk_config c = {
		.capacity = htole64(be->size / BLK_SECTOR_SIZE),
		.seg_max = htole32(seg_max(queue_size)),
		.blk_size = htole32(be->block_size),
		.physical_block_exp = __builtin_ctz(be->physical_block_size / be->block_size),
		.min_io_size = htole16(be->physical_block_size / be->block_size),
		.opt_io_size = htole32(be->optimal_io_size / be->block_size),
		.wce = 1,
		.num_queues = htole16(blk->dev.nqueues),
	};

	fill_limits(&c, be);
	memcpy(blk->dev.config, &c, sizeof(c));
	blk->dev.config_len = sizeof(c);
}

/*
 * 5.2.5.1: with CONFIG_WCE the writeback byte decides, else FLUSH does; a driver that took neither
 * expects every completed write to be durable. 5.2.6.2: writeback is 0 for one that cannot flush.
 */
static bool writeback(struct virtio_dev *dev)
{
	const bool flush = has_feature(dev->driver_features, VIRTIO_BLK_F_FLUSH);
	uint8_t *wce = &dev->config[offsetof(struct virtio_blk_config, wce)];

	if (!has_feature(dev->driver_features, VIRTIO_BLK_F_CONFIG_WCE))
		return flush;
	if (!flush)
		*wce = 0;
	return *wce;
}

static int blk_start(struct virtio_dev *dev)
{
	struct virtio_blk *blk = dev->opaque;
	const struct virtio_transport_ops *ops = dev->transport_ops;
	struct blk_command cmd = {
		.type = BLK_CMD_START,
		.writeback = writeback(dev),
		.features = dev->driver_features,
		.config_line = ops->config_line(dev->transport),
		.status = dev->status,
	};

	for (unsigned q = 0; q < dev->nqueues; q++) {
		cmd.queue[q].config = dev->queue[q];
		cmd.queue[q].line = ops->queue_line(dev->transport, q);
	}
	return blk_dataplane_send(blk->dataplane, &cmd, blk->stop_fd, -1);
}

/*
 * The host kernel may be writing to guest pages until the last request has ended, so the guest's
 * write to the status register returns only then. Only the end of the VM cuts that short: this vCPU
 * runs no more, and virtio_blk_shutdown() does the waiting. A thread that has quit has drained.
 */
static int blk_reset(struct virtio_dev *dev)
{
	const struct blk_command cmd = { .type = BLK_CMD_RESET };
	struct virtio_blk *blk = dev->opaque;
	const int err = blk_dataplane_send(blk->dataplane, &cmd, blk->stop_fd, -1);

	return err == -ECANCELED ? err : 0;
}

/* 5.2.5.2: writeback is what a device that has just been reset does. */
static void blk_config_reset(struct virtio_dev *dev)
{
	dev->config[offsetof(struct virtio_blk_config, wce)] = 1;
}

/* The writeback byte is all that a driver may write, and only with CONFIG_WCE (5.2.4). */
static void blk_config_write(struct virtio_dev *dev, unsigned off, const void *data, unsigned len)
{
	const unsigned wce = offsetof(struct virtio_blk_config, wce);
	struct blk_command cmd = { .type = BLK_CMD_SET_WCE };
	struct virtio_blk *blk = dev->opaque;

	if (!has_feature(dev->driver_features, VIRTIO_BLK_F_CONFIG_WCE) || off > wce ||
	    wce - off >= len)
		return;
	cmd.writeback = ((const uint8_t *)data)[wce - off] &&
			has_feature(dev->driver_features, VIRTIO_BLK_F_FLUSH);
	dev->config[wce] = cmd.writeback;
	if (dev->started)
		blk_dataplane_send(blk->dataplane, &cmd, blk->stop_fd, -1);
}

static const struct virtio_dev_ops blk_ops = {
	.start = blk_start,
	.reset = blk_reset,
	.config_reset = blk_config_reset,
	.config_write = blk_config_write,
};

/* vda ... vdz, vdaa ..., as Linux counts. */
static void disk_name(char *name, size_t size, unsigned index)
{
	char letters[8];
	unsigned n = sizeof(letters);

	letters[--n] = '\0';
	do {
		letters[--n] = 'a' + index % 26;
		index = index / 26;
	} while (index-- && n);
	snprintf(name, size, "vd%s", &letters[n]);
}

static int create_dataplane(struct virtio_blk *blk, const struct disk_config *config,
			    const struct virtio_blk_place *place, struct error *err)
{
	const char *id = blk->serial[0] ? blk->serial : blk->dev.name;
	struct block_backend *be = &blk->backend;
	char thread[48];
	struct blk_dataplane_config dc = {
		.backend = be,
		.mem = blk->dev.mem,
		.kick_fd = blk->dev.kick_fd,
		.nqueues = blk->dev.nqueues,
		.depth = config->aio_depth,
		.slots = blk->dev.nqueues * config->queue_size,
		.cpu = config->cpu,
		.poll_max_us = config->poll_max_us,
		.name = thread,
		.serial = blk->serial,
		.on_error = config->on_error,
		.event_fd = place->event_fd,
		.measures = place->measures,
		.hooks = place->hooks,
		.limits = &blk->group->limits,
		.buckets = &blk->group->buckets,
	};
	struct error why;
	int ret;

	snprintf(thread, sizeof(thread), "blk-%s", id);
	ret = blk_dataplane_create(&blk->dataplane, &dc, &why);
	if (ret == -EOPNOTSUPP && config->aio == DISK_AUTO) {
		log_info("disk '%s': %s; using aio=threads", config->path, why.text);
		be->aio = DISK_AIO_THREADS;
		ret = blk_dataplane_create(&blk->dataplane, &dc, &why);
	}
	if (ret)
		return error_setx(err, -ret, "disk '%s': %s", config->path, why.text);
	return 0;
}

static unsigned default_queues(unsigned nvcpus)
{
	return nvcpus < DEFAULT_QUEUES ? nvcpus : DEFAULT_QUEUES;
}

int virtio_blk_init(struct virtio_blk *blk, const struct block_backend *be,
		    const struct disk_config *config, const struct virtio_blk_place *place,
		    struct error *err)
{
	const unsigned nqueues = config->queues ? config->queues : default_queues(place->nvcpus);
	struct error why;
	int ret;

	memset(blk, 0, sizeof(*blk));
	blk->stop_fd = place->stop_fd;
	blk->group = place->group;
	blk->on_error = config->on_error;
	snprintf(blk->serial, sizeof(blk->serial), "%s", config->serial);
	blk->backend = *be;
	ret = virtio_dev_init(&blk->dev, VIRTIO_ID_BLOCK, nqueues, config->queue_size, place->mem,
			      &why);
	if (ret)
		return error_setx(err, -ret, "disk '%s': %s", config->path, why.text);
	blk->dev.features = offered_features(&blk->backend, nqueues);
	blk->dev.ops = &blk_ops;
	blk->dev.opaque = blk;
	disk_name(blk->dev.name, sizeof(blk->dev.name), place->index);
	fill_config(blk, config->queue_size);
	ret = create_dataplane(blk, config, place, err);
	if (ret)
		virtio_dev_destroy(&blk->dev);
	return ret;
}

static void watch_rings(struct virtio_blk *blk, const struct blk_stats *stats)
{
	const uint64_t broken = atomic_load_explicit(&stats->broken, memory_order_relaxed);

	if (broken == blk->told_broken)
		return;
	blk->told_broken = broken;
	log_guest(&blk->dev.log, "%s: the driver broke a ring: stopped until it resets the device",
		  blk->dev.name);
}

/* Once: no sync is tried after the one that failed. */
static void watch_syncs(struct virtio_blk *blk, const struct blk_stats *stats)
{
	const int code = atomic_load_explicit(&stats->sync_errno, memory_order_relaxed);

	if (!code || blk->told_sync)
		return;
	blk->told_sync = true;
	log_warn("disk %s: the host failed to make its data durable, some may be lost: %s",
		 blk->dev.name, strerror(code));
}

/* Those of a disk that has lost a sync are told of by that. */
static void watch_requests(struct virtio_blk *blk, const struct blk_stats *stats)
{
	const uint64_t failures = atomic_load_explicit(&stats->failures, memory_order_relaxed);
	const int code = atomic_load_explicit(&stats->last_errno, memory_order_relaxed);

	if (failures == blk->told_failures ||
	    atomic_load_explicit(&stats->sync_errno, memory_order_relaxed))
		return;
	blk->told_failures = failures;
	log_host(&blk->failures, "disk %s: the host failed requests of the guest, last with: %s",
		 blk->dev.name, strerror(code));
}

void virtio_blk_watch(struct virtio_blk *blk)
{
	const struct blk_stats *stats = blk_dataplane_stats(blk->dataplane);

	watch_rings(blk, stats);
	watch_syncs(blk, stats);
	watch_requests(blk, stats);
}

static int post(struct virtio_blk *blk, enum blk_command_type type)
{
	const struct blk_command cmd = { .type = type };

	return blk_dataplane_post(blk->dataplane, &cmd);
}

int virtio_blk_pause(struct virtio_blk *blk)
{
	return post(blk, BLK_CMD_PAUSE);
}

int virtio_blk_resume(struct virtio_blk *blk)
{
	return post(blk, BLK_CMD_RESUME);
}

int virtio_blk_set_limits(struct virtio_blk *blk)
{
	const struct blk_command cmd = { .type = BLK_CMD_THROTTLE, .throttle = blk->group->limits };

	return blk_dataplane_post(blk->dataplane, &cmd);
}

int virtio_blk_set_on_error(struct virtio_blk *blk, enum disk_on_error on_error)
{
	const struct blk_command cmd = { .type = BLK_CMD_SET_ON_ERROR, .on_error = on_error };
	const int ret = blk_dataplane_post(blk->dataplane, &cmd);

	if (!ret)
		blk->on_error = on_error;
	return ret;
}

int virtio_blk_resize(struct virtio_blk *blk, uint64_t bytes)
{
	const struct blk_command cmd = { .type = BLK_CMD_RESIZE, .size = bytes };

	return blk_dataplane_post(blk->dataplane, &cmd);
}

int virtio_blk_show_size(struct virtio_blk *blk, uint64_t bytes)
{
	const uint64_t capacity = htole64(bytes / BLK_SECTOR_SIZE);
	int ret;

	ret = virtio_dev_try_change_config(&blk->dev, offsetof(struct virtio_blk_config, capacity),
					   &capacity, sizeof(capacity));
	if (!ret)
		blk->backend.size = bytes;
	return ret;
}

int virtio_blk_start_job(struct virtio_blk *blk, struct blk_job *job)
{
	return blk_dataplane_start_job(blk->dataplane, job);
}

int virtio_blk_complete_job(struct virtio_blk *blk)
{
	return post(blk, BLK_CMD_JOB_COMPLETE);
}

int virtio_blk_pivot(struct virtio_blk *blk)
{
	return post(blk, BLK_CMD_JOB_PIVOT);
}

int virtio_blk_set_job_speed(struct virtio_blk *blk, uint64_t speed)
{
	const struct blk_command cmd = { .type = BLK_CMD_JOB_SPEED, .speed = speed };

	return blk_dataplane_post(blk->dataplane, &cmd);
}

int virtio_blk_cancel_job(struct virtio_blk *blk)
{
	return post(blk, BLK_CMD_JOB_CANCEL);
}

void virtio_blk_move(struct virtio_blk *blk, struct block_backend *target,
		     struct block_backend *old)
{
	*old = blk->backend;
	blk->backend = *target;
	free(blk->moved);
	blk->moved = target;
}

bool virtio_blk_stopped(const struct virtio_blk *blk, int *code)
{
	const struct blk_stats *stats = blk_dataplane_stats(blk->dataplane);

	*code = atomic_load_explicit(&stats->stopped, memory_order_relaxed);
	return *code;
}

int virtio_blk_answer(struct virtio_blk *blk, int *result)
{
	return blk_dataplane_answer(blk->dataplane, result);
}

int virtio_blk_answer_fd(const struct virtio_blk *blk)
{
	return blk_dataplane_answer_fd(blk->dataplane);
}

int virtio_blk_shutdown(struct virtio_blk *blk, int timeout_ms)
{
	int ret;

	if (blk->ended)
		return 0;
	ret = blk_dataplane_stop(blk->dataplane, timeout_ms);
	if (ret)
		return ret;
	blk->ended = true;
	virtio_blk_watch(blk);
	return 0;
}

void virtio_blk_give_image(struct virtio_blk *blk, struct block_backend *image)
{
	*image = blk->backend;
	blk->backend.overlay = NULL;
	blk->backend.fd = -1;
}

void virtio_blk_destroy(struct virtio_blk *blk)
{
	/* An early end during set-up comes without a shutdown; then nothing is in flight. */
	blk_dataplane_stop(blk->dataplane, -1);
	blk_dataplane_destroy(blk->dataplane);
	virtio_dev_destroy(&blk->dev);
	if (blk->backend.fd >= 0)
		block_backend_close(&blk->backend);
	free(blk->moved);
}
