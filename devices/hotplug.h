/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The registers behind ACPI hot-plug of PCI slots, at one port range; bit n is slot n:
 *
 *	+0  inserted (32 bits, rc)	slots to be looked at: there is a device that is new
 *	+4  asked (32 bits, rc)		slots whose device the guest is asked to give up
 *	+8  eject (32 bits, w)		slots whose device the guest has given up
 *
 * Reading clears; the GED tells when to read. Whoever is told of an eject decides whether there is
 * something in the slot that the guest was asked for.
 */
#ifndef MVMM_HOTPLUG_H
#define MVMM_HOTPLUG_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "devices/power.h"
#include "vmm/bus.h"
#include "vmm/hotplug_regs.h"

struct hotplug_ops {
	/*
	 * The guest gives up `slots`, or says so: a bit for each, at least one. On a vCPU's thread,
	 * before its write returns: afterwards they must look empty, or the guest's next look at the
	 * bus finds the devices again.
	 */
	void (*ejected)(void *opaque, uint32_t slots);
};

struct hotplug {
	struct power *power;
	const struct hotplug_ops *ops;
	void *opaque;
	_Atomic uint32_t inserted; /* to be read by the guest */
	_Atomic uint32_t asked;	   /* to be read by the guest */
};

/* `power` raises the events. Main, before the bus is sealed. */
int hotplug_init(struct hotplug *hp, struct bus *pio, uint64_t port, struct power *power,
		 const struct hotplug_ops *ops, void *opaque, struct error *err);

/* There is a new device in `slot`, and the guest could see it already. Any thread. */
void hotplug_insert(struct hotplug *hp, unsigned slot);

/* Asks the guest for the device in `slot`; may be said again to one that did not listen. */
void hotplug_ask(struct hotplug *hp, unsigned slot);

/* Before another device is shown in `slot`: what the guest has not yet read of the one before is not for
 * this. Main. */
void hotplug_forget(struct hotplug *hp, unsigned slot);

#endif
