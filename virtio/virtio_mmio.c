/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The virtio-mmio register page, version 2 (virtio 1.2, 4.2.2).
 *
 * Runs on vCPU threads. Doorbells are caught by KVM and interrupts go by irqfd, so that only set-up
 * and, per interrupt, InterruptStatus and InterruptACK come here. Must not know which kind of
 * device it carries.
 */
#include "virtio/virtio_mmio.h"

#include <errno.h>
#include <linux/virtio_mmio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define MAGIC  0x74726976 /* "virt" */
#define VENDOR 0x4d4d564d /* "MVMM": 4.2.2 leaves it to us */

/* ---- lines ----------------------------------------------------------------------------------- */

static struct irq_line line(struct virtio_mmio *mmio, uint32_t bits)
{
	return (struct irq_line){
	    .fd = mmio->irq_fd,
	    .status = &mmio->dev->isr,
	    .bits = bits,
	};
}

static struct irq_line queue_line(void *transport, unsigned q)
{
	return line(transport, VIRTIO_MMIO_INT_VRING);
}

static struct irq_line config_line(void *transport)
{
	return line(transport, VIRTIO_MMIO_INT_CONFIG);
}

static const struct virtio_transport_ops transport_ops = {queue_line, config_line};

/* ---- registers ------------------------------------------------------------------------------- */

static uint32_t read_register(struct virtio_mmio *mmio, uint64_t off)
{
	struct virtio_dev *dev = mmio->dev;
	const uint32_t q = mmio->queue_sel;

	switch (off) {
	case VIRTIO_MMIO_MAGIC_VALUE:
		return MAGIC;
	case VIRTIO_MMIO_VERSION:
		return 2;
	case VIRTIO_MMIO_DEVICE_ID:
		return dev->id;
	case VIRTIO_MMIO_VENDOR_ID:
		return VENDOR;
	case VIRTIO_MMIO_DEVICE_FEATURES:
		return virtio_dev_get_features(dev, mmio->features_sel);
	case VIRTIO_MMIO_QUEUE_NUM_MAX:
		return q < dev->nqueues ? dev->queue_size_max : 0;
	case VIRTIO_MMIO_QUEUE_READY:
		return virtio_dev_get_queue(dev, q, VIRTQ_READY);
	case VIRTIO_MMIO_INTERRUPT_STATUS:
		/* Acquire: pairs with the release in irq_line_signal(). The guest that sees the bit
		 * sees what it stands for. */
		return atomic_load_explicit(&dev->isr, memory_order_acquire);
	case VIRTIO_MMIO_STATUS:
		return virtio_dev_get_status(dev);
	case VIRTIO_MMIO_SHM_LEN_LOW:
	case VIRTIO_MMIO_SHM_LEN_HIGH:
	case VIRTIO_MMIO_SHM_BASE_LOW:
	case VIRTIO_MMIO_SHM_BASE_HIGH:
		return UINT32_MAX; /* 4.2.2: no such region */
	case VIRTIO_MMIO_CONFIG_GENERATION:
		return atomic_load(&dev->generation);
	default:
		return 0;
	}
}

/* The registers that are a field of the selected queue. */
static const struct {
	uint16_t off;
	enum virtq_field field;
} queue_registers[] = {
    {VIRTIO_MMIO_QUEUE_NUM, VIRTQ_SIZE},	   {VIRTIO_MMIO_QUEUE_READY, VIRTQ_READY},
    {VIRTIO_MMIO_QUEUE_DESC_LOW, VIRTQ_DESC_LO},   {VIRTIO_MMIO_QUEUE_DESC_HIGH, VIRTQ_DESC_HI},
    {VIRTIO_MMIO_QUEUE_AVAIL_LOW, VIRTQ_AVAIL_LO}, {VIRTIO_MMIO_QUEUE_AVAIL_HIGH, VIRTQ_AVAIL_HI},
    {VIRTIO_MMIO_QUEUE_USED_LOW, VIRTQ_USED_LO},   {VIRTIO_MMIO_QUEUE_USED_HIGH, VIRTQ_USED_HI},
};

static void write_queue(struct virtio_mmio *mmio, uint64_t off, uint32_t value)
{
	for (unsigned i = 0; i < sizeof(queue_registers) / sizeof(queue_registers[0]); i++)
		if (queue_registers[i].off == off)
			virtio_dev_set_queue(mmio->dev, mmio->queue_sel, queue_registers[i].field,
					     value);
}

