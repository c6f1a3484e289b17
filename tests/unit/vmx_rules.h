/* SPDX-License-Identifier: Apache-2.0 */
/* The checks on the guest's state that a VMX CPU makes at VM entry: Intel SDM vol. 3C, 27.3.1
 * "Checks on the Guest State Area", without "unrestricted guest". Each rule is a row. */
#ifndef MVMM_TESTS_VMX_RULES_H
#define MVMM_TESTS_VMX_RULES_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "vmm/x86/layout.h"
#include "vmm/x86/x86.h"

#define CR0_PE	   (1ULL << 0)
#define CR0_NE	   (1ULL << 5)
#define CR0_NW	   (1ULL << 29)
#define CR0_CD	   (1ULL << 30)
#define CR0_PG	   (1ULL << 31)
#define CR4_PAE	   (1ULL << 5)
#define CR4_VMXE   (1ULL << 13)
#define CR4_PCIDE  (1ULL << 17)
#define EFER_LME   (1ULL << 8)
#define EFER_LMA   (1ULL << 10)
#define EFER_KNOWN (1ULL | EFER_LME | EFER_LMA | 1ULL << 11)
#define RFLAGS_VM  (1ULL << 17)

struct guest {
	struct kvm_sregs s;
	struct kvm_regs r;
};

static inline bool long_mode(const struct guest *g)
{
	return g->s.efer & EFER_LMA;
}

static inline bool canonical(uint64_t address)
{
	return (uint64_t)((int64_t)(address << 16) >> 16) == address;
}

static inline bool granularity(const struct kvm_segment *s)
{
	if ((s->limit & 0xfff) != 0xfff && s->g)
		return false;
	return !(s->limit >> 20) || s->g;
}

static inline unsigned rpl(const struct kvm_segment *s)
{
	return s->selector & 3;
}

static inline bool ti(const struct kvm_segment *s)
{
	return s->selector & 4;
}

/* --- 27.3.1.1: control registers, debug registers, MSRs --- */

/* KVM sets NE itself (it is no guest's choice), but a guest sees what is here. */
static inline bool cr0_fixed_bits(const struct guest *g)
{
	return (g->s.cr0 & CR0_PE) && (g->s.cr0 & CR0_NE);
}

static inline bool cr0_paging_needs_protection(const struct guest *g)
{
	return !(g->s.cr0 & CR0_PG) || (g->s.cr0 & CR0_PE);
}

static inline bool cr0_upper_half_is_zero(const struct guest *g)
{
	return !(g->s.cr0 >> 32);
}

/* Not a check at entry: MOV to CR0 would fault (SDM vol. 3, 2.5), and KVM_SET_SREGS refuses. */
static inline bool cr0_nw_needs_cd(const struct guest *g)
{
	return !(g->s.cr0 & CR0_NW) || (g->s.cr0 & CR0_CD);
}

/* VMXE is set by KVM in what the CPU sees; a guest that has it set would be nested. */
static inline bool cr4_reserved_bits(const struct guest *g)
{
	return !(g->s.cr4 >> 25) && !(g->s.cr4 & 1 << 15) && !(g->s.cr4 & CR4_VMXE);
}

static inline bool long_mode_needs_paging_and_pae(const struct guest *g)
{
	return !long_mode(g) || ((g->s.cr0 & CR0_PG) && (g->s.cr4 & CR4_PAE));
}

static inline bool pcide_only_in_long_mode(const struct guest *g)
{
	return long_mode(g) || !(g->s.cr4 & CR4_PCIDE);
}

/* 36 bits is what every 64-bit CPU has at least. */
static inline bool cr3_within_physical_width(const struct guest *g)
{
	return !(g->s.cr3 >> 36);
}

static inline bool cr3_points_to_a_page(const struct guest *g)
{
	return !(g->s.cr3 & 0xfff);
}

static inline bool efer_reserved_bits(const struct guest *g)
{
	return !(g->s.efer & ~EFER_KNOWN);
}

