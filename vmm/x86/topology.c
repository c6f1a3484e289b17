/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How CPUID describes the vCPUs to each other: one package, one core per vCPU, one thread per core,
 * APIC ids 0 .. n-1. What KVM passes on here is the host's own topology or nothing at all.
 *
 * Pure functions on a CPUID table; main. Intel SDM vol. 2A CPUID leaves 1, 4, 0xB, 0x1F; AMD APM
 * vol. 3 E.4.5 (CmpLegacy, NC), E.4.15 to E.4.17.
 */
#include <errno.h>
#include <string.h>

#include "vmm/x86/x86.h"

#define F1_EDX_HTT		 (1u << 28)
#define F80000001_ECX_CMP_LEGACY (1u << 1)
#define F80000001_ECX_TOPOEXT	 (1u << 22)

#define LEVEL_SMT  1
#define LEVEL_CORE 2

/* Bits of an APIC id that number the cores: the smallest power of two that holds them all. */
static unsigned core_bits(unsigned nvcpus)
{
	return nvcpus > 1 ? 32 - __builtin_clz(nvcpus - 1) : 0;
}

static uint32_t set_bits(uint32_t reg, unsigned shift, unsigned width, uint32_t value)
{
	const uint32_t max = (1u << width) - 1;

	return (reg & ~(max << shift)) | (value < max ? value : max) << shift;
}

static bool is_amd(struct x86_cpuid *cpuid)
{
	const struct kvm_cpuid_entry2 *e = x86_cpuid_find(cpuid, 0, 0);
	char vendor[12];

	if (!e)
		return false;
	memcpy(vendor, &e->ebx, 4);
	memcpy(vendor + 4, &e->edx, 4);
	memcpy(vendor + 8, &e->ecx, 4);
	return !memcmp(vendor, "AuthenticAMD", 12) || !memcmp(vendor, "HygonGenuine", 12);
}

/* Leaf 1: more than one logical processor, and how many APIC ids the package spans. */
static void set_legacy(struct x86_cpuid *cpuid, unsigned nvcpus)
{
	struct kvm_cpuid_entry2 *e = x86_cpuid_find(cpuid, 1, 0);

	if (!e)
		return;
	e->ebx = set_bits(e->ebx, 16, 8, 1u << core_bits(nvcpus));
	if (nvcpus > 1)
		e->edx |= F1_EDX_HTT;
	else
		e->edx &= ~F1_EDX_HTT;
}

/* Caches of levels 1 and 2 belong to a core, the last one to all. Intel's and AMD's leaves agree in
 * EAX: type (0: none) in bits 4:0, level in 7:5, sharers - 1 in 25:14. */
static void set_cache_sharing(struct kvm_cpuid_entry2 *e, unsigned nvcpus)
{
	const unsigned level = (e->eax >> 5) & 7;

	if (!(e->eax & 0x1f))
		return;
	e->eax = set_bits(e->eax, 14, 12, level >= 3 ? (1u << core_bits(nvcpus)) - 1 : 0);
	if (e->function == 4)
		e->eax = set_bits(e->eax, 26, 6, (1u << core_bits(nvcpus)) - 1);
}

static void set_caches(struct x86_cpuid *cpuid, unsigned nvcpus)
{
	for (unsigned i = 0; i < cpuid->table.nent; i++) {
		struct kvm_cpuid_entry2 *e = &cpuid->table.entries[i];

		if (e->function == 4 || e->function == 0x8000001d)
			set_cache_sharing(e, nvcpus);
	}
}

/* Leaf `function` below the maximum leaf: unlisted ones read as 0. */
static bool has_leaf(struct x86_cpuid *cpuid, uint32_t function)
{
	const struct kvm_cpuid_entry2 *e = x86_cpuid_find(cpuid, function & 0x80000000, 0);

	return e && e->eax >= function;
}

