/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A virtio device as its driver sees it: the status machine, feature negotiation, queue registers
 * and configuration bytes (virtio 1.2, chapters 2 and 3).
 *
 * Runs on vCPU threads, one at a time per device under its lock. A reset may hold that lock for as
 * long as I/O takes to drain: other vCPUs that touch this device wait with it, which is what makes
 * the reset synchronous for all of them. Must not know the transport that calls it, nor what kind
 * of device it is.
 */
#include "virtio/virtio_dev.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define FEATURE_VERSION_1 (1ULL << VIRTIO_F_VERSION_1)

/* What a driver may set; NEEDS_RESET is the device's. */
#define STATUS_DRIVER_BITS                                                                         \
	(VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_DRIVER_OK |        \
	 VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_FAILED)
#define STATUS_FOUND (VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER)

/* ---- life ------------------------------------------------------------------------------------ */

static void close_doorbells(struct virtio_dev *dev, unsigned n)
{
	while (n--)
		close(dev->kick_fd[n]);
}

/* The registers as a driver finds them after a reset. */
static void reset_queues(struct virtio_dev *dev)
{
	for (unsigned q = 0; q < dev->nqueues; q++)
		dev->queue[q] = (struct virtq_config){ .size = dev->queue_size_max };
}

int virtio_dev_init(struct virtio_dev *dev, uint16_t id, unsigned nqueues, uint16_t queue_size_max,
		    const struct guest_memory *mem, struct error *err)
{
	if (!nqueues || nqueues > VIRTIO_MAX_QUEUES)
		return error_setx(err, EINVAL, "virtio device %u: %u queues, not 1 to %u", id,
				  nqueues, VIRTIO_MAX_QUEUES);
	if (!queue_size_max || queue_size_max > VIRTQ_MAX_SIZE ||
	    queue_size_max & (queue_size_max - 1))
		return error_setx(err, EINVAL,
				  "virtio device %u: queue size %u is not a power of two up to %u",
				  id, queue_size_max, VIRTQ_MAX_SIZE);
	memset(dev, 0, sizeof(*dev));
	dev->id = id;
	dev->nqueues = nqueues;
	dev->queue_size_max = queue_size_max;
	dev->mem = mem;
	dev->status = &dev->own_status;
	for (unsigned q = 0; q < nqueues; q++) {
		dev->kick_fd[q] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		if (dev->kick_fd[q] < 0) {
			const int code = errno;

			close_doorbells(dev, q);
			return error_set(err, code, "virtio device %u: cannot create a doorbell",
					 id);
		}
	}
	reset_queues(dev);
	pthread_mutex_init(&dev->lock, NULL);
	return 0;
}

void virtio_dev_destroy(struct virtio_dev *dev)
{
	close_doorbells(dev, dev->nqueues);
	dev->nqueues = 0;
	pthread_mutex_destroy(&dev->lock);
}

/* ---- features -------------------------------------------------------------------------------- */

/* The 32 bits a selector shows; nothing beyond 64. */
static uint32_t feature_word(uint64_t features, uint32_t select)
{
	return select < 2 ? (uint32_t)(features >> (32 * select)) : 0;
}

uint32_t virtio_dev_get_features(struct virtio_dev *dev, uint32_t select)
{
	return feature_word(dev->features, select);
}

uint32_t virtio_dev_get_driver_features(struct virtio_dev *dev, uint32_t select)
{
	uint32_t word;

	pthread_mutex_lock(&dev->lock);
	word = feature_word(dev->driver_features, select);
	pthread_mutex_unlock(&dev->lock);
	return word;
}

