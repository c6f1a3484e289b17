/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How the boot vCPU stands at the kernel's first instruction: registers, descriptor table, page
 * tables. Main, before the vCPU runs. Knows no kernel format: the loader names protocol and entry.
 *
 * Linux: Documentation/arch/x86/boot.rst, "64-bit Boot Protocol". PVH: Xen's docs/misc/pvh.pandoc.
 * Every value obeys the checks a VMX CPU makes at entry (Intel SDM vol. 3, 27.3.1), which are the
 * strictest of all hosts; tests/unit/test_vmx_state.c holds them to it.
 */
#include <errno.h>
#include <string.h>

#include "vmm/kvm.h"
#include "vmm/x86/layout.h"
#include "vmm/x86/x86.h"

/* The selectors Linux asks for by name: __BOOT_CS and __BOOT_DS. */
#define SEL_CODE 0x10
#define SEL_DATA 0x18
#define SEL_TSS	 0x20
#define GDT_SIZE (SEL_TSS + 16) /* a TSS descriptor has two entries in long mode */

#define CR0_PE	 (1 << 0)
#define CR0_ET	 (1 << 4)
#define CR0_NE	 (1 << 5) /* fixed to 1 under VMX */
#define CR0_PG	 (1u << 31)
#define CR4_PAE	 (1 << 5)
#define EFER_LME (1 << 8)
#define EFER_LMA (1 << 10)

#define RFLAGS_FIXED (1 << 1)

/* Segment types, Intel SDM vol. 3, 3.4.5.1 and 3.5; accessed and busy, as VMX wants them. */
#define TYPE_CODE     11
#define TYPE_DATA     3
#define TYPE_BUSY_TSS 11
#define TYPE_LDT      2

#define PTE_PRESENT (1 << 0)
#define PTE_WRITE   (1 << 1)
#define PTE_LARGE   (1 << 7)

#define PAGE_SIZE 4096ULL
#define PTES	  512
#define DIRECTORIES                                                                                \
	4 /* of 1 GiB each: 4 GiB, as the kernel, the tables and the zero page lie below */

static struct kvm_segment flat_segment(uint16_t selector, uint8_t type)
{
	return (struct kvm_segment){
		.base = 0,
		.limit = 0xffffffff,
		.selector = selector,
		.type = type,
		.present = 1,
		.s = 1,
		.g = 1,
	};
}

static struct kvm_segment system_segment(uint16_t selector, uint8_t type, uint32_t limit)
{
	return (struct kvm_segment){
		.base = 0,
		.limit = limit,
		.selector = selector,
		.type = type,
		.present = 1,
	};
}

void x86_boot_sregs(struct kvm_sregs *sregs, enum boot_protocol protocol)
{
	const uint64_t apic_base = sregs->apic_base;
	struct kvm_segment code = flat_segment(SEL_CODE, TYPE_CODE);
	struct kvm_segment data = flat_segment(SEL_DATA, TYPE_DATA);

	memset(sregs, 0, sizeof(*sregs));
	sregs->apic_base = apic_base;
	sregs->cr0 = CR0_PE | CR0_ET | CR0_NE;
	if (protocol == BOOT_LINUX64) {
		sregs->cr0 |= CR0_PG;
		sregs->cr3 = X86_BOOT_PML4;
		sregs->cr4 = CR4_PAE;
		sregs->efer = EFER_LME | EFER_LMA;
		code.l = 1; /* and D/B 0, or the CPU refuses the segment */
	} else {
		code.db = 1;
	}
	data.db = 1;
	sregs->cs = code;
	sregs->ds = sregs->es = sregs->fs = sregs->gs = sregs->ss = data;
	sregs->tr = system_segment(SEL_TSS, TYPE_BUSY_TSS, 0x67);
	sregs->ldt = system_segment(0, TYPE_LDT, 0xffff);
	sregs->gdt.base = X86_BOOT_GDT;
	sregs->gdt.limit = GDT_SIZE - 1;
	/* No IDT: an exception before the kernel has its own is a triple fault, and reported. */
}

