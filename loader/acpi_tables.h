/* SPDX-License-Identifier: Apache-2.0 */
/* Layouts of the static ACPI tables (ACPI 6.5, chapter 5.2). Private to loader/. */
#ifndef MVMM_LOADER_ACPI_TABLES_H
#define MVMM_LOADER_ACPI_TABLES_H

#include <stddef.h>
#include <stdint.h>

/* 5.2.5.3 */
struct acpi_rsdp {
	char signature[8];
	uint8_t checksum; /* of the first 20 bytes */
	char oem_id[6];
	uint8_t revision;
	uint32_t rsdt;
	uint32_t length;
	uint64_t xsdt;
	uint8_t extended_checksum;
	uint8_t reserved[3];
} __attribute__((packed));

/* 5.2.6 */
struct acpi_header {
	char signature[4];
	uint32_t length;
	uint8_t revision;
	uint8_t checksum;
	char oem_id[6];
	char oem_table_id[8];
	uint32_t oem_revision;
	char creator_id[4];
	uint32_t creator_revision;
} __attribute__((packed));

/* 5.2.3.2 */
struct acpi_gas {
	uint8_t space;
	uint8_t bit_width;
	uint8_t bit_offset;
	uint8_t access;
	uint64_t address;
} __attribute__((packed));

#define ACPI_GAS_IO   1
#define ACPI_GAS_BYTE 1

/* 5.2.9; what hardware-reduced ACPI ignores has no name here. */
struct acpi_fadt {
	struct acpi_header header;
	uint32_t facs;
	uint32_t dsdt;
	uint8_t reserved0;
	uint8_t pm_profile;
	uint8_t fixed_hardware[63];
	uint16_t iapc_boot_arch;
	uint8_t reserved1;
	uint32_t flags;
	struct acpi_gas reset_reg;
	uint8_t reset_value;
	uint16_t arm_boot_arch;
	uint8_t minor_revision;
	uint64_t x_facs;
	uint64_t x_dsdt;
	struct acpi_gas x_fixed_hardware[8];
	struct acpi_gas sleep_control;
	struct acpi_gas sleep_status;
	char hypervisor_id[8];
} __attribute__((packed));

_Static_assert(offsetof(struct acpi_fadt, iapc_boot_arch) == 109, "ACPI 6.5, table 5.9");
_Static_assert(offsetof(struct acpi_fadt, reset_reg) == 116, "ACPI 6.5, table 5.9");
_Static_assert(offsetof(struct acpi_fadt, x_dsdt) == 140, "ACPI 6.5, table 5.9");
_Static_assert(offsetof(struct acpi_fadt, sleep_control) == 244, "ACPI 6.5, table 5.9");
_Static_assert(sizeof(struct acpi_fadt) == 276, "ACPI 6.5, table 5.9");

#define FADT_BOOT_NO_VGA      (1 << 2)
#define FADT_BOOT_NO_CMOS_RTC (1 << 5)

#define FADT_WBINVD	   (1 << 0)
#define FADT_PROC_C1	   (1 << 2)
#define FADT_PWR_BUTTON	   (1 << 4) /* the power button is a control method, not fixed hardware */
#define FADT_SLP_BUTTON	   (1 << 5) /* likewise: there is none at all */
#define FADT_RESET_REG_SUP (1 << 10)
#define FADT_HW_REDUCED	   (1 << 20)

/* 5.2.12 */
struct acpi_madt {
	uint32_t lapic;
	uint32_t flags; /* 0: no 8259 pair that must be masked first */
} __attribute__((packed));

struct acpi_madt_lapic {
	uint8_t type, length;
	uint8_t uid;
	uint8_t apic_id;
	uint32_t flags; /* 1: enabled */
} __attribute__((packed));

struct acpi_madt_ioapic {
	uint8_t type, length;
	uint8_t id;
	uint8_t reserved;
	uint32_t address;
	uint32_t gsi_base;
} __attribute__((packed));

struct acpi_madt_override {
	uint8_t type, length;
	uint8_t bus; /* 0: ISA */
	uint8_t irq;
	uint32_t gsi;
	uint16_t flags;
} __attribute__((packed));

#define MADT_HIGH_EDGE 0x5 /* table 5.26: active high, edge-triggered */

struct acpi_madt_nmi {
	uint8_t type, length;
	uint8_t uid; /* 0xff: all */
	uint16_t flags;
	uint8_t lint;
} __attribute__((packed));

/* PCI firmware specification 3.0, 4.1.2 */
struct acpi_mcfg {
	uint64_t reserved;
	uint64_t base;
	uint16_t segment;
	uint8_t first_bus;
	uint8_t last_bus;
	uint32_t reserved1;
} __attribute__((packed));

#endif
