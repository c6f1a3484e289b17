/* SPDX-License-Identifier: Apache-2.0 */
/* virtio over PCI, driven as a guest does: through ECAM, the BAR and the PCI_CFG window, with the
 * real host bridge and a KVM in the test. H numbers are the cases of the hostile-guest list. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <linux/virtio_pci.h>

#include "tests/unit/fake_driver.h"
#include "tests/unit/fake_kvm.h"
#include "virtio/virtio_pci.h"

#define ECAM	0xe0000000ULL
#define BAR	0xc0000000ULL
#define WINDOW	0x10000000ULL
#define VM_FD	1000000 /* nothing the kernel knows */
#define NQUEUES 3
#define NVEC	(NQUEUES + 1)
#define OFFERED (1ULL << VIRTIO_F_VERSION_1 | 1ULL << VIRTIO_RING_F_EVENT_IDX)
#define MSI	0xfee00000u
#define ALL_OK	0xf

struct rig {
	struct vm vm;
	struct pci_bus pci;
	struct fake_guest guest;
	struct fake_queue drv;
	struct virtio_dev dev;
	struct virtio_pci vpci;
	unsigned starts, resets;
	struct irq_line line[NQUEUES], config_line; /* as the device got them at start */
};

static int rig_start(struct virtio_dev *dev)
{
	struct rig *rig = dev->opaque;

	rig->starts++;
	for (unsigned q = 0; q < NQUEUES; q++)
		rig->line[q] = dev->transport_ops->queue_line(dev->transport, q);
	rig->config_line = dev->transport_ops->config_line(dev->transport);
	return 0;
}

static void rig_reset(struct virtio_dev *dev)
{
	((struct rig *)dev->opaque)->resets++;
}

static void rig_config_write(struct virtio_dev *dev, unsigned off, const void *data, unsigned len)
{
	memcpy(dev->config + off, data, len);
}

static const struct virtio_dev_ops rig_ops = { rig_start, rig_reset, rig_config_write };

static struct rig *rig_without_pci(void)
{
	struct rig *rig = calloc(1, sizeof(*rig));
	struct vm *vm = &rig->vm;

	assert_non_null(rig);
	vm->fd = vm->kvm_fd = VM_FD;
	assert_int_equal(irq_router_init(&vm->irq, VM_FD, NULL), 0);
	assert_int_equal(pci_bus_init(&rig->pci, &vm->pio, &vm->mmio, ECAM, BAR, WINDOW, NULL), 0);
	fake_guest_init(&rig->guest, 0, 1 << 20);
	fake_queue_init(&rig->drv, &rig->guest, 64, OFFERED);
	assert_int_equal(virtio_dev_init(&rig->dev, 2, NQUEUES, 256, &rig->guest.mem, NULL), 0);
	rig->dev.features = OFFERED;
	rig->dev.ops = &rig_ops;
	rig->dev.opaque = rig;
	rig->dev.config_len = 16;
	for (unsigned i = 0; i < 16; i++)
		rig->dev.config[i] = 0xa0 + i;
	strcpy(rig->dev.name, "vda");
	return rig;
}

static void init_pci(struct rig *rig)
{
	assert_int_equal(virtio_pci_init(&rig->vpci, &rig->dev, &rig->vm, &rig->pci, 0x018000,
					 NULL),
			 0);
	pci_func_show(&rig->vpci.func);
}

static struct rig *rig_new(void)
{
	struct rig *rig;

	fake_kvm_reset();
	rig = rig_without_pci();
	init_pci(rig);
	return rig;
}

static void rig_free(struct rig *rig)
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

static uint32_t cfg_read(struct rig *rig, unsigned reg, unsigned len)
{
	uint32_t value = 0;

	bus_read(&rig->vm.mmio, ECAM + (1 << 15) + reg, &value, len);
	return value;
}

static void cfg_write(struct rig *rig, unsigned reg, uint32_t value, unsigned len)
{
	bus_write(&rig->vm.mmio, ECAM + (1 << 15) + reg, &value, len);
}

static void enable_bar(struct rig *rig)
{
	cfg_write(rig, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 2);
}

static uint64_t rd(struct rig *rig, uint64_t off, unsigned len)
{
	uint64_t value = 0;

	bus_read(&rig->vm.mmio, BAR + off, &value, len);
	return value;
}

static void wr(struct rig *rig, uint64_t off, uint64_t value, unsigned len)
{
	bus_write(&rig->vm.mmio, BAR + off, &value, len);
}

/* The capability of a type, found as Linux finds it. */
static unsigned find_cap(struct rig *rig, uint8_t id, uint8_t type)
{
	unsigned off = cfg_read(rig, PCI_CAPABILITY_LIST, 1);

	for (unsigned n = 0; off && n < 48; n++, off = cfg_read(rig, off + 1, 1))
		if (cfg_read(rig, off, 1) == id &&
		    (id != PCI_CAP_ID_VNDR || cfg_read(rig, off + 3, 1) == type))
			return off;
	return 0;
}

static void accept_features(struct rig *rig, uint64_t features)
{
	wr(rig, VIRTIO_PCI_COMMON_STATUS, 1, 1);
	wr(rig, VIRTIO_PCI_COMMON_STATUS, 3, 1);
	for (unsigned i = 0; i < 2; i++) {
		wr(rig, VIRTIO_PCI_COMMON_GFSELECT, i, 4);
		wr(rig, VIRTIO_PCI_COMMON_GF, (uint32_t)(features >> 32 * i), 4);
	}
	wr(rig, VIRTIO_PCI_COMMON_STATUS, 0xb, 1);
}

static void setup_queue(struct rig *rig, uint16_t q, const struct virtq_config *config)
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

