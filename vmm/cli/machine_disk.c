/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Puts disks into a machine and takes them out. Main; must not know what is plugged while the guest
 * runs, nor how the VM ends.
 */
#include "vmm/cli/machine_disk.h"

#include <errno.h>
#include <stdlib.h>

#include "virtio/blk/thread.h"
#include "vmm/cli/disk_option.h"
#include "vmm/cli/kept.h"
#include "vmm/cli/machine.h"
#include "vmm/cli/roles.h"

#define PCI_CLASS_DISK	 0x018000 /* mass storage, other */
#define IDLE_SHUTDOWN_MS 1000

static int attach(struct machine *m, struct machine_disk *disk, struct error *err)
{
	const struct acpi_mmio_dev slot = machine_mmio_slot(disk->index);
	int ret;

	if (m->opt->transport != TRANSPORT_PCI)
		return virtio_mmio_init(&disk->mmio, &disk->blk.dev, &m->vm, slot.base, slot.gsi,
					virtio_mmio_pages_at(&m->mmio_pages, slot.base), err);
	ret = virtio_pci_init(&disk->pci, &disk->blk.dev, &m->vm, &m->pci, PCI_CLASS_DISK, err);
	if (ret)
		return ret;
	hotplug_forget(&m->plug.regs, disk->pci.slot);
	pci_func_show(&disk->pci.func);
	return 0;
}

static int init_blk(struct machine *m, struct machine_disk *disk, const struct block_backend *be,
		    struct error *err)
{
	const struct blk_hooks hooks = {
		.disk = sandbox_hook(m->sandbox, ROLE_DISK),
		.worker = sandbox_hook(m->sandbox, ROLE_WORKER),
	};
	struct virtio_blk_place place = {
		.index = disk->index,
		.nvcpus = m->opt->cpus,
		.stop_fd = m->vm.stop_fd,
		.event_fd = m->vm.event_fd,
		.measures = m->opt->control,
		.mem = &m->vm.mem,
		.hooks = &hooks,
	};
	struct error why;
	int ret;

	ret = throttle_group_join(&m->throttle, disk->config->group, &disk->config->limits,
				  &place.group, &why);
	if (ret)
		return error_setx(err, -ret, "disk '%s': %s", disk->config->path, why.text);
	ret = virtio_blk_init(&disk->blk, be, disk->config, &place, err);
	if (ret)
		throttle_group_leave(&m->throttle, place.group);
	return ret;
}

/* Its thread has ended. */
static void destroy_blk(struct machine *m, struct machine_disk *disk)
{
	virtio_blk_destroy(&disk->blk);
	throttle_group_leave(&m->throttle, disk->blk.group);
}

/* Names are given out as Linux does: the first that no disk has. */
static unsigned free_index(const struct machine *m)
{
	unsigned index = 0;

	for (unsigned i = 0; i < m->ndisks; i++) {
		if (m->disk[i]->index != index)
			continue;
		index++;
		i = -1u;
	}
	return index;
}

/* A guest that runs reaches it when its threads are in their sandboxes. */
static int attach_safely(struct machine *m, struct machine_disk *disk, struct error *err)
{
	const int ret = m->plug.loop ? sandbox_settle(m->sandbox, err) : 0;

	return ret ? ret : attach(m, disk, err);
}

static int build(struct machine *m, struct machine_disk *disk, const struct block_backend *be,
		 struct error *err)
{
	struct error why;
	int ret = init_blk(m, disk, be, err);

	if (ret) {
		block_backend_close(be);
		return ret;
	}
	ret = attach_safely(m, disk, &why);
	if (!ret)
		return 0;
	error_setx(err, -ret, "disk '%s': %s", disk->config->path, why.text);
	virtio_blk_shutdown(&disk->blk, IDLE_SHUTDOWN_MS);
	destroy_blk(m, disk);
	return ret;
}

static int allocate(struct machine *m, const struct disk_config *config, struct machine_disk **out,
		    struct error *err)
{
	struct machine_disk *disk;

	if (m->ndisks == machine_max_disks(m->opt->transport))
		return error_setx(err, ENOSPC, "disk '%s': there is no room for more than %u disks",
				  config->path, m->ndisks);
	disk = calloc(1, sizeof(*disk));
	if (!disk)
		return error_set(err, ENOMEM, "disk '%s'", config->path);
	disk->config = config;
	disk->index = free_index(m);
	disk->calls.blk = &disk->blk;
	copying_init(&disk->copying, m, disk);
	resizing_init(&disk->resizing, disk);
	*out = disk;
	return 0;
}

int machine_disk_add(struct machine *m, const struct disk_config *config,
		     const struct block_backend *be, struct machine_disk **out, struct error *err)
{
	struct machine_disk *disk = NULL;
	int ret = allocate(m, config, &disk, err);

	if (ret) {
		block_backend_close(be);
		return ret;
	}
	ret = build(m, disk, be, err);
	if (ret) {
		free(disk);
		return ret;
	}
	m->disk[m->ndisks++] = disk;
	if (out)
		*out = disk;
	return 0;
}

static void destroy(struct machine *m, struct machine_disk *disk)
{
	if (m->opt->transport == TRANSPORT_PCI)
		virtio_pci_destroy(&disk->pci);
	else
		virtio_mmio_destroy(&disk->mmio);
	destroy_blk(m, disk);
	copying_destroy(&disk->copying);
	resizing_destroy(&disk->resizing);
	disk_config_free(&disk->own);
	free(disk->path);
	free(disk);
}

void machine_disk_remove(struct machine *m, struct machine_disk *disk)
{
	unsigned i = 0;

	while (m->disk[i] != disk)
		i++;
	for (m->ndisks--; i < m->ndisks; i++)
		m->disk[i] = m->disk[i + 1];
	destroy(m, disk);
}

void machine_disks_abandon(struct machine *m)
{
	for (unsigned i = 0; i < m->ndisks; i++)
		virtio_blk_shutdown(&m->disk[i]->blk, IDLE_SHUTDOWN_MS);
	while (m->ndisks)
		destroy(m, m->disk[--m->ndisks]);
}

int machine_disk_open(struct machine *m, const struct disk_config *config, struct error *err)
{
	struct block_backend be;
	int ret = block_backend_open(&be, config, err);

	return ret ? ret : machine_disk_add(m, config, &be, NULL, err);
}

static int add_all(struct machine *m, struct error *err)
{
	int ret = 0;

	for (unsigned i = 0; i < m->opt->ndisks && !ret; i++)
		ret = machine_disk_open(m, &m->opt->disk[i], err);
	return ret;
}

int machine_disks_add(struct machine *m, struct error *err)
{
	const struct kept *kept = m->opt->kept;
	const int ret = kept && kept->changed != 0 ? kept_add(m, err) : add_all(m, err);

	if (ret)
		machine_disks_abandon(m);
	return ret;
}
