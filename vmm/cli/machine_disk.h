/* SPDX-License-Identifier: Apache-2.0 */
/* The disks of a machine: a list without holes, which main alone looks at and changes. */
#ifndef MVMM_CLI_MACHINE_DISK_H
#define MVMM_CLI_MACHINE_DISK_H

#include <stdbool.h>

#include "virtio/blk/disk_config.h"
#include "virtio/blk/virtio_blk.h"
#include "virtio/virtio_mmio.h"
#include "virtio/virtio_pci.h"
#include "vmm/error.h"

struct machine;

/* Stays where it is until it is removed. */
struct machine_disk {
	const struct disk_config *config; /* outlives it */
	unsigned index;			  /* 0 is vda; no two disks have the same */
	struct virtio_blk blk;
	union {
		struct virtio_pci pci;
		struct virtio_mmio mmio;
	};
	bool ended; /* its thread is gone; ending.c's */
};

/* All disks of the options, in order: on an error, none. Main, before the vCPUs run. */
int machine_disks_add(struct machine *m, struct error *err);

/* For disks that no driver has ever started. */
void machine_disks_abandon(struct machine *m);

#endif
