/* SPDX-License-Identifier: Apache-2.0 */
/* One virtual machine, assembled from the options: all its parts, by value, in one place. */
#ifndef MVMM_CLI_MACHINE_H
#define MVMM_CLI_MACHINE_H

#include <stdio.h>

#include "devices/console.h"
#include "devices/legacy.h"
#include "devices/power.h"
#include "devices/serial.h"
#include "loader/acpi.h"
#include "virtio/virtio_mmio_pages.h"
#include "vmm/arch.h"
#include "virtio/blk/throttle_group.h"
#include "vmm/cli/machine_disk.h"
#include "vmm/cli/pausing.h"
#include "vmm/cli/run_options.h"
#include "vmm/error.h"
#include "vmm/pci.h"
#include "vmm/vm.h"

#define MACHINE_MAX_DISKS (PCI_SLOTS - 1) /* slot 0 is the bridge */

struct machine {
	const struct run_options *opt;
	struct sandbox *sandbox;
	struct vm vm;
	struct irq_line serial_line;
	struct irq_line ged_line;
	struct serial serial;
	struct i8042 i8042;
	struct cmos cmos;
	struct power power;
	struct pci_bus pci;
	struct plug plug;
	struct virtio_mmio_pages mmio_pages;
	struct machine_disk *disk[MACHINE_MAX_DISKS]; /* owned; the first `ndisks`, no holes */
	unsigned ndisks;
	struct throttle_groups throttle;
	char *cmdline;
	struct boot_entry entry;
	struct console console;
	struct pausing pausing;
};

/* Disks that a transport has room for. */
unsigned machine_max_disks(enum transport transport);

/*
 * What can be refused without touching KVM or an image: too many disks for the transport (-EINVAL,
 * a usage error).
 */
int machine_check_options(const struct run_options *opt, struct error *err);

/* One image may be given twice only if all of its disks are readonly. -EBUSY. */
int machine_check_images(const struct run_options *opt, struct error *err);

/*
 * Everything up to a machine that only has to be started. `console_fd` stays the caller's; -1: the
 * console goes nowhere. `sandbox` outlives the machine's threads, which enter it. NULL: see `err`, nothing is left behind. Main.
 */
struct machine *machine_create(const struct run_options *opt, int console_fd,
			       struct sandbox *sandbox, struct error *err);

/* The kernel command line for these options; the caller frees it. NULL: out of memory. */
char *machine_cmdline(const struct run_options *opt);

/* Where virtio-mmio device `i` is. */
struct acpi_mmio_dev machine_mmio_slot(unsigned i);

/* The machine in words: memory map, devices, disks, command line. */
void machine_print(const struct machine *m, FILE *out);

#endif
