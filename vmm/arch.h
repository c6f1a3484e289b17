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
#include "vmm/kvm_caps.h"
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

/* KVM capabilities that only this architecture needs; see vmm/kvm_caps.h. */
const struct kvm_cap *arch_kvm_caps(unsigned *n);

/* Fixed pages KVM needs to know before the first vCPU, then irqchip and PIT. After the memslots,
 * with vm->nvcpus set. arch_vm_destroy() may be called whether this was or not. */
int arch_vm_init(struct vm *vm, struct error *err);
void arch_vm_destroy(struct vm *vm);

/* CPUID, MSRs, LAPIC, MP state; every vCPU, once, on main. */
int arch_vcpu_init(struct vcpu *vcpu, struct error *err);

/* Descriptor tables and page tables in guest memory and the registers of vCPU 0. */
int arch_vcpu_boot(struct vcpu *vcpu, const struct boot_entry *entry, struct error *err);

/* Routes of the chips' own pins, written to `entries`; returns how many. */
unsigned arch_irq_pins(struct kvm_irq_routing_entry *entries, unsigned max);

/* Handles device accesses that only this architecture has (port I/O). False: not one of those. */
bool arch_vcpu_exit(struct vcpu *vcpu);

/* On the vCPU's own thread, outside KVM_RUN: halted with interrupts off, or never started? */
bool arch_vcpu_halted(struct vcpu *vcpu);

/* On the vCPU's own thread, before it runs again after a pause: tells the guest where it has asked to
 * be told. */
void arch_vcpu_resumes(struct vcpu *vcpu);

/* Registers and the bytes at the instruction pointer, for a crash report. On its own thread. */
void arch_vcpu_dump(struct vcpu *vcpu, FILE *out);

/*
 * Runs some thousands of kernel-mode instructions in a throw-away VM and tells how fast they went, in
 * millions per second: a host that executes them natively is in the hundreds at least, one that
 * emulates them one by one near 1. Takes less than 50 ms either way. 0 or -errno.
 */
int arch_probe_native(int kvm_fd, double *mips, struct error *err);

/*
 * What the guest made of the paravirtual offers (x86: x2APIC, kvm-clock, PV-EOI), one line for
 * --verbose. Main, the vCPU's thread joined.
 */
void arch_vcpu_report(struct vcpu *vcpu, FILE *out);

#endif
