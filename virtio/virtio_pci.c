/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio over PCI (virtio 1.2, 4.1): capabilities, the areas of BAR 0, doorbells and lines.
 *
 * Runs on vCPU threads. Doorbells are caught by KVM and interrupts go by irqfd, so that only set-up
 * comes here. The lines a device signals are those its driver chose before DRIVER_OK: vectors are
 * frozen from then on. Must not know which kind of device it carries.
 */
#include "virtio/virtio_pci.h"

#include <errno.h>
#include <linux/virtio_pci.h>
#include <string.h>

#include "virtio/virtio_pci_common.h"
#include "vmm/kvm.h"

#define VENDOR	    0x1af4
#define DEVICE_BASE 0x1040 /* 4.1.2: + the device's type */
#define SUBSYSTEM   0x40   /* 4.1.2.1: at least this, so that no legacy driver takes it */
#define REVISION    1
#define ISR_QUEUE   1
#define ISR_CONFIG  2

static struct virtio_pci *to_vpci(struct pci_func *func)
{
	return func->opaque;
}

/* ---- lines ----------------------------------------------------------------------------------- */

/* 4.1.4.5.1: the queue bit of the ISR is for drivers without MSI-X; here those have to poll it. */
static struct irq_line queue_line(void *transport, unsigned q)
{
	struct virtio_pci *vpci = transport;
	struct irq_line line = msix_line(&vpci->msix, vpci->queue_vector[q]);

	if (line.fd < 0) {
		line.status = &vpci->dev->isr;
		line.bits = ISR_QUEUE;
	}
	return line;
}

/* 4.1.4.5.1: the configuration bit is set in any case. */
static struct irq_line config_line(void *transport)
{
	struct virtio_pci *vpci = transport;
	struct irq_line line = msix_line(&vpci->msix, vpci->config_vector);

	line.status = &vpci->dev->isr;
	line.bits = ISR_CONFIG;
	return line;
}

/* The device's lock is held, the bridge's is taken: never the other way round. */
static bool may_run(void *transport)
{
	struct virtio_pci *vpci = transport;

	return pci_func_is_master(&vpci->func);
}

static const struct virtio_transport_ops transport_ops = {
	.queue_line = queue_line,
	.config_line = config_line,
	.may_run = may_run,
};

/* ---- BAR 0 ----------------------------------------------------------------------------------- */

static void read_isr(struct virtio_pci *vpci, uint64_t off, uint8_t *data, unsigned len)
{
	if (off == 0 && len == 1)
		*data = atomic_exchange(&vpci->dev->isr, 0); /* 4.1.4.5: reading clears */
}

static void write_doorbell(struct virtio_pci *vpci, uint64_t off)
{
	if (off % VIRTIO_PCI_NOTIFY_MULTIPLIER == 0)
		virtio_dev_kick(vpci->dev, off / VIRTIO_PCI_NOTIFY_MULTIPLIER);
}

static void bar_read(struct pci_func *func, uint64_t off, void *data, unsigned len)
{
	struct virtio_pci *vpci = to_vpci(func);
	const uint64_t in_area = off % VIRTIO_PCI_AREA;
	uint32_t value;

	memset(data, 0, len);
	switch (off - in_area) {
	case VIRTIO_PCI_COMMON:
		value = virtio_pci_common_read(vpci, in_area, len);
		memcpy(data, &value, len < sizeof(value) ? len : sizeof(value));
		break;
	case VIRTIO_PCI_ISR_AREA:
		read_isr(vpci, in_area, data, len);
		break;
	case VIRTIO_PCI_DEVICE:
		virtio_dev_read_config(vpci->dev, in_area, data, len);
		break;
	case VIRTIO_PCI_MSIX:
		msix_table_read(&vpci->msix, in_area, data, len);
		break;
	case VIRTIO_PCI_PBA:
		msix_pba_read(&vpci->msix, in_area, data, len);
		break;
	}
}

static void bar_write(struct pci_func *func, uint64_t off, const void *data, unsigned len)
{
	struct virtio_pci *vpci = to_vpci(func);
	const uint64_t in_area = off % VIRTIO_PCI_AREA;
	uint32_t value = 0;

	switch (off - in_area) {
	case VIRTIO_PCI_COMMON:
		memcpy(&value, data, len < sizeof(value) ? len : sizeof(value));
		virtio_pci_common_write(vpci, in_area, len, value);
		break;
	case VIRTIO_PCI_DEVICE:
		virtio_dev_write_config(vpci->dev, in_area, data, len);
		break;
	case VIRTIO_PCI_NOTIFY:
		write_doorbell(vpci, in_area);
		break;
	case VIRTIO_PCI_MSIX:
		msix_table_write(&vpci->msix, in_area, data, len);
		break;
	}
}

/* ---- doorbells: under the bridge's lock ------------------------------------------------------ */