static void enable_msix(struct rig *rig, uint16_t control)
{
	cfg_write(rig, find_cap(rig, PCI_CAP_ID_MSIX, 0) + PCI_MSIX_FLAGS, control, 2);
}

static void program_vector(struct rig *rig, unsigned v)
{
	wr(rig, VIRTIO_PCI_MSIX + 16 * v, MSI, 4);
	wr(rig, VIRTIO_PCI_MSIX + 16 * v + 4, 0, 4);
	wr(rig, VIRTIO_PCI_MSIX + 16 * v + 8, 0x40 + v, 4);
	wr(rig, VIRTIO_PCI_MSIX + 16 * v + 12, 0, 4);
}

static uint16_t set_queue_vector(struct rig *rig, uint16_t q, uint16_t vector)
{
	wr(rig, VIRTIO_PCI_COMMON_Q_SELECT, q, 2);
	wr(rig, VIRTIO_PCI_COMMON_Q_MSIX, vector, 2);
	return rd(rig, VIRTIO_PCI_COMMON_Q_MSIX, 2);
}

static uint16_t set_config_vector(struct rig *rig, uint16_t vector)
{
	wr(rig, VIRTIO_PCI_COMMON_MSIX, vector, 2);
	return rd(rig, VIRTIO_PCI_COMMON_MSIX, 2);
}

/* Up with queue 0, vector 0 for the configuration and 1 + q for queue q. */
static struct rig *rig_running(void)
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

static unsigned injected(struct rig *rig, unsigned v)
{
	return fake_kvm.injected[rig->vpci.msix.vector[v].gsi];
}

static bool kicked(struct rig *rig, unsigned q)
{
	return fake_kvm_take(rig->dev.kick_fd[q]);
}

/* ---- configuration space --------------------------------------------------------------------- */

static void the_header_is_that_of_a_modern_device(void **state)
{
	struct rig *rig = rig_new();

	assert_int_equal(cfg_read(rig, PCI_VENDOR_ID, 2), 0x1af4);
	assert_int_equal(cfg_read(rig, PCI_DEVICE_ID, 2), 0x1042);
	assert_int_equal(cfg_read(rig, PCI_REVISION_ID, 1), 1);
	assert_int_equal(cfg_read(rig, PCI_CLASS_REVISION, 4) >> 8, 0x018000);
	assert_in_range(cfg_read(rig, PCI_SUBSYSTEM_ID, 2), 0x40, 0xffff);
	assert_int_equal(cfg_read(rig, PCI_INTERRUPT_PIN, 1), 0);
	assert_int_equal(rig->vpci.slot, 1);
	rig_free(rig);
}

static void every_capability_is_there_and_inside_the_bar(void **state)
{
	static const struct {
		uint8_t type;
		uint32_t off, len;
	} areas[] = {
		{ VIRTIO_PCI_CAP_COMMON_CFG, 0, sizeof(struct virtio_pci_common_cfg) },
		{ VIRTIO_PCI_CAP_ISR_CFG, 0x1000, 1 },
		{ VIRTIO_PCI_CAP_DEVICE_CFG, 0x2000, VIRTIO_CONFIG_MAX },
		{ VIRTIO_PCI_CAP_NOTIFY_CFG, 0x3000, 4 * NQUEUES },
	};
	struct rig *rig = rig_new();
	unsigned cap;

	for (unsigned i = 0; i < sizeof(areas) / sizeof(*areas); i++) {
		cap = find_cap(rig, PCI_CAP_ID_VNDR, areas[i].type);
		assert_int_not_equal(cap, 0);
		assert_int_equal(cfg_read(rig, cap + VIRTIO_PCI_CAP_BAR, 1), 0);
		assert_int_equal(cfg_read(rig, cap + VIRTIO_PCI_CAP_OFFSET, 4), areas[i].off);
		assert_int_equal(cfg_read(rig, cap + VIRTIO_PCI_CAP_LENGTH, 4), areas[i].len);
	}
	cap = find_cap(rig, PCI_CAP_ID_VNDR, VIRTIO_PCI_CAP_NOTIFY_CFG);
	assert_int_equal(cfg_read(rig, cap + VIRTIO_PCI_CAP_LEN, 1), 20);
	assert_int_equal(cfg_read(rig, cap + VIRTIO_PCI_NOTIFY_CAP_MULT, 4), 4);
	assert_int_not_equal(find_cap(rig, PCI_CAP_ID_VNDR, VIRTIO_PCI_CAP_PCI_CFG), 0);
	cap = find_cap(rig, PCI_CAP_ID_MSIX, 0);
	assert_int_equal(cfg_read(rig, cap + PCI_MSIX_FLAGS, 2), NVEC - 1);
	assert_int_equal(cfg_read(rig, cap + PCI_MSIX_TABLE, 4), 0x4000);
	assert_int_equal(cfg_read(rig, cap + PCI_MSIX_PBA, 4), 0x5000);
	rig_free(rig);
}

static void H27_capabilities_are_read_only(void **state)
{
	struct rig *rig = rig_new();
	const unsigned cap = find_cap(rig, PCI_CAP_ID_VNDR, VIRTIO_PCI_CAP_COMMON_CFG);
	const unsigned msix = find_cap(rig, PCI_CAP_ID_MSIX, 0);

	cfg_write(rig, PCI_CAPABILITY_LIST, 0, 1);
	for (unsigned off = cap; off < cap + 16; off += 4)
		cfg_write(rig, off, 0xffffffff, 4);
	assert_int_equal(find_cap(rig, PCI_CAP_ID_VNDR, VIRTIO_PCI_CAP_COMMON_CFG), cap);
	assert_int_equal(cfg_read(rig, cap + VIRTIO_PCI_CAP_OFFSET, 4), 0);
	cfg_write(rig, msix + PCI_MSIX_FLAGS, 0xffff, 2);
	assert_int_equal(cfg_read(rig, msix + PCI_MSIX_FLAGS, 2), 0xc000 | (NVEC - 1));
	rig_free(rig);
}

