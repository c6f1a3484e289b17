/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The virtio-mmio register page, version 2 (virtio 1.2, 4.2.2).
 *
 * Runs on vCPU threads. Doorbells are caught by KVM and interrupts go by irqfd, so that only set-up
 * and, per interrupt, InterruptStatus and InterruptACK come here. Must not know which kind of
 * device it carries.
 *
 * With a register page not even those two do. The guest reads the page as memory; its writes still
 * come here, and find the page up to date when they return:
 *
 *	InterruptStatus	reads 1 from DRIVER_OK to the reset, 3 while a configuration interrupt is
 *			pending: a driver that is interrupted looks at its rings in any case
 *	InterruptACK	of 1 ends in KVM, at an eventfd; all others come here and take back the 3
 *	Status		is the device's own word, so that NEEDS_RESET is there at once
 *	all others	depend on what the driver writes, and are written down after each write
 *
 * What is lost: a bit that was acknowledged reads 1 again (4.2.2.1 has it cleared). Only a driver
 * that waits for it to go away could tell, and an edge gives no reason to.
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

/* A bit that stands needs no setting: the page's cache line stays with those who read it. */
static struct irq_line line(struct virtio_mmio *mmio, uint32_t bits)
{
	return (struct irq_line){
		.fd = mmio->irq_fd,
		.status = bits & mmio->standing ? NULL : mmio->isr,
		.bits = bits,
		.deferred = true,
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
		return atomic_load_explicit(mmio->isr, memory_order_acquire);
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
	{ VIRTIO_MMIO_QUEUE_NUM, VIRTQ_SIZE },
	{ VIRTIO_MMIO_QUEUE_READY, VIRTQ_READY },
	{ VIRTIO_MMIO_QUEUE_DESC_LOW, VIRTQ_DESC_LO },
	{ VIRTIO_MMIO_QUEUE_DESC_HIGH, VIRTQ_DESC_HI },
	{ VIRTIO_MMIO_QUEUE_AVAIL_LOW, VIRTQ_AVAIL_LO },
	{ VIRTIO_MMIO_QUEUE_AVAIL_HIGH, VIRTQ_AVAIL_HI },
	{ VIRTIO_MMIO_QUEUE_USED_LOW, VIRTQ_USED_LO },
	{ VIRTIO_MMIO_QUEUE_USED_HIGH, VIRTQ_USED_HI },
};

static void write_queue(struct virtio_mmio *mmio, uint64_t off, uint32_t value)
{
	for (unsigned i = 0; i < sizeof(queue_registers) / sizeof(queue_registers[0]); i++)
		if (queue_registers[i].off == off)
			virtio_dev_set_queue(mmio->dev, mmio->queue_sel, queue_registers[i].field,
					     value);
}

static void acknowledge(struct virtio_mmio *mmio, uint32_t bits)
{
	/* One operation: a bit set by the device's thread meanwhile is not lost. Linux acknowledges
	 * before it looks at its rings, so an edge is enough. */
	atomic_fetch_and(mmio->isr, ~(bits & ~mmio->standing));
}

static void set_status(struct virtio_mmio *mmio, uint8_t status)
{
	/* Before the device may interrupt. */
	if (status & VIRTIO_CONFIG_S_DRIVER_OK)
		atomic_fetch_or(mmio->isr, mmio->standing);
	virtio_dev_set_status(mmio->dev, status);
	/* 4.2.2.1: a reset clears all bits. Nothing that could set one is left. */
	if (!status)
		atomic_store(mmio->isr, 0);
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
		acknowledge(mmio, value);
		break;
	case VIRTIO_MMIO_STATUS:
		set_status(mmio, (uint8_t)value);
		break;
	default:
		write_queue(mmio, off, value);
		break;
	}
}

/* ---- the page -------------------------------------------------------------------------------- */

/* Words that the page itself holds: the device's thread sets bits in them. */
static bool is_live(uint64_t off)
{
	return off == VIRTIO_MMIO_INTERRUPT_STATUS || off == VIRTIO_MMIO_STATUS;
}

static void set_word(struct virtio_mmio *mmio, uint64_t off, uint32_t value)
{
	atomic_store_explicit(&mmio->page[off / 4], value, memory_order_release);
}

/*
 * Under the lock, so that of two vCPUs that write registers at once the one that refreshes last has
 * seen both writes. In no order: a vCPU sees what its own write did, and for any other vCPU the guest
 * must have ordered the two.
 */
static void refresh_page(struct virtio_mmio *mmio)
{
	uint32_t value;

	if (!mmio->page)
		return;
	pthread_mutex_lock(&mmio->page_lock);
	for (uint64_t off = 0; off < VIRTIO_MMIO_CONFIG; off += 4)
		if (!is_live(off))
			set_word(mmio, off, read_register(mmio, off));
	for (uint64_t off = 0; off < mmio->dev->config_len; off += 4) {
		virtio_dev_read_config(mmio->dev, off, &value, sizeof(value));
		set_word(mmio, VIRTIO_MMIO_CONFIG + off, value);
	}
	pthread_mutex_unlock(&mmio->page_lock);
}

