/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An address space of devices: sorted ranges, one type for port I/O and one for memory-mapped I/O.
 *
 * Filled by main, sealed before the vCPUs run, read by all vCPUs without a lock from then on; each
 * device guards its own state. Doorbells never come here: KVM writes their eventfds.
 */
#ifndef MVMM_BUS_H
#define MVMM_BUS_H

#include <stdbool.h>
#include <stdint.h>

#include "vmm/error.h"

#define BUS_MAX_DEVS 64

/*
 * Called on a vCPU's thread. `off` is relative to the range and off + len stays inside it; len is
 * what the guest chose: 1, 2, 4 or 8. A read must fill all of `data` (it is preset to all-ones).
 */
struct bus_ops {
	void (*read)(void *opaque, uint64_t off, void *data, unsigned len);
	void (*write)(void *opaque, uint64_t off, const void *data, unsigned len);
};

struct bus_dev {
	uint64_t base;
	uint64_t len;
	const struct bus_ops *ops;
	void *opaque; /* owned by the caller, outlives the bus */
	const char *name;
};

struct bus {
	struct bus_dev dev[BUS_MAX_DEVS]; /* sorted by base */
	unsigned n;
	bool sealed;
};

/* -EEXIST for an overlap, -ENOSPC when full, -EBUSY once sealed; the message names both devices. */
int bus_add(struct bus *bus, const char *name, uint64_t base, uint64_t len,
	    const struct bus_ops *ops, void *opaque, struct error *err);
void bus_seal(struct bus *bus);

/*
 * An access no device answers reads as all-ones and is dropped when written, at once: kernels probe
 * for hardware that is not here. One that straddles the end of a range counts as unanswered.
 */
void bus_read(const struct bus *bus, uint64_t addr, void *data, unsigned len);
void bus_write(const struct bus *bus, uint64_t addr, const void *data, unsigned len);

#endif
