/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A machine whose disks come and go: main's loop, a real broker and real images, with a KVM in the test
 * and a guest that is either this thread or one beside it. Included by one file of a test program.
 */
#ifndef MVMM_TESTS_PLUG_RIG_H
#define MVMM_TESTS_PLUG_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_blk.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/entries.h"
#include "tests/unit/fake_driver.h"
#include "tests/unit/fake_kvm.h"
#include "vmm/cli/clock.h"
#include "vmm/cli/disk_option.h"
#include "vmm/cli/machine.h"
#include "vmm/pci_config.h"
#include "vmm/x86/layout.h"

#define VM_FD	 1000000 /* nothing the kernel knows */
#define PORT	 X86_PORT_HOTPLUG
#define BAR	 X86_PCI_BAR_BASE
#define ABSENT	 0xffffffffu
#define ROUNDS	 20
#define PATIENCE 20000 /* ms */

struct plug_rig {
	char dir[64];
	struct machine m;
	struct run_options opt;
	struct loop loop;
	struct fake_guest guest;
	int broker_fd;
	/* of the last add */
	bool added;
	int ret;
	struct machine_disk *disk;
	struct error err;
	unsigned removed; /* calls */
	atomic_bool stop;
};

static inline unsigned descriptors(void)
{
	return entries("/proc/self/fd");
}

static inline unsigned threads(void)
{
	return entries("/proc/self/task");
}

static inline const char *image(struct plug_rig *rig, const char *name)
{
	static char path[128];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", rig->dir, name);
	fd = open(path, O_WRONLY | O_CREAT, 0600);
	assert_true(fd >= 0 && !ftruncate(fd, 1 << 20));
	close(fd);
	return path;
}

static inline int start_broker(struct plug_rig *rig)
{
	struct broker_config config = { .sandbox = SANDBOX_OFF };
	struct allow allow;

	assert_int_equal(allow_init(&allow, NULL), 0);
	assert_int_equal(allow_add(&allow, rig->dir, NULL), 0);
	config.allow = &allow;
	rig->broker_fd = broker_start(&config, NULL);
	allow_free(&allow);
	return rig->broker_fd;
}

static inline int setup(void **state)
{
	struct plug_rig *rig = calloc(1, sizeof(*rig));
	struct machine *m = &rig->m;
	struct vm *vm = &m->vm;

	fake_kvm_reset();
	strcpy(rig->dir, "/var/tmp/mvmm-plug-XXXXXX");
	assert_non_null(mkdtemp(rig->dir));
	rig->opt = (struct run_options){ .transport = TRANSPORT_PCI, .cpus = 1, .control = "ctl" };
	m->opt = &rig->opt;
	vm->fd = vm->kvm_fd = VM_FD;
	vm->stop_fd = eventfd(0, EFD_NONBLOCK);
	vm->event_fd = eventfd(0, EFD_NONBLOCK);
	fake_guest_init(&rig->guest, 0x100000, 4 << 20);
	vm->mem = rig->guest.mem;
	assert_int_equal(irq_router_init(&vm->irq, VM_FD, NULL), 0);
	assert_int_equal(pci_bus_init(&m->pci, &vm->mmio, X86_PCI_BAR_BASE, X86_PCI_BAR_SIZE, NULL),
			 0);
	assert_int_equal(pci_config_init(&m->pci, &vm->pio, &vm->mmio, X86_ECAM, NULL), 0);
	assert_int_equal(power_init(&m->power, vm, X86_PORT_POWER,
				    (struct irq_line){ .fd = eventfd(0, EFD_NONBLOCK) }, NULL),
			 0);
	assert_int_equal(plug_init(&m->plug, m, PORT, NULL), 0);
	assert_true(start_broker(rig) >= 0);
	plug_prepare(&m->plug, rig->broker_fd);
	assert_int_equal(plug_start(&m->plug, &rig->loop, NULL), 0);
	*state = rig;
	return 0;
}

