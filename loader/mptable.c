/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The MP table: floating pointer, then configuration header and entries right behind it, in the
 * BIOS segment where kernels look (Intel MP specification 1.4, chapter 4). Main only, before the
 * vCPUs start.
 */
#include "loader/mptable.h"

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "loader/checksum.h"
#include "vmm/x86/layout.h"

#define MP_SPEC_1_4 4
#define ISA_BUS	    0
#define MAX_CPUS    254 /* the IOAPIC has the id after the last CPU's; 0xff is everybody */
#define ALL_LAPICS  0xff

/* 4.1 */
struct mp_pointer {
	char signature[4];
	uint32_t table;
	uint8_t length; /* in 16 bytes */
	uint8_t spec;
	uint8_t checksum;
	uint8_t features[5]; /* all 0: a table is present, virtual wire mode */
} __attribute__((packed));

/* 4.2 */
struct mp_header {
	char signature[4];
	uint16_t length;
	uint8_t spec;
	uint8_t checksum;
	char oem_id[8];
	char product_id[12];
	uint32_t oem_table;
	uint16_t oem_length;
	uint16_t entries;
	uint32_t lapic;
	uint32_t extended;
} __attribute__((packed));

/* 4.3.1 to 4.3.5; `type` is the entry's number there less one. */
struct mp_cpu {
	uint8_t type;
	uint8_t apic_id;
	uint8_t apic_version;
	uint8_t flags;
	uint32_t signature;
	uint32_t features;
	uint32_t reserved[2];
} __attribute__((packed));

struct mp_bus {
	uint8_t type;
	uint8_t id;
	char name[6];
} __attribute__((packed));

struct mp_ioapic {
	uint8_t type;
	uint8_t id;
	uint8_t version;
	uint8_t flags;
	uint32_t address;
} __attribute__((packed));

struct mp_irq {
	uint8_t type;
	uint8_t irq_type;
	uint16_t flags; /* 0: as the bus has it; for ISA edge-triggered, active high */
	uint8_t bus;
	uint8_t bus_irq;
	uint8_t apic_id;
	uint8_t pin;
} __attribute__((packed));

enum { MP_CPU, MP_BUS, MP_IOAPIC, MP_IO_INT, MP_LOCAL_INT };
enum { MP_INT, MP_NMI, MP_SMI, MP_EXTINT };

#define CPU_ENABLED 1
#define CPU_BOOT    2
#define CPU_FEATURES                                                                               \
	0x201 /* FPU and APIC, all that the specification defines; CPUID has the rest */
#define CPU_SIGNATURE  0x600 /* family 6 */
#define LAPIC_VERSION  0x14
#define IOAPIC_VERSION 0x11
#define IOAPIC_ENABLED 1

#define TABLE_SIZE(ncpus)                                                                          \
	(sizeof(struct mp_pointer) + sizeof(struct mp_header) + (ncpus) * sizeof(struct mp_cpu) +  \
	 sizeof(struct mp_bus) + sizeof(struct mp_ioapic) +                                        \
	 (X86_IOAPIC_PINS + 2) * sizeof(struct mp_irq))

_Static_assert(TABLE_SIZE(MAX_CPUS) <= X86_MPTABLE_END - X86_MPTABLE, "room for every CPU");

struct writer {
	uint8_t *start; /* of the configuration table */
	size_t len;
	unsigned entries;
};

static void put(struct writer *w, const void *entry, size_t len)
{
	memcpy(w->start + w->len, entry, len);
	w->len += len;
	w->entries++;
}

static void put_cpus(struct writer *w, unsigned ncpus)
{
	unsigned i;

	for (i = 0; i < ncpus; i++) {
		struct mp_cpu cpu = {
			.type = MP_CPU,
			.apic_id = i,
			.apic_version = LAPIC_VERSION,
			.flags = CPU_ENABLED | (i == 0 ? CPU_BOOT : 0),
			.signature = CPU_SIGNATURE,
			.features = CPU_FEATURES,
		};

		put(w, &cpu, sizeof(cpu));
	}
}

/*
 * Pin n carries ISA interrupt n, all of them, as KVM's default routes have it (GSI = pin, the PIT's
 * too). Real ISA ends at 15; the entries up to 23 are for virtio-mmio, whose lines Linux would not
 * set up without.
 */
static void put_irqs(struct writer *w, uint8_t ioapic)
{
	unsigned pin;

	for (pin = 0; pin < X86_IOAPIC_PINS; pin++) {
		struct mp_irq irq = { .type = MP_IO_INT,
				      .irq_type = MP_INT,
				      .bus = ISA_BUS,
				      .bus_irq = pin,
				      .apic_id = ioapic,
				      .pin = pin };

		put(w, &irq, sizeof(irq));
	}
}

static void put_local_irqs(struct writer *w)
{
	/* The 8259s reach the boot CPU only; an NMI everybody. */
	static const struct mp_irq extint = {
		.type = MP_LOCAL_INT,
		.irq_type = MP_EXTINT,
		.bus = ISA_BUS,
	};
	static const struct mp_irq nmi = {
		.type = MP_LOCAL_INT,
		.irq_type = MP_NMI,
		.bus = ISA_BUS,
		.apic_id = ALL_LAPICS,
		.pin = 1,
	};

	put(w, &extint, sizeof(extint));
	put(w, &nmi, sizeof(nmi));
}

static void finish(const struct writer *w)
{
	struct mp_header header = {
		.length = w->len,
		.spec = MP_SPEC_1_4,
		.entries = w->entries,
		.lapic = X86_LAPIC,
	};

	memcpy(header.signature, "PCMP", 4);
	memcpy(header.oem_id, "MVMM    ", 8);
	memcpy(header.product_id, "mvmm        ", 12);
	memcpy(w->start, &header, sizeof(header));
	header.checksum = table_checksum(w->start, w->len);
	memcpy(w->start, &header, sizeof(header));
}

static void write_pointer(uint8_t *at)
{
	struct mp_pointer mp = { .table = X86_MPTABLE + sizeof(mp),
				 .length = 1,
				 .spec = MP_SPEC_1_4 };

	memcpy(mp.signature, "_MP_", 4);
	mp.checksum = table_checksum(&mp, sizeof(mp));
	memcpy(at, &mp, sizeof(mp));
}

int mptable_write(struct guest_memory *mem, unsigned ncpus, struct error *err)
{
	const struct mp_bus isa = { .type = MP_BUS,
				    .id = ISA_BUS,
				    .name = { 'I', 'S', 'A', ' ', ' ', ' ' } };
	const struct mp_ioapic ioapic = { .type = MP_IOAPIC,
					  .id = ncpus,
					  .version = IOAPIC_VERSION,
					  .flags = IOAPIC_ENABLED,
					  .address = X86_IOAPIC };
	struct writer w = { .len = sizeof(struct mp_header) };
	uint8_t *base;

	if (ncpus == 0 || ncpus > MAX_CPUS)
		return error_setx(err, EINVAL, "MP table: %u CPUs, 1 to %u can be described", ncpus,
				  MAX_CPUS);
	base = guest_memory_ptr(mem, X86_MPTABLE, TABLE_SIZE(ncpus));
	if (!base)
		return error_setx(err, EINVAL, "MP table: guest memory ends below 1 MiB");
	w.start = base + sizeof(struct mp_pointer);
	put_cpus(&w, ncpus);
	put(&w, &isa, sizeof(isa));
	put(&w, &ioapic, sizeof(ioapic));
	put_irqs(&w, ioapic.id);
	put_local_irqs(&w);
	finish(&w);
	write_pointer(base);
	return 0;
}
