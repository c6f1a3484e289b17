/* SPDX-License-Identifier: Apache-2.0 */
/* Disks that come and go: main's loop, a real broker and real images, with a KVM in the test and a guest
 * that is either this thread or one beside it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_blk.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/dataplane/slow.h"
#include "tests/unit/fake_driver.h"
#include "tests/unit/fake_kvm.h"
#include "vmm/cli/clock.h"
#include "vmm/cli/disk_option.h"
#include "vmm/cli/machine.h"
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

static unsigned descriptors(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned n = 0;

	assert_non_null(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

static const char *image(struct plug_rig *rig, const char *name)
{
	static char path[128];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", rig->dir, name);
	fd = open(path, O_WRONLY | O_CREAT, 0600);
	assert_true(fd >= 0 && !ftruncate(fd, 1 << 20));
	close(fd);
	return path;
}

static int start_broker(struct plug_rig *rig)
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

static int setup(void **state)
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
	assert_int_equal(pci_bus_init(&m->pci, &vm->pio, &vm->mmio, X86_ECAM, X86_PCI_BAR_BASE,
				      X86_PCI_BAR_SIZE, NULL),
			 0);
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

static int teardown(void **state)
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

static void added(void *opaque, struct machine_disk *disk, int ret, const struct error *err)
{
	struct plug_rig *rig = opaque;

	rig->added = true;
	rig->disk = disk;
	rig->ret = ret;
	if (!disk)
		rig->err = *err;
}

static void removed(void *opaque)
{
	((struct plug_rig *)opaque)->removed++;
}

static int begin_add(struct plug_rig *rig, const char *text)
{
	const struct plug_adder adder = { added, rig };
	struct disk_config config;

	rig->added = false;
	rig->err.text[0] = '\0';
	assert_int_equal(disk_option_parse(text, &config, &rig->err), 0);
	return plug_add(&rig->m.plug, &config, &adder, &rig->err);
}

static int add(struct plug_rig *rig, const char *text)
{
	const int ret = begin_add(rig, text);

	while (!ret && !rig->added)
		loop_once(&rig->loop);
	return ret ? ret : rig->ret;
}

static void expect_refused(struct plug_rig *rig, const char *text, int ret, const char *why)
{
	const unsigned before = descriptors();

	assert_int_equal(add(rig, text), ret);
	if (!strstr(rig->err.text, why))
		fail_msg("'%s' does not say '%s'", rig->err.text, why);
	assert_int_equal(descriptors(), before);
}

static int take_out(struct plug_rig *rig, struct machine_disk *disk, int64_t force_ms)
{
	const struct plug_waiter waiter = { removed, rig };

	return plug_remove(&rig->m.plug, disk, force_ms, &waiter, &rig->err);
}

static void expired(void *opaque)
{
}

static void run_until(struct plug_rig *rig, unsigned times)
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

static uint32_t in(struct plug_rig *rig, unsigned reg)
{
	uint32_t value = 0;

	bus_read(&rig->m.vm.pio, PORT + reg, &value, 4);
	return value;
}

static void eject(struct plug_rig *rig, uint32_t slots)
{
	bus_write(&rig->m.vm.pio, PORT + HOTPLUG_EJECT, &slots, 4);
}

static uint32_t config(struct plug_rig *rig, unsigned slot)
{
	uint32_t value = 0;

	bus_read(&rig->m.vm.mmio, X86_ECAM + (slot << 15), &value, 4);
	return value;
}

static void decode(struct plug_rig *rig, unsigned slot, uint32_t bar)
{
	uint16_t command = PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER;

	bus_write(&rig->m.vm.mmio, X86_ECAM + (slot << 15) + PCI_BASE_ADDRESS_0, &bar, 4);
	bus_write(&rig->m.vm.mmio, X86_ECAM + (slot << 15) + PCI_COMMAND, &command, 2);
}

/* ---- tests ----------------------------------------------------------------------------------- */

