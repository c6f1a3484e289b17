/* SPDX-License-Identifier: Apache-2.0 */
/* Offsets of what devices/hotplug.c answers to and the ACPI tables announce: words of 32 bits, a bit
 * per PCI slot. */
#ifndef MVMM_HOTPLUG_REGS_H
#define MVMM_HOTPLUG_REGS_H

#define HOTPLUG_INSERTED 0
#define HOTPLUG_ASKED	 4
#define HOTPLUG_EJECT	 8
#define HOTPLUG_SIZE	 12

#endif
