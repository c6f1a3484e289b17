/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an architecture must offer; implemented in vmm/<arch>/, chosen by the Makefile. Nothing above
 * this line of the project knows registers.
 */
#ifndef MVMM_ARCH_H
#define MVMM_ARCH_H

#include <stdbool.h>
#include <stdio.h>

#include "vmm/error.h"
#include "vmm/memory.h"
#include "vmm/vcpu.h"
#include "vmm/vm.h"

/* Where and how the boot vCPU starts; filled by loader/. */
enum boot_protocol {
	BOOT_LINUX64, /* Linux x86 64-bit boot protocol: long mode, RSI = zero page */
	BOOT_PVH,     /* PVH: 32-bit protected mode without paging, EBX = hvm_start_info */
};

struct boot_entry {
	enum boot_protocol protocol;
	gpa_t entry;
	gpa_t arg; /* zero page or start_info */
};

/* Where RAM lies: see guest_memory_alloc(). */
void arch_memory_layout(uint64_t *low_max, gpa_t *high_base);

/* Fixed pages KVM needs to know before the first vCPU, then irqchip and PIT. */
int arch_vm_init(struct vm *vm, struct error *err);

/* CPUID, MSRs, LAPIC, MP state; every vCPU, once, on main. */
int arch_vcpu_init(struct vcpu *vcpu, struct error *err);

/* Descriptor tables and page tables in guest memory and the registers of vCPU 0. */
int arch_vcpu_boot(struct vcpu *vcpu, const struct boot_entry *entry, struct error *err);

/* Routes of the chips' own pins, written to `entries`; returns how many. */
unsigned arch_irq_pins(struct kvm_irq_routing_entry *entries, unsigned max);

/* Handles exits that only this architecture has. False: unknown, the VM crashes with a report. */
bool arch_vcpu_exit(struct vcpu *vcpu);

/* On the vCPU's own thread, outside KVM_RUN: halted with interrupts off, or never started? */
bool arch_vcpu_halted(struct vcpu *vcpu);

/* Registers and the bytes at the instruction pointer, for a crash report. On its own thread. */
void arch_vcpu_dump(struct vcpu *vcpu, FILE *out);

#endif
