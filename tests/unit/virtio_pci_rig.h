/* SPDX-License-Identifier: Apache-2.0 */
/* virtio over PCI with a driver at the other end: ECAM, the BAR and the PCI_CFG window as a guest
 * uses them, with the real host bridge and a KVM in the test. */
#ifndef MVMM_TESTS_VIRTIO_PCI_RIG_H
#define MVMM_TESTS_VIRTIO_PCI_RIG_H

#include <linux/virtio_pci.h>

#include "tests/unit/transport_rig.h"
#include "virtio/virtio_pci.h"
#include "vmm/pci_config.h"

#define ECAM   0xe0000000ULL
#define BAR    0xc0000000ULL
#define WINDOW 0x10000000ULL
#define NVEC   (NQUEUES + 1)
#define MSI    0xfee00000u
#define ALL_OK 0xf

struct rig {
	struct vm vm;
	struct pci_bus pci;
	struct fake_guest guest;
	struct fake_queue drv;
	struct virtio_dev dev;
	struct virtio_pci vpci;
	unsigned starts, resets;
	int reset_ret;
	struct irq_line line[NQUEUES], config_line; /* as the device got them at start */
};

static inline int rig_start(struct virtio_dev *dev)
{
	struct rig *rig = dev->opaque;

	rig->starts++;
	for (unsigned q = 0; q < NQUEUES; q++)
		rig->line[q] = dev->transport_ops->queue_line(dev->transport, q);
	rig->config_line = dev->transport_ops->config_line(dev->transport);
	return 0;
}

static inline int rig_reset(struct virtio_dev *dev)
{
	struct rig *rig = dev->opaque;

	rig->resets++;
	return rig->reset_ret;
}

static const struct virtio_dev_ops rig_ops = { rig_start, rig_reset, write_config, NULL };

static inline struct rig *rig_without_pci(void)
{
	struct rig *rig = calloc(1, sizeof(*rig));
	struct vm *vm = &rig->vm;

	assert_non_null(rig);
	vm->fd = vm->kvm_fd = VM_FD;
	assert_int_equal(irq_router_init(&vm->irq, VM_FD, NULL), 0);
	assert_int_equal(pci_bus_init(&rig->pci, &vm->mmio, BAR, WINDOW, NULL), 0);
	assert_int_equal(pci_config_init(&rig->pci, &vm->pio, &vm->mmio, ECAM, NULL), 0);
	init_device(&rig->dev, &rig_ops, rig, &rig->guest, &rig->drv);
	return rig;
}

static inline void init_pci(struct rig *rig)
{
	assert_int_equal(virtio_pci_init(&rig->vpci, &rig->dev, &rig->vm, &rig->pci, 0x018000,
					 NULL),
			 0);
	pci_func_show(&rig->vpci.func);
}

static inline struct rig *rig_new(void)
{
	struct rig *rig;

	fake_kvm_reset();
	rig = rig_without_pci();
	init_pci(rig);
	return rig;
}

static inline void rig_free(struct rig *rig)
{
	virtio_pci_destroy(&rig->vpci);
	assert_int_equal(fake_kvm.nirqfds, 0);
	assert_int_equal(fake_kvm.nio, 0);
	virtio_dev_destroy(&rig->dev);
	pci_bus_destroy(&rig->pci);
	irq_router_destroy(&rig->vm.irq);
	fake_guest_free(&rig->guest);
	free(rig);
}

/* ---- the guest's side ------------------------------------------------------------------------ */

static inline uint32_t cfg_read(struct rig *rig, unsigned reg, unsigned len)
{
	uint32_t value = 0;

	bus_read(&rig->vm.mmio, ECAM + (1 << 15) + reg, &value, len);
	return value;
}

static inline void cfg_write(struct rig *rig, unsigned reg, uint32_t value, unsigned len)
{
	bus_write(&rig->vm.mmio, ECAM + (1 << 15) + reg, &value, len);
}

static inline void enable_bar(struct rig *rig)
{
	cfg_write(rig, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 2);
}

static inline uint64_t rd(struct rig *rig, uint64_t off, unsigned len)
{
	uint64_t value = 0;

	bus_read(&rig->vm.mmio, BAR + off, &value, len);
	return value;
}

static inline void wr(struct rig *rig, uint64_t off, uint64_t value, unsigned len)
{
	bus_write(&rig->vm.mmio, BAR + off, &value, len);
}

/* The capability of a type, found as Linux finds it. */
static inline unsigned find_cap(struct rig *rig, uint8_t id, uint8_t type)
{
	unsigned off = cfg_read(rig, PCI_CAPABILITY_LIST, 1);

	for (unsigned n = 0; off && n < 48; n++, off = cfg_read(rig, off + 1, 1))
		if (cfg_read(rig, off, 1) == id &&
		    (id != PCI_CAP_ID_VNDR || cfg_read(rig, off + 3, 1) == type))
			return off;
	return 0;
}

