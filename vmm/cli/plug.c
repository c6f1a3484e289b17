/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of disks that come and go while the guest runs; see plug.h.
 *
 * Main; ejected() runs on a vCPU's thread, open_image() on one of its own. Must not know who
 * asks: the control socket does.
 */
#include "vmm/cli/plug.h"

#include <errno.h>
#include <malloc.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "vmm/cli/clock.h"
#include "vmm/cli/closing.h"
#include "vmm/cli/disk_option.h"
#include "vmm/cli/kept.h"
#include "vmm/cli/machine.h"
#include "vmm/log.h"

#define LOOK_MS 5

/* ---- on a vCPU's thread ---- */

/* Main counts the vCPUs inside a device, of which this one may have been the last. */
static void ejected(void *opaque, uint32_t slots)
{
	const uint64_t one = 1;
	struct plug *plug = opaque;

	if (!pci_bus_eject(&plug->machine->pci, slots))
		return;
	if (write(plug->event_fd, &one, sizeof(one)) < 0)
		return; /* EAGAIN: main is on its way */
}

static const struct hotplug_ops ops = { .ejected = ejected };

/* ---- out ---- */

static void gone(void *opaque)
{
	struct machine_disk *disk = opaque;
	struct plug *plug = disk->exit.plug;
	const struct plug_waiter waiter = disk->exit.waiter;

	log_verbose("%s: disk '%s' has been removed", disk->blk.dev.name, machine_disk_path(disk));
	machine_disk_remove(plug->machine, disk);
	kept_update(plug->machine);
	if (waiter.removed)
		waiter.removed(waiter.opaque);
}

static bool has_drained(struct machine_disk *disk)
{
	return !disk->resizing.away && !virtio_blk_shutdown(&disk->blk, 0) &&
	       copying_has_left(&disk->copying);
}

/* Storage takes as long as it takes, also to close what was opened of it. */
static void look(void *opaque)
{
	struct machine_disk *disk = opaque;
	struct disk_exit *out = &disk->exit;
	struct block_backend image;

	if (!has_drained(disk)) {
		loop_timer_set(out->plug->loop, &out->look, clock_ms() + LOOK_MS);
		return;
	}
	virtio_blk_give_image(&disk->blk, &image);
	closing_start(out->plug->loop, &image, gone, disk);
}

/* Nobody but main sends its thread anything any more. */
static void drain(struct machine_disk *disk)
{
	struct disk_exit *out = &disk->exit;

	out->state = DISK_DRAINS;
	disk_calls_close(&disk->calls);
	loop_timer_cancel(out->plug->loop, &out->force);
	look(disk);
}

static struct machine_disk *next_quiet(struct machine *m)
{
	for (unsigned i = 0; i < m->ndisks; i++)
		if (m->disk[i]->exit.state == DISK_ASKED && virtio_pci_is_quiet(&m->disk[i]->pci))
			return m->disk[i];
	return NULL;
}

static void quiet(struct plug *plug)
{
	struct machine_disk *disk;

	while ((disk = next_quiet(plug->machine)))
		drain(disk);
}

static void event(void *opaque, short revents)
{
	struct plug *plug = opaque;
	uint64_t count;

	if (read(plug->event_fd, &count, sizeof(count)) == sizeof(count))
		quiet(plug);
}

/* The guest may be giving it up just now. */
static void force(void *opaque)
{
	struct machine_disk *disk = opaque;

	if (pci_func_surprise(&disk->pci.func))
		log_warn("disk %s: the guest has not given it up: taken away", disk->blk.dev.name);
	quiet(disk->exit.plug);
}

int plug_remove(struct plug *plug, struct machine_disk *disk, int64_t force_ms,
		const struct plug_waiter *waiter, struct error *err)
{
	struct disk_exit *out = &disk->exit;

	if (!plug->loop)
		return error_setx(err, ENOTSUP,
				  "disk %s: not with --transport mmio: only PCI has hot-plug",
				  disk->blk.dev.name);
	if (out->state == DISK_DRAINS)
		return error_setx(err, EALREADY, "disk %s: has been given up and still drains",
				  disk->blk.dev.name);
	if (out->waiter.removed && waiter)
		return error_setx(err, EALREADY, "disk %s: is being removed", disk->blk.dev.name);
	if (waiter)
		out->waiter = *waiter;
	out->state = DISK_ASKED;
	kept_update(plug->machine);
	out->plug = plug;
	out->force.expired = force;
	out->look.expired = look;
	out->force.opaque = out->look.opaque = disk;
	if (force_ms >= 0)
		loop_timer_set(plug->loop, &out->force, clock_ms() + force_ms);
	pci_func_ask(&disk->pci.func); /* first: the guest's answer may come at once */
	if (!virtio_pci_is_quiet(&disk->pci))
		hotplug_ask(&plug->regs, disk->pci.slot);
	return 0;
}

void plug_forget_waiter(struct plug *plug, const void *opaque)
{
	struct machine *m = plug->machine;

	for (unsigned i = 0; i < m->ndisks; i++)
		if (m->disk[i]->exit.waiter.opaque == opaque)
			m->disk[i]->exit.waiter = (struct plug_waiter){ 0 };
}

