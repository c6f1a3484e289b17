/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A virtio device of no kind for the transports' targets, what must hold for it whatever a driver
 * writes (virtio 1.2, 2.1 and 3.1), and accesses as scripts write them: records of 8 bytes.
 */
#ifndef MVMM_TESTS_FUZZ_REGISTERS_H
#define MVMM_TESTS_FUZZ_REGISTERS_H

#include <errno.h>
#include <stdbool.h>

#include "tests/fuzz/bytes.h"
#include "tests/fuzz/ring_memory.h"
#include "tests/fuzz/target.h"
#include "tests/unit/fake_kvm.h"
#include "virtio/virtio_dev.h"
#include "vmm/vm.h"

#define VM_FD	    1000000 /* nothing the kernel knows */
#define CONFIG_LEN  13	    /* an odd end */
#define QUEUE_MAX   64
#define MAX_ACCESS  300
#define DEV_OFFERED (1ULL << VIRTIO_F_VERSION_1 | 1ULL << VIRTIO_RING_F_EVENT_IDX | 1ULL << 5)
#define DEV_STATUS                                                                                 \
	(VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_DRIVER_OK |        \
	 VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_FAILED | VIRTIO_CONFIG_S_NEEDS_RESET)

struct access {
	uint8_t op, how;
	uint16_t off;
	uint32_t value;
};

static inline bool access_next(struct bytes *b, struct access *x)
{
	if (!b->left)
		return false;
	x->op = bytes_take(b, 1);
	x->how = bytes_take(b, 1);
	x->off = bytes_take(b, 2);
	x->value = bytes_take(b, 4);
	return true;
}

/* 1, 2, 4 and 8 bytes. */
static inline unsigned access_len(const struct access *x)
{
	return 1u << (x->how & 3);
}

struct plain_dev {
	struct virtio_dev dev;
	bool running;	  /* started, not reset */
	bool start_fails; /* the next one */
	bool may_need_reset;
	uint32_t last_status;
	uint64_t features; /* as they were at the start */
	struct virtq_config queue[VIRTIO_MAX_QUEUES];
};

static inline bool queue_is_valid(const struct virtio_dev *dev, unsigned q)
{
	struct virtqueue trial;

	return !virtq_start(&trial, dev->mem, &dev->queue[q], dev->driver_features);
}

static int plain_start(struct virtio_dev *dev)
{
	struct plain_dev *d = dev->opaque;

	fuzz_check(!d->running, "a device is started twice");
	fuzz_check(atomic_load(dev->status) & VIRTIO_CONFIG_S_DRIVER_OK, "started too early");
	for (unsigned q = 0; q < dev->nqueues; q++)
		fuzz_check(!dev->queue[q].ready || queue_is_valid(dev, q), "queue %u is none", q);
	if (d->start_fails) {
		d->start_fails = false;
		d->may_need_reset = true;
		return -EIO;
	}
	d->running = true;
	d->features = dev->driver_features;
	memcpy(d->queue, dev->queue, sizeof(d->queue));
	return 0;
}

static int plain_reset(struct virtio_dev *dev)
{
	struct plain_dev *d = dev->opaque;

	fuzz_check(d->running, "a device is reset that does not run");
	d->running = false;
	return 0;
}

static void plain_config_write(struct virtio_dev *dev, unsigned off, const void *data, unsigned len)
{
	fuzz_check(off <= CONFIG_LEN && len <= CONFIG_LEN - off, "configuration beyond its end");
	memcpy(dev->config + off, data, len);
}

static const struct virtio_dev_ops plain_ops = { plain_start, plain_reset, plain_config_write,
						 NULL };

static inline void plain_init(struct plain_dev *d, unsigned nqueues)
{
	struct error err;

	memset(d, 0, sizeof(*d));
	fuzz_check(!virtio_dev_init(&d->dev, VIRTIO_ID_BLOCK, nqueues, QUEUE_MAX, &ram.mem, &err),
		   "%s", err.text);
	d->dev.features = DEV_OFFERED;
	d->dev.ops = &plain_ops;
	d->dev.opaque = d;
	d->dev.config_len = CONFIG_LEN;
	for (unsigned i = 0; i < CONFIG_LEN; i++)
		d->dev.config[i] = 0xa0 + i;
	strcpy(d->dev.name, "vda");
}

/* What the device itself may do at any time. */
static inline void plain_signal(struct plain_dev *d, unsigned q)
{
	const struct virtio_transport_ops *ops = d->dev.transport_ops;
	struct irq_line line;

	if (!d->running)
		return;
	line = ops->queue_line(d->dev.transport, q % d->dev.nqueues);
	irq_line_signal(&line);
}