/* ---- common configuration -------------------------------------------------------------------- */

static void a_driver_can_bring_the_device_up_and_reset_it(void **state)
{
	struct rig *rig = rig_running();

	assert_int_equal(rig->starts, 1);
	assert_memory_equal(&rig->dev.queue[0], &rig->drv.config, sizeof(struct virtq_config));
	wr(rig, VIRTIO_PCI_COMMON_STATUS, 0, 1);
	assert_int_equal(rd(rig, VIRTIO_PCI_COMMON_STATUS, 1), 0);
	assert_int_equal(rig->resets, 1);
	assert_int_equal(rd(rig, VIRTIO_PCI_COMMON_MSIX, 2), 0xffff);
	for (unsigned q = 0; q < NQUEUES; q++) {
		wr(rig, VIRTIO_PCI_COMMON_Q_SELECT, q, 2);
		assert_int_equal(rd(rig, VIRTIO_PCI_COMMON_Q_MSIX, 2), 0xffff);
		assert_int_equal(rd(rig, VIRTIO_PCI_COMMON_Q_ENABLE, 2), 0);
	}
	rig_free(rig);
}

static void common_fields_read_back(void **state)
{
	struct rig *rig = rig_new();

	enable_bar(rig);
	wr(rig, VIRTIO_PCI_COMMON_DFSELECT, 1, 4);
	assert_int_equal(rd(rig, VIRTIO_PCI_COMMON_DFSELECT, 4), 1);
	assert_int_equal(rd(rig, VIRTIO_PCI_COMMON_DF, 4), OFFERED >> 32);
	wr(rig, VIRTIO_PCI_COMMON_GFSELECT, 1, 4);
	wr(rig, VIRTIO_PCI_COMMON_GF, 0x1234, 4);
	assert_int_equal(rd(rig, VIRTIO_PCI_COMMON_GFSELECT, 4), 1);
	assert_int_equal(rd(rig, VIRTIO_PCI_COMMON_GF, 4), 0x1234);
	assert_int_equal(rd(rig, VIRTIO_PCI_COMMON_NUMQ, 2), NQUEUES);
	wr(rig, VIRTIO_PCI_COMMON_Q_SELECT, 2, 2);
	assert_int_equal(rd(rig, VIRTIO_PCI_COMMON_Q_SELECT, 2), 2);
	assert_int_equal(rd(rig, VIRTIO_PCI_COMMON_Q_SIZE, 2), 256);
	assert_int_equal(rd(rig, VIRTIO_PCI_COMMON_Q_NOFF, 2), 2);
	wr(rig, VIRTIO_PCI_COMMON_Q_USEDHI, 0x89abcdef, 4);
	assert_int_equal(rd(rig, VIRTIO_PCI_COMMON_Q_USEDHI, 4), 0x89abcdef);
	rig_free(rig);
}

static void H25_fields_answer_to_their_own_width_only(void **state)
{
	static const uint8_t width[56] = {
		[0] = 4,  [4] = 4,  [8] = 4,  [12] = 4, [16] = 2, [18] = 2, [20] = 1,
		[21] = 1, [22] = 2, [24] = 2, [26] = 2, [28] = 2, [30] = 2, [32] = 4,
		[36] = 4, [40] = 4, [44] = 4, [48] = 4, [52] = 4,
	};
	struct rig *rig = rig_new();

	enable_bar(rig);
	for (unsigned off = 0; off < 0x1000; off++) {
		for (unsigned len = 1; len <= 8; len *= 2) {
			if (off < 56 && width[off] == len)
				continue;
			wr(rig, off, ~0ULL, len);
			assert_true(rd(rig, off, len) == 0);
		}
	}
	assert_int_equal(rd(rig, VIRTIO_PCI_COMMON_STATUS, 1), 0);
	assert_int_equal(rd(rig, VIRTIO_PCI_COMMON_Q_SELECT, 2), 0);
	assert_int_equal(rd(rig, VIRTIO_PCI_COMMON_DFSELECT, 4), 0);
	rig_free(rig);
}

static void H19_a_selector_of_no_queue_reads_0_and_drops_writes(void **state)
{
	static const uint16_t bad[] = { NQUEUES, 63, 64, 65, 0x8000, 0xffff };
	struct rig *rig = rig_new();
	struct virtq_config before[VIRTIO_MAX_QUEUES];

	enable_bar(rig);
	accept_features(rig, OFFERED);
	memcpy(before, rig->dev.queue, sizeof(before));
	for (unsigned i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		setup_queue(rig, bad[i], &rig->drv.config);
		assert_int_equal(set_queue_vector(rig, bad[i], 1), 0xffff);
		assert_int_equal(rd(rig, VIRTIO_PCI_COMMON_Q_SIZE, 2), 0);
		assert_int_equal(rd(rig, VIRTIO_PCI_COMMON_Q_ENABLE, 2), 0);
		assert_int_equal(rd(rig, VIRTIO_PCI_COMMON_Q_NOFF, 2), 0);
	}
	assert_memory_equal(before, rig->dev.queue, sizeof(before));
	rig_free(rig);
}

static void queue_enable_takes_1_only(void **state)
{
	struct rig *rig = rig_new();

	enable_bar(rig);
	accept_features(rig, OFFERED);
	setup_queue(rig, 0, &rig->drv.config);
	wr(rig, VIRTIO_PCI_COMMON_Q_ENABLE, 0, 2);
	assert_int_equal(rd(rig, VIRTIO_PCI_COMMON_Q_ENABLE, 2), 1);
	rig_free(rig);
}