static gpa_t doorbell_addr(const struct virtio_pci *vpci, unsigned q)
{
	return vpci->doorbells + VIRTIO_PCI_NOTIFY + VIRTIO_PCI_NOTIFY_MULTIPLIER * q;
}

static void remove_doorbells(struct virtio_pci *vpci)
{
	for (unsigned q = 0; q < vpci->dev->nqueues; q++)
		if (vpci->doorbell_mask & 1ULL << q)
			ioeventfd_deassign(vpci->vm->fd, vpci->dev->kick_fd[q],
					   doorbell_addr(vpci, q), vpci->doorbell_len, -1);
	vpci->doorbell_mask = 0;
}

/* A doorbell that KVM refuses (something of the guest's lies in the same place) comes to
 * bar_write() instead: slower, not wrong. */
static void add_doorbells(struct virtio_pci *vpci, gpa_t addr)
{
	vpci->doorbells = addr;
	for (unsigned q = 0; q < vpci->dev->nqueues; q++) {
		int ret;

		if (vpci->doorbell_mask & 1ULL << q)
			continue;
		ret = ioeventfd_assign(vpci->vm->fd, vpci->dev->kick_fd[q], doorbell_addr(vpci, q),
				       vpci->doorbell_len, -1);
		if (ret >= 0)
			vpci->doorbell_mask |= 1ULL << q;
		else
			log_guest(&vpci->dev->log,
				  "%s: doorbell of queue %u takes the slow way: %s",
				  vpci->dev->name, q, strerror(-ret));
	}
}

static void bar_moved(struct pci_func *func, gpa_t addr, bool claimed)
{
	struct virtio_pci *vpci = to_vpci(func);

	/* Told again of the same place, those that are there stay: between removing and adding them
	 * a kick would leave the guest, to find there whoever else decodes that place by then. */
	if (!claimed || addr != vpci->doorbells)
		remove_doorbells(vpci);
	if (claimed)
		add_doorbells(vpci, addr);
}

/* ---- configuration space --------------------------------------------------------------------- */

static void config_written(struct pci_func *func, unsigned off, unsigned len)
{
	struct virtio_pci *vpci = to_vpci(func);
	uint16_t control;

	if (off / 4 != vpci->msix_cap / 4u)
		return;
	memcpy(&control, func->config + vpci->msix_cap + PCI_MSIX_FLAGS, sizeof(control));
	msix_set_control(&vpci->msix, control);
}

/* PCI 3.0, 6.2.2: without bus mastering neither memory nor messages. What waits in masked vectors
 * would be a message of a device that is stopped. */
static void master_switched(struct pci_func *func)
{
	struct virtio_pci *vpci = to_vpci(func);

	if (pci_func_is_master(func))
		return;
	virtio_dev_stop(vpci->dev);
	msix_clear_pending(&vpci->msix);
}

/*
 * 4.1.4.9: the door to the BAR for drivers that cannot map it. Where it leads is the driver's word:
 * a copy of it is checked, and the copy is used. False: nowhere.
 */
static bool door_leads(struct pci_func *func, struct virtio_pci_cap *cap)
{
	pci_func_read_config(func, to_vpci(func)->cfg_cap, cap, sizeof(*cap));
	return cap->bar == 0 && (cap->length == 1 || cap->length == 2 || cap->length == 4) &&
	       cap->offset % cap->length == 0 && cap->offset <= VIRTIO_PCI_BAR_SIZE - cap->length;
}

static void door_read(struct pci_func *func, unsigned off, void *data, unsigned len)
{
	struct virtio_pci_cap cap;
	uint8_t bytes[4] = { 0 };

	if (!door_leads(func, &cap)) {
		memset(data, 0xff, len);
		return;
	}
	bar_read(func, cap.offset, bytes, cap.length);
	memcpy(data, bytes + off, len);
}

static void door_write(struct pci_func *func, unsigned off, const void *data, unsigned len)
{
	struct virtio_pci_cap cap;

	if (door_leads(func, &cap) && off == 0 && len >= cap.length)
		bar_write(func, cap.offset, data, cap.length);
}

static const struct pci_func_ops func_ops = {
	.bar_read = bar_read,
	.bar_write = bar_write,
	.bar_moved = bar_moved,
	.config_written = config_written,
	.master_switched = master_switched,
	.window_read = door_read,
	.window_write = door_write,
};

/* ---- life ------------------------------------------------------------------------------------ */

/* `cap` is the head of a capability of `size` bytes. The header always has room for ours. */
static unsigned add_virtio_cap(struct virtio_pci *vpci, struct virtio_pci_cap *cap, unsigned size,
			       uint8_t type, uint32_t offset, uint32_t length)
{
	cap->cap_len = size;
	cap->cfg_type = type;
	cap->offset = offset;
	cap->length = length;
	return pci_func_add_cap(&vpci->func, PCI_CAP_ID_VNDR, cap, size);
}

static void add_area(struct virtio_pci *vpci, uint8_t type, uint32_t offset, uint32_t length)
{
	struct virtio_pci_cap cap = { 0 };

	add_virtio_cap(vpci, &cap, sizeof(cap), type, offset, length);
}

