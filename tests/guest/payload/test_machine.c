/* SPDX-License-Identifier: Apache-2.0 */
/* The machine around the disks: memory, CPU, timers, interrupt chips, tables, empty places. */
#include "ways.h"
#include "guest/io.h"
#include "guest/irq.h"
#include "guest/lib.h"
#include "tests.h"

#define MIB (1UL << 20)

#define IOAPIC_VERSION 1

#define COM1		 0x3f8
#define COM1_LSR	 0x3fd
#define LSR_DR		 1
#define COM1_IER	 0x3f9
#define COM1_IIR	 0x3fa
#define COM1_MCR	 0x3fc
#define IER_THRI	 2
#define MCR_OUT2_RTS_DTR 0xb
#define SERIAL_PIN	 4

#define UNUSED_PORT   0x2e8
#define UNUSED_MEMORY 0xb0000000

static void memory(void)
{
	uint64_t want = option_u64("ram", 0) * MIB;
	volatile uint64_t *last = (void *)(boot.ram_end - 8);

	/* A PC loses the pages between 640 KiB and 1 MiB. */
	ok(boot.ram_size <= want && boot.ram_size > want - MIB, "%lu KiB of %lu MiB are usable",
	   boot.ram_size >> 10, want / MIB);
	*last = 0x1122334455667788;
	ok(*last == 0x1122334455667788, "the last word below 4 GiB is memory");
}

static void cpu(void)
{
	struct cpuid id;

	ok(cpu_is_kvm(), "the hypervisor leaf says KVM");
	cpu_id(1, 0, &id);
	ok(id.ecx & 1u << 31, "a hypervisor is present");
	ok(id.ecx & 1 << 21, "x2APIC is offered");
	ok(id.ecx & 1 << 24, "the TSC deadline timer is offered");
	ok(id.ebx >> 24 == 0, "this is APIC 0");
	cpu_id(0x40000001, 0, &id);
	ok(id.eax & 1 << 3, "kvm-clock is offered");
	ok(id.eax & 1 << 6, "PV-EOI is offered");
	cpu_id(0xb, 0, &id);
	ok(id.ebx != 0 && id.edx == 0, "the topology leaf is filled in");
}

static void clock(void)
{
	uint64_t begin = time_us(), now = begin, last = begin;
	bool monotonic = true;

	while (now - begin < 20000) {
		now = time_us();
		monotonic &= now >= last;
		last = now;
	}
	ok(monotonic, "time does not go backwards");
}

/* Both ways to make an interrupt that need no device. */
static void apic(void)
{
	unsigned vector = irq_alloc(), tick;
	uint32_t seen = irq_seen(&vector, 1);

	irq_send(irq_apic_id(), vector);
	ok(irq_wait(&vector, 1, seen, false), "an interrupt sent to oneself arrives");
	ok(irq_seen(&vector, 1) == seen + 1, "once");
	ok((ioapic_read(IOAPIC_VERSION) >> 16 & 0xff) == 23, "the IOAPIC has 24 pins");
	tick = irq_start_tick();
	for (unsigned i = 0; i < 2; i++)
		ok(irq_wait(&tick, 1, irq_seen(&tick, 1), true), "the timer wakes a halted CPU");
}

/* The UART interrupts when its transmitter is empty, and again after a byte has gone. */
static void serial_irq(void)
{
	unsigned vector = irq_alloc();
	uint32_t seen = irq_seen(&vector, 1);

	irq_ioapic_route(SERIAL_PIN, vector);
	outb(COM1_MCR, MCR_OUT2_RTS_DTR);
	outb(COM1_IER, IER_THRI);
	ok(irq_wait(&vector, 1, seen, false), "an empty transmitter interrupts");
	inb(COM1_IIR);
	seen = irq_seen(&vector, 1);
	print("#\n");
	ok(irq_wait(&vector, 1, seen, false), "so does one that has become empty");
	outb(COM1_IER, 0);
}

