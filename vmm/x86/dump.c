/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Registers and code of a vCPU that cannot go on. On its own thread, outside KVM_RUN. What KVM does
 * not tell is left out: a report must not fail.
 */
#include <string.h>

#include "vmm/arch.h"
#include "vmm/kvm.h"

#define CODE_BEFORE 16
#define CODE_AFTER  32

static void dump_regs(const struct kvm_regs *r, FILE *out)
{
	const struct {
		const char *name;
		uint64_t value;
	} reg[] = {
		{ "rax", r->rax }, { "rbx", r->rbx },	    { "rcx", r->rcx }, { "rdx", r->rdx },
		{ "rsi", r->rsi }, { "rdi", r->rdi },	    { "rbp", r->rbp }, { "rsp", r->rsp },
		{ " r8", r->r8 },  { " r9", r->r9 },	    { "r10", r->r10 }, { "r11", r->r11 },
		{ "r12", r->r12 }, { "r13", r->r13 },	    { "r14", r->r14 }, { "r15", r->r15 },
		{ "rip", r->rip }, { "rflags", r->rflags },
	};

	for (unsigned i = 0; i < sizeof(reg) / sizeof(reg[0]); i++)
		fprintf(out, "%s%s %016llx",
			i % 4 ? " "
			: i   ? "\n  "
			      : "  ",
			reg[i].name, (unsigned long long)reg[i].value);
	fprintf(out, "\n");
}

static void dump_segment(const char *name, const struct kvm_segment *s, FILE *out)
{
	fprintf(out,
		"  %s %04x base %016llx limit %08x type %2u s %u dpl %u p %u db %u l %u g %u%s\n",
		name, s->selector, (unsigned long long)s->base, s->limit, s->type, s->s, s->dpl,
		s->present, s->db, s->l, s->g, s->unusable ? " unusable" : "");
}

static void dump_sregs(const struct kvm_sregs *s, FILE *out)
{
	dump_segment("cs ", &s->cs, out);
	dump_segment("ss ", &s->ss, out);
	dump_segment("ds ", &s->ds, out);
	dump_segment("es ", &s->es, out);
	dump_segment("fs ", &s->fs, out);
	dump_segment("gs ", &s->gs, out);
	dump_segment("tr ", &s->tr, out);
	dump_segment("ldt", &s->ldt, out);
	fprintf(out, "  gdt base %016llx limit %04x  idt base %016llx limit %04x\n",
		(unsigned long long)s->gdt.base, s->gdt.limit, (unsigned long long)s->idt.base,
		s->idt.limit);
	fprintf(out, "  cr0 %llx cr2 %llx cr3 %llx cr4 %llx cr8 %llx efer %llx apic %llx\n",
		(unsigned long long)s->cr0, (unsigned long long)s->cr2, (unsigned long long)s->cr3,
		(unsigned long long)s->cr4, (unsigned long long)s->cr8, (unsigned long long)s->efer,
		(unsigned long long)s->apic_base);
}

/* One byte at a time: the next one may lie in a page that is not mapped. */
static const uint8_t *guest_byte(struct vcpu *vcpu, uint64_t address)
{
	struct kvm_translation tr = { .linear_address = address };

	if (kvm_ioctl(vcpu->fd, KVM_TRANSLATE, &tr) < 0 || !tr.valid)
		return NULL;
	return guest_memory_ptr(&vcpu->vm->mem, tr.physical_address, 1);
}

static void dump_code(struct vcpu *vcpu, uint64_t rip, FILE *out)
{
	if (!guest_byte(vcpu, rip)) {
		fprintf(out, "  code not readable: no RAM there\n");
		return;
	}
	fprintf(out, "  code");
	for (int i = -CODE_BEFORE; i < CODE_AFTER; i++) {
		const uint8_t *byte = guest_byte(vcpu, rip + i);

		if (byte)
			fprintf(out, i ? " %02x" : " <%02x>", *byte);
		else
			fprintf(out, " --");
	}
	fprintf(out, "\n");
}

/* Intel SDM vol. 3, table 10-1. */
static bool in_reset_state(const struct kvm_regs *regs, const struct kvm_sregs *sregs)
{
	return regs->rip == 0xfff0 && sregs->cs.base == 0xffff0000 && !(sregs->cr0 & 1);
}

void arch_vcpu_dump(struct vcpu *vcpu, FILE *out)
{
	struct kvm_sregs sregs;
	struct kvm_regs regs;

	if (kvm_ioctl(vcpu->fd, KVM_GET_REGS, &regs) < 0 ||
	    kvm_ioctl(vcpu->fd, KVM_GET_SREGS, &sregs) < 0) {
		fprintf(out, "  (KVM does not give the registers)\n");
		return;
	}
	/* SVM leaves nothing of a triple fault, and KVM puts the vCPU into its reset state then. */
	if (in_reset_state(&regs, &sregs))
		fprintf(out, "  (reset state: AMD's CPUs keep no registers of a triple fault)\n");
	dump_regs(&regs, out);
	dump_sregs(&sregs, out);
	dump_code(vcpu, sregs.cs.base + regs.rip, out);
}