void virtio_dev_set_driver_features(struct virtio_dev *dev, uint32_t select, uint32_t value)
{
	if (select >= 2)
		return;
	pthread_mutex_lock(&dev->lock);
	/* 3.1.1, step 5: final once FEATURES_OK is set. */
	if (atomic_load(dev->status) & VIRTIO_CONFIG_S_FEATURES_OK)
		log_guest(&dev->log, "%s: driver changes features after FEATURES_OK: ignored",
			  dev->name);
	else
		dev->driver_features = (dev->driver_features & ~(0xffffffffULL << (32 * select))) |
				       (uint64_t)value << (32 * select);
	pthread_mutex_unlock(&dev->lock);
}

/* ---- status ---------------------------------------------------------------------------------- */

static void reset_device(struct virtio_dev *dev)
{
	/* A status of 0 would give the driver its memory back, on a page that another vCPU reads without
	 * an exit. */
	if (dev->started && dev->ops->reset(dev))
		return;
	if (dev->ops->config_reset)
		dev->ops->config_reset(dev);
	/* Nothing of the device runs any more: what it left behind is forgotten, not raced. */
	dev->started = false;
	dev->driver_features = 0;
	reset_queues(dev);
	atomic_store(&dev->isr, 0);
	atomic_store(dev->status, 0);
}

static bool features_ok(struct virtio_dev *dev)
{
	const uint64_t driver = dev->driver_features;

	if (driver & FEATURE_VERSION_1 && !(driver & ~dev->features))
		return true;
	log_guest(&dev->log, "%s: driver features %#llx refused, offered are %#llx", dev->name,
		  (unsigned long long)driver, (unsigned long long)dev->features);
	return false;
}

/* 3.1.1: which of the bits the driver wants it may have now. Bits once set stay. */
static uint8_t admit_status(struct virtio_dev *dev, uint8_t wanted)
{
	const uint8_t now = (uint8_t)atomic_load(dev->status);
	uint8_t fresh = wanted & STATUS_DRIVER_BITS & ~now;
	const uint8_t all = now | fresh;

	if (fresh & VIRTIO_CONFIG_S_FEATURES_OK &&
	    ((all & STATUS_FOUND) != STATUS_FOUND || !features_ok(dev)))
		fresh &= ~VIRTIO_CONFIG_S_FEATURES_OK;
	if (fresh & VIRTIO_CONFIG_S_DRIVER_OK &&
	    (!((now | fresh) & VIRTIO_CONFIG_S_FEATURES_OK) || all & VIRTIO_CONFIG_S_FAILED)) {
		log_guest(&dev->log, "%s: driver sets DRIVER_OK out of turn: ignored", dev->name);
		fresh &= ~VIRTIO_CONFIG_S_DRIVER_OK;
	}
	return fresh;
}

static bool may_run(struct virtio_dev *dev)
{
	const struct virtio_transport_ops *ops = dev->transport_ops;

	return !ops->may_run || ops->may_run(dev->transport);
}

static void start_device(struct virtio_dev *dev)
{
	struct irq_line line;
	int err;

	if (!may_run(dev)) {
		log_guest(&dev->log, "%s: cannot start: the driver has not enabled bus mastering",
			  dev->name);
		atomic_fetch_or(dev->status, VIRTIO_CONFIG_S_NEEDS_RESET);
		return;
	}
	err = dev->ops->start(dev);
	if (!err) {
		dev->started = true;
		return;
	}
	log_guest(&dev->log, "%s: cannot start: %s", dev->name, strerror(-err));
	/* 2.1.2: DRIVER_OK is set, so the driver is told. */
	atomic_fetch_or(dev->status, VIRTIO_CONFIG_S_NEEDS_RESET);
	line = dev->transport_ops->config_line(dev->transport);
	irq_line_signal(&line);
}

/*
 * Not taken up again when the way is back: a Linux that kexecs takes it from a running device, and the
 * next kernel gives it back before its driver resets the device. By then the rings' memory has other
 * uses.
 */