/* ---- in ---- */

/* On the errand's thread. */
static void open_image(void *opaque)
{
	struct plug *plug = opaque;
	struct plug_entry *in = &plug->entry;
	const struct blk_opener by = { broker_open, &plug->broker };

	in->ret = block_backend_open_by(&in->be, &in->config, &by, &in->err);
}

static bool writes(const struct disk_config *config)
{
	return !config->readonly && !config->overlay;
}

/* Also where it could not be locked, by us. */
static int check_image(const struct plug *plug, const struct plug_entry *in, struct error *err)
{
	const struct machine *m = plug->machine;

	for (unsigned i = 0; i < m->ndisks && (!in->ret || in->ret == -EAGAIN); i++) {
		const struct block_backend *be = &m->disk[i]->blk.backend;

		if (block_backend_is_same(be, &in->be) &&
		    (writes(m->disk[i]->config) || writes(&in->config)))
			return error_setx(err, EBUSY,
					  "disk '%s': the same image as disk '%s'; only disks that "
					  "are readonly or have an overlay may share one",
					  in->config.path, machine_disk_path(m->disk[i]));
	}
	return in->ret;
}

static int take_in(struct plug *plug, struct machine_disk **out)
{
	struct plug_entry *in = &plug->entry;
	const int ret = check_image(plug, in, &in->err);

	if (ret && !in->ret)
		block_backend_close(&in->be);
	return ret ? ret : machine_disk_add(plug->machine, &in->config, &in->be, out, &in->err);
}

static void opened(void *opaque)
{
	struct plug *plug = opaque;
	struct plug_entry *in = &plug->entry;
	struct machine_disk *disk = NULL;
	const int ret = take_in(plug, &disk);

	if (ret) {
		disk_config_free(&in->config);
	} else {
		disk->own = in->config;
		disk->config = &disk->own;
		kept_update(plug->machine);
		hotplug_insert(&plug->regs, disk->pci.slot);
		log_verbose("%s: disk '%s' has been added", disk->blk.dev.name,
			    machine_disk_path(disk));
	}
	in->busy = false;
	in->adder.added(in->adder.opaque, disk, ret, &in->err);
}

static int check_new(const struct plug *plug, const struct disk_config *config, struct error *err)
{
	const struct machine *m = plug->machine;

	if (!plug->loop)
		return error_setx(err, ENOTSUP,
				  "disk '%s': not with --transport mmio: only PCI has hot-plug",
				  config->path);
	if (plug->entry.busy)
		return error_setx(err, EBUSY, "disk '%s' is still being opened",
				  plug->entry.config.path);
	for (unsigned i = 0; i < m->ndisks && config->serial[0]; i++)
		if (!strcmp(m->disk[i]->blk.serial, config->serial))
			return error_setx(err, EEXIST, "disk '%s': %s has the serial '%s' already",
					  config->path, m->disk[i]->blk.dev.name, config->serial);
	if (m->ndisks == MACHINE_MAX_DISKS)
		return error_setx(err, ENOSPC, "disk '%s': there is no room for more than %u disks",
				  config->path, m->ndisks);
	return 0;
}

int plug_add(struct plug *plug, struct disk_config *config, const struct plug_adder *adder,
	     struct error *err)
{
	struct plug_entry *in = &plug->entry;
	int ret = check_new(plug, config, err);

	if (ret)
		goto free_config;
	in->config = *config;
	in->adder = *adder;
	in->errand = (struct errand){ .run = open_image, .done = opened, .opaque = plug };
	in->busy = true;
	ret = errand_start(&in->errand, plug->loop, err);
	if (!ret)
		return 0;
	in->busy = false;
free_config:
	disk_config_free(config);
	return ret;
}

/* ---- life ---- */

int plug_init(struct plug *plug, struct machine *m, uint64_t port, struct error *err)
{
	int ret;

	plug->machine = m;
	plug->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (plug->event_fd < 0)
		return error_set(err, errno, "hot-plug: eventfd");
	ret = hotplug_init(&plug->regs, &m->vm.pio, port, &m->power, &ops, plug, err);
	if (ret) {
		close(plug->event_fd);
		return ret;
	}
	m->pci.left_fd = plug->event_fd;
	return 0;
}

void plug_destroy(struct plug *plug)
{
	close(plug->event_fd);
}

void plug_prepare(struct plug *plug, int broker_fd)
{
	/* Threads to come get no heap of their own: that would be calls that their lists lack. */
	mallopt(M_ARENA_MAX, 1);
	broker_init(&plug->broker, broker_fd, -1);
}

int plug_start(struct plug *plug, struct loop *loop, struct error *err)
{
	plug->watch = (struct loop_watch){
		.fd = plug->event_fd,
		.events = POLLIN,
		.ready = event,
		.opaque = plug,
	};
	plug->loop = loop;
	if (loop_add(loop, &plug->watch))
		return error_setx(err, ENOSPC, "hot-plug: the loop is full");
	return 0;
}