static inline bool efer_lma_is_lme_and_paging(const struct guest *g)
{
	const bool lme = g->s.efer & EFER_LME, pg = g->s.cr0 & CR0_PG;

	return long_mode(g) == (lme && pg);
}

static inline bool cr8_reserved_bits(const struct guest *g)
{
	return !(g->s.cr8 >> 4);
}

/* --- 27.3.1.2: segment registers --- */

static inline bool tr_selector_in_gdt(const struct guest *g)
{
	return !ti(&g->s.tr);
}

static inline bool tr_usable(const struct guest *g)
{
	return !g->s.tr.unusable && g->s.tr.present;
}

static inline bool tr_busy_tss(const struct guest *g)
{
	return g->s.tr.type == 11 || (!long_mode(g) && g->s.tr.type == 3);
}

static inline bool tr_system_segment(const struct guest *g)
{
	return !g->s.tr.s;
}

static inline bool tr_granularity(const struct guest *g)
{
	return granularity(&g->s.tr);
}

static inline bool tr_base_canonical(const struct guest *g)
{
	return canonical(g->s.tr.base);
}

static inline bool ldtr_unusable_or_right(const struct guest *g)
{
	const struct kvm_segment *s = &g->s.ldt;

	return s->unusable || (!ti(s) && s->type == 2 && !s->s && s->present && granularity(s) &&
			       canonical(s->base));
}

static inline bool cs_usable_code(const struct guest *g)
{
	const struct kvm_segment *s = &g->s.cs;

	return !s->unusable && s->present && s->s && (s->type & 9) == 9;
}

static inline bool cs_dpl_fits_ss(const struct guest *g)
{
	/* 9, 11: non-conforming, equal; 13, 15: conforming, not greater. */
	if (g->s.cs.type == 9 || g->s.cs.type == 11)
		return g->s.cs.dpl == g->s.ss.dpl;
	return g->s.cs.dpl <= g->s.ss.dpl;
}

static inline bool cs_not_both_long_and_default_32(const struct guest *g)
{
	return !(long_mode(g) && g->s.cs.l && g->s.cs.db);
}

static inline bool cs_granularity(const struct guest *g)
{
	return granularity(&g->s.cs);
}

static inline bool cs_base_upper_half_is_zero(const struct guest *g)
{
	return !(g->s.cs.base >> 32);
}

static inline bool ss_writable_data(const struct guest *g)
{
	const struct kvm_segment *s = &g->s.ss;

	return s->unusable || ((s->type == 3 || s->type == 7) && s->s && s->present);
}

static inline bool ss_rpl_is_cs_rpl(const struct guest *g)
{
	return rpl(&g->s.ss) == rpl(&g->s.cs);
}

static inline bool ss_dpl_is_its_rpl(const struct guest *g)
{
	return g->s.ss.dpl == rpl(&g->s.ss);
}

static inline bool ss_granularity(const struct guest *g)
{
	return g->s.ss.unusable || granularity(&g->s.ss);
}

static inline bool ss_base_upper_half_is_zero(const struct guest *g)
{
	return g->s.ss.unusable || !(g->s.ss.base >> 32);
}

/* DS, ES, FS and GS obey the same rules but for the base. */
static inline bool each_data(const struct guest *g, bool (*holds)(const struct kvm_segment *))
{
	const struct kvm_segment *seg[] = { &g->s.ds, &g->s.es, &g->s.fs, &g->s.gs };

	for (unsigned i = 0; i < 4; i++)
		if (!seg[i]->unusable && !holds(seg[i]))
			return false;
	return true;
}

static inline bool is_accessed(const struct kvm_segment *s)
{
	return s->type & 1;
}

static inline bool code_is_readable(const struct kvm_segment *s)
{
	return !(s->type & 8) || (s->type & 2);
}

static inline bool is_present_memory(const struct kvm_segment *s)
{
	return s->s && s->present;
}

static inline bool dpl_covers_rpl(const struct kvm_segment *s)
{
	return s->type > 11 || s->dpl >= rpl(s);
}

static inline bool data_accessed(const struct guest *g)
{
	return each_data(g, is_accessed);
}

