/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CPUID of the vCPUs: what KVM supports, completed with what only the VMM can know.
 *
 * KVM's list is the host's with everything taken out that it cannot virtualize, so it is kept but for
 * what is wrong or missing in it. Main, before the vCPUs run; all but x86_cpuid_get() are pure.
 * Numbers: Intel SDM vol. 2A CPUID, AMD APM vol. 3 appendix E, kernel Documentation/virt/kvm/x86.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/kvm.h"
#include "vmm/x86/x86.h"

#define CPUID_MAX_ENTRIES 4096
#define CPUID_ROOM	  16 /* entries that completing may add */

/* Leaf 1, ECX. */
#define F1_ECX_VMX	    (1u << 5)
#define F1_ECX_PDCM	    (1u << 15)
#define F1_ECX_X2APIC	    (1u << 21)
#define F1_ECX_TSC_DEADLINE (1u << 24)
#define F1_ECX_HYPERVISOR   (1u << 31)

/* Leaf 7: AMX, useless without its tile state (leaf 0xD, EAX bits 17 and 18). */
#define F7_EDX_AMX   ((1u << 22) | (1u << 24) | (1u << 25))
#define F7_1_EAX_AMX (1u << 21)
#define FD_EAX_TILE  ((1u << 17) | (1u << 18))

#define F80000001_ECX_SVM	    (1u << 2)
#define F80000007_EDX_INVARIANT_TSC (1u << 8)

#define KVM_CPUID_BASE	 0x40000000
#define KVM_CPUID_TIMING 0x40000010
#define KVM_APIC_BUS_KHZ 1000000 /* KVM's local APIC timer counts nanoseconds */

static struct x86_cpuid *cpuid_alloc(unsigned entries)
{
	struct x86_cpuid *cpuid;

	cpuid = calloc(1, sizeof(*cpuid) + entries * sizeof(struct kvm_cpuid_entry2));
	if (cpuid)
		cpuid->capacity = entries;
	return cpuid;
}

int x86_cpuid_get(int kvm_fd, struct x86_cpuid **cpuid, struct error *err)
{
	struct x86_cpuid *c;
	int ret;

	for (unsigned n = 128; n <= CPUID_MAX_ENTRIES; n *= 2) {
		c = cpuid_alloc(n + CPUID_ROOM);
		if (!c)
			return error_set(err, ENOMEM, "cannot allocate the CPUID table");
		c->table.nent = n;
		ret = kvm_ioctl(kvm_fd, KVM_GET_SUPPORTED_CPUID, &c->table);
		if (ret >= 0) {
			*cpuid = c;
			return 0;
		}
		free(c);
		if (ret != -E2BIG)
			return error_set(err, -ret, "KVM_GET_SUPPORTED_CPUID");
	}
	return error_set(err, E2BIG, "KVM_GET_SUPPORTED_CPUID");
}

struct kvm_cpuid_entry2 *x86_cpuid_find(struct x86_cpuid *cpuid, uint32_t function, uint32_t index)
{
	for (unsigned i = 0; i < cpuid->table.nent; i++) {
		struct kvm_cpuid_entry2 *e = &cpuid->table.entries[i];

		if (e->function != function)
			continue;
		if (!(e->flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX) || e->index == index)
			return e;
	}
	return NULL;
}

struct kvm_cpuid_entry2 *x86_cpuid_add(struct x86_cpuid *cpuid, uint32_t function)
{
	struct kvm_cpuid_entry2 *e;

	if (cpuid->table.nent == cpuid->capacity)
		return NULL;
	e = &cpuid->table.entries[cpuid->table.nent++];
	memset(e, 0, sizeof(*e));
	e->function = function;
	return e;
}

/* Intel SDM, leaf 80000008: without it 36. KVM tells in bits 16-23 what its page tables can do, where
 * that is less. */
unsigned x86_cpuid_address_bits(struct x86_cpuid *cpuid)
{
	const struct kvm_cpuid_entry2 *e = x86_cpuid_find(cpuid, 0x80000008, 0);
	const unsigned cpu = e ? e->eax & 0xff : 36, kvm = e ? e->eax >> 16 & 0xff : 0;

	return kvm && kvm < cpu ? kvm : cpu;
}

static void complete_features(struct x86_cpuid *cpuid, bool tsc_deadline)
{
	struct kvm_cpuid_entry2 *e = x86_cpuid_find(cpuid, 1, 0);

	if (!e)
		return;
	e->ecx |= F1_ECX_HYPERVISOR | F1_ECX_X2APIC;
	if (tsc_deadline)
		e->ecx |= F1_ECX_TSC_DEADLINE;
}

/* A PMU of version 0 is none: then there are no capabilities of it to be read either. */
static void complete_pmu(struct x86_cpuid *cpuid)
{
	struct kvm_cpuid_entry2 *pmu = x86_cpuid_find(cpuid, 0xa, 0);
	struct kvm_cpuid_entry2 *e = x86_cpuid_find(cpuid, 1, 0);

	if (pmu && (pmu->eax & 0xff))
		return;
	if (pmu)
		pmu->eax = pmu->ebx = pmu->ecx = pmu->edx = 0;
	if (e)
		e->ecx &= ~F1_ECX_PDCM;
}