static inline void plain_break(struct plain_dev *d)
{
	struct irq_line line;

	if (!d->running)
		return;
	d->may_need_reset = true;
	atomic_fetch_or(d->dev.status, VIRTIO_CONFIG_S_NEEDS_RESET);
	line = d->dev.transport_ops->config_line(d->dev.transport);
	irq_line_signal(&line);
}

/* ---- what must hold -------------------------------------------------------------------------- */

static inline void check_features(const struct plain_dev *d, uint32_t status)
{
	const uint64_t driver = d->dev.driver_features;

	if (!(status & VIRTIO_CONFIG_S_FEATURES_OK))
		return;
	fuzz_check(driver >> VIRTIO_F_VERSION_1 & 1 && !(driver & ~DEV_OFFERED),
		   "FEATURES_OK with %#llx", (unsigned long long)driver);
	fuzz_check(status & VIRTIO_CONFIG_S_ACKNOWLEDGE && status & VIRTIO_CONFIG_S_DRIVER,
		   "FEATURES_OK with status %#x", status);
}

static inline void check_queues(const struct plain_dev *d, uint32_t status)
{
	for (unsigned q = 0; q < d->dev.nqueues; q++) {
		const struct virtq_config *queue = &d->dev.queue[q];

		fuzz_check(queue->size <= QUEUE_MAX, "queue %u of size %u", q, queue->size);
		fuzz_check(!queue->ready || (status & VIRTIO_CONFIG_S_FEATURES_OK),
			   "queue %u is ready before FEATURES_OK", q);
		fuzz_check(!queue->ready || queue_is_valid(&d->dev, q),
			   "queue %u is ready and none", q);
	}
	if (!d->running)
		return;
	fuzz_check(!memcmp(d->queue, d->dev.queue, sizeof(d->queue)),
		   "a queue has changed after DRIVER_OK");
	fuzz_check(d->features == d->dev.driver_features, "features have changed after DRIVER_OK");
}

/* After every access. `wrote_zero`: it may have been a reset. */
static inline void plain_check(struct plain_dev *d)
{
	const uint32_t status = atomic_load(d->dev.status);

	fuzz_check(!(status & ~DEV_STATUS), "status %#x", status);
	fuzz_check(!(d->last_status & ~status) || !status, "status bits went away: %#x, %#x",
		   d->last_status, status);
	if (!status)
		d->may_need_reset = false;
	d->last_status = status;
	fuzz_check(!(status & VIRTIO_CONFIG_S_NEEDS_RESET) || d->may_need_reset,
		   "NEEDS_RESET for nothing");
	check_features(d, status);
	fuzz_check(!(status & VIRTIO_CONFIG_S_DRIVER_OK) || status & VIRTIO_CONFIG_S_FEATURES_OK,
		   "DRIVER_OK with status %#x", status);
	fuzz_check(!d->running || status & VIRTIO_CONFIG_S_DRIVER_OK, "it runs without DRIVER_OK");
	fuzz_check(d->dev.started == d->running, "started %d, running %d", d->dev.started,
		   d->running);
	fuzz_check(!(atomic_load(&d->dev.isr) & ~3u), "isr %#x", atomic_load(&d->dev.isr));
	check_queues(d, status);
}

/* What a read of the device's configuration must say. */
static inline void check_config_read(const struct plain_dev *d, uint64_t off, const uint8_t *data,
				     unsigned len)
{
	for (unsigned i = 0; i < len; i++)
		fuzz_check(data[i] == (off + i < CONFIG_LEN ? d->dev.config[off + i] : 0),
			   "configuration byte %#llx reads %#x", (unsigned long long)(off + i),
			   data[i]);
}

/* How often a doorbell rang since the last look. */
static inline uint64_t take_kicks(const struct plain_dev *d, unsigned q)
{
	uint64_t n = 0;

	return read(d->dev.kick_fd[q], &n, sizeof(n)) == sizeof(n) ? n : 0;
}

/* Where an honest driver of these targets puts queue q's rings. */
static inline uint64_t ring_gpa(unsigned q)
{
	return 0x1000 * (1 + q % 6);
}

/* What a guest's store does: KVM's doorbells first, then us. */
static inline void guest_store(struct vm *vm, uint64_t addr, const void *data, unsigned len)
{
	uint64_t value = 0;

	memcpy(&value, data, len);
	if (!fake_kvm_write(addr, len, value))
		bus_write(&vm->mmio, addr, data, len);
}

/* Messages about what a guest does are no news here, but they must be in order. */
void __wrap_log_guest(struct log_limit *limit, const char *fmt, ...);

void __wrap_log_guest(struct log_limit *limit, const char *fmt, ...)
{
	char line[512];
	va_list ap;

	va_start(ap, fmt);
	fuzz_check(vsnprintf(line, sizeof(line), fmt, ap) > 0, "a message: %s", fmt);
	va_end(ap);
	fuzz_check(!strchr(line, '\n'), "a message of two lines");
}

#endif
