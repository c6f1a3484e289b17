/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside vmm/x86 only. The functions that take plain structs need no KVM: the unit tests hold their
 * results to the manuals' rules.
 */
#ifndef MVMM_X86_X86_H
#define MVMM_X86_X86_H

#include <linux/kvm.h>
#include <stdbool.h>
#include <stdint.h>

#include "vmm/arch.h"
#include "vmm/error.h"
#include "vmm/memory.h"

/* KVM_GET_SUPPORTED_CPUID costs 0.3 ms: asked once, completed once, its APIC ids set per vCPU. */
struct arch_vm {
	struct x86_cpuid *cpuid;
};

/* A CPUID table with room for what is added to it. */
struct x86_cpuid {
	unsigned capacity; /* entries */
	struct kvm_cpuid2 table;
};

struct x86_cpuid_config {
	unsigned nvcpus; /* one thread per core, one package; APIC ids 0 .. nvcpus-1 */
	bool tsc_deadline; /* KVM_CAP_TSC_DEADLINE_TIMER: old kernels can, but do not say so in CPUID */
	uint32_t tsc_khz; /* 0: unknown */
};

/* What KVM supports, unchanged; the caller frees. */
int x86_cpuid_get(int kvm_fd, struct x86_cpuid **cpuid, struct error *err);

/* Everything that does not depend on the vCPU. -ENOSPC when the table has no room. */
int x86_cpuid_complete(struct x86_cpuid *cpuid, const struct x86_cpuid_config *config);
void x86_cpuid_set_apic_id(struct x86_cpuid *cpuid, uint32_t apic_id);

struct kvm_cpuid_entry2 *x86_cpuid_find(struct x86_cpuid *cpuid, uint32_t function, uint32_t index);
/* How many bits a guest physical address may have. */
unsigned x86_cpuid_address_bits(struct x86_cpuid *cpuid);
/* A new entry at the end, all zero but its function; NULL when the table is full. */
struct kvm_cpuid_entry2 *x86_cpuid_add(struct x86_cpuid *cpuid, uint32_t function);

/* Topology leaves, vmm/x86/topology.c; part of the two above. */
int x86_topology_complete(struct x86_cpuid *cpuid, unsigned nvcpus);
void x86_topology_set_apic_id(struct x86_cpuid *cpuid, uint32_t apic_id);

/* MSRs a vCPU starts with; after its CPUID. */
int x86_msr_init(struct vcpu *vcpu, struct error *err);

/*
 * The boot vCPU's registers. Everything but the APIC base in `sregs` is overwritten. Valid on VMX
 * without unrestricted guest, which is the strictest of all hosts.
 */
void x86_boot_sregs(struct kvm_sregs *sregs, enum boot_protocol protocol);
void x86_boot_regs(struct kvm_regs *regs, const struct boot_entry *entry);

/* Can a guest on a CPU with such addresses reach all of its memory? 0 or -EINVAL. */
int x86_check_memory(const struct guest_memory *mem, unsigned address_bits, struct error *err);

/* GDT and, for long mode, page tables. -EFAULT when the guest has too little memory for them. */
int x86_boot_tables(const struct guest_memory *mem, enum boot_protocol protocol);

#endif
