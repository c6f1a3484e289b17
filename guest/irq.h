/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Interrupts as ring 3 sees them: a counter per vector that a stub of three instructions raises.
 * And what only ring 0 may do, by a call gate of our own.
 */
#ifndef GUEST_IRQ_H
#define GUEST_IRQ_H

#include <stdbool.h>
#include <stdint.h>

#include "guest/start.h"

struct cpuid {
	uint32_t eax, ebx, ecx, edx;
};

/* IDT and PIC (masked), then this CPU. */
void irq_init(void);
/* This CPU's local APIC (x2APIC mode with `apic=x2` on the command line), interrupts on. */
void irq_init_cpu(void);
bool irq_x2apic(void);

/* A vector of one's own. */
unsigned irq_alloc(void);
uint32_t irq_seen(const unsigned *vectors, unsigned n); /* the sum */

/* What a vector's stub counts in. */
extern volatile uint32_t irq_count[IRQ_VECTORS]; /* start.S */

static inline const volatile uint32_t *irq_counter(unsigned vector)
{
	return &irq_count[vector - IRQ_VECTOR_FIRST];
}

/*
 * Sleep that misses nothing: irq_watch() copies the counters of a range of vectors, irq_sleep()
 * halts until an interrupt unless one of these has come since.
 */
struct irq_watch {
	unsigned first, words; /* of the counters, in 64 bits */
	uint64_t seen[IRQ_VECTORS / 2];
};

void irq_watch_init(struct irq_watch *w, unsigned low, unsigned high);
void irq_watch(struct irq_watch *w);
void irq_sleep(const struct irq_watch *w);

/* A periodic interrupt of this CPU's timer, about 8 in a second; its vector. */
unsigned irq_start_tick(void);

uint32_t irq_apic_id(void);
/* Fixed interrupt or, with a delivery mode in bits 8-10, another. */
void irq_send(uint32_t apic_id, uint32_t command);

/* Where a message goes that is for a CPU (SDM vol. 3, 11.11); ids up to 254. */
uint64_t irq_msi_address_of(uint32_t apic_id);
uint64_t irq_msi_address(void); /* this CPU */

/* An edge-triggered, active-high pin of the IOAPIC, to this CPU or another. */
void irq_ioapic_route(unsigned pin, unsigned vector);
void irq_ioapic_route_to(unsigned pin, unsigned vector, uint32_t apic_id);
uint32_t ioapic_read(unsigned reg);

uint32_t apic_read(unsigned reg);

/* Waits until irq_seen() of these is no longer `seen`, by HLT or by spinning. False after PATIENCE_US. */
bool irq_wait(const unsigned *vectors, unsigned n, uint32_t seen, bool halt);

/* Sleeps until an interrupt unless the word is no longer zero. */
void irq_halt_if_zero(const volatile uint64_t *word);

/* Calls `fn` in ring 0. */
uint64_t ring0(uint64_t (*fn)(uint64_t arg), uint64_t arg);
uint64_t ring0_irq_on(uint64_t unused);	       /* start.S */
uint64_t ring0_triple_fault(uint64_t unused);  /* start.S */
uint64_t ring0_halt(uint64_t unused);	       /* interrupts on */
uint64_t ring0_halt_for_good(uint64_t unused); /* interrupts off */

void cpu_id(uint32_t leaf, uint32_t subleaf, struct cpuid *out);
bool cpu_is_kvm(void);
void cpu_wrmsr(uint32_t msr, uint64_t value);

#endif