static void add_notify_cap(struct virtio_pci *vpci)
{
	struct virtio_pci_notify_cap notify = {
		.notify_off_multiplier = VIRTIO_PCI_NOTIFY_MULTIPLIER,
	};

	add_virtio_cap(vpci, &notify.cap, sizeof(notify), VIRTIO_PCI_CAP_NOTIFY_CFG,
		       VIRTIO_PCI_NOTIFY, VIRTIO_PCI_NOTIFY_MULTIPLIER * vpci->dev->nqueues);
}

static void add_cfg_cap(struct virtio_pci *vpci)
{
	struct virtio_pci_cfg_cap cfg = { 0 };
	const unsigned off =
		add_virtio_cap(vpci, &cfg.cap, sizeof(cfg), VIRTIO_PCI_CAP_PCI_CFG, 0, 0);

	vpci->cfg_cap = off;
	vpci->func.window = off + offsetof(struct virtio_pci_cfg_cap, pci_cfg_data);
	vpci->func.writable[off + VIRTIO_PCI_CAP_BAR] = 0xff;
	memset(vpci->func.writable + off + VIRTIO_PCI_CAP_OFFSET, 0xff, 4);
	memset(vpci->func.writable + off + VIRTIO_PCI_CAP_LENGTH, 0xff, 4);
}

/* PCI 3.0, 6.8.2: table size minus one; offsets whose low bits name BAR 0. */
static void add_msix_cap(struct virtio_pci *vpci)
{
	const uint16_t last = vpci->msix.nvectors - 1;
	const uint32_t table = VIRTIO_PCI_MSIX, pba = VIRTIO_PCI_PBA;
	uint8_t cap[PCI_CAP_MSIX_SIZEOF] = { 0 };

	memcpy(cap + PCI_MSIX_FLAGS, &last, sizeof(last));
	memcpy(cap + PCI_MSIX_TABLE, &table, sizeof(table));
	memcpy(cap + PCI_MSIX_PBA, &pba, sizeof(pba));
	vpci->msix_cap = pci_func_add_cap(&vpci->func, PCI_CAP_ID_MSIX, cap, sizeof(cap));
	vpci->func.writable[vpci->msix_cap + PCI_MSIX_FLAGS + 1] =
		(PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL) >> 8;
}

static void describe(struct virtio_pci *vpci, uint32_t class_code)
{
	struct pci_func *func = &vpci->func;
	const uint16_t id = vpci->dev->id;

	pci_func_init(func, VENDOR, DEVICE_BASE + id, class_code, REVISION, SUBSYSTEM + id);
	func->bar_size = VIRTIO_PCI_BAR_SIZE;
	func->ops = &func_ops;
	func->opaque = vpci;
	add_area(vpci, VIRTIO_PCI_CAP_COMMON_CFG, VIRTIO_PCI_COMMON,
		 sizeof(struct virtio_pci_common_cfg));
	add_area(vpci, VIRTIO_PCI_CAP_ISR_CFG, VIRTIO_PCI_ISR_AREA, 1);
	add_area(vpci, VIRTIO_PCI_CAP_DEVICE_CFG, VIRTIO_PCI_DEVICE, VIRTIO_CONFIG_MAX);
	add_notify_cap(vpci);
	add_cfg_cap(vpci);
	add_msix_cap(vpci);
}

int virtio_pci_init(struct virtio_pci *vpci, struct virtio_dev *dev, struct vm *vm,
		    struct pci_bus *pci, uint32_t class_code, struct error *err)
{
	int ret;

	memset(vpci, 0, sizeof(*vpci));
	vpci->dev = dev;
	vpci->vm = vm;
	virtio_pci_forget_vectors(vpci);
	if (kvm_check_extension(vm->kvm_fd, KVM_CAP_IOEVENTFD_ANY_LENGTH) <= 0)
		vpci->doorbell_len = 2;
	ret = msix_init(&vpci->msix, &vm->irq, dev->nqueues + 1, 0, err);
	if (ret)
		return ret;
	describe(vpci, class_code);
	ret = pci_bus_add(pci, &vpci->func, err);
	if (ret < 0) {
		msix_destroy(&vpci->msix);
		return ret;
	}
	vpci->slot = ret;
	vpci->msix.devid = vpci->slot << 3; /* the requester id of function 0 */
	dev->transport_ops = &transport_ops;
	dev->transport = vpci;
	return 0;
}

void virtio_pci_watch(struct virtio_pci *vpci)
{
	msix_retry(&vpci->msix);
}

bool virtio_pci_is_quiet(struct virtio_pci *vpci)
{
	return pci_func_is_quiet(&vpci->func);
}

void virtio_pci_destroy(struct virtio_pci *vpci)
{
	pci_func_hide(&vpci->func);
	pci_bus_remove(&vpci->func);
	msix_destroy(&vpci->msix);
}
