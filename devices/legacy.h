/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Small ports of the PC, each a few registers:
 *  - i8042: nothing but the reset line (command 0xFE, output port bit 0), as `reboot=k` uses it;
 *  - CMOS: index and data, clock registers that read as the host's UTC, no update in progress;
 *  - pvpanic: the guest says that it panicked (QEMU's protocol: read 3, write bit 0 or 1);
 *  - debug-exit: the guest ends the VM with a value of its choice (QEMU's isa-debug-exit).
 */
#ifndef MVMM_LEGACY_H
#define MVMM_LEGACY_H

#include <stdatomic.h>
#include <stdint.h>
#include <time.h>

#include "vmm/bus.h"
#include "vmm/vm.h"

struct i8042 {
	struct vm *vm;
	_Atomic uint8_t command; /* the last one, if it waits for a data byte; else 0 */
	_Atomic uint8_t drained; /* data reads since the last write, see i8042.c */
};

struct cmos {
	_Atomic uint8_t index;
};

/* Main. What they are given outlives the bus. */
int i8042_init(struct i8042 *kbd, struct vm *vm, struct error *err);
int cmos_init(struct cmos *cmos, struct vm *vm, struct error *err);
/* The date in UTC of a time since 1970, without yday, and without a system call. */
void cmos_date(time_t now, struct tm *tm);
int pvpanic_init(struct vm *vm, struct error *err);
int debug_exit_init(struct vm *vm, uint16_t port, struct error *err);

#endif