static void H17_a_bad_queue_stays_disabled(void **state)
{
	struct rig *rig = rig_new();
	struct virtq_config config = rig->drv.config;

	enable_bar(rig);
	accept_features(rig, OFFERED);
	config.size = 100;
	setup_queue(rig, 0, &config);
	assert_int_equal(rd(rig, VIRTIO_PCI_COMMON_Q_ENABLE, 2), 0);
	config = rig->drv.config;
	config.desc = BAR;
	setup_queue(rig, 0, &config);
	assert_int_equal(rd(rig, VIRTIO_PCI_COMMON_Q_ENABLE, 2), 0);
	rig_free(rig);
}

static void H18_writes_after_driver_ok_change_nothing(void **state)
{
	struct rig *rig = rig_running();
	struct virtq_config config = rig->drv.config;

	config.size = 128;
	config.used += 4;
	setup_queue(rig, 0, &config);
	assert_memory_equal(&rig->dev.queue[0], &rig->drv.config, sizeof(config));
	assert_int_equal(set_queue_vector(rig, 0, 3), 1);
	assert_int_equal(set_config_vector(rig, 3), 0);
	rig_free(rig);
}

static void H24_a_driver_without_version_1_is_refused(void **state)
{
	struct rig *rig = rig_new();

	enable_bar(rig);
	accept_features(rig, 0);
	assert_int_equal(rd(rig, VIRTIO_PCI_COMMON_STATUS, 1), 3);
	accept_features(rig, ~0ULL);
	assert_int_equal(rd(rig, VIRTIO_PCI_COMMON_STATUS, 1), 3);
	rig_free(rig);
}

/* ---- the other areas ------------------------------------------------------------------------- */

static void H25_device_config_takes_every_width(void **state)
{
	struct rig *rig = rig_new();

	enable_bar(rig);
	for (unsigned len = 1; len <= 8; len *= 2) {
		for (unsigned off = 0; off < 0x200; off++) {
			uint8_t data[8];

			bus_read(&rig->vm.mmio, BAR + VIRTIO_PCI_DEVICE + off, data, len);
			for (unsigned i = 0; i < len; i++)
				assert_int_equal(data[i], off + i < 16 ? 0xa0 + off + i : 0);
		}
	}
	wr(rig, VIRTIO_PCI_DEVICE + 3, 0x55, 1);
	assert_int_equal(rd(rig, VIRTIO_PCI_DEVICE + 3, 1), 0x55);
	assert_int_equal(rd(rig, VIRTIO_PCI_COMMON_CFGGENERATION, 1), 1);
	rig_free(rig);
}

static void reading_the_isr_clears_it(void **state)
{
	struct rig *rig = rig_new();

	enable_bar(rig);
	atomic_store(&rig->dev.isr, 3);
	assert_int_equal(rd(rig, VIRTIO_PCI_ISR_AREA, 4), 0); /* not a byte: untouched */
	assert_int_equal(rd(rig, VIRTIO_PCI_ISR_AREA + 1, 1), 0);
	wr(rig, VIRTIO_PCI_ISR_AREA, 0, 1);
	assert_int_equal(rd(rig, VIRTIO_PCI_ISR_AREA, 1), 3);
	assert_int_equal(rd(rig, VIRTIO_PCI_ISR_AREA, 1), 0);
	rig_free(rig);
}

static void H26_every_byte_of_the_bar_bears_every_access(void **state)
{
	struct rig *rig = rig_running();

	for (unsigned len = 1; len <= 8; len *= 2) {
		for (unsigned off = 0; off < VIRTIO_PCI_BAR_SIZE; off++) {
			rd(rig, off, len);
			/* Not the status: it would reset, which is tested elsewhere. */
			if (off >= VIRTIO_PCI_AREA)
				wr(rig, off, ~0ULL, len);
		}
	}
	assert_true(rd(rig, 0x6000, 8) == 0);
	rig_free(rig);
}

/* ---- doorbells ------------------------------------------------------------------------------- */

static void each_queue_has_its_own_doorbell_of_any_length_and_value(void **state)
{
	struct rig *rig = rig_running();

	assert_int_equal(fake_kvm.nio, NQUEUES);
	for (unsigned q = 0; q < NQUEUES; q++) {
		assert_true(fake_kvm_write(BAR + 0x3000 + 4 * q, 2, q));
		assert_true(kicked(rig, q));
		assert_true(fake_kvm_write(BAR + 0x3000 + 4 * q, 4, 0xdead));
		for (unsigned other = 0; other < NQUEUES; other++)
			assert_int_equal(kicked(rig, other), other == q);
	}
	assert_false(fake_kvm_write(BAR + 0x3000 + 4 * NQUEUES, 2, 0));
	rig_free(rig);
}

static void without_any_length_doorbells_are_two_bytes(void **state)
{
	struct rig *rig;

	fake_kvm_reset();
	fake_kvm.no_any_length = true;
	rig = rig_without_pci();
	init_pci(rig);
	enable_bar(rig);
	assert_int_equal(fake_kvm.nio, NQUEUES);
	assert_true(fake_kvm_write(BAR + 0x3000, 2, 0));
	assert_false(fake_kvm_write(BAR + 0x3000, 4, 0));
	rig_free(rig);
}