void virtio_dev_stop(struct virtio_dev *dev)
{
	pthread_mutex_lock(&dev->lock);
	/* What the VM's end cuts short has not stopped, nor does anybody look. */
	if (dev->started && !may_run(dev) && !dev->ops->reset(dev)) {
		dev->started = false;
		atomic_fetch_or(dev->status, VIRTIO_CONFIG_S_NEEDS_RESET);
		log_guest(&dev->log, "%s: bus mastering switched off: stopped until a reset",
			  dev->name);
	}
	pthread_mutex_unlock(&dev->lock);
}

uint8_t virtio_dev_get_status(struct virtio_dev *dev)
{
	uint8_t status;

	pthread_mutex_lock(&dev->lock);
	status = (uint8_t)atomic_load(dev->status);
	pthread_mutex_unlock(&dev->lock);
	return status;
}

void virtio_dev_set_status(struct virtio_dev *dev, uint8_t status)
{
	uint8_t fresh;

	pthread_mutex_lock(&dev->lock);
	if (!status) {
		reset_device(dev);
	} else {
		fresh = admit_status(dev, status);
		atomic_fetch_or(dev->status, fresh);
		if (fresh & VIRTIO_CONFIG_S_DRIVER_OK)
			start_device(dev);
	}
	pthread_mutex_unlock(&dev->lock);
}

/* ---- queues ---------------------------------------------------------------------------------- */

static uint32_t get_field(const struct virtq_config *queue, enum virtq_field field)
{
	switch (field) {
	case VIRTQ_SIZE:
		return queue->size;
	case VIRTQ_DESC_LO:
		return (uint32_t)queue->desc;
	case VIRTQ_DESC_HI:
		return queue->desc >> 32;
	case VIRTQ_AVAIL_LO:
		return (uint32_t)queue->avail;
	case VIRTQ_AVAIL_HI:
		return queue->avail >> 32;
	case VIRTQ_USED_LO:
		return (uint32_t)queue->used;
	case VIRTQ_USED_HI:
		return queue->used >> 32;
	case VIRTQ_READY:
		return queue->ready;
	}
	return 0;
}

static void set_low(gpa_t *addr, uint32_t value)
{
	*addr = (*addr & ~0xffffffffULL) | value;
}

static void set_high(gpa_t *addr, uint32_t value)
{
	*addr = (*addr & 0xffffffffULL) | (uint64_t)value << 32;
}

/* Checked now, so that the driver sees READY stay 0, and once more by the device when it starts. */
static void set_ready(struct virtio_dev *dev, uint32_t q, uint32_t value)
{
	struct virtq_config *queue = &dev->queue[q];
	struct virtqueue trial;

	if (!value) {
		queue->ready = false;
	} else if (!(atomic_load(dev->status) & VIRTIO_CONFIG_S_FEATURES_OK)) {
		log_guest(&dev->log, "%s: queue %u refused before FEATURES_OK", dev->name, q);
	} else if (virtq_start(&trial, dev->mem, queue, dev->driver_features)) {
		log_guest(&dev->log,
			  "%s: queue %u refused: size %u, desc %#llx, avail %#llx, used %#llx",
			  dev->name, q, queue->size, (unsigned long long)queue->desc,
			  (unsigned long long)queue->avail, (unsigned long long)queue->used);
	} else {
		queue->ready = true;
	}
}

static void set_field(struct virtio_dev *dev, uint32_t q, enum virtq_field field, uint32_t value)
{
	struct virtq_config *queue = &dev->queue[q];

	switch (field) {
	case VIRTQ_SIZE:
		/* Whole, before it loses its upper half: 0x10008 is not 8. A size of 0 is refused
		 * when the queue is enabled. */
		queue->size = value <= dev->queue_size_max ? value : 0;
		break;
	case VIRTQ_DESC_LO:
		set_low(&queue->desc, value);
		break;
	case VIRTQ_DESC_HI:
		set_high(&queue->desc, value);
		break;
	case VIRTQ_AVAIL_LO:
		set_low(&queue->avail, value);
		break;
	case VIRTQ_AVAIL_HI:
		set_high(&queue->avail, value);
		break;
	case VIRTQ_USED_LO:
		set_low(&queue->used, value);
		break;
	case VIRTQ_USED_HI:
		set_high(&queue->used, value);
		break;
	case VIRTQ_READY:
		set_ready(dev, q, value);
		break;
	}
}

