/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The DSDT: one function per device, in the order in which Linux shall find them. Addresses come
 * from vmm/x86/layout.h and vmm/power_regs.h alone. Main only.
 */
#include "loader/dsdt.h"

#include <stdio.h>

#include "vmm/hotplug_regs.h"
#include "vmm/power_regs.h"
#include "vmm/x86/layout.h"

/* ACPI 6.5, 7.4.2: the first element is what goes into SLP_TYP of the sleep control register. */
static void sleep_state_s5(struct aml *aml)
{
	size_t s5 = aml_name_package(aml, "\\_S5", 4);
	unsigned i;

	aml_int(aml, POWER_SLP_TYP_S5);
	for (i = 1; i < 4; i++)
		aml_int(aml, 0);
	aml_end(aml, s5);
}

static size_t numbered_device(struct aml *aml, char prefix, unsigned number)
{
	char name[16];

	snprintf(name, sizeof(name), "%c%03X", prefix, number);
	return aml_device(aml, name);
}

static void processor(struct aml *aml, unsigned id)
{
	size_t dev = numbered_device(aml, 'C', id);

	aml_name_string(aml, "_HID", "ACPI0007");
	aml_name_int(aml, "_UID", id); /* pairs with the processor UID of the MADT */
	aml_end(aml, dev);
}

static void serial(struct aml *aml)
{
	size_t dev = aml_device(aml, "COM1");
	size_t crs;

	aml_name_eisa_id(aml, "_HID", "PNP0501");
	aml_name_int(aml, "_UID", 1);
	aml_name_int(aml, "_STA", 0xf);
	crs = aml_crs(aml);
	aml_io(aml, X86_PORT_SERIAL, 8);
	aml_irq_edge(aml, X86_GSI_SERIAL);
	aml_crs_end(aml, crs);
	aml_end(aml, dev);
}

static void pvpanic(struct aml *aml)
{
	size_t dev = aml_device(aml, "PEVT");
	size_t crs;

	aml_name_string(aml, "_HID", "QEMU0001");
	aml_name_int(aml, "_STA", 0xf);
	crs = aml_crs(aml);
	aml_io(aml, X86_PORT_PVPANIC, 1);
	aml_crs_end(aml, crs);
	aml_end(aml, dev);
}

static void power_button(struct aml *aml)
{
	size_t dev = aml_device(aml, "PWRB");

	aml_name_eisa_id(aml, "_HID", "PNP0C0C");
	aml_name_int(aml, "_UID", 0);
	aml_end(aml, dev);
}

/* The slots of a register that clears when it is read, each told of one thing. */
static void notify_slots(struct aml *aml, const char *field, uint32_t slots, uint8_t what)
{
	char path[24];
	size_t bit;

	aml_load_local0(aml, field);
	for (; slots; slots &= slots - 1) {
		snprintf(path, sizeof(path), "\\_SB.PCI0.S%03X", __builtin_ctz(slots));
		bit = aml_if_bit(aml, slots & -slots);
		aml_notify(aml, path, what);
		aml_end(aml, bit);
	}
}

/*
 * Called by the OS for the interrupt of the event device, with its number. Reading clears: every
 * event must come out of the one copy. The slots' registers are looked at last, and whatever the
 * event was: that costs two reads of a rare interrupt, and saves a second copy.
 */
static void event_method(struct aml *aml, uint32_t slots)
{
	size_t method = aml_method(aml, "_EVT", 1);
	size_t button;

	aml_load_local0(aml, "EVTS");
	button = aml_if_bit(aml, POWER_GED_BUTTON);
	aml_notify(aml, "\\_SB.PWRB", 0x80); /* pressed */
	aml_end(aml, button);
	if (slots) {
		notify_slots(aml, "\\_SB.PCI0.HPIN", slots, 1); /* ACPI 6.5, 5.6.6: device check */
		notify_slots(aml, "\\_SB.PCI0.HPAS", slots, 3); /* eject request */
	}
	aml_end(aml, method);
}

/* ACPI 6.5, 5.6.9: hardware-reduced machines have no SCI; events come by an interrupt of their own.
 */
static void event_device(struct aml *aml, uint32_t slots)
{
	size_t dev = aml_device(aml, "GED");
	size_t crs;

	aml_name_string(aml, "_HID", "ACPI0013");
	aml_name_int(aml, "_UID", 0);
	crs = aml_crs(aml);
	aml_irq_edge(aml, X86_GSI_GED);
	aml_crs_end(aml, crs);
	aml_port_u32(aml, "GEDR", "EVTS", X86_PORT_POWER + POWER_GED_EVENTS);
	event_method(aml, slots);
	aml_end(aml, dev);
}