static inline void accept_features(struct rig *rig, uint64_t features)
{
	wr(rig, VIRTIO_PCI_COMMON_STATUS, 1, 1);
	wr(rig, VIRTIO_PCI_COMMON_STATUS, 3, 1);
	for (unsigned i = 0; i < 2; i++) {
		wr(rig, VIRTIO_PCI_COMMON_GFSELECT, i, 4);
		wr(rig, VIRTIO_PCI_COMMON_GF, (uint32_t)(features >> 32 * i), 4);
	}
	wr(rig, VIRTIO_PCI_COMMON_STATUS, 0xb, 1);
}

static inline void setup_queue(struct rig *rig, uint16_t q, const struct virtq_config *config)
{
	wr(rig, VIRTIO_PCI_COMMON_Q_SELECT, q, 2);
	wr(rig, VIRTIO_PCI_COMMON_Q_SIZE, config->size, 2);
	wr(rig, VIRTIO_PCI_COMMON_Q_DESCLO, (uint32_t)config->desc, 4);
	wr(rig, VIRTIO_PCI_COMMON_Q_DESCHI, config->desc >> 32, 4);
	wr(rig, VIRTIO_PCI_COMMON_Q_AVAILLO, (uint32_t)config->avail, 4);
	wr(rig, VIRTIO_PCI_COMMON_Q_AVAILHI, config->avail >> 32, 4);
	wr(rig, VIRTIO_PCI_COMMON_Q_USEDLO, (uint32_t)config->used, 4);
	wr(rig, VIRTIO_PCI_COMMON_Q_USEDHI, config->used >> 32, 4);
	wr(rig, VIRTIO_PCI_COMMON_Q_ENABLE, 1, 2);
}

static inline void enable_msix(struct rig *rig, uint16_t control)
{
	cfg_write(rig, find_cap(rig, PCI_CAP_ID_MSIX, 0) + PCI_MSIX_FLAGS, control, 2);
}

static inline void program_vector(struct rig *rig, unsigned v)
{
	wr(rig, VIRTIO_PCI_MSIX + 16 * v, MSI, 4);
	wr(rig, VIRTIO_PCI_MSIX + 16 * v + 4, 0, 4);
	wr(rig, VIRTIO_PCI_MSIX + 16 * v + 8, 0x40 + v, 4);
	wr(rig, VIRTIO_PCI_MSIX + 16 * v + 12, 0, 4);
}

static inline uint16_t set_queue_vector(struct rig *rig, uint16_t q, uint16_t vector)
{
	wr(rig, VIRTIO_PCI_COMMON_Q_SELECT, q, 2);
	wr(rig, VIRTIO_PCI_COMMON_Q_MSIX, vector, 2);
	return rd(rig, VIRTIO_PCI_COMMON_Q_MSIX, 2);
}

static inline uint16_t set_config_vector(struct rig *rig, uint16_t vector)
{
	wr(rig, VIRTIO_PCI_COMMON_MSIX, vector, 2);
	return rd(rig, VIRTIO_PCI_COMMON_MSIX, 2);
}

/* Up with queue 0, vector 0 for the configuration and 1 + q for queue q. */
static inline struct rig *rig_running(void)
{
	struct rig *rig = rig_new();

	enable_bar(rig);
	enable_msix(rig, PCI_MSIX_FLAGS_ENABLE);
	accept_features(rig, OFFERED);
	assert_int_equal(set_config_vector(rig, 0), 0);
	for (unsigned v = 0; v < NVEC; v++)
		program_vector(rig, v);
	for (unsigned q = 0; q < NQUEUES; q++)
		assert_int_equal(set_queue_vector(rig, q, q + 1), q + 1);
	setup_queue(rig, 0, &rig->drv.config);
	wr(rig, VIRTIO_PCI_COMMON_STATUS, ALL_OK, 1);
	assert_int_equal(rd(rig, VIRTIO_PCI_COMMON_STATUS, 1), ALL_OK);
	return rig;
}

static inline unsigned injected(struct rig *rig, unsigned v)
{
	return fake_kvm.injected[rig->vpci.msix.vector[v].gsi];
}

static inline bool kicked(struct rig *rig, unsigned q)
{
	return fake_kvm_take(rig->dev.kick_fd[q]);
}

static inline unsigned open_door(struct rig *rig, uint8_t bar, uint32_t off, uint32_t len)
{
	const unsigned cap = find_cap(rig, PCI_CAP_ID_VNDR, VIRTIO_PCI_CAP_PCI_CFG);

	cfg_write(rig, cap + VIRTIO_PCI_CAP_BAR, bar, 1);
	cfg_write(rig, cap + VIRTIO_PCI_CAP_OFFSET, off, 4);
	cfg_write(rig, cap + VIRTIO_PCI_CAP_LENGTH, len, 4);
	return cap + sizeof(struct virtio_pci_cap);
}

#endif
