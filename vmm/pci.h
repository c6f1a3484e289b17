/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PCI bus 0: a host bridge, configuration space (pci_config.h has the ways to it), and one memory window
 * in which functions place their BARs. Single-function devices, no bridges, no INTx.
 *
 * The window is one bus range; the bridge finds the function by BAR under its own
 * lock, so a moved BAR never touches the sealed bus.
 *
 * Doorbells follow a BAR lazily. Linux switches decoding off and on around every BAR it sizes, and
 * each ioeventfd that comes or goes costs KVM a grace period; so a function that stops decoding
 * keeps its doorbells where they are (`bar_claimed`), and gives them up only when it decodes
 * elsewhere or when another function's BAR comes to lie there. A guest that writes to such a stale
 * doorbell kicks a queue: harmless.
 *
 * Functions come and go while vCPUs run. One is in its slot before the guest can see it, and after
 * it: pci_func_show() and pci_func_hide() are the guest's view, and only what is hidden and in no
 * vCPU's hands any more can be removed. Its doorbells stay until then.
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
	/*
	 * Doorbells of BAR 0 belong at `addr` from now on (`claimed`), or nowhere. Called on a real
	 * change only: not when decoding is switched off, nor when it comes back at the same place.
	 * Whoever had stale doorbells there has been told to remove them before. Under the bridge's
	 * lock.
	 */
	void (*bar_moved)(struct pci_func *func, gpa_t addr, bool claimed);
	/* The bridge stored the writable bits of bytes [off, off + len): for capabilities that do
	 * something (MSI-X control). Under the bridge's lock, so in the order of the writes. May be
	 * NULL. */
	void (*config_written)(struct pci_func *func, unsigned off, unsigned len);
	/* Bus mastering was switched; pci_func_is_master() says how it stands by now. On a vCPU's
	 * thread, before its write to the command register returns, without the bridge's lock. May be
	 * NULL. */
	void (*master_switched)(struct pci_func *func);
	/* Accesses to the four bytes at `window`: [off, off + len) of them, without the bridge's
	 * lock. Needed only where `window` is set. */
	void (*window_read)(struct pci_func *func, unsigned off, void *data, unsigned len);
	void (*window_write)(struct pci_func *func, unsigned off, const void *data, unsigned len);
};

struct pci_bus;

/* One function and its 256 bytes of configuration. BAR 0 is its only BAR: 32-bit memory. */
struct pci_func {
	uint8_t config[PCI_CONFIG_SIZE];
	uint8_t writable[PCI_CONFIG_SIZE]; /* mask of the bits a guest may change */
	uint32_t bar_size;		   /* power of two, at least 4 KiB; 0: no BAR */
	gpa_t bar_addr;			   /* where it decodes or decoded last, if bar_claimed */
	bool bar_mapped;		   /* it decodes */
	bool bar_claimed;		   /* its doorbells are at bar_addr */
	bool shown;			   /* the guest finds it */
	bool asked;			   /* ... and may give it up */
	unsigned users;			   /* vCPUs inside an access */
	unsigned slot;			   /* set by pci_bus_add() */
	uint8_t cap_end;		   /* where the next capability goes */
	uint8_t window;	     /* offset of four configuration bytes that are no storage but a door to
			      * elsewhere (VIRTIO_PCI_CAP_PCI_CFG); 0: none */
	struct pci_bus *bus; /* set by pci_bus_add() */
	const struct pci_func_ops *ops;
	void *opaque;
};

struct pci_bus {
	pthread_mutex_t lock;
	struct pci_func *slot[PCI_SLOTS]; /* not owned; slot 0 is the bridge itself */
	uint32_t reserved;		  /* slots that stay empty: see pci_func_surprise() */
	int left_fd; /* eventfd, not owned: no vCPU is in a hidden function any more; -1: none */
	struct pci_func bridge;
	uint32_t address; /* the 0xCF8 latch */
	gpa_t window;
	uint64_t window_size;
};

/* Registers the BAR window on `mmio`; it lies below 4 GiB. Main. */
int pci_bus_init(struct pci_bus *pci, struct bus *mmio, gpa_t window, uint64_t window_size,
		 struct error *err);

/* vCPUs stopped. */
void pci_bus_destroy(struct pci_bus *pci);

/* Fills the header of a function: ids, class (24 bits). The subsystem's vendor is the vendor. */
void pci_func_init(struct pci_func *func, uint16_t vendor, uint16_t device, uint32_t class_code,
		   uint8_t revision, uint16_t subsystem);

/* Appends a capability of `len` bytes (its first two, id and next, are filled in here) and returns
 * its offset, or -ENOSPC. Read-only but for what the caller marks in `writable`. */
int pci_func_add_cap(struct pci_func *func, uint8_t id, const void *body, unsigned len);

/* Takes the first free slot, presets BAR 0 in the window. Returns the slot or -ENOSPC. The guest
 * sees nothing of it yet. Main. */
int pci_bus_add(struct pci_bus *pci, struct pci_func *func, struct error *err);

/* From now on the guest finds the function: everything about it has been settled. Main. */
void pci_func_show(struct pci_func *func);

/* From now on it is gone for the guest: configuration reads all-ones, its BAR is nobody's. vCPUs may
 * still be inside an access. Any thread, but not in an access to the function itself. */
void pci_func_hide(struct pci_func *func);

/* Does the guest find it? Any thread. */
bool pci_func_is_shown(struct pci_func *func);

/* The guest is about to be asked to give it up. Main. */
void pci_func_ask(struct pci_func *func);

/*
 * The guest gives up what is in `slots`, a bit for each, and knows now that they are empty; true:
 * something has been there until now. What it was not asked for stays: its word may be a late one, for
 * what was in the slot before. Any thread, as above.
 */
bool pci_bus_eject(struct pci_bus *pci, uint32_t slots);

/*
 * The function disappears without the guest's word; false: it was hidden already. A guest that still
 * believes it is there would take whatever comes into the slot for it: the slot stays empty until
 * pci_bus_eject(). Main.
 */
bool pci_func_surprise(struct pci_func *func);

/* Takes its doorbells away and gives its slot and its place in the window back; 0. -EBUSY: it is
 * shown, or a vCPU is inside an access; `left_fd` tells of the end of the last one. Main. */
int pci_bus_remove(struct pci_func *func);

/* Is it hidden, and no vCPU inside an access? Then it stays so until it is shown. Main. */
bool pci_func_is_quiet(struct pci_func *func);

/* `len` bytes at `off` of a function's configuration space; all-ones where there is none. A vCPU's
 * thread. */
void pci_config_read(struct pci_bus *pci, unsigned devfn, unsigned off, void *data, unsigned len);
void pci_config_write(struct pci_bus *pci, unsigned devfn, unsigned off, const void *data,
		      unsigned len);

/* A copy of configuration bytes as they are at one moment. Not from ops that run under the lock. */
void pci_func_read_config(struct pci_func *func, unsigned off, void *data, unsigned len);

/* May the function reach memory and send messages (PCI 3.0, 6.2.2)? Not from ops that run under the
 * lock. */
bool pci_func_is_master(struct pci_func *func);

#endif