static void H19_a_doorbell_that_kvm_did_not_catch_still_kicks(void **state)
{
	struct rig *rig = rig_running();

	for (unsigned len = 1; len <= 8; len *= 2) {
		wr(rig, 0x3000 + 4, 1, len);
		assert_true(kicked(rig, 1));
	}
	wr(rig, 0x3000 + 2, 0, 2); /* between two */
	wr(rig, 0x3000 + 4 * NQUEUES, 0, 2);
	wr(rig, 0x3ffc, 0, 2);
	for (unsigned q = 0; q < NQUEUES; q++)
		assert_false(kicked(rig, q));
	assert_int_equal(rd(rig, 0x3000, 2), 0);
	rig_free(rig);
}

static void H27_doorbells_follow_the_bar(void **state)
{
	struct rig *rig = rig_running();

	cfg_write(rig, PCI_BASE_ADDRESS_0, BAR + 0x100000, 4);
	assert_int_equal(fake_kvm.nio, NQUEUES);
	assert_int_equal(fake_kvm_doorbells(BAR, 0x8000), 0);
	assert_int_equal(fake_kvm_doorbells(BAR + 0x100000 + 0x3000, 4 * NQUEUES), NQUEUES);
	rig_free(rig);
}

static void H27_toggling_memory_decode_costs_no_kvm_call(void **state)
{
	struct rig *rig = rig_running();
	const unsigned calls = fake_kvm.ioeventfd_calls;

	for (unsigned i = 0; i < 10; i++) {
		cfg_write(rig, PCI_COMMAND, PCI_COMMAND_MASTER, 2);
		cfg_write(rig, PCI_BASE_ADDRESS_0, 0xffffffff, 4);
		assert_int_equal(cfg_read(rig, PCI_BASE_ADDRESS_0, 4), 0xffff8000);
		cfg_write(rig, PCI_BASE_ADDRESS_0, BAR, 4);
		enable_bar(rig);
	}
	assert_int_equal(fake_kvm.ioeventfd_calls, calls);
	assert_int_equal(rd(rig, VIRTIO_PCI_COMMON_STATUS, 1), ALL_OK);
	rig_free(rig);
}

static void H27_a_bar_moved_onto_something_else_has_no_doorbells(void **state)
{
	static const uint32_t bad[] = {
		0, 0x1000000, 0xd0000000, 0xe0000000, 0xfee00000, 0xfffffff0
	};
	struct rig *rig = rig_running();

	for (unsigned i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		cfg_write(rig, PCI_BASE_ADDRESS_0, bad[i], 4);
		assert_int_equal(fake_kvm.nio, 0);
		cfg_write(rig, PCI_BASE_ADDRESS_0, BAR, 4);
		assert_int_equal(fake_kvm.nio, NQUEUES);
	}
	rig_free(rig);
}

static void H27_a_refused_doorbell_takes_the_slow_way(void **state)
{
	struct rig *rig = rig_new();

	fake_kvm_fail(KVM_IOEVENTFD, ENOSPC, 1);
	enable_bar(rig);
	assert_int_equal(fake_kvm.nio, NQUEUES - 1);
	assert_false(fake_kvm_write(BAR + 0x3000, 2, 0));
	wr(rig, 0x3000, 0, 2);
	assert_true(kicked(rig, 0));
	cfg_write(rig, PCI_BASE_ADDRESS_0, BAR + 0x100000, 4); /* and gets another chance */
	assert_int_equal(fake_kvm.nio, NQUEUES);
	rig_free(rig);
}

static void not_told(struct pci_func *func, gpa_t addr, bool claimed)
{
}

/* Removed and added again, they would lose a kick to the other function in between. */
static void H27_doorbells_stay_where_another_bar_comes_and_goes(void **state)
{
	static const struct pci_func_ops ops = { .bar_moved = not_told };
	struct rig *rig = rig_running();
	const unsigned calls = fake_kvm.ioeventfd_calls;
	struct pci_func thing;
	uint32_t value = BAR;

	pci_func_init(&thing, 1, 2, 0, 0, 0);
	thing.bar_size = 0x8000;
	thing.ops = &ops;
	assert_int_equal(pci_bus_add(&rig->pci, &thing, NULL), 2);
	pci_func_show(&thing);
	bus_write(&rig->vm.mmio, ECAM + (2 << 15) + PCI_BASE_ADDRESS_0, &value, 4);
	for (unsigned i = 0; i < 4; i++) {
		value = i % 2 ? 0 : PCI_COMMAND_MEMORY;
		bus_write(&rig->vm.mmio, ECAM + (2 << 15) + PCI_COMMAND, &value, 2);
	}
	assert_int_equal(fake_kvm.ioeventfd_calls, calls);
	assert_int_equal(fake_kvm_doorbells(BAR + 0x3000, 4 * NQUEUES), NQUEUES);
	rig_free(rig);
}

/* ---- vectors --------------------------------------------------------------------------------- */

static void each_queue_interrupts_by_its_vector(void **state)
{
	struct rig *rig = rig_running();

	for (unsigned q = 0; q < NQUEUES; q++) {
		assert_null(rig->line[q].status);
		irq_line_signal(&rig->line[q]);
		assert_int_equal(fake_kvm_deliver(), 1);
		assert_int_equal(injected(rig, q + 1), 1);
	}
	irq_line_signal(&rig->config_line);
	fake_kvm_deliver();
	assert_int_equal(injected(rig, 0), 1);
	/* 4.1.4.5.1: the configuration bit is set with MSI-X too. */
	assert_int_equal(rd(rig, VIRTIO_PCI_ISR_AREA, 1), 2);
	rig_free(rig);
}

static void queues_may_share_a_vector(void **state)
{
	struct rig *rig = rig_new();

	enable_bar(rig);
	enable_msix(rig, PCI_MSIX_FLAGS_ENABLE);
	accept_features(rig, OFFERED);
	program_vector(rig, 2);
	for (unsigned q = 0; q < NQUEUES; q++)
		set_queue_vector(rig, q, 2);
	wr(rig, VIRTIO_PCI_COMMON_STATUS, ALL_OK, 1);
	irq_line_signal(&rig->line[0]);
	fake_kvm_deliver();
	irq_line_signal(&rig->line[2]);
	fake_kvm_deliver();
	assert_int_equal(injected(rig, 2), 2);
	rig_free(rig);
}

