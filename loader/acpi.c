/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Puts the ACPI tables one behind the other into guest memory: RSDP, DSDT, FADT, MADT, MCFG, XSDT.
 * Main only, before the vCPUs start. What the devices are is dsdt.c's.
 */
#include "loader/acpi.h"

#include <errno.h>
#include <string.h>

#include "loader/acpi_tables.h"
#include "loader/aml.h"
#include "loader/checksum.h"
#include "loader/dsdt.h"
#include "vmm/power_regs.h"
#include "vmm/x86/layout.h"

#define OEM_ID	     "MVMM  "
#define OEM_TABLE_ID "MVMMX86 "
#define CREATOR_ID   "MVMM"
#define MAX_TABLES   4	 /* in the XSDT */
#define MAX_CPUS     255 /* 8-bit local APIC ids; 0xff is the broadcast */

struct tables {
	struct aml out; /* all of them, in guest memory */
	uint64_t xsdt[MAX_TABLES];
	unsigned ntables;
};

static gpa_t gpa_of(size_t off)
{
	return X86_ACPI_RSDP + off;
}

/* Starts a table on a 16-byte boundary; returns where in the buffer. */
static size_t table_begin(struct aml *out, const char *signature, uint8_t revision)
{
	struct acpi_header header = {
		.revision = revision,
		.oem_id = OEM_ID,
		.oem_revision = 1,
		.creator_revision = 1,
	};
	size_t start;

	while (out->len % 16 && !out->full)
		aml_u8(out, 0);
	start = out->len;
	memcpy(header.signature, signature, 4);
	memcpy(header.oem_table_id, OEM_TABLE_ID, 8);
	memcpy(header.creator_id, CREATOR_ID, 4);
	aml_bytes(out, &header, sizeof(header));
	return start;
}

static gpa_t table_end(struct aml *out, size_t start)
{
	struct acpi_header header;

	if (out->full)
		return 0;
	memcpy(&header, out->buf + start, sizeof(header));
	header.length = out->len - start;
	memcpy(out->buf + start, &header, sizeof(header));
	header.checksum = table_checksum(out->buf + start, header.length);
	memcpy(out->buf + start, &header, sizeof(header));
	return gpa_of(start);
}

/* The same for the tables the XSDT lists. */
static void listed_table_end(struct tables *t, size_t start)
{
	t->xsdt[t->ntables++] = table_end(&t->out, start);
}

static gpa_t write_dsdt(struct tables *t, const struct acpi_config *config)
{
	size_t start = table_begin(&t->out, "DSDT", 2); /* 2: integers have 64 bits */

	dsdt_write(&t->out, config);
	return table_end(&t->out, start);
}

static struct acpi_gas power_reg(unsigned off)
{
	return (struct acpi_gas){ .space = ACPI_GAS_IO,
				  .bit_width = 8,
				  .access = ACPI_GAS_BYTE,
				  .address = X86_PORT_POWER + off };
}

static void write_fadt(struct tables *t, gpa_t dsdt)
{
	size_t start = table_begin(&t->out, "FACP", 6);
	struct acpi_fadt fadt = {
		.dsdt = dsdt,
		/* Nor an 8042 keyboard controller: its bit stays 0. */
		.iapc_boot_arch = FADT_BOOT_NO_VGA | FADT_BOOT_NO_CMOS_RTC,
		.flags = FADT_WBINVD | FADT_PROC_C1 | FADT_PWR_BUTTON | FADT_SLP_BUTTON |
			 FADT_RESET_REG_SUP | FADT_HW_REDUCED,
		.reset_reg = power_reg(POWER_RESET),
		.reset_value = POWER_RESET_VALUE,
		.minor_revision = 5,
		.x_dsdt = dsdt,
		.sleep_control = power_reg(POWER_SLEEP_CONTROL),
		.sleep_status = power_reg(POWER_SLEEP_STATUS),
		.hypervisor_id = "MVMM",
	};

	aml_bytes(&t->out, &fadt.facs, sizeof(fadt) - sizeof(fadt.header));
	listed_table_end(t, start);
}

