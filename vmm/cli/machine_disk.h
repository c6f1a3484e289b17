/* SPDX-License-Identifier: Apache-2.0 */
/* The disks of a machine: a list without holes, which main alone looks at and changes. */
#ifndef MVMM_CLI_MACHINE_DISK_H
#define MVMM_CLI_MACHINE_DISK_H

#include <stdbool.h>

#include "virtio/blk/disk_config.h"
#include "virtio/blk/virtio_blk.h"
#include "virtio/virtio_mmio.h"
#include "virtio/virtio_pci.h"
#include "vmm/cli/api/rates.h"
#include "vmm/cli/copying.h"
#include "vmm/cli/disk_call.h"
#include "vmm/cli/plug.h"
#include "vmm/cli/resizing.h"
#include "vmm/error.h"

struct machine;

/* How a disk leaves a running machine: plug.c's. */
struct disk_exit {
	enum { DISK_STAYS, DISK_ASKED, DISK_DRAINS } state;
	struct plug *plug;
	struct plug_waiter waiter;
	struct loop_timer force; /* takes it away without the guest's word */
	struct loop_timer look;	 /* has its thread ended? */
};

/* Its part of a pause of the whole machine: pausing.c's. */
struct disk_pause {
	struct disk_call pause, resume;
	bool told; /* that it has stopped on an error: disk_stop.c's */
};

/* Stays where it is until it is removed. */
struct machine_disk {
	const struct disk_config *config; /* the options', or its own */
	struct disk_config own;		  /* of one that came later */
	char *path;			  /* where it has moved to; owned; NULL: config->path */
	unsigned index;			  /* 0 is vda; no two disks have the same */
	struct virtio_blk blk;
	union {
		struct virtio_pci pci;
		struct virtio_mmio mmio;
	};
	bool ended; /* its thread is gone; ending.c's */
	struct disk_exit exit;
	struct disk_calls calls;
	struct disk_pause pause;
	struct disk_rates rates;  /* the control socket's */
	struct copying copying;	  /* its mirror or backup */
	struct resizing resizing; /* its change of size */
};

static inline const char *machine_disk_path(const struct machine_disk *disk)
{
	return disk->path ? disk->path : disk->config->path;
}

/* All disks of the options, or those that the boot before has left, in order: on an error, none. Main,
 * before the vCPUs run. */
int machine_disks_add(struct machine *m, struct error *err);

/*
 * One more, in the first slot and with the first name that are free. It takes the open image `be`, which
 * is closed on an error. *out may be NULL. Main; vCPUs may run if it is virtio-pci.
 */
int machine_disk_add(struct machine *m, const struct disk_config *config,
		     const struct block_backend *be, struct machine_disk **out, struct error *err);

/* The same, and opens the image. Main, before the vCPUs run. */
int machine_disk_open(struct machine *m, const struct disk_config *config, struct error *err);

/* Its thread has ended, and no vCPU is inside it any more: gives everything back. Main. */
void machine_disk_remove(struct machine *m, struct machine_disk *disk);

/* For disks that no driver has ever started. */
void machine_disks_abandon(struct machine *m);

#endif