static inline int teardown(void **state)
{
	struct plug_rig *rig = *state;
	struct machine *m = &rig->m;
	char command[128];

	machine_disks_abandon(m);
	plug_destroy(&m->plug);
	close(m->power.ged.fd);
	pci_bus_destroy(&m->pci);
	irq_router_destroy(&m->vm.irq);
	close(m->vm.stop_fd);
	close(m->vm.event_fd);
	fake_guest_free(&rig->guest);
	broker_end(rig->broker_fd);
	while (waitpid(-1, NULL, 0) > 0)
		;
	snprintf(command, sizeof(command), "rm -rf %s", rig->dir);
	assert_int_equal(system(command), 0);
	free(rig);
	return 0;
}

/* ---- main ------------------------------------------------------------------------------------ */

static inline void added(void *opaque, struct machine_disk *disk, int ret, const struct error *err)
{
	struct plug_rig *rig = opaque;

	rig->added = true;
	rig->disk = disk;
	rig->ret = ret;
	if (!disk)
		rig->err = *err;
}

static inline void removed(void *opaque)
{
	((struct plug_rig *)opaque)->removed++;
}

static inline int begin_add_parsed(struct plug_rig *rig, struct disk_config *config)
{
	const struct plug_adder adder = { added, rig };

	rig->added = false;
	rig->err.text[0] = '\0';
	return plug_add(&rig->m.plug, config, &adder, &rig->err);
}

static inline int begin_add(struct plug_rig *rig, const char *text)
{
	struct disk_config config;

	assert_int_equal(disk_option_parse(text, &config, &rig->err), 0);
	return begin_add_parsed(rig, &config);
}

static inline int end_add(struct plug_rig *rig, int ret)
{
	while (!ret && !rig->added)
		loop_once(&rig->loop);
	return ret ? ret : rig->ret;
}

static inline int add(struct plug_rig *rig, const char *text)
{
	return end_add(rig, begin_add(rig, text));
}

/* A thread that has been joined may still be on its way out of the list. */
static inline void settle(unsigned running)
{
	const uint64_t end = clock_ms() + PATIENCE;

	while (threads() > running && clock_ms() < end)
		usleep(1000);
	assert_int_equal(threads(), running);
}

static inline void expect_refused(struct plug_rig *rig, const char *text, int ret, const char *why)
{
	const unsigned fds = descriptors(), running = threads();

	assert_int_equal(add(rig, text), ret);
	if (!strstr(rig->err.text, why))
		fail_msg("'%s' does not say '%s'", rig->err.text, why);
	assert_int_equal(descriptors(), fds);
	settle(running);
}

static inline int take_out(struct plug_rig *rig, struct machine_disk *disk, int64_t force_ms)
{
	const struct plug_waiter waiter = { removed, rig };

	return plug_remove(&rig->m.plug, disk, force_ms, &waiter, &rig->err);
}

static inline void expired(void *opaque)
{
}

static inline void run_until(struct plug_rig *rig, unsigned times)
{
	struct loop_timer tick = { .expired = expired };
	const uint64_t end = clock_ms() + PATIENCE;

	while (rig->removed < times && clock_ms() < end) {
		loop_timer_set(&rig->loop, &tick, clock_ms() + 20);
		loop_once(&rig->loop);
	}
	loop_timer_cancel(&rig->loop, &tick);
	assert_int_equal(rig->removed, times);
}

/* ---- the guest ------------------------------------------------------------------------------- */

static inline uint32_t in(struct plug_rig *rig, unsigned reg)
{
	uint32_t value = 0;

	bus_read(&rig->m.vm.pio, PORT + reg, &value, 4);
	return value;
}

static inline void eject(struct plug_rig *rig, uint32_t slots)
{
	bus_write(&rig->m.vm.pio, PORT + HOTPLUG_EJECT, &slots, 4);
}

