/* SPDX-License-Identifier: Apache-2.0 */
/* Offsets and values that devices/power.c answers to and the ACPI tables announce. */
#ifndef MVMM_POWER_REGS_H
#define MVMM_POWER_REGS_H

#define POWER_SLEEP_CONTROL 0
#define POWER_SLEEP_STATUS  1
#define POWER_RESET	    2
#define POWER_GED_EVENTS    4
#define POWER_SIZE	    8

#define POWER_SLP_TYP_S5  5
#define POWER_SLP_EN	  (1 << 5) /* ACPI 6.5, table 4.25: SLP_TYP bits 2-4, SLP_EN bit 5 */
#define POWER_RESET_VALUE 1
#define POWER_GED_BUTTON  1
#define POWER_GED_HOTPLUG 2

#endif
