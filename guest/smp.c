/* SPDX-License-Identifier: Apache-2.0 */
/* Starting further CPUs (SDM vol. 3, 9.4.4), and their loop. */
#include "guest/smp.h"
#include "guest/io.h"
#include "guest/irq.h"
#include "guest/lib.h"
#include "guest/start.h"

#define AP_PAGE	    0x3000 /* where no boot protocol leaves anything */
#define ICR_INIT    0x4500
#define ICR_STARTUP 0x4600
#define STACK_SIZE  16384

struct cpu {
	uint32_t apic_id;
	uint64_t fn; /* void (*)(void *arg); 0: idle */
	void *arg;
};

struct tss {
	uint32_t reserved;
	uint64_t rsp0;
} __attribute__((packed));

extern const char ap_real_mode[]; /* start.S, and below */
extern const uint32_t ap_real_mode_size;
extern char gdt[], tss[];
extern uint16_t ap_tss;
extern uint64_t ap_stack;

static struct cpu cpus[MAX_CPUS];
static unsigned ncpus = 1;
static unsigned wake_vector;

unsigned smp_count(void)
{
	return ncpus;
}

uint32_t smp_apic_id(unsigned cpu)
{
	return cpus[cpu].apic_id;
}

/* A copy of the first CPU's, with a ring-0 stack of its own. */
static void describe_tss(unsigned cpu)
{
	struct tss *mine = alloc_pages(TSS_SIZE);
	uint64_t base = (uintptr_t)mine, *entry = (uint64_t *)(gdt + GDT_TSS + 16 * cpu);

	memcpy(mine, tss, TSS_SIZE);
	mine->rsp0 = (uintptr_t)alloc_pages(STACK_SIZE) + STACK_SIZE;
	entry[0] = (TSS_SIZE - 1) | (base & 0xffffff) << 16 | 0x89ULL << 40 | (base >> 24) << 56;
	entry[1] = base >> 32;
	ap_tss = GDT_TSS + 16 * cpu;
}

bool smp_start(uint32_t apic_id, uint64_t wait_us)
{
	unsigned cpu = ncpus;
	uint64_t deadline;

	if (cpu == MAX_CPUS)
		return false;
	if (!wake_vector)
		wake_vector = irq_alloc();
	memcpy((void *)AP_PAGE, ap_real_mode, ap_real_mode_size);
	describe_tss(cpu);
	ap_stack = (uintptr_t)alloc_pages(STACK_SIZE) + STACK_SIZE;
	irq_send(apic_id, ICR_INIT);
	irq_send(apic_id, ICR_STARTUP | AP_PAGE >> 12);
	deadline = time_us() + wait_us;
	while (__atomic_load_n(&ncpus, __ATOMIC_ACQUIRE) == cpu) {
		if (time_us() > deadline)
			return false;
		cpu_relax();
	}
	return true;
}

/* The first CPU starts no other before ncpus says that this one has taken its stack and TSS. */
void smp_main(void)
{
	struct cpu *me = &cpus[ncpus];

	irq_init_cpu();
	me->apic_id = irq_apic_id();
	__atomic_store_n(&ncpus, ncpus + 1, __ATOMIC_RELEASE);
	for (;;) {
		uint64_t fn = __atomic_load_n(&me->fn, __ATOMIC_ACQUIRE);

		if (!fn) {
			irq_halt_if_zero(&me->fn);
			continue;
		}
		((void (*)(void *))fn)(me->arg);
		__atomic_store_n(&me->fn, 0, __ATOMIC_RELEASE);
	}
}

void smp_run(unsigned cpu, void (*fn)(void *arg), void *arg)
{
	cpus[cpu].arg = arg;
	__atomic_store_n(&cpus[cpu].fn, (uintptr_t)fn, __ATOMIC_RELEASE);
	irq_send(cpus[cpu].apic_id, wake_vector);
}

void smp_wait(unsigned cpu)
{
	while (__atomic_load_n(&cpus[cpu].fn, __ATOMIC_ACQUIRE))
		cpu_relax();
}