static void write_register(struct virtio_mmio *mmio, uint64_t off, uint32_t value)
{
	struct virtio_dev *dev = mmio->dev;

	switch (off) {
	case VIRTIO_MMIO_DEVICE_FEATURES_SEL:
		mmio->features_sel = value;
		break;
	case VIRTIO_MMIO_DRIVER_FEATURES:
		virtio_dev_set_driver_features(dev, mmio->driver_features_sel, value);
		break;
	case VIRTIO_MMIO_DRIVER_FEATURES_SEL:
		mmio->driver_features_sel = value;
		break;
	case VIRTIO_MMIO_QUEUE_SEL:
		mmio->queue_sel = value;
		break;
	case VIRTIO_MMIO_QUEUE_NOTIFY:
		virtio_dev_kick(dev, value);
		break;
	case VIRTIO_MMIO_INTERRUPT_ACK:
		/* One operation: a bit set by the device's thread meanwhile is not lost. Linux
		 * acknowledges before it looks at its rings, so an edge is enough. */
		atomic_fetch_and(&dev->isr, ~value);
		break;
	case VIRTIO_MMIO_STATUS:
		virtio_dev_set_status(dev, (uint8_t)value);
		break;
	default:
		write_queue(mmio, off, value);
		break;
	}
}

/* 4.2.2.2: registers are read and written 32 bits at a time, aligned; nothing else has a meaning.
 */
static bool is_register(uint64_t off, unsigned len)
{
	return len == 4 && off % 4 == 0;
}

static void mmio_read(void *opaque, uint64_t off, void *data, unsigned len)
{
	struct virtio_mmio *mmio = opaque;
	uint32_t value;

	if (off >= VIRTIO_MMIO_CONFIG) {
		virtio_dev_read_config(mmio->dev, off - VIRTIO_MMIO_CONFIG, data, len);
	} else if (is_register(off, len)) {
		value = read_register(mmio, off);
		memcpy(data, &value, sizeof(value));
	}
}

static void mmio_write(void *opaque, uint64_t off, const void *data, unsigned len)
{
	struct virtio_mmio *mmio = opaque;
	uint32_t value;

	if (off >= VIRTIO_MMIO_CONFIG) {
		virtio_dev_write_config(mmio->dev, off - VIRTIO_MMIO_CONFIG, data, len);
	} else if (is_register(off, len)) {
		memcpy(&value, data, sizeof(value));
		write_register(mmio, off, value);
	}
}

static const struct bus_ops mmio_ops = {mmio_read, mmio_write};

/* ---- life ------------------------------------------------------------------------------------ */

static void remove_doorbells(struct virtio_mmio *mmio, unsigned n)
{
	while (n--)
		ioeventfd_deassign(mmio->vm->fd, mmio->dev->kick_fd[n],
				   mmio->base + VIRTIO_MMIO_QUEUE_NOTIFY, 4, n);
}

static int add_doorbells(struct virtio_mmio *mmio)
{
	for (unsigned q = 0; q < mmio->dev->nqueues; q++) {
		const int ret = ioeventfd_assign(mmio->vm->fd, mmio->dev->kick_fd[q],
						 mmio->base + VIRTIO_MMIO_QUEUE_NOTIFY, 4, q);

		if (ret < 0) {
			remove_doorbells(mmio, q);
			return ret;
		}
	}
	return 0;
}

int virtio_mmio_init(struct virtio_mmio *mmio, struct virtio_dev *dev, struct vm *vm, gpa_t base,
		     uint32_t gsi, struct error *err)
{
	int ret;

	memset(mmio, 0, sizeof(*mmio));
	mmio->dev = dev;
	mmio->vm = vm;
	mmio->base = base;
	mmio->gsi = gsi;
	mmio->irq_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (mmio->irq_fd < 0)
		return error_set(err, errno, "%s: cannot create its interrupt", dev->name);
	ret = irqfd_assign(vm->fd, mmio->irq_fd, gsi);
	if (ret < 0) {
		error_set(err, -ret, "%s: cannot connect its interrupt to GSI %u", dev->name, gsi);
		goto close_irq;
	}
	ret = add_doorbells(mmio);
	if (ret < 0) {
		error_set(err, -ret, "%s: cannot connect its doorbells", dev->name);
		goto deassign_irq;
	}
	ret = bus_add(&vm->mmio, dev->name, base, VIRTIO_MMIO_SIZE, &mmio_ops, mmio, err);
	if (ret)
		goto remove_doorbells;
	dev->transport_ops = &transport_ops;
	dev->transport = mmio;
	return 0;

remove_doorbells:
	remove_doorbells(mmio, dev->nqueues);
deassign_irq:
	irqfd_deassign(vm->fd, mmio->irq_fd, gsi);
close_irq:
	close(mmio->irq_fd);
	return ret;
}

void virtio_mmio_destroy(struct virtio_mmio *mmio)
{
	remove_doorbells(mmio, mmio->dev->nqueues);
	irqfd_deassign(mmio->vm->fd, mmio->irq_fd, mmio->gsi);
	close(mmio->irq_fd);
}