/*
 * Tile state has to be asked of the kernel per process (arch_prctl), which mvmm does not do. KVM then
 * leaves the state out but the instructions in, and the guest's first use of them would fault.
 */
static void complete_amx(struct x86_cpuid *cpuid)
{
	struct kvm_cpuid_entry2 *xsave = x86_cpuid_find(cpuid, 0xd, 0);
	struct kvm_cpuid_entry2 *e;

	if (xsave && (xsave->eax & FD_EAX_TILE) == FD_EAX_TILE)
		return;
	e = x86_cpuid_find(cpuid, 7, 0);
	if (e)
		e->edx &= ~F7_EDX_AMX;
	e = x86_cpuid_find(cpuid, 7, 1);
	if (e)
		e->eax &= ~F7_1_EAX_AMX;
}

/*
 * Whether a host can encrypt guests is no business of one that is not encrypted: Linux takes the leaf
 * for an invitation to read MSR 0xc0010131, which KVM does not have there, before it can take a #GP.
 * Empty, the leaf is as on a CPU without (AMD APM vol. 3, Fn8000_001F).
 */
static void complete_encryption(struct x86_cpuid *cpuid)
{
	struct kvm_cpuid_entry2 *e = x86_cpuid_find(cpuid, 0x8000001f, 0);

	if (e)
		e->eax = e->ebx = e->ecx = e->edx = 0;
}

/*
 * KVM offers its guests to be hypervisors themselves: a great deal of the host's kernel for a guest
 * to try, which a guest that is there to be tested or to run a job has no use for.
 */
static void complete_virtualization(struct x86_cpuid *cpuid)
{
	struct kvm_cpuid_entry2 *intel = x86_cpuid_find(cpuid, 1, 0);
	struct kvm_cpuid_entry2 *amd = x86_cpuid_find(cpuid, 0x80000001, 0);
	struct kvm_cpuid_entry2 *svm = x86_cpuid_find(cpuid, 0x8000000a, 0);

	if (intel)
		intel->ecx &= ~F1_ECX_VMX;
	if (amd)
		amd->ecx &= ~F80000001_ECX_SVM;
	if (svm)
		svm->eax = svm->ebx = svm->ecx = svm->edx = 0;
}

/*
 * The hypervisor's timing leaf (VMware's, known to Linux, FreeBSD and others): only with a TSC that
 * keeps its frequency, as the guest will not measure it again.
 */
static int complete_timing(struct x86_cpuid *cpuid, uint32_t tsc_khz)
{
	struct kvm_cpuid_entry2 *base = x86_cpuid_find(cpuid, KVM_CPUID_BASE, 0);
	struct kvm_cpuid_entry2 *power = x86_cpuid_find(cpuid, 0x80000007, 0);
	struct kvm_cpuid_entry2 *e;

	if (!tsc_khz || !base || !power || !(power->edx & F80000007_EDX_INVARIANT_TSC))
		return 0;
	e = x86_cpuid_find(cpuid, KVM_CPUID_TIMING, 0);
	if (!e)
		e = x86_cpuid_add(cpuid, KVM_CPUID_TIMING);
	if (!e)
		return -ENOSPC;
	e->eax = tsc_khz;
	e->ebx = KVM_APIC_BUS_KHZ;
	if (base->eax < KVM_CPUID_TIMING) /* the highest leaf of the hypervisor's */
		base->eax = KVM_CPUID_TIMING;
	return 0;
}

/* Unlisted leaves read as 0 anyway, and kernels before 5.10 take no more than 80 entries. */
static void drop_empty(struct x86_cpuid *cpuid)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < cpuid->table.nent; i++) {
		const struct kvm_cpuid_entry2 e = cpuid->table.entries[i];

		if (e.eax | e.ebx | e.ecx | e.edx)
			cpuid->table.entries[kept++] = e;
	}
	cpuid->table.nent = kept;
}

int x86_cpuid_complete(struct x86_cpuid *cpuid, const struct x86_cpuid_config *config)
{
	int ret;

	drop_empty(cpuid);
	complete_features(cpuid, config->tsc_deadline);
	complete_pmu(cpuid);
	complete_amx(cpuid);
	complete_encryption(cpuid);
	complete_virtualization(cpuid);
	ret = complete_timing(cpuid, config->tsc_khz);
	if (ret)
		return ret;
	return x86_topology_complete(cpuid, config->nvcpus);
}

void x86_cpuid_set_apic_id(struct x86_cpuid *cpuid, uint32_t apic_id)
{
	struct kvm_cpuid_entry2 *e = x86_cpuid_find(cpuid, 1, 0);

	if (e)
		e->ebx = (e->ebx & 0x00ffffff) | apic_id << 24;
	x86_topology_set_apic_id(cpuid, apic_id);
}
