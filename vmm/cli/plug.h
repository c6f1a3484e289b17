/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Disks that come and go while the guest runs (virtio-pci only).
 *
 * In: the disk is complete, with its thread, before it is in its slot, and the guest is told of the
 * slot last. Out: the guest is asked; once it has given the disk up, or was not asked any longer, the
 * slot is empty for it; once no vCPU is inside the device any more, its thread drains and ends;
 * doorbells, interrupts, descriptors and memory go last. Nothing here waits: all steps are taken by
 * main's loop, when there is something to take them for.
 */
#ifndef MVMM_CLI_PLUG_H
#define MVMM_CLI_PLUG_H

#include "devices/hotplug.h"
#include "virtio/blk/backend.h"
#include "virtio/blk/disk_config.h"
#include "vmm/cli/broker.h"
#include "vmm/cli/errand.h"
#include "vmm/cli/loop.h"
#include "vmm/error.h"

struct machine;
struct machine_disk;

/* Who waits for a disk to be added; called once, on main. `disk` NULL: -errno and a message. */
struct plug_adder {
	void (*added)(void *opaque, struct machine_disk *disk, int ret, const struct error *err);
	void *opaque;
};

/* Who waits for a removal; called once, on main, when the disk is no more. */
struct plug_waiter {
	void (*removed)(void *opaque);
	void *opaque;
};

/* A disk on its way in. */
struct plug_entry {
	bool busy;
	struct errand errand; /* it opens the image */
	struct disk_config config;
	struct block_backend be;
	int ret;
	struct error err;
	struct plug_adder adder;
};

struct plug {
	struct machine *machine;
	struct hotplug regs;
	struct loop *loop; /* NULL: nothing is plugged */
	int event_fd;	   /* an eventfd: a disk may have become quiet */
	struct loop_watch watch;
	struct broker broker;
	struct plug_entry entry;
};

/* Puts the registers on the bus. Main, before the vCPUs run. */
int plug_init(struct plug *plug, struct machine *m, uint64_t port, struct error *err);
void plug_destroy(struct plug *plug);

/* From now on the broker behind `broker_fd` opens files, of mirrors, too. Main, once. */
void plug_prepare(struct plug *plug, int broker_fd);

/* And `loop` takes the steps. Main, once; only with virtio-pci. */
int plug_start(struct plug *plug, struct loop *loop, struct error *err);

/*
 * Opens an image, makes it a disk and tells the guest. One at a time. `config` is taken over, also on
 * an error: -ENOTSUP, -EBUSY, -EEXIST (its serial), -ENOSPC, -ENOMEM; 0: the adder will be called.
 */
int plug_add(struct plug *plug, struct disk_config *config, const struct plug_adder *adder,
	     struct error *err);

/*
 * Asks the guest for a disk; asks again where it was asked before. After `force_ms` it is taken away
 * whatever the guest says; -1: never. -EALREADY: it has been given up and is about to be no more.
 */
int plug_remove(struct plug *plug, struct machine_disk *disk, int64_t force_ms,
		const struct plug_waiter *waiter, struct error *err);

/* The waiter has lost interest; the removal goes on. */
void plug_forget_waiter(struct plug *plug, const void *opaque);

#endif