static void a_disk_comes_and_goes(void **state)
{
	struct plug_rig *rig = *state;
	unsigned before;

	for (unsigned i = 0; i < ROUNDS; i++) {
		before = descriptors();
		assert_int_equal(add(rig, image(rig, "a.img")), 0);
		assert_int_equal(rig->m.ndisks, 1);
		assert_string_equal(rig->disk->blk.dev.name, "vda");
		assert_int_equal(in(rig, HOTPLUG_INSERTED), 1u << 1);
		assert_int_equal(config(rig, 1), 0x10421af4);
		decode(rig, 1, BAR);
		assert_int_not_equal(fake_kvm.nio, 0);
		assert_int_equal(take_out(rig, rig->disk, -1), 0);
		assert_int_equal(in(rig, HOTPLUG_ASKED), 1u << 1);
		assert_int_equal(config(rig, 1), 0x10421af4);
		eject(rig, 1u << 1);
		assert_int_equal(config(rig, 1), ABSENT);
		assert_int_equal(rig->removed, i); /* that was only the guest's part */
		run_until(rig, i + 1);
		assert_int_equal(rig->m.ndisks, 0);
		assert_int_equal(fake_kvm.nio, 0);
		assert_int_equal(fake_kvm.nirqfds, 0);
		assert_int_equal(descriptors(), before);
	}
}

static void names_and_slots_are_the_first_that_are_free(void **state)
{
	struct plug_rig *rig = *state;
	struct machine_disk *b;

	assert_int_equal(add(rig, image(rig, "a.img")), 0);
	assert_int_equal(add(rig, image(rig, "b.img")), 0);
	b = rig->disk;
	assert_int_equal(add(rig, image(rig, "c.img")), 0);
	assert_string_equal(rig->disk->blk.dev.name, "vdc");
	assert_int_equal(take_out(rig, b, -1), 0);
	eject(rig, 1u << 2);
	run_until(rig, 1);
	assert_string_equal(rig->m.disk[1]->blk.dev.name, "vdc");
	assert_int_equal(add(rig, image(rig, "b.img")), 0);
	assert_string_equal(rig->disk->blk.dev.name, "vdb");
	assert_int_equal(rig->disk->pci.slot, 2);
}

static void what_cannot_be_is_refused_and_leaves_nothing(void **state)
{
	struct plug_rig *rig = *state;
	char text[160];

	assert_int_equal(add(rig, strcat(strcpy(text, image(rig, "a.img")), ",serial=one")), 0);
	expect_refused(rig, "/etc/passwd", -EXDEV, "not in a folder");
	snprintf(text, sizeof(text), "%s/none.img", rig->dir);
	expect_refused(rig, text, -ENOENT, "cannot open: No such file");
	expect_refused(rig, rig->dir, -EXDEV, "not in a folder");
	expect_refused(rig, image(rig, "a.img"), -EBUSY, "the same image as disk");
	expect_refused(rig, strcat(strcpy(text, image(rig, "b.img")), ",serial=one"), -EEXIST,
		       "vda has the serial 'one' already");
	expect_refused(rig,
		       strcat(strcpy(text, image(rig, "b.img")), ",readonly,queues=63,cpu=1023"),
		       -EINVAL, "CPU 1023");
	assert_int_equal(rig->m.ndisks, 1);
	assert_int_equal(config(rig, 2), ABSENT);
	assert_int_equal(in(rig, HOTPLUG_INSERTED), 1u << 1);
}

static void readonly_disks_may_share_an_image(void **state)
{
	struct plug_rig *rig = *state;
	char text[160];

	strcat(strcpy(text, image(rig, "a.img")), ",readonly");
	assert_int_equal(add(rig, text), 0);
	assert_int_equal(add(rig, text), 0);
	assert_int_equal(rig->m.ndisks, 2);
}