static int set_level(struct x86_cpuid *cpuid, uint32_t function, uint32_t index, uint32_t shift,
		     uint32_t count, uint32_t type)
{
	struct kvm_cpuid_entry2 *e = x86_cpuid_find(cpuid, function, index);

	/* One without an index of its own would answer for all of them. */
	if (!e)
		e = x86_cpuid_add(cpuid, function);
	if (!e)
		return -ENOSPC;
	e->flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX;
	e->index = index;
	e->eax = shift;
	e->ebx = count;
	e->ecx = type << 8 | index;
	e->edx = 0; /* the x2APIC id: x86_topology_set_apic_id() */
	return 0;
}

/* Leaves 0xB and 0x1F are laid out alike: two levels and the end. */
static int set_levels(struct x86_cpuid *cpuid, uint32_t function, unsigned nvcpus)
{
	int ret;

	for (unsigned i = 0; i < cpuid->table.nent; i++) {
		struct kvm_cpuid_entry2 *e = &cpuid->table.entries[i];

		if (e->function == function)
			e->eax = e->ebx = e->ecx = e->edx = 0;
	}
	ret = set_level(cpuid, function, 0, 0, 1, LEVEL_SMT);
	if (!ret)
		ret = set_level(cpuid, function, 1, core_bits(nvcpus), nvcpus, LEVEL_CORE);
	if (!ret)
		ret = set_level(cpuid, function, 2, 0, 0, 0);
	return ret;
}

/* Kernels that know leaf 0xB believe nothing else, so it exists on every vCPU. */
static int set_extended(struct x86_cpuid *cpuid, unsigned nvcpus)
{
	struct kvm_cpuid_entry2 *e = x86_cpuid_find(cpuid, 0, 0);
	int ret;

	if (e && e->eax < 0xb)
		e->eax = 0xb;
	ret = set_levels(cpuid, 0xb, nvcpus);
	if (!ret && has_leaf(cpuid, 0x1f))
		ret = set_levels(cpuid, 0x1f, nvcpus);
	return ret;
}

static int set_amd(struct x86_cpuid *cpuid, unsigned nvcpus)
{
	struct kvm_cpuid_entry2 *e = x86_cpuid_find(cpuid, 0x80000008, 0);
	struct kvm_cpuid_entry2 *features = x86_cpuid_find(cpuid, 0x80000001, 0);

	if (e) {
		e->ecx = set_bits(e->ecx, 0, 8, nvcpus - 1);
		e->ecx = set_bits(e->ecx, 12, 4, core_bits(nvcpus));
	}
	if (features && nvcpus > 1)
		features->ecx |= F80000001_ECX_CMP_LEGACY;
	else if (features)
		features->ecx &= ~F80000001_ECX_CMP_LEGACY;
	/* A newer form of leaf 0xB, which is enough. */
	e = x86_cpuid_find(cpuid, 0x80000026, 0);
	if (e)
		e->eax = e->ebx = e->ecx = e->edx = 0;
	if (!features || !(features->ecx & F80000001_ECX_TOPOEXT) || !has_leaf(cpuid, 0x8000001e))
		return 0;
	if (!x86_cpuid_find(cpuid, 0x8000001e, 0) && !x86_cpuid_add(cpuid, 0x8000001e))
		return -ENOSPC;
	return 0;
}

int x86_topology_complete(struct x86_cpuid *cpuid, unsigned nvcpus)
{
	int ret;

	set_legacy(cpuid, nvcpus);
	set_caches(cpuid, nvcpus);
	ret = set_extended(cpuid, nvcpus);
	if (!ret && is_amd(cpuid))
		ret = set_amd(cpuid, nvcpus);
	return ret;
}

void x86_topology_set_apic_id(struct x86_cpuid *cpuid, uint32_t apic_id)
{
	const bool amd = is_amd(cpuid);

	for (unsigned i = 0; i < cpuid->table.nent; i++) {
		struct kvm_cpuid_entry2 *e = &cpuid->table.entries[i];

		if (e->function == 0xb || (e->function == 0x1f && has_leaf(cpuid, 0x1f)))
			e->edx = apic_id;
		if (e->function == 0x8000001e && amd) {
			e->eax = apic_id;
			e->ebx = apic_id & 0xff; /* core id; one thread per core */
			e->ecx = 0;		 /* node 0 of 1 */
			e->edx = 0;
		}
	}
}