static void a_queue_without_a_vector_only_sets_the_isr(void **state)
{
	struct rig *rig = rig_new();

	enable_bar(rig);
	accept_features(rig, OFFERED);
	wr(rig, VIRTIO_PCI_COMMON_STATUS, ALL_OK, 1);
	assert_int_equal(rig->line[0].fd, -1);
	irq_line_signal(&rig->line[0]);
	assert_int_equal(fake_kvm_deliver(), 0);
	assert_int_equal(rd(rig, VIRTIO_PCI_ISR_AREA, 1), 1);
	irq_line_signal(&rig->config_line);
	assert_int_equal(rd(rig, VIRTIO_PCI_ISR_AREA, 1), 2);
	rig_free(rig);
}

static void H28_vectors_that_do_not_exist_read_back_as_none(void **state)
{
	static const uint16_t bad[] = { NVEC, NVEC + 1, 0x7ff, 65534, 0xffff };
	struct rig *rig = rig_new();

	enable_bar(rig);
	for (unsigned i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		assert_int_equal(set_queue_vector(rig, 0, 1), 1);
		assert_int_equal(set_queue_vector(rig, 0, bad[i]), 0xffff);
		assert_int_equal(set_config_vector(rig, 1), 1);
		assert_int_equal(set_config_vector(rig, bad[i]), 0xffff);
	}
	rig_free(rig);
}

static void H28_the_function_mask_works_through_configuration_space(void **state)
{
	struct rig *rig = rig_running();

	assert_int_equal(fake_kvm.nirqfds, NVEC);
	enable_msix(rig, PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL);
	assert_int_equal(fake_kvm.nirqfds, 0);
	irq_line_signal(&rig->line[1]);
	assert_int_equal(rd(rig, VIRTIO_PCI_PBA, 4), 1 << 2);
	enable_msix(rig, PCI_MSIX_FLAGS_ENABLE);
	assert_int_equal(injected(rig, 2), 1);
	rig_free(rig);
}

static void H28_writes_to_the_pending_bits_are_dropped(void **state)
{
	struct rig *rig = rig_running();

	wr(rig, VIRTIO_PCI_MSIX + 16 + 12, 1, 4);
	irq_line_signal(&rig->line[0]);
	wr(rig, VIRTIO_PCI_PBA, 0, 8);
	assert_int_equal(rd(rig, VIRTIO_PCI_PBA, 8), 2);
	rig_free(rig);
}

static void H22_no_interrupt_from_before_the_reset_comes_after_it(void **state)
{
	struct rig *rig = rig_running();

	wr(rig, VIRTIO_PCI_MSIX + 16 + 12, 1, 4);
	irq_line_signal(&rig->line[0]);
	wr(rig, VIRTIO_PCI_COMMON_STATUS, 0, 1);
	wr(rig, VIRTIO_PCI_MSIX + 16 + 12, 0, 4);
	assert_int_equal(fake_kvm_deliver(), 0);
	assert_int_equal(injected(rig, 1), 0);
	rig_free(rig);
}

/* ---- bus mastering --------------------------------------------------------------------------- */