/* The overlay's file comes by way of the broker, and goes with the disk. */
static void disks_with_overlays_may_share_an_image(void **state)
{
	const unsigned before = descriptors();
	struct plug_rig *rig = *state;
	char text[200];

	snprintf(text, sizeof(text), "%s,overlay=temp:%s", image(rig, "a.img"), rig->dir);
	assert_int_equal(add(rig, text), 0);
	assert_non_null(rig->disk->blk.backend.overlay);
	assert_false(rig->disk->blk.backend.readonly);
	assert_int_equal(add(rig, text), 0);
	expect_refused(rig, image(rig, "a.img"), -EBUSY, "the same image as disk");
	assert_int_equal(rig->m.ndisks, 2);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(take_out(rig, rig->m.disk[0], -1), 0);
		eject(rig, 1u << (1 + i));
		run_until(rig, 1 + i);
	}
	assert_int_equal(rig->m.ndisks, 0);
	assert_int_equal(descriptors(), before);
}

static void an_overlay_is_made_only_where_files_may_be_opened(void **state)
{
	struct plug_rig *rig = *state;
	char text[200];

	snprintf(text, sizeof(text), "%s,overlay=temp:/tmp", image(rig, "a.img"));
	expect_refused(rig, text, -EXDEV, "an overlay in '/tmp': not in a folder");
	snprintf(text, sizeof(text), "%s,overlay=temp:%s/none", image(rig, "a.img"), rig->dir);
	expect_refused(rig, text, -ENOENT, "cannot create an overlay in");
	assert_int_equal(rig->m.ndisks, 0);
}

static void one_comes_at_a_time(void **state)
{
	struct plug_rig *rig = *state;

	assert_int_equal(begin_add(rig, image(rig, "a.img")), 0);
	assert_int_equal(begin_add(rig, image(rig, "b.img")), -EBUSY);
	assert_non_null(strstr(rig->err.text, "a.img' is still being opened"));
	while (!rig->added)
		loop_once(&rig->loop);
	assert_int_equal(rig->ret, 0);
	assert_int_equal(add(rig, image(rig, "b.img")), 0);
}

static void a_guest_that_does_not_listen_loses_it(void **state)
{
	struct plug_rig *rig = *state;

	assert_int_equal(add(rig, image(rig, "a.img")), 0);
	decode(rig, 1, BAR);
	assert_int_equal(take_out(rig, rig->disk, 10), 0);
	run_until(rig, 1);
	assert_int_equal(config(rig, 1), ABSENT);
	assert_int_equal(fake_kvm.nio, 0);
	/* It may still believe in it: the slot is nobody's. */
	assert_int_equal(add(rig, image(rig, "a.img")), 0);
	assert_int_equal(rig->disk->pci.slot, 2);
	eject(rig, ~0u);
	assert_int_equal(config(rig, 2), 0x10421af4);
	assert_int_equal(add(rig, image(rig, "b.img")), 0);
	assert_int_equal(rig->disk->pci.slot, 1);
	eject(rig, ~0u);
	assert_int_equal(config(rig, 1), 0x10421af4);
}

static void it_may_be_asked_again_but_not_for_two(void **state)
{
	struct plug_rig *rig = *state;

	assert_int_equal(add(rig, image(rig, "a.img")), 0);
	assert_int_equal(take_out(rig, rig->disk, -1), 0);
	assert_int_equal(in(rig, HOTPLUG_ASKED), 1u << 1); /* and nobody does anything */
	assert_int_equal(take_out(rig, rig->disk, -1), -EALREADY);
	plug_forget_waiter(&rig->m.plug, rig);
	assert_int_equal(take_out(rig, rig->disk, -1), 0);
	assert_int_equal(in(rig, HOTPLUG_ASKED), 1u << 1);
	eject(rig, 1u << 1);
	run_until(rig, 1);
}

