/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which disks the next boot of --on-reboot restart has: those of the command line, until one comes or
 * goes, or one is changed; from then on those that this boot has in its end, with the limits and the
 * on-error= that they have then.
 *
 * A list in memory that all boots share, one after another. Whoever has taken over a boot may have
 * written it, and may still do so during the next: it is copied before it is looked at. What came
 * later is opened by the broker again, which is held to the folders of --allow, and all else is
 * checked like an option of anybody's.
 */
#ifndef MVMM_CLI_KEPT_H
#define MVMM_CLI_KEPT_H

#include <limits.h>
#include <stdint.h>

#include "virtio/blk/throttle_limits.h"
#include "vmm/error.h"
#include "vmm/pci.h"

struct machine;

#define KEPT_MAX  (PCI_SLOTS - 1)
#define KEPT_TEXT (4 * PATH_MAX) /* two paths, all of commas, and some keys */

struct kept_disk {
	int option;	      /* the number of the command line's; -1: one that came later */
	char text[KEPT_TEXT]; /* then what --disk would be for it */
	/* As they are by now. */
	struct throttle_limits limits;
	uint8_t on_error;
};

struct kept {
	uint8_t changed; /* 0: the command line holds. A bool may hold nothing but 0 and 1 */
	unsigned n;
	struct kept_disk disk[KEPT_MAX];
};

/* Shared with children to come. NULL on an error. */
struct kept *kept_create(struct error *err);

/* One has come, goes, or is asked for: that one is not kept. Or one has other limits or another on-error=.
 * Main; nothing, where no boot follows. */
void kept_update(const struct machine *m);

/*
 * The disks that the boot before has left, in the order of their names. One of the command line must be
 * there; without one that came later the machine is made all the same, and says so. Main, before the vCPUs
 * run. 0 or -errno; what has been added stays.
 */
int kept_add(struct machine *m, struct error *err);

#endif