static inline bool data_readable(const struct guest *g)
{
	return each_data(g, code_is_readable);
}

static inline bool data_present(const struct guest *g)
{
	return each_data(g, is_present_memory);
}

static inline bool data_privilege(const struct guest *g)
{
	return each_data(g, dpl_covers_rpl);
}

static inline bool data_granularity(const struct guest *g)
{
	return each_data(g, granularity);
}

static inline bool data_bases(const struct guest *g)
{
	return (g->s.ds.unusable || !(g->s.ds.base >> 32)) &&
	       (g->s.es.unusable || !(g->s.es.base >> 32)) && canonical(g->s.fs.base) &&
	       canonical(g->s.gs.base);
}

/* --- 27.3.1.3: descriptor-table registers; KVM's limits are 16 bits wide --- */

static inline bool table_bases_canonical(const struct guest *g)
{
	return canonical(g->s.gdt.base) && canonical(g->s.idt.base);
}

/* Not a check at entry: what the selectors name must be there when they are loaded again. */
static inline bool gdt_covers_the_selectors(const struct guest *g)
{
	const unsigned tss = long_mode(g) ? 16 : 8;

	return g->s.gdt.limit >= (g->s.cs.selector & ~7u) + 7 &&
	       g->s.gdt.limit >= (g->s.ds.selector & ~7u) + 7 &&
	       g->s.gdt.limit >= (g->s.tr.selector & ~7u) + tss - 1;
}

/* --- 27.3.1.4: RIP, RSP, RFLAGS --- */

static inline bool rip_fits_the_mode(const struct guest *g)
{
	return long_mode(g) && g->s.cs.l ? canonical(g->r.rip) : !(g->r.rip >> 32);
}

static inline bool rflags_reserved_bits(const struct guest *g)
{
	return !(g->r.rflags >> 22) && !(g->r.rflags & (1 << 15 | 1 << 5 | 1 << 3)) &&
	       (g->r.rflags & 2);
}

static inline bool rflags_no_vm_in_long_mode(const struct guest *g)
{
	return !long_mode(g) || !(g->r.rflags & RFLAGS_VM);
}

#define RULE(f)                                                                                    \
	{                                                                                          \
#f, f                                                                              \
	}

static const struct rule {
	const char *name;
	bool (*holds)(const struct guest *g);
} rules[] = {
	RULE(cr0_fixed_bits),
	RULE(cr0_paging_needs_protection),
	RULE(cr0_upper_half_is_zero),
	RULE(cr0_nw_needs_cd),
	RULE(cr4_reserved_bits),
	RULE(long_mode_needs_paging_and_pae),
	RULE(pcide_only_in_long_mode),
	RULE(cr3_within_physical_width),
	RULE(cr3_points_to_a_page),
	RULE(efer_reserved_bits),
	RULE(efer_lma_is_lme_and_paging),
	RULE(cr8_reserved_bits),
	RULE(tr_selector_in_gdt),
	RULE(tr_usable),
	RULE(tr_busy_tss),
	RULE(tr_system_segment),
	RULE(tr_granularity),
	RULE(tr_base_canonical),
	RULE(ldtr_unusable_or_right),
	RULE(cs_usable_code),
	RULE(cs_dpl_fits_ss),
	RULE(cs_not_both_long_and_default_32),
	RULE(cs_granularity),
	RULE(cs_base_upper_half_is_zero),
	RULE(ss_writable_data),
	RULE(ss_rpl_is_cs_rpl),
	RULE(ss_dpl_is_its_rpl),
	RULE(ss_granularity),
	RULE(ss_base_upper_half_is_zero),
	RULE(data_accessed),
	RULE(data_readable),
	RULE(data_present),
	RULE(data_privilege),
	RULE(data_granularity),
	RULE(data_bases),
	RULE(table_bases_canonical),
	RULE(gdt_covers_the_selectors),
	RULE(rip_fits_the_mode),
	RULE(rflags_reserved_bits),
	RULE(rflags_no_vm_in_long_mode),
};

#define RULES (sizeof(rules) / sizeof(rules[0]))

#endif
