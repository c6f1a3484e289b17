/* SPDX-License-Identifier: Apache-2.0 */
/* A bus with a function that remembers what it was told, driven by port and by ECAM. */
#ifndef MVMM_TESTS_PCI_RIG_H
#define MVMM_TESTS_PCI_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/bus.h"
#include "vmm/pci.h"
#include "vmm/pci_config.h"

#define ECAM	    0xe0000000ULL
#define WINDOW	    0xc0000000ULL
#define WINDOW_SIZE 0x10000000ULL
#define BAR_SIZE    0x8000u
#define MEMORY	    PCI_COMMAND_MEMORY
#define ABSENT	    0xffffffffu

/* A function that remembers what it was told. */
struct thing {
	struct pci_func func;
	unsigned moves;
	gpa_t doorbells; /* 0: nowhere */
	uint64_t off;
	unsigned accesses;
	unsigned written_off, written_len;
	unsigned switches;
	bool master;
	uint8_t door[4];
};

struct rig {
	struct bus pio, mmio;
	struct pci_bus pci;
	struct thing thing[2];
};

static inline void thing_read(struct pci_func *func, uint64_t off, void *data, unsigned len)
{
	struct thing *thing = func->opaque;

	thing->accesses++;
	thing->off = off;
	memset(data, 0x5a, len);
}

static inline void thing_write(struct pci_func *func, uint64_t off, const void *data, unsigned len)
{
	struct thing *thing = func->opaque;

	thing->accesses++;
	thing->off = off;
}

static inline void thing_moved(struct pci_func *func, gpa_t addr, bool claimed)
{
	struct thing *thing = func->opaque;

	thing->moves++;
	thing->doorbells = claimed ? addr : 0;
}

static inline void thing_config_written(struct pci_func *func, unsigned off, unsigned len)
{
	struct thing *thing = func->opaque;

	thing->written_off = off;
	thing->written_len = len;
}

static inline void thing_master_switched(struct pci_func *func)
{
	struct thing *thing = func->opaque;

	thing->switches++;
	thing->master = pci_func_is_master(func); /* hangs under the bridge's lock */
}

static inline void thing_window_read(struct pci_func *func, unsigned off, void *data, unsigned len)
{
	struct thing *thing = func->opaque;

	memcpy(data, thing->door + off, len);
}

static inline void thing_window_write(struct pci_func *func, unsigned off, const void *data,
				      unsigned len)
{
	struct thing *thing = func->opaque;

	memcpy(thing->door + off, data, len);
}

static const struct pci_func_ops thing_ops = {
	.bar_read = thing_read,
	.bar_write = thing_write,
	.bar_moved = thing_moved,
	.config_written = thing_config_written,
	.master_switched = thing_master_switched,
	.window_read = thing_window_read,
	.window_write = thing_window_write,
};

static inline struct rig *rig_new(void)
{
	struct rig *rig = calloc(1, sizeof(*rig));

	assert_non_null(rig);
	assert_int_equal(pci_bus_init(&rig->pci, &rig->mmio, WINDOW, WINDOW_SIZE, NULL), 0);
	assert_int_equal(pci_config_init(&rig->pci, &rig->pio, &rig->mmio, ECAM, NULL), 0);
	for (unsigned i = 0; i < 2; i++) {
		struct thing *thing = &rig->thing[i];

		pci_func_init(&thing->func, 0x1af4, 0x1042, 0x018000, 1, 0x40 + i);
		thing->func.bar_size = BAR_SIZE;
		thing->func.ops = &thing_ops;
		thing->func.opaque = thing;
		assert_int_equal(pci_bus_add(&rig->pci, &thing->func, NULL), 1 + i);
		pci_func_show(&thing->func);
	}
	return rig;
}

static inline void rig_free(struct rig *rig)
{
	pci_bus_destroy(&rig->pci);
	free(rig);
}

static inline uint32_t ecam_read(struct rig *rig, unsigned slot, unsigned reg, unsigned len)
{
	uint32_t value = 0;

	bus_read(&rig->mmio, ECAM + (slot << 15) + reg, &value, len);
	return value;
}

static inline void ecam_write(struct rig *rig, unsigned slot, unsigned reg, uint32_t value,
			      unsigned len)
{
	bus_write(&rig->mmio, ECAM + (slot << 15) + reg, &value, len);
}

static inline void latch(struct rig *rig, uint32_t address)
{
	bus_write(&rig->pio, 0xcf8, &address, 4);
}

static inline uint32_t port_read(struct rig *rig, unsigned port, unsigned len)
{
	uint32_t value = 0;

	bus_read(&rig->pio, port, &value, len);
	return value;
}

static inline void port_write(struct rig *rig, unsigned port, uint32_t value, unsigned len)
{
	bus_write(&rig->pio, port, &value, len);
}

static inline uint32_t bar(struct rig *rig, unsigned slot)
{
	return ecam_read(rig, slot, PCI_BASE_ADDRESS_0, 4);
}

static inline void set_bar(struct rig *rig, unsigned slot, uint32_t addr)
{
	ecam_write(rig, slot, PCI_BASE_ADDRESS_0, addr, 4);
}

static inline void decode(struct rig *rig, unsigned slot, bool on)
{
	ecam_write(rig, slot, PCI_COMMAND, on ? MEMORY : 0, 2);
}

/* Does a read at `addr` reach thing i? */
static inline bool answers(struct rig *rig, unsigned i, gpa_t addr)
{
	const unsigned before = rig->thing[i].accesses;
	uint32_t value;

	bus_read(&rig->mmio, addr, &value, 4);
	assert_int_equal(value, rig->thing[i].accesses != before ? 0x5a5a5a5a : ABSENT);
	return rig->thing[i].accesses != before;
}

#endif