static void H22_without_bus_mastering_a_running_device_stops_until_reset(void **state)
{
	struct rig *rig = rig_running();
	const uint8_t stopped = ALL_OK | VIRTIO_CONFIG_S_NEEDS_RESET;

	wr(rig, VIRTIO_PCI_MSIX + 16 + 12, 1, 4);
	irq_line_signal(&rig->line[0]); /* waits in a masked vector */
	cfg_write(rig, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
	assert_int_equal(rig->resets, 1);
	assert_int_equal(rd(rig, VIRTIO_PCI_COMMON_STATUS, 1), stopped);
	assert_int_equal(rd(rig, VIRTIO_PCI_COMMON_Q_ENABLE, 2), 1); /* registers answer */
	assert_int_equal(rd(rig, VIRTIO_PCI_PBA, 8), 0);
	enable_bar(rig);
	wr(rig, VIRTIO_PCI_MSIX + 16 + 12, 0, 4);
	assert_int_equal(fake_kvm_deliver(), 0);
	assert_int_equal(injected(rig, 1), 0);
	wr(rig, VIRTIO_PCI_COMMON_STATUS, ALL_OK, 1);
	assert_int_equal(rig->starts, 1);
	assert_int_equal(rd(rig, VIRTIO_PCI_COMMON_STATUS, 1), stopped);
	wr(rig, VIRTIO_PCI_COMMON_STATUS, 0, 1);
	assert_int_equal(rig->resets, 1); /* it had been stopped */
	accept_features(rig, OFFERED);
	wr(rig, VIRTIO_PCI_COMMON_STATUS, ALL_OK, 1);
	assert_int_equal(rig->starts, 2);
	assert_int_equal(rd(rig, VIRTIO_PCI_COMMON_STATUS, 1), ALL_OK);
	rig_free(rig);
}

static void H22_without_bus_mastering_nothing_starts(void **state)
{
	struct rig *rig = rig_new();

	cfg_write(rig, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
	accept_features(rig, OFFERED);
	setup_queue(rig, 0, &rig->drv.config);
	wr(rig, VIRTIO_PCI_COMMON_STATUS, ALL_OK, 1);
	assert_int_equal(rig->starts, 0);
	assert_int_equal(rd(rig, VIRTIO_PCI_COMMON_STATUS, 1),
			 ALL_OK | VIRTIO_CONFIG_S_NEEDS_RESET);
	enable_bar(rig);
	assert_int_equal(rig->starts, 0);
	wr(rig, VIRTIO_PCI_COMMON_STATUS, 0, 1);
	accept_features(rig, OFFERED);
	wr(rig, VIRTIO_PCI_COMMON_STATUS, ALL_OK, 1);
	assert_int_equal(rig->starts, 1);
	rig_free(rig);
}

/* No other way to stop a function is offered: PCI Express (FLR) and power management (D3). */
static void H22_the_only_capabilities_are_virtios_and_msix(void **state)
{
	struct rig *rig = rig_new();
	unsigned n = 0, off = cfg_read(rig, PCI_CAPABILITY_LIST, 1);

	for (; off; off = cfg_read(rig, off + PCI_CAP_LIST_NEXT, 1), n++) {
		const unsigned id = cfg_read(rig, off, 1);

		assert_true(id == PCI_CAP_ID_VNDR || id == PCI_CAP_ID_MSIX);
	}
	assert_int_equal(n, 6);
	rig_free(rig);
}

/* ---- the door in configuration space --------------------------------------------------------- */

static unsigned open_door(struct rig *rig, uint8_t bar, uint32_t off, uint32_t len)
{
	const unsigned cap = find_cap(rig, PCI_CAP_ID_VNDR, VIRTIO_PCI_CAP_PCI_CFG);

	cfg_write(rig, cap + VIRTIO_PCI_CAP_BAR, bar, 1);
	cfg_write(rig, cap + VIRTIO_PCI_CAP_OFFSET, off, 4);
	cfg_write(rig, cap + VIRTIO_PCI_CAP_LENGTH, len, 4);
	return cap + sizeof(struct virtio_pci_cap);
}

static void the_door_leads_into_the_bar_without_decoding(void **state)
{
	struct rig *rig = rig_new();
	unsigned data = open_door(rig, 0, VIRTIO_PCI_DEVICE + 4, 4);

	assert_int_equal(cfg_read(rig, data, 4), 0xa7a6a5a4);
	data = open_door(rig, 0, VIRTIO_PCI_COMMON_STATUS, 1);
	cfg_write(rig, data, 3, 1);
	assert_int_equal(cfg_read(rig, data, 1), 3);
	assert_int_equal(virtio_dev_get_status(&rig->dev), 3);
	data = open_door(rig, 0, VIRTIO_PCI_NOTIFY + 4, 2);
	cfg_write(rig, data, 0, 2);
	assert_true(kicked(rig, 1));
	data = open_door(rig, 0, VIRTIO_PCI_COMMON_STATUS, 1);
	cfg_write(rig, data, 0, 4); /* wider than asked: the low byte counts */
	assert_int_equal(virtio_dev_get_status(&rig->dev), 0);
	rig_free(rig);
}

static void H27_a_door_to_nowhere_reads_all_ones(void **state)
{
	static const struct {
		uint8_t bar;
		uint32_t off, len;
	} bad[] = {
		{ 1, 0, 4 },	      { 6, 0, 4 },	    { 0xff, 0, 4 },	  { 0, 0, 0 },
		{ 0, 0, 3 },	      { 0, 0, 8 },	    { 0, 0, 0xffffffff }, { 0, 1, 4 },
		{ 0, 2, 4 },	      { 0, 0x8000, 4 },	    { 0, 0x8000, 1 },	  { 0, 0x7ffd, 4 },
		{ 0, 0xfffffffc, 4 }, { 0, 0xffffffff, 1 }, { 0, 0x80000000, 4 }, { 0, 0x10000, 2 },
	};
	struct rig *rig = rig_new();

	for (unsigned i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		const unsigned data = open_door(rig, bad[i].bar, bad[i].off, bad[i].len);

		assert_int_equal(cfg_read(rig, data, 4), 0xffffffff);
		assert_int_equal(cfg_read(rig, data + 2, 2), 0xffff);
		cfg_write(rig, data, 0xffffffff, 4);
	}
	assert_int_equal(virtio_dev_get_status(&rig->dev), 0);
	open_door(rig, 0, 0x7ffc, 4);
	assert_int_equal(cfg_read(rig, open_door(rig, 0, VIRTIO_PCI_DEVICE, 1), 4), 0x000000a0);
	rig_free(rig);
}

/* ---- two vCPUs at once ----------------------------------------------------------------------- */

static void *toggle_thread(void *arg)
{
	struct rig *rig = arg;

	for (unsigned i = 0; i < 300; i++) {
		cfg_write(rig, PCI_BASE_ADDRESS_0, BAR + (i % 3) * 0x8000, 4);
		cfg_write(rig, PCI_COMMAND, i % 8, 2);
		enable_msix(rig, i & 2 ? PCI_MSIX_FLAGS_ENABLE : 0);
	}
	return NULL;
}

/* H27: nothing dangles and, under TSan, nothing races, whatever two vCPUs do to one function. */
static void H27_two_vcpus_fight_over_one_function(void **state)
{
	struct rig *rig = rig_new();
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, toggle_thread, rig), 0);
	for (unsigned i = 0; i < 300; i++) {
		accept_features(rig, OFFERED);
		set_queue_vector(rig, i % NQUEUES, i % NVEC);
		program_vector(rig, i % NVEC);
		setup_queue(rig, 0, &rig->drv.config);
		wr(rig, VIRTIO_PCI_COMMON_STATUS, ALL_OK, 1);
		wr(rig, VIRTIO_PCI_NOTIFY, 0, 2);
		rd(rig, VIRTIO_PCI_ISR_AREA, 1);
		cfg_read(rig, open_door(rig, 0, i * 4, 4), 4);
		wr(rig, VIRTIO_PCI_COMMON_STATUS, 0, 1);
	}
	pthread_join(thread, NULL);
	cfg_write(rig, PCI_BASE_ADDRESS_0, BAR, 4);
	enable_bar(rig);
	wr(rig, VIRTIO_PCI_COMMON_STATUS, 0, 1);
	assert_int_equal(rig->resets, rig->starts);
	assert_int_equal(fake_kvm.nio, NQUEUES);
	assert_int_equal(fake_kvm_doorbells(BAR + 0x3000, 4 * NQUEUES), NQUEUES);
	rig_free(rig);
}

