/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest's physical addresses, x86-64.
 *
 *	0x0000_0000 +------------------------+
 *	            | boot GDT, stack,       |  RAM, e820 type 1
 *	            | zero page, page tables,|
 *	            | PVH info, command line |
 *	0x0009_FC00 +------------------------+
 *	            | legacy, VGA (no device)|  e820 reserved
 *	0x000E_0000 | RSDP and ACPI tables   |
 *	0x000F_0000 | MP floating pointer    |
 *	            | and MP table           |
 *	0x0010_0000 +------------------------+
 *	            | RAM: kernel at its     |  e820 type 1
 *	            | preferred address,     |
 *	            | initrd at the top      |
 *	 <= 3 GiB   +------------------------+
 *	0xC000_0000 | PCI BARs               |
 *	0xD000_0000 | virtio-mmio registers  |
 *	0xE000_0000 | ECAM, bus 0            |  e820 reserved
 *	0xFEC0_0000 | IOAPIC                 |
 *	0xFEE0_0000 | local APICs            |
 *	0xFEFF_C000 | KVM identity map, TSS  |  e820 reserved
 *	0x1_0000_0000 ----------------------+
 *	            | the rest of RAM        |  e820 type 1
 *	            +------------------------+
 */
#ifndef MVMM_X86_LAYOUT_H
#define MVMM_X86_LAYOUT_H

#define X86_BOOT_GDT	   0x00000500ULL
#define X86_PVH_START_INFO 0x00006000ULL /* start_info, module list and memory map: one page */
#define X86_ZERO_PAGE	   0x00007000ULL
#define X86_BOOT_STACK	   0x00009000ULL /* grows down, never needed by Linux */
#define X86_BOOT_PML4	   0x00009000ULL /* then PDPT and four page directories: 4 GiB, 2 MiB pages */
#define X86_CMDLINE	   0x00020000ULL
#define X86_CMDLINE_MAX	   0x00010000ULL
#define X86_EBDA	   0x0009fc00ULL /* end of low RAM */
#define X86_ACPI_RSDP	   0x000e0000ULL
#define X86_ACPI_END	   0x000f0000ULL
#define X86_MPTABLE	   0x000f0000ULL
#define X86_MPTABLE_END	   0x00100000ULL
#define X86_HIGH_RAM	   0x00100000ULL

#define X86_HOLE	       0xc0000000ULL /* RAM below 4 GiB ends here at the latest */
#define X86_PCI_BAR_BASE       0xc0000000ULL
#define X86_PCI_BAR_SIZE       0x10000000ULL
#define X86_VIRTIO_MMIO	       0xd0000000ULL
#define X86_VIRTIO_MMIO_STRIDE 0x1000ULL
#define X86_ECAM	       0xe0000000ULL
#define X86_ECAM_SIZE	       0x00100000ULL /* bus 0: 32 devices x 8 functions x 4 KiB */
#define X86_IOAPIC	       0xfec00000ULL
#define X86_LAPIC	       0xfee00000ULL
#define X86_KVM_IDENTITY       0xfeffc000ULL
#define X86_KVM_TSS	       0xfeffd000ULL /* three pages */
#define X86_HOLE_END	       0x100000000ULL

/* Global system interrupts = IOAPIC pins. Edge, active high, all of them: irqfd pulses. */
#define X86_GSI_SERIAL	      4
#define X86_GSI_GED	      5
#define X86_GSI_VIRTIO_MMIO   6
#define X86_VIRTIO_MMIO_COUNT 18 /* pins 6..23 */
#define X86_IOAPIC_PINS	      24

/* Ports; --debug-exit has one of its own. */
#define X86_PORT_I8042	    0x60 /* and 0x64 */
#define X86_PORT_CMOS	    0x70 /* and 0x71 */
#define X86_PORT_SERIAL	    0x3f8
#define X86_PORT_PVPANIC    0x505
#define X86_PORT_POWER	    0x600 /* see devices/power.h */
#define X86_PORT_HOTPLUG    0x610 /* see devices/hotplug.h */
#define X86_PORT_PCI_CONFIG 0xcf8 /* address, then data at +4 */

#endif