/* A vCPU holds the page's lock while it waits for the device's, which main has: so it only tries. */
static bool hold_config(void *transport)
{
	struct virtio_mmio *mmio = transport;

	return !mmio->page || !pthread_mutex_trylock(&mmio->page_lock);
}

/* Neither the generation before a change nor the one after it. */
#define CHANGING 0x80000000U

/*
 * virtio 1.2, 2.5.1: a driver that saw a part of the change sees that the generation is another one
 * than before, or than afterwards. Release: so the page changes in this order. A driver whose reads
 * all come between two stores of ours may believe a part; the interrupt that follows has it read again.
 */
static void show_config(void *transport)
{
	struct virtio_mmio *mmio = transport;
	const struct virtio_dev *dev = mmio->dev;

	if (!mmio->page)
		return;
	set_word(mmio, VIRTIO_MMIO_CONFIG_GENERATION, atomic_load(&dev->generation) ^ CHANGING);
	for (unsigned off = 0; off < dev->config_len; off += 4) {
		const unsigned left = dev->config_len - off;
		uint32_t value = 0;

		memcpy(&value, dev->config + off, left < 4 ? left : 4);
		set_word(mmio, VIRTIO_MMIO_CONFIG + off, value);
	}
	set_word(mmio, VIRTIO_MMIO_CONFIG_GENERATION, atomic_load(&dev->generation));
	pthread_mutex_unlock(&mmio->page_lock);
}

static const struct virtio_transport_ops transport_ops = {
	.queue_line = queue_line,
	.config_line = config_line,
	.hold_config = hold_config,
	.show_config = show_config,
};

/* ---- accesses -------------------------------------------------------------------------------- */

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
	refresh_page(mmio);
}

static const struct bus_ops mmio_ops = { mmio_read, mmio_write };

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

/* KVM keeps the acknowledgements of used buffers. */
static int catch_acks(struct virtio_mmio *mmio)
{
	int ret;

	mmio->ack_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (mmio->ack_fd < 0)
		return -errno;
	ret = ioeventfd_assign(mmio->vm->fd, mmio->ack_fd, mmio->base + VIRTIO_MMIO_INTERRUPT_ACK,
			       4, VIRTIO_MMIO_INT_VRING);
	if (ret < 0)
		close(mmio->ack_fd);
	return ret;
}

/* Nothing is live yet: the words move without anybody looking. */
static int open_page(struct virtio_mmio *mmio, _Atomic uint32_t *page)
{
	int ret;

	if (!page)
		return 0;
	ret = catch_acks(mmio);
	if (ret < 0)
		return ret;
	mmio->page = page;
	mmio->isr = &page[VIRTIO_MMIO_INTERRUPT_STATUS / 4];
	mmio->standing = VIRTIO_MMIO_INT_VRING;
	mmio->dev->status = &page[VIRTIO_MMIO_STATUS / 4];
	pthread_mutex_init(&mmio->page_lock, NULL);
	refresh_page(mmio);
	return 0;
}

static void close_page(struct virtio_mmio *mmio)
{
	if (!mmio->page)
		return;
	ioeventfd_deassign(mmio->vm->fd, mmio->ack_fd, mmio->base + VIRTIO_MMIO_INTERRUPT_ACK, 4,
			   VIRTIO_MMIO_INT_VRING);
	close(mmio->ack_fd);
	mmio->dev->status = &mmio->dev->own_status;
	pthread_mutex_destroy(&mmio->page_lock);
	mmio->page = NULL;
}

int virtio_mmio_init(struct virtio_mmio *mmio, struct virtio_dev *dev, struct vm *vm, gpa_t base,
		     uint32_t gsi, void *page, struct error *err)
{
	int ret;

	memset(mmio, 0, sizeof(*mmio));
	mmio->dev = dev;
	mmio->vm = vm;
	mmio->base = base;
	mmio->gsi = gsi;
	mmio->isr = &dev->isr;
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
	ret = open_page(mmio, page);
	if (ret < 0) {
		error_set(err, -ret, "%s: cannot set up its register page", dev->name);
		goto remove_doorbells;
	}
	ret = bus_add(&vm->mmio, dev->name, base, VIRTIO_MMIO_SIZE, &mmio_ops, mmio, err);
	if (ret)
		goto close_page;
	dev->transport_ops = &transport_ops;
	dev->transport = mmio;
	return 0;

close_page:
	close_page(mmio);
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
	close_page(mmio);
	remove_doorbells(mmio, mmio->dev->nqueues);
	irqfd_deassign(mmio->vm->fd, mmio->irq_fd, mmio->gsi);
	close(mmio->irq_fd);
}