static inline uint32_t config(struct plug_rig *rig, unsigned slot)
{
	uint32_t value = 0;

	bus_read(&rig->m.vm.mmio, X86_ECAM + (slot << 15), &value, 4);
	return value;
}

static inline void decode(struct plug_rig *rig, unsigned slot, uint32_t bar)
{
	uint16_t command = PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER;

	bus_write(&rig->m.vm.mmio, X86_ECAM + (slot << 15) + PCI_BASE_ADDRESS_0, &bar, 4);
	bus_write(&rig->m.vm.mmio, X86_ECAM + (slot << 15) + PCI_COMMAND, &command, 2);
}

/* ---- a driver -------------------------------------------------------------------------------- */

#define REQUESTS 128

struct driver {
	struct fake_queue queue;
	gpa_t status[REQUESTS];
	unsigned n;
};

/* To DRIVER_OK, with one queue. */
static inline void drive(struct plug_rig *rig, struct machine_disk *disk, struct driver *drv)
{
	struct virtio_dev *dev = &disk->blk.dev;
	const struct virtq_config *c = &drv->queue.config;
	const uint64_t features = 1ULL << VIRTIO_F_VERSION_1;

	drv->n = 0;
	fake_queue_init(&drv->queue, &rig->guest, 512, features);
	virtio_dev_set_status(dev, VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER);
	virtio_dev_set_driver_features(dev, 1, features >> 32);
	virtio_dev_set_status(dev, VIRTIO_CONFIG_S_FEATURES_OK);
	virtio_dev_set_queue(dev, 0, VIRTQ_SIZE, c->size);
	virtio_dev_set_queue(dev, 0, VIRTQ_DESC_LO, c->desc);
	virtio_dev_set_queue(dev, 0, VIRTQ_AVAIL_LO, c->avail);
	virtio_dev_set_queue(dev, 0, VIRTQ_USED_LO, c->used);
	virtio_dev_set_queue(dev, 0, VIRTQ_READY, 1);
	virtio_dev_set_status(dev, VIRTIO_CONFIG_S_DRIVER_OK);
	assert_false(virtio_dev_get_status(dev) & VIRTIO_CONFIG_S_NEEDS_RESET);
}

static inline void read_sector(struct plug_rig *rig, struct driver *drv, uint64_t sector)
{
	const struct virtio_blk_outhdr hdr = { .type = VIRTIO_BLK_T_IN, .sector = sector };
	struct fake_buf buf[] = {
		{ fake_guest_alloc(&rig->guest, sizeof(hdr), 16), sizeof(hdr), 0 },
		{ fake_guest_alloc(&rig->guest, 512, 512), 512, VRING_DESC_F_WRITE },
		{ fake_guest_alloc(&rig->guest, 1, 1), 1, VRING_DESC_F_WRITE },
	};

	memcpy(fake_guest_ptr(&rig->guest, buf[0].gpa), &hdr, sizeof(hdr));
	*(uint8_t *)fake_guest_ptr(&rig->guest, buf[2].gpa) = 0xee;
	drv->status[drv->n++] = buf[2].gpa;
	assert_true(fake_queue_add(&drv->queue, buf, 3, 0) >= 0);
}

static inline void load(struct plug_rig *rig, struct machine_disk *disk, struct driver *drv)
{
	for (unsigned i = 0; i < REQUESTS; i++)
		read_sector(rig, drv, 2 * i); /* no neighbours, which would be one */
	if (fake_queue_publish(&drv->queue))
		virtio_dev_kick(&disk->blk.dev, 0);
}

static inline unsigned answered(struct plug_rig *rig, const struct driver *drv)
{
	unsigned n = 0;

	for (unsigned i = 0; i < drv->n; i++)
		n += *(uint8_t *)fake_guest_ptr(&rig->guest, drv->status[i]) == 0;
	return n;
}

#endif
