/* SPDX-License-Identifier: Apache-2.0 */
/* IDT, local APIC, IOAPIC, and the call into ring 0. */
#include "guest/irq.h"
#include "guest/end.h"
#include "guest/start.h"
#include "guest/io.h"
#include "guest/lib.h"

#define IOAPIC		    0xfec00000
#define IOAPIC_WINDOW	    0x10
#define IOAPIC_REDTBL	    0x10
#define LAPIC		    0xfee00000
#define APIC_ID		    0x20
#define APIC_SVR	    0xf0
#define APIC_SVR_ON	    0x1ff /* enabled, spurious vector 0xff */
#define APIC_ICR	    0x300
#define APIC_ICR_HIGH	    0x310
#define APIC_LVT_TIMER	    0x320
#define APIC_TIMER_PERIODIC (1 << 17)
#define APIC_TIMER_COUNT    0x380
#define APIC_TIMER_DIVIDE   0x3e0
#define APIC_DIVIDE_BY_128  0xa
#define TICK_COUNT	    (1 << 20) /* about 0.13 s where the APIC runs at KVM's 1 GHz */
#define X2APIC_MSR	    0x800
#define MSR_APIC_BASE	    0x1b
#define APIC_BASE_X2	    (1 << 10)
#define PIC_MASTER_IMR	    0x21
#define PIC_SLAVE_IMR	    0xa1

#define GATE_INTERRUPT 0x8e

struct gate {
	uint16_t offset_low, selector;
	uint8_t ist, type;
	uint16_t offset_mid;
	uint32_t offset_high, reserved;
};

struct msr {
	uint32_t index;
	uint64_t value;
};

struct waiter {
	const unsigned *vectors;
	unsigned n;
	uint32_t seen;
};

struct cpuid_call {
	uint32_t leaf, subleaf;
	struct cpuid *out;
};

/* start.S */
extern struct gate idt[];
extern char irq_stubs[], irq_stubs_x2apic[], trap_stubs[], ring0_stub[], ring0_sleep[];

static unsigned next_vector = IRQ_VECTOR_FIRST;
static unsigned tick_vector;
static bool x2apic;

uint64_t ring0(uint64_t (*fn)(uint64_t), uint64_t arg)
{
	__asm__ volatile("call ring0_gate"
			 : "+a"(fn), "+D"(arg)
			 :
			 : "rcx", "rdx", "rsi", "r8", "r9", "r10", "r11", "memory", "cc");
	return (uint64_t)fn;
}

static uint64_t do_rdmsr(uint64_t index)
{
	uint32_t lo, hi;

	__asm__ volatile("rdmsr" : "=a"(lo), "=d"(hi) : "c"((uint32_t)index));
	return (uint64_t)hi << 32 | lo;
}

static uint64_t do_wrmsr(uint64_t arg)
{
	const struct msr *msr = (void *)arg;

	__asm__ volatile("wrmsr"
			 :
			 : "c"(msr->index), "a"((uint32_t)msr->value),
			   "d"((uint32_t)(msr->value >> 32))
			 : "memory");
	return 0;
}

static uint64_t do_cpuid(uint64_t arg)
{
	const struct cpuid_call *call = (void *)arg;
	struct cpuid *out = call->out;

	__asm__ volatile("cpuid"
			 : "=a"(out->eax), "=b"(out->ebx), "=c"(out->ecx), "=d"(out->edx)
			 : "a"(call->leaf), "c"(call->subleaf));
	return 0;
}

uint64_t ring0_halt(uint64_t unused)
{
	__asm__ volatile("sti; hlt; cli" : : : "memory");
	return 0;
}

uint64_t ring0_halt_for_good(uint64_t unused)
{
	for (;;)
		__asm__ volatile("cli; hlt");
}

static uint64_t cpu_rdmsr(uint32_t msr)
{
	return ring0(do_rdmsr, msr);
}

void cpu_wrmsr(uint32_t msr, uint64_t value)
{
	const struct msr arg = { msr, value };

	ring0(do_wrmsr, (uintptr_t)&arg);
}

/* In ring 0 because a host that runs ring 3 natively may not see a CPUID there. */
void cpu_id(uint32_t leaf, uint32_t subleaf, struct cpuid *out)
{
	const struct cpuid_call call = { leaf, subleaf, out };

	ring0(do_cpuid, (uintptr_t)&call);
}

bool cpu_is_kvm(void)
{
	struct cpuid id;

	cpu_id(0x40000000, 0, &id);
	return memcmp(&id.ebx, "KVMKVMKVM\0\0\0", 12) == 0;
}

uint32_t apic_read(unsigned reg)
{
	return x2apic ? cpu_rdmsr(X2APIC_MSR + (reg >> 4)) : read32(LAPIC + reg);
}

static void apic_write(unsigned reg, uint32_t value)
{
	if (x2apic)
		cpu_wrmsr(X2APIC_MSR + (reg >> 4), value);
	else
		write32(LAPIC + reg, value);
}

uint32_t irq_apic_id(void)
{
	return x2apic ? apic_read(APIC_ID) : apic_read(APIC_ID) >> 24;
}

uint64_t irq_msi_address_of(uint32_t apic_id)
{
	return LAPIC | apic_id << 12;
}

uint64_t irq_msi_address(void)
{
	return irq_msi_address_of(irq_apic_id());
}

uint32_t ioapic_read(unsigned reg)
{
	write32(IOAPIC, reg);
	return read32(IOAPIC + IOAPIC_WINDOW);
}

