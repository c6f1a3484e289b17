/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The fixed registers of hardware-reduced ACPI (ACPI 6.5, 4.8.3.7) and the event register of the GED,
 * at one port range:
 *
 *	+0  sleep control (8 bits, rw)	SLP_EN | SLP_TYP 5: power off
 *	+1  sleep status (8 bits, rw1c)
 *	+2  reset (8 bits, w)		POWER_RESET_VALUE: reset
 *	+4  GED events (32 bits, rc)	bit 0: power button pressed; bit 1: look at the
 *				hot-plug registers; read clears
 */
#ifndef MVMM_POWER_H
#define MVMM_POWER_H

#include <stdatomic.h>

#include "vmm/bus.h"
#include "vmm/irq.h"
#include "vmm/power_regs.h"
#include "vmm/vm.h"

struct power {
	struct vm *vm;
	struct irq_line ged;
	_Atomic uint32_t events;
};

int power_init(struct power *power, struct vm *vm, uint64_t port, struct irq_line ged,
	       struct error *err);

/* Any thread: raises GED events (POWER_GED_...). */
void power_raise(struct power *power, uint32_t events);

#endif