/* A line from the user, far longer than any FIFO, comes whole and in order: it is sent back. */
static void serial_input(void)
{
	uint64_t deadline = time_us() + PATIENCE_US;
	char *line = alloc_pages(PAGE_SIZE);
	unsigned n = 0;

	note("waiting for a line");
	while (n < PAGE_SIZE - 1 && (!n || line[n - 1] != '\n')) {
		if (inb(COM1_LSR) & LSR_DR)
			line[n++] = inb(COM1);
		else if (time_us() > deadline)
			break;
	}
	print("%s", line);
	ok(n && line[n - 1] == '\n', "a line of %u characters came", n);
}

/* Counts boots on the disk and asks for the next, until there were `boots=N`. */
static void boots(void)
{
	uint64_t *count = alloc_pages(SECTOR);

	if (!blk_start(disk(0), BLK_FEATURES, 1, VQ_MAX_SIZE))
		return;
	blk_read(disk(0), 0, count, 1);
	++*count;
	blk_write(disk(0), 0, count, 1);
	blk_flush(disk(0));
	note("boot %lu", *count);
	if (*count < option_u64("boots", 1))
		end_by_name("end-i8042");
	ok(*count == option_u64("boots", 1), "boot %lu is the last", *count);
}

static bool sums_to_zero(const uint8_t *p, size_t n)
{
	uint8_t sum = 0;

	for (size_t i = 0; i < n; i++)
		sum += p[i];
	return sum == 0;
}

static void acpi(void)
{
	const uint8_t *rsdp = (void *)boot.rsdp;
	uint64_t xsdt;
	uint32_t len;

	if (!ok(rsdp && memcmp(rsdp, "RSD PTR ", 8) == 0, "the boot protocol names the RSDP"))
		return;
	if (!ok(rsdp[15] >= 2 && sums_to_zero(rsdp, 20) && sums_to_zero(rsdp, 36),
		"it has a second revision and right checksums"))
		return;
	memcpy(&xsdt, rsdp + 24, 8);
	memcpy(&len, (void *)(xsdt + 4), 4);
	ok(memcmp((void *)xsdt, "XSDT", 4) == 0 && sums_to_zero((void *)xsdt, len),
	   "the XSDT is whole");
	for (uint32_t at = 36; at + 8 <= len; at += 8) {
		uint64_t table;
		uint32_t n;

		memcpy(&table, (void *)(xsdt + at), 8);
		memcpy(&n, (void *)(table + 4), 4);
		ok(sums_to_zero((void *)table, n), "so is %c%c%c%c", read8(table), read8(table + 1),
		   read8(table + 2), read8(table + 3));
	}
}

/* Nobody there: all ones, and writes go nowhere. */
static void nothing(void)
{
	ok(inb(UNUSED_PORT) == 0xff && inw(UNUSED_PORT) == 0xffff && inl(UNUSED_PORT) == ~0u,
	   "an unused port reads as ones");
	outb(UNUSED_PORT, 1);
	outl(UNUSED_PORT, 1);
	ok(read8(UNUSED_MEMORY) == 0xff && read16(UNUSED_MEMORY) == 0xffff &&
		   read32(UNUSED_MEMORY) == ~0u && read64(UNUSED_MEMORY) == ~0ull,
	   "so does unused memory");
	write32(UNUSED_MEMORY, 0);
	write64(UNUSED_MEMORY, 0);
	ok(read32(UNUSED_MEMORY + 0xffd) == ~0u, "and an access that crosses a page");
}

const struct test machine_tests[] = {
	{ "memory", memory },	      { "cpu", cpu },
	{ "clock", clock },	      { "apic", apic },
	{ "serial-irq", serial_irq }, { "serial-input", serial_input },
	{ "boots", boots },	      { "acpi", acpi },
	{ "nothing", nothing },	      { NULL, NULL },
};