/*
 * ACPI 6.5, 6.3.3: _EJ0 is what makes a slot one whose device can be taken out. No _STA: whether
 * there is a device the bus says, which then cannot say anything else than ACPI does.
 */
static void hotplug_slot(struct aml *aml, unsigned slot)
{
	size_t dev = numbered_device(aml, 'S', slot);
	size_t method;

	aml_name_int(aml, "_ADR", slot << 16);
	aml_name_int(aml, "_SUN", slot);
	method = aml_method(aml, "_EJ0", 1);
	aml_store(aml, 1u << slot, "HPEJ");
	aml_end(aml, method);
	aml_end(aml, dev);
}

static void hotplug(struct aml *aml, uint32_t slots)
{
	aml_port_u32(aml, "HPR0", "HPIN", X86_PORT_HOTPLUG + HOTPLUG_INSERTED);
	aml_port_u32(aml, "HPR1", "HPAS", X86_PORT_HOTPLUG + HOTPLUG_ASKED);
	aml_port_u32(aml, "HPR2", "HPEJ", X86_PORT_HOTPLUG + HOTPLUG_EJECT);
	for (; slots; slots &= slots - 1)
		hotplug_slot(aml, __builtin_ctz(slots));
}

/* No _PRT: functions interrupt by MSI-X only. */
static void host_bridge(struct aml *aml, uint32_t slots)
{
	size_t dev = aml_device(aml, "PCI0");
	size_t crs;

	aml_name_eisa_id(aml, "_HID", "PNP0A08");
	aml_name_eisa_id(aml, "_CID", "PNP0A03");
	aml_name_int(aml, "_UID", 0);
	aml_name_int(aml, "_SEG", 0);
	aml_name_int(aml, "_BBN", 0);
	crs = aml_crs(aml);
	aml_window_bus(aml, 0, 0);
	aml_io(aml, X86_PORT_PCI_CONFIG, 8);
	aml_window_io(aml, 0, X86_PORT_PCI_CONFIG - 1);
	aml_window_io(aml, X86_PORT_PCI_CONFIG + 8, 0xffff);
	aml_window_memory(aml, X86_PCI_BAR_BASE, X86_PCI_BAR_SIZE);
	aml_crs_end(aml, crs);
	if (slots)
		hotplug(aml, slots);
	aml_end(aml, dev);
}

/* PCI firmware specification 3.0, 4.1.2: what MCFG announces must be reserved by a motherboard
 * resource, and not in the bridge's own _CRS. */
static void ecam(struct aml *aml)
{
	size_t dev = aml_device(aml, "ECAM");
	size_t crs;

	aml_name_eisa_id(aml, "_HID", "PNP0C02");
	aml_name_int(aml, "_UID", 0);
	crs = aml_crs(aml);
	aml_memory32(aml, X86_ECAM, X86_ECAM_SIZE);
	aml_crs_end(aml, crs);
	aml_end(aml, dev);
}

static void virtio_mmio(struct aml *aml, unsigned index, const struct acpi_mmio_dev *mmio)
{
	size_t dev = numbered_device(aml, 'V', index);
	size_t crs;

	aml_name_string(aml, "_HID", "LNRO0005");
	aml_name_int(aml, "_UID", index);
	aml_name_int(aml, "_CCA", 1); /* DMA is cache-coherent */
	crs = aml_crs(aml);
	aml_memory32(aml, mmio->base, mmio->size);
	aml_irq_edge(aml, mmio->gsi);
	aml_crs_end(aml, crs);
	aml_end(aml, dev);
}

void dsdt_write(struct aml *aml, const struct acpi_config *config)
{
	size_t sb;
	unsigned i;

	sleep_state_s5(aml);
	sb = aml_scope(aml, "\\_SB");
	for (i = 0; i < config->ncpus; i++)
		processor(aml, i);
	serial(aml);
	pvpanic(aml);
	power_button(aml);
	if (config->pci) {
		ecam(aml);
		host_bridge(aml, config->hotplug);
	}
	event_device(aml, config->hotplug);
	for (i = 0; i < config->nvirtio_mmio; i++)
		virtio_mmio(aml, i, &config->virtio_mmio[i]);
	aml_end(aml, sb);
}