void x86_boot_regs(struct kvm_regs *regs, const struct boot_entry *entry)
{
	memset(regs, 0, sizeof(*regs));
	regs->rflags = RFLAGS_FIXED; /* interrupts off */
	regs->rip = entry->entry;
	regs->rsp = X86_BOOT_STACK;
	if (entry->protocol == BOOT_LINUX64)
		regs->rsi = entry->arg;
	else
		regs->rbx = entry->arg;
}

/* Intel SDM vol. 3, figure 3-8. */
static uint64_t descriptor(const struct kvm_segment *seg)
{
	const uint64_t limit = seg->g ? seg->limit >> 12 : seg->limit;

	return (limit & 0xffff) | (seg->base & 0xffffff) << 16 | (uint64_t)seg->type << 40 |
	       (uint64_t)seg->s << 44 | (uint64_t)seg->dpl << 45 | (uint64_t)seg->present << 47 |
	       (limit >> 16 & 0xf) << 48 | (uint64_t)seg->avl << 52 | (uint64_t)seg->l << 53 |
	       (uint64_t)seg->db << 54 | (uint64_t)seg->g << 55 | (seg->base >> 24 & 0xff) << 56;
}

/* What the segment registers were loaded from, for code that loads one again. */
static int write_gdt(const struct guest_memory *mem, enum boot_protocol protocol)
{
	uint64_t gdt[GDT_SIZE / 8] = { 0 };
	struct kvm_sregs sregs = { 0 };

	x86_boot_sregs(&sregs, protocol);
	gdt[SEL_CODE / 8] = descriptor(&sregs.cs);
	gdt[SEL_DATA / 8] = descriptor(&sregs.ds);
	gdt[SEL_TSS / 8] = descriptor(&sregs.tr);
	return guest_memory_write(mem, X86_BOOT_GDT, gdt, sizeof(gdt));
}

/* PML4, PDPT and the directories follow one another, a page each. */
static int write_page_tables(const struct guest_memory *mem)
{
	const gpa_t pdpt = X86_BOOT_PML4 + PAGE_SIZE, dir = pdpt + PAGE_SIZE;
	uint64_t *pte = guest_memory_ptr(mem, X86_BOOT_PML4, (2 + DIRECTORIES) * PAGE_SIZE);

	if (!pte)
		return -EFAULT;
	memset(pte, 0, 2 * PAGE_SIZE);
	pte[0] = pdpt | PTE_PRESENT | PTE_WRITE;
	for (unsigned i = 0; i < DIRECTORIES; i++)
		pte[PTES + i] = (dir + i * PAGE_SIZE) | PTE_PRESENT | PTE_WRITE;
	for (uint64_t i = 0; i < DIRECTORIES * PTES; i++)
		pte[2 * PTES + i] = i << 21 | PTE_PRESENT | PTE_WRITE | PTE_LARGE;
	return 0;
}

int x86_boot_tables(const struct guest_memory *mem, enum boot_protocol protocol)
{
	int ret = write_gdt(mem, protocol);

	if (!ret && protocol == BOOT_LINUX64)
		ret = write_page_tables(mem);
	return ret;
}

int arch_vcpu_boot(struct vcpu *vcpu, const struct boot_entry *entry, struct error *err)
{
	struct kvm_sregs sregs;
	struct kvm_regs regs;
	int ret;

	ret = x86_boot_tables(&vcpu->vm->mem, entry->protocol);
	if (ret)
		return error_setx(err, -ret, "too little guest memory for the boot tables");
	ret = kvm_ioctl(vcpu->fd, KVM_GET_SREGS, &sregs);
	if (ret < 0)
		return error_set(err, -ret, "KVM_GET_SREGS");
	x86_boot_sregs(&sregs, entry->protocol);
	ret = kvm_ioctl(vcpu->fd, KVM_SET_SREGS, &sregs);
	if (ret < 0)
		return error_set(err, -ret, "KVM refuses the boot vCPU's segments");
	x86_boot_regs(&regs, entry);
	ret = kvm_ioctl(vcpu->fd, KVM_SET_REGS, &regs);
	if (ret < 0)
		return error_set(err, -ret, "KVM refuses the boot vCPU's registers");
	return 0;
}