static void write_madt(struct tables *t, unsigned ncpus)
{
	static const struct acpi_madt madt = { .lapic = X86_LAPIC };
	static const struct acpi_madt_ioapic ioapic = {
		.type = 1,
		.length = sizeof(ioapic),
		.address = X86_IOAPIC,
	};
	/* COM1 for kernels that ask for ISA interrupt 4: with no 8259 promised (the flags above)
	 * they map none by themselves. */
	static const struct acpi_madt_override serial = {
		.type = 2,
		.length = sizeof(serial),
		.irq = 4,
		.gsi = X86_GSI_SERIAL,
		.flags = MADT_HIGH_EDGE,
	};
	static const struct acpi_madt_nmi nmi = {
		.type = 4,
		.length = sizeof(nmi),
		.uid = 0xff,
		.lint = 1,
	};
	size_t start = table_begin(&t->out, "APIC", 6);
	unsigned i;

	aml_bytes(&t->out, &madt, sizeof(madt));
	for (i = 0; i < ncpus; i++) {
		struct acpi_madt_lapic lapic = {
			.length = sizeof(lapic), .uid = i, .apic_id = i, .flags = 1
		};

		aml_bytes(&t->out, &lapic, sizeof(lapic));
	}
	aml_bytes(&t->out, &ioapic, sizeof(ioapic));
	aml_bytes(&t->out, &serial, sizeof(serial));
	aml_bytes(&t->out, &nmi, sizeof(nmi));
	listed_table_end(t, start);
}

static void write_mcfg(struct tables *t)
{
	static const struct acpi_mcfg mcfg = { .base = X86_ECAM };
	size_t start = table_begin(&t->out, "MCFG", 1);

	aml_bytes(&t->out, &mcfg, sizeof(mcfg));
	listed_table_end(t, start);
}

static gpa_t write_xsdt(struct tables *t)
{
	size_t start = table_begin(&t->out, "XSDT", 1);

	aml_bytes(&t->out, t->xsdt, t->ntables * sizeof(t->xsdt[0]));
	return table_end(&t->out, start);
}

static void fill_rsdp(struct acpi_rsdp *rsdp, gpa_t xsdt)
{
	*rsdp = (struct acpi_rsdp){
		.oem_id = OEM_ID, .revision = 2, .length = sizeof(*rsdp), .xsdt = xsdt
	};
	memcpy(rsdp->signature, "RSD PTR ", 8);
	rsdp->checksum = table_checksum(rsdp, 20);
	rsdp->extended_checksum = table_checksum(rsdp, sizeof(*rsdp));
}

static void write_tables(struct tables *t, const struct acpi_config *config)
{
	struct acpi_rsdp rsdp = { 0 };
	gpa_t dsdt;

	/* First in place, as kernels scan for it, and last to be known. */
	aml_bytes(&t->out, &rsdp, sizeof(rsdp));
	dsdt = write_dsdt(t, config);
	write_fadt(t, dsdt);
	write_madt(t, config->ncpus);
	if (config->pci)
		write_mcfg(t);
	fill_rsdp(&rsdp, write_xsdt(t));
	memcpy(t->out.buf, &rsdp, sizeof(rsdp));
}

int acpi_write(struct guest_memory *mem, const struct acpi_config *config, gpa_t *rsdp,
	       struct error *err)
{
	struct tables t = { .out.cap = X86_ACPI_END - X86_ACPI_RSDP };

	if (config->ncpus == 0 || config->ncpus > MAX_CPUS)
		return error_setx(err, EINVAL, "ACPI tables: %u CPUs, 1 to %u can be described",
				  config->ncpus, MAX_CPUS);
	t.out.buf = guest_memory_ptr(mem, X86_ACPI_RSDP, t.out.cap);
	if (!t.out.buf)
		return error_setx(err, EINVAL, "ACPI tables: guest memory ends below 1 MiB");
	write_tables(&t, config);
	if (t.out.full)
		return error_setx(err, ENOSPC,
				  "ACPI tables: %u CPUs and %u devices need more than %zu"
				  " bytes",
				  config->ncpus, config->nvirtio_mmio, t.out.cap);
	*rsdp = X86_ACPI_RSDP;
	return 0;
}