static void ioapic_write(unsigned reg, uint32_t value)
{
	write32(IOAPIC, reg);
	write32(IOAPIC + IOAPIC_WINDOW, value);
}

void irq_ioapic_route_to(unsigned pin, unsigned vector, uint32_t apic_id)
{
	ioapic_write(IOAPIC_REDTBL + 2 * pin + 1, apic_id << 24);
	ioapic_write(IOAPIC_REDTBL + 2 * pin, vector);
}

void irq_ioapic_route(unsigned pin, unsigned vector)
{
	irq_ioapic_route_to(pin, vector, irq_apic_id());
}

static void set_gate(unsigned vector, const char *entry)
{
	uintptr_t at = (uintptr_t)entry;

	idt[vector] = (struct gate){
		.offset_low = at,
		.selector = GDT_CODE0,
		.type = GATE_INTERRUPT,
		.offset_mid = at >> 16,
		.offset_high = at >> 32,
	};
}

static void fill_idt(void)
{
	const char *stubs = x2apic ? irq_stubs_x2apic : irq_stubs;

	for (unsigned i = 0; i < 32; i++)
		set_gate(i, trap_stubs + i * TRAP_STUB_SIZE);
	set_gate(TRAP_INVALID_OPCODE, ring0_stub);
	for (unsigned i = 0; i < IRQ_VECTORS; i++)
		set_gate(IRQ_VECTOR_FIRST + i, stubs + i * IRQ_STUB_SIZE);
}

void irq_init(void)
{
	x2apic = option_is("apic", "x2");
	fill_idt();
	outb(PIC_MASTER_IMR, 0xff);
	outb(PIC_SLAVE_IMR, 0xff);
	irq_init_cpu();
}

void irq_init_cpu(void)
{
	if (x2apic)
		cpu_wrmsr(MSR_APIC_BASE, cpu_rdmsr(MSR_APIC_BASE) | APIC_BASE_X2);
	apic_write(APIC_SVR, APIC_SVR_ON);
	ring0(ring0_irq_on, 0);
}

bool irq_x2apic(void)
{
	return x2apic;
}

unsigned irq_alloc(void)
{
	if (next_vector == IRQ_VECTOR_FIRST + IRQ_VECTORS)
		end_abort("out of interrupt vectors");
	return next_vector++;
}

uint32_t irq_seen(const unsigned *vectors, unsigned n)
{
	uint32_t sum = 0;

	for (unsigned i = 0; i < n; i++)
		sum += irq_count[vectors[i] - IRQ_VECTOR_FIRST];
	return sum;
}

void irq_watch_init(struct irq_watch *w, unsigned low, unsigned high)
{
	w->first = (low - IRQ_VECTOR_FIRST) / 2;
	w->words = (high - IRQ_VECTOR_FIRST) / 2 + 1 - w->first;
}

static const volatile uint64_t *watched(const struct irq_watch *w)
{
	return (const volatile uint64_t *)irq_count + w->first;
}

void irq_watch(struct irq_watch *w)
{
	for (unsigned i = 0; i < w->words; i++)
		w->seen[i] = watched(w)[i];
}

void irq_sleep(const struct irq_watch *w)
{
	const volatile uint64_t *now = watched(w);
	const uint64_t *seen = w->seen;
	uint64_t n = w->words;

	__asm__ volatile("call ring0_gate"
			 : "+S"(now), "+D"(seen), "+c"(n)
			 : "a"(ring0_sleep)
			 : "memory", "cc");
}

/* Also so that a lost interrupt is a failed test and not a guest asleep for good. */
unsigned irq_start_tick(void)
{
	if (!tick_vector)
		tick_vector = irq_alloc();
	apic_write(APIC_TIMER_DIVIDE, APIC_DIVIDE_BY_128);
	apic_write(APIC_LVT_TIMER, APIC_TIMER_PERIODIC | tick_vector);
	apic_write(APIC_TIMER_COUNT, TICK_COUNT);
	return tick_vector;
}

/* In x2APIC mode the command is one register of 64 bits (SDM vol. 3, 11.12.9). */
void irq_send(uint32_t apic_id, uint32_t command)
{
	if (x2apic) {
		cpu_wrmsr(X2APIC_MSR + (APIC_ICR >> 4), (uint64_t)apic_id << 32 | command);
		return;
	}
	apic_write(APIC_ICR_HIGH, apic_id << 24);
	apic_write(APIC_ICR, command);
}

/* Ring 0, interrupts off, so that the one waited for cannot come between the look and HLT: STI
 * takes effect with the instruction after it. */
static uint64_t halt_unless_moved(uint64_t arg)
{
	const struct waiter *w = (void *)arg;

	if (irq_seen(w->vectors, w->n) == w->seen)
		ring0_halt(0);
	return 0;
}

static uint64_t halt_if_zero(uint64_t arg)
{
	const volatile uint64_t *word = (void *)arg;

	if (!*word)
		ring0_halt(0);
	return 0;
}

void irq_halt_if_zero(const volatile uint64_t *word)
{
	ring0(halt_if_zero, (uintptr_t)word);
}

bool irq_wait(const unsigned *vectors, unsigned n, uint32_t seen, bool halt)
{
	const struct waiter waiter = { vectors, n, seen };
	uint64_t deadline = time_us() + PATIENCE_US;

	if (halt && !tick_vector)
		irq_start_tick();
	while (irq_seen(vectors, n) == seen) {
		if (time_us() > deadline)
			return false;
		if (halt)
			ring0(halt_unless_moved, (uintptr_t)&waiter);
		else
			cpu_relax();
	}
	return true;
}