static void a_waiter_that_is_gone_is_not_called(void **state)
{
	struct plug_rig *rig = *state;

	assert_int_equal(add(rig, image(rig, "a.img")), 0);
	assert_int_equal(take_out(rig, rig->disk, -1), 0);
	plug_forget_waiter(&rig->m.plug, rig);
	eject(rig, 1u << 1);
	while (rig->m.ndisks)
		loop_once(&rig->loop);
	assert_int_equal(rig->removed, 0);
}

/* Asked once more between the guest's word and main's: that is void for whoever gets the slot. */
static void a_late_question_is_not_for_the_next(void **state)
{
	struct plug_rig *rig = *state;

	assert_int_equal(add(rig, image(rig, "a.img")), 0);
	assert_int_equal(take_out(rig, rig->disk, -1), 0);
	hotplug_ask(&rig->m.plug.regs, 1);
	eject(rig, 1u << 1);
	hotplug_ask(&rig->m.plug.regs, 1);
	run_until(rig, 1);
	assert_int_equal(add(rig, image(rig, "a.img")), 0);
	assert_int_equal(rig->disk->pci.slot, 1);
	assert_int_equal(in(rig, HOTPLUG_ASKED), 0);
	eject(rig, ~0u);
	assert_int_equal(config(rig, 1), 0x10421af4);
}

/* ---- I/O ------------------------------------------------------------------------------------- */

#define REQUESTS 128

struct driver {
	struct fake_queue queue;
	gpa_t status[REQUESTS];
	unsigned n;
};

/* To DRIVER_OK, with one queue. */
static void drive(struct plug_rig *rig, struct machine_disk *disk, struct driver *drv)
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

static void read_sector(struct plug_rig *rig, struct driver *drv, uint64_t sector)
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

static void load(struct plug_rig *rig, struct machine_disk *disk, struct driver *drv)
{
	for (unsigned i = 0; i < REQUESTS; i++)
		read_sector(rig, drv, 2 * i); /* no neighbours, which would be one */
	if (fake_queue_publish(&drv->queue))
		virtio_dev_kick(&disk->blk.dev, 0);
}

static unsigned answered(struct plug_rig *rig, const struct driver *drv)
{
	unsigned n = 0;

	for (unsigned i = 0; i < drv->n; i++)
		n += *(uint8_t *)fake_guest_ptr(&rig->guest, drv->status[i]) == 0;
	return n;
}

static void run_for(struct plug_rig *rig, unsigned ms)
{
	struct loop_timer tick = { .expired = expired };
	const uint64_t end = clock_ms() + ms;

	while (clock_ms() < end) {
		loop_timer_set(&rig->loop, &tick, end);
		loop_once(&rig->loop);
	}
	loop_timer_cancel(&rig->loop, &tick);
}

static unsigned held(void)
{
	unsigned n;

	pthread_mutex_lock(&slow.lock);
	n = slow.n;
	pthread_mutex_unlock(&slow.lock);
	return n;
}

static struct machine_disk *add_loaded(struct plug_rig *rig, const char *text, struct driver *drv)
{
	assert_int_equal(add(rig, text), 0);
	decode(rig, 1, BAR);
	drive(rig, rig->disk, drv);
	load(rig, rig->disk, drv);
	return rig->disk;
}

static void what_is_in_flight_ends_before_anything_is_given_back(void **state)
{
	struct plug_rig *rig = *state;
	struct machine_disk *disk;
	struct fake_done done;
	struct driver drv;
	char text[160];

	hold_io(true);
	disk = add_loaded(rig, strcat(strcpy(text, image(rig, "a.img")), ",queue-size=512"), &drv);
	if (disk->blk.backend.aio != DISK_AIO_NATIVE)
		skip(); /* no O_DIRECT there */
	while (held() < REQUESTS)
		sched_yield();
	assert_int_equal(take_out(rig, disk, 0), 0);
	run_for(rig, 100);
	assert_int_equal(config(rig, 1), ABSENT);
	assert_int_equal(rig->removed, 0);
	assert_int_equal(rig->m.ndisks, 1);
	assert_int_not_equal(fake_kvm.nio, 0);
	assert_false(fake_queue_poll(&drv.queue, &done));
	release_held();
	run_until(rig, 1);
	assert_int_equal(answered(rig, &drv), REQUESTS);
	assert_int_equal(fake_kvm.nio, 0);
}