/* ---- set-up and end -------------------------------------------------------------------------- */

/* The order in which a disk leaves a guest that runs; see plug.c. */
static void a_device_that_leaves_gives_everything_back(void **state)
{
	struct rig *rig = rig_running();
	const uint32_t next = rig->vm.irq.msi_next;
	uint32_t value = 0;

	pci_func_ask(&rig->vpci.func);
	assert_true(pci_bus_eject(&rig->pci, rig->vpci.slot));
	bus_read(&rig->vm.mmio, ECAM + (1 << 15), &value, 4);
	assert_int_equal(value, 0xffffffff);
	assert_true(virtio_pci_is_quiet(&rig->vpci));
	/* Requests may still be in flight: doorbells and interrupts are there. */
	assert_int_equal(fake_kvm_doorbells(BAR + 0x3000, 4 * NQUEUES), NQUEUES);
	irq_line_signal(&rig->line[0]);
	assert_int_equal(fake_kvm_deliver(), 1);
	virtio_pci_destroy(&rig->vpci);
	assert_int_equal(fake_kvm.nio, 0);
	assert_int_equal(fake_kvm.nirqfds, 0);
	init_pci(rig);
	assert_int_equal(rig->vpci.slot, 1);
	assert_int_equal(rig->vm.irq.msi_next, next); /* its GSIs are those of before */
	rig_free(rig);
}

static void init_leaves_nothing_behind_when_the_bus_is_full(void **state)
{
	struct rig *rig = rig_new();
	struct virtio_pci other;
	struct error err;
	const uint32_t next = rig->vm.irq.msi_next;

	for (unsigned slot = 2; slot < PCI_SLOTS; slot++)
		rig->pci.slot[slot] = &rig->vpci.func;
	assert_int_equal(virtio_pci_init(&other, &rig->dev, &rig->vm, &rig->pci, 0, &err), -ENOSPC);
	for (unsigned i = 0; i < NVEC; i++) /* its GSIs are free again */
		assert_in_range(irq_router_alloc_msi(&rig->vm.irq), next, next + NVEC - 1);
	assert_ptr_equal(rig->dev.transport, &rig->vpci);
	rig_free(rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_header_is_that_of_a_modern_device),
		cmocka_unit_test(every_capability_is_there_and_inside_the_bar),
		cmocka_unit_test(H27_capabilities_are_read_only),
		cmocka_unit_test(a_driver_can_bring_the_device_up_and_reset_it),
		cmocka_unit_test(common_fields_read_back),
		cmocka_unit_test(H25_fields_answer_to_their_own_width_only),
		cmocka_unit_test(H19_a_selector_of_no_queue_reads_0_and_drops_writes),
		cmocka_unit_test(queue_enable_takes_1_only),
		cmocka_unit_test(H17_a_bad_queue_stays_disabled),
		cmocka_unit_test(H18_writes_after_driver_ok_change_nothing),
		cmocka_unit_test(H24_a_driver_without_version_1_is_refused),
		cmocka_unit_test(H25_device_config_takes_every_width),
		cmocka_unit_test(reading_the_isr_clears_it),
		cmocka_unit_test(H26_every_byte_of_the_bar_bears_every_access),
		cmocka_unit_test(each_queue_has_its_own_doorbell_of_any_length_and_value),
		cmocka_unit_test(without_any_length_doorbells_are_two_bytes),
		cmocka_unit_test(H19_a_doorbell_that_kvm_did_not_catch_still_kicks),
		cmocka_unit_test(H27_doorbells_follow_the_bar),
		cmocka_unit_test(H27_toggling_memory_decode_costs_no_kvm_call),
		cmocka_unit_test(H27_a_bar_moved_onto_something_else_has_no_doorbells),
		cmocka_unit_test(H27_a_refused_doorbell_takes_the_slow_way),
		cmocka_unit_test(H27_doorbells_stay_where_another_bar_comes_and_goes),
		cmocka_unit_test(each_queue_interrupts_by_its_vector),
		cmocka_unit_test(queues_may_share_a_vector),
		cmocka_unit_test(a_queue_without_a_vector_only_sets_the_isr),
		cmocka_unit_test(H28_vectors_that_do_not_exist_read_back_as_none),
		cmocka_unit_test(H28_the_function_mask_works_through_configuration_space),
		cmocka_unit_test(H28_writes_to_the_pending_bits_are_dropped),
		cmocka_unit_test(H22_no_interrupt_from_before_the_reset_comes_after_it),
		cmocka_unit_test(H22_without_bus_mastering_a_running_device_stops_until_reset),
		cmocka_unit_test(H22_without_bus_mastering_nothing_starts),
		cmocka_unit_test(H22_the_only_capabilities_are_virtios_and_msix),
		cmocka_unit_test(the_door_leads_into_the_bar_without_decoding),
		cmocka_unit_test(H27_a_door_to_nowhere_reads_all_ones),
		cmocka_unit_test(H27_two_vcpus_fight_over_one_function),
		cmocka_unit_test(a_device_that_leaves_gives_everything_back),
		cmocka_unit_test(init_leaves_nothing_behind_when_the_bus_is_full),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
