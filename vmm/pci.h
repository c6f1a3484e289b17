/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PCI bus 0: a host bridge, configuration access by port 0xCF8 and by ECAM, and one memory window
 * in which functions place their BARs. Single-function devices, no bridges, no INTx.
 *
 * ECAM and the window are one bus range each; the bridge finds the function by BAR under its own
 * lock, so a moved BAR never touches the sealed bus.
 */
#ifndef MVMM_PCI_H
#define MVMM_PCI_H

#include <linux/pci_regs.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "vmm/bus.h"
#include "vmm/error.h"
#include "vmm/memory.h"

#define PCI_SLOTS	32
#define PCI_CONFIG_SIZE 256

struct pci_func;

struct pci_func_ops {
	/* An access inside BAR 0, on a vCPU's thread, without the bridge's lock. */
	void (*bar_read)(struct pci_func *func, uint64_t off, void *data, unsigned len);
	void (*bar_write)(struct pci_func *func, uint64_t off, const void *data, unsigned len);
	/* BAR 0 decodes at `addr` from now on, or nowhere (`mapped` false). Doorbells follow. Under
	 * the bridge's lock; called only on a real change. */
	void (*bar_moved)(struct pci_func *func, gpa_t addr, bool mapped);
	/* Bytes [off, off + len) of the configuration space: called after the bridge stored the
	 * writable bits, for capabilities with a life of their own (MSI-X control, PCI_CFG).
	 * Without the bridge's lock. May be NULL. */
	void (*config_written)(struct pci_func *func, unsigned off, unsigned len);
	/* Refreshes such bytes before a read. May be NULL. Without the bridge's lock. */
	void (*config_reading)(struct pci_func *func, unsigned off, unsigned len);
};

/* One function and its 256 bytes of configuration. BAR 0 is its only BAR: 32-bit memory. */
struct pci_func {
	uint8_t config[PCI_CONFIG_SIZE];
	uint8_t writable[PCI_CONFIG_SIZE]; /* mask of the bits a guest may change */
	uint32_t bar_size;		   /* power of two, at least 4 KiB; 0: no BAR */
	gpa_t bar_addr;			   /* where it decodes, valid if bar_mapped */
	bool bar_mapped;
	uint8_t cap_end; /* where the next capability goes */
	const struct pci_func_ops *ops;
	void *opaque;
};

struct pci_bus {
	pthread_mutex_t lock;
	struct pci_func *slot[PCI_SLOTS]; /* not owned; slot 0 is the bridge itself */
	struct pci_func bridge;
	uint32_t address; /* the 0xCF8 latch */
	gpa_t window;
	uint64_t window_size;
	gpa_t window_next; /* where the next BAR is preset */
};

/* Registers port 0xCF8/0xCFC on `pio`, ECAM and the BAR window on `mmio`. Main. */
int pci_bus_init(struct pci_bus *pci, struct bus *pio, struct bus *mmio, gpa_t ecam, gpa_t window,
		 uint64_t window_size, struct error *err);

/* Fills the header of a function: ids, class (24 bits), status with a capability list. */
void pci_func_init(struct pci_func *func, uint16_t vendor, uint16_t device, uint32_t class_code,
		   uint8_t revision, uint16_t subsystem);

/* Appends a capability of `len` bytes (its first two, id and next, are filled in here) and returns
 * its offset, or -ENOSPC. Read-only but for what the caller marks in `writable`. */
int pci_func_add_cap(struct pci_func *func, uint8_t id, const void *body, unsigned len);

/* Takes the next free slot, presets BAR 0 in the window. Returns the slot or -ENOSPC. */
int pci_bus_add(struct pci_bus *pci, struct pci_func *func, struct error *err);

#endif