/* Parked by a limit: they were never begun, and nobody waits for them. */
static void what_waits_for_a_limit_is_dropped(void **state)
{
	struct plug_rig *rig = *state;
	struct machine_disk *disk;
	struct fake_done done;
	struct driver drv;
	char text[160];

	strcat(strcpy(text, image(rig, "a.img")), ",iops=1,queue-size=512");
	disk = add_loaded(rig, text, &drv);
	while (!fake_queue_poll(&drv.queue, &done))
		sched_yield();
	assert_int_equal(take_out(rig, disk, -1), 0);
	eject(rig, 1u << 1);
	run_until(rig, 1);
	assert_in_range(answered(rig, &drv), 1, REQUESTS / 2);
}

/* ---- a guest beside main --------------------------------------------------------------------- */

static void *vcpu_main(void *opaque)
{
	struct plug_rig *rig = opaque;
	struct bus *mmio = &rig->m.vm.mmio;
	unsigned seed = 1;
	uint32_t value;

	while (!rig->stop) {
		const unsigned slot = 1 + rand_r(&seed) % 3;

		switch (rand_r(&seed) % 5) {
		case 0:
			decode(rig, slot, BAR + 0x8000 * (rand_r(&seed) % 4));
			break;
		case 1:
			eject(rig, in(rig, HOTPLUG_ASKED));
			break;
		case 2:
			value = rand_r(&seed) & 0xf;
			bus_write(mmio, BAR + 0x8000 * (slot - 1) + 0x14, &value, 1); /* status */
			break;
		default:
			bus_read(mmio, BAR + (rand_r(&seed) & 0x1fffc), &value, 4);
		}
	}
	return NULL;
}

static void disks_come_and_go_under_a_vcpu(void **state)
{
	struct plug_rig *rig = *state;
	pthread_t vcpu;

	assert_int_equal(pthread_create(&vcpu, NULL, vcpu_main, rig), 0);
	for (unsigned i = 0; i < ROUNDS; i++) {
		assert_int_equal(add(rig, image(rig, "a.img")), 0);
		assert_int_equal(add(rig, image(rig, "b.img")), 0);
		assert_int_equal(take_out(rig, rig->m.disk[0], 5), 0);
		run_until(rig, 2 * i + 1);
		assert_int_equal(take_out(rig, rig->m.disk[0], 0), 0);
		run_until(rig, 2 * i + 2);
		assert_int_equal(rig->m.ndisks, 0);
		/* What was taken away is given up by now, or later. */
		eject(rig, ~0u);
	}
	rig->stop = true;
	pthread_join(vcpu, NULL);
	assert_int_equal(fake_kvm.nio, 0);
	assert_int_equal(fake_kvm.nirqfds, 0);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(a_disk_comes_and_goes),
		T(names_and_slots_are_the_first_that_are_free),
		T(what_cannot_be_is_refused_and_leaves_nothing),
		T(readonly_disks_may_share_an_image),
		T(disks_with_overlays_may_share_an_image),
		T(an_overlay_is_made_only_where_files_may_be_opened),
		T(one_comes_at_a_time),
		T(a_guest_that_does_not_listen_loses_it),
		T(it_may_be_asked_again_but_not_for_two),
		T(a_waiter_that_is_gone_is_not_called),
		T(a_late_question_is_not_for_the_next),
		T(what_is_in_flight_ends_before_anything_is_given_back),
		T(what_waits_for_a_limit_is_dropped),
		T(disks_come_and_go_under_a_vcpu),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