uint32_t virtio_dev_get_queue(struct virtio_dev *dev, uint32_t q, enum virtq_field field)
{
	uint32_t value;

	if (q >= dev->nqueues)
		return 0;
	pthread_mutex_lock(&dev->lock);
	value = get_field(&dev->queue[q], field);
	pthread_mutex_unlock(&dev->lock);
	return value;
}

void virtio_dev_set_queue(struct virtio_dev *dev, uint32_t q, enum virtq_field field,
			  uint32_t value)
{
	if (q >= dev->nqueues)
		return;
	pthread_mutex_lock(&dev->lock);
	if (atomic_load(dev->status) & VIRTIO_CONFIG_S_DRIVER_OK)
		log_guest(&dev->log, "%s: queue %u changed after DRIVER_OK: ignored", dev->name, q);
	else if (field != VIRTQ_READY && dev->queue[q].ready)
		log_guest(&dev->log, "%s: queue %u changed while ready: ignored", dev->name, q);
	else
		set_field(dev, q, field, value);
	pthread_mutex_unlock(&dev->lock);
}

void virtio_dev_kick(struct virtio_dev *dev, uint32_t q)
{
	const uint64_t one = 1;

	/* A full counter (EAGAIN) is a doorbell that already rings. */
	if (q < dev->nqueues && write(dev->kick_fd[q], &one, sizeof(one)) < 0)
		return;
}

/* ---- configuration space --------------------------------------------------------------------- */

void virtio_dev_read_config(struct virtio_dev *dev, uint64_t off, void *data, unsigned len)
{
	memset(data, 0, len);
	if (off >= dev->config_len)
		return;
	if (len > dev->config_len - off)
		len = dev->config_len - off;
	pthread_mutex_lock(&dev->lock);
	memcpy(data, dev->config + off, len);
	pthread_mutex_unlock(&dev->lock);
}

void virtio_dev_write_config(struct virtio_dev *dev, uint64_t off, const void *data, unsigned len)
{
	uint8_t before[VIRTIO_CONFIG_MAX];

	if (!dev->ops->config_write || off >= dev->config_len || len > dev->config_len - off)
		return;
	pthread_mutex_lock(&dev->lock);
	memcpy(before, dev->config, sizeof(before));
	dev->ops->config_write(dev, off, data, len);
	/* 2.5.1: a driver that reads a field in two halves must notice a change between them. */
	if (memcmp(before, dev->config, sizeof(before)))
		atomic_fetch_add(&dev->generation, 1);
	pthread_mutex_unlock(&dev->lock);
}

/* Also before DRIVER_OK: the driver reads the configuration while it sets the device up, and would not
 * look again. */
static void tell_of_change(struct virtio_dev *dev)
{
	struct irq_line line;

	if (!(atomic_load(dev->status) & VIRTIO_CONFIG_S_DRIVER) || !may_run(dev))
		return;
	line = dev->transport_ops->config_line(dev->transport);
	irq_line_signal(&line);
}

int virtio_dev_try_change_config(struct virtio_dev *dev, unsigned off, const void *data,
				 unsigned len)
{
	const struct virtio_transport_ops *ops = dev->transport_ops;
	int ret = -EBUSY;

	if (pthread_mutex_trylock(&dev->lock))
		return -EBUSY;
	if (!ops->hold_config || ops->hold_config(dev->transport)) {
		memcpy(dev->config + off, data, len);
		atomic_fetch_add(&dev->generation, 1);
		if (ops->show_config)
			ops->show_config(dev->transport);
		tell_of_change(dev);
		ret = 0;
	}
	pthread_mutex_unlock(&dev->lock);
	return ret;
}
