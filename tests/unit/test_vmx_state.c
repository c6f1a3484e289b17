/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The boot vCPU's state against the checks of a VMX CPU (vmx_rules.h): a state that fails one of
 * them boots on SVM and on emulators and dies with reason 0x80000021 on the hosts most users have.
 *
 * The second half breaks a good state on purpose, once per rule at least, so that no row is true
 * for the wrong reason.
 */
#include "tests/unit/vmx_rules.h"

static struct guest boot_state(enum boot_protocol protocol)
{
	const struct boot_entry entry = { .protocol = protocol, .entry = 0x1000200, .arg = 0x7000 };
	struct guest g;

	/* What KVM_GET_SREGS leaves there must not shine through. */
	memset(&g, 0xa5, sizeof(g));
	g.s.apic_base = 0xfee00900;
	x86_boot_sregs(&g.s, protocol);
	x86_boot_regs(&g.r, &entry);
	return g;
}

static void assert_valid(enum boot_protocol protocol)
{
	const struct guest g = boot_state(protocol);
	unsigned broken = 0;

	for (unsigned i = 0; i < RULES; i++) {
		if (rules[i].holds(&g))
			continue;
		print_error("protocol %d breaks the rule %s\n", protocol, rules[i].name);
		broken++;
	}
	assert_int_equal(broken, 0);
}

static void linux64_state_passes_every_check(void **state)
{
	assert_valid(BOOT_LINUX64);
}

static void pvh_state_passes_every_check(void **state)
{
	assert_valid(BOOT_PVH);
}

/* One way to break a state per rule, in either protocol. */
#define BREAKS(X)                                                                                  \
	X(cr0_fixed_bits, g->s.cr0 &= ~CR0_NE)                                                     \
	X(cr0_paging_needs_protection, g->s.cr0 = CR0_PG)                                          \
	X(cr0_upper_half_is_zero, g->s.cr0 |= 1ULL << 32)                                          \
	X(cr0_nw_needs_cd, g->s.cr0 |= CR0_NW)                                                     \
	X(cr4_reserved_bits, g->s.cr4 |= 1 << 15)                                                  \
	X(long_mode_needs_paging_and_pae, g->s.efer |= EFER_LMA; g->s.cr4 = 0)                     \
	X(pcide_only_in_long_mode, g->s.efer = 0; g->s.cr4 |= CR4_PCIDE)                           \
	X(cr3_within_physical_width, g->s.cr3 |= 1ULL << 60)                                       \
	X(cr3_points_to_a_page, g->s.cr3 |= 8)                                                     \
	X(efer_reserved_bits, g->s.efer |= 1 << 9)                                                 \
	X(efer_lma_is_lme_and_paging, g->s.efer ^= EFER_LMA)                                       \
	X(cr8_reserved_bits, g->s.cr8 = 16)                                                        \
	X(tr_selector_in_gdt, g->s.tr.selector |= 4)                                               \
	X(tr_usable, g->s.tr.unusable = 1)                                                         \
	X(tr_busy_tss, g->s.tr.type = 9)                                                           \
	X(tr_system_segment, g->s.tr.s = 1)                                                        \
	X(tr_granularity, g->s.tr.g = 1)                                                           \
	X(tr_base_canonical, g->s.tr.base = 1ULL << 47)                                            \
	X(ldtr_unusable_or_right, g->s.ldt.present = 0)                                            \
	X(cs_usable_code, g->s.cs.type = 10)                                                       \
	X(cs_dpl_fits_ss, g->s.cs.dpl = 3)                                                         \
	X(cs_not_both_long_and_default_32, g->s.efer |= EFER_LMA; g->s.cs.l = g->s.cs.db = 1)      \
	X(cs_granularity, g->s.cs.g = 0)                                                           \
	X(cs_base_upper_half_is_zero, g->s.cs.base = 1ULL << 32)                                   \
	X(ss_writable_data, g->s.ss.type = 1)                                                      \
	X(ss_rpl_is_cs_rpl, g->s.ss.selector |= 3)                                                 \
	X(ss_dpl_is_its_rpl, g->s.ss.dpl = 1)                                                      \
	X(ss_granularity, g->s.ss.g = 0)                                                           \
	X(ss_base_upper_half_is_zero, g->s.ss.base = 1ULL << 32)                                   \
	X(data_accessed, g->s.ds.type = 2)                                                         \
	X(data_readable, g->s.es.type = 9)                                                         \
	X(data_present, g->s.fs.present = 0)                                                       \
	X(data_privilege, g->s.gs.selector |= 3)                                                   \
	X(data_granularity, g->s.ds.limit = 0xfffffffe)                                            \
	X(data_bases, g->s.es.base = 1ULL << 32)                                                   \
	X(table_bases_canonical, g->s.idt.base = 1ULL << 50)                                       \
	X(gdt_covers_the_selectors, g->s.gdt.limit = 0x20)                                         \
	X(rip_fits_the_mode, g->r.rip = 1ULL << 47)                                                \
	X(rflags_reserved_bits, g->r.rflags = 0)                                                   \
	X(rflags_no_vm_in_long_mode, g->s.efer |= EFER_LMA; g->r.rflags |= RFLAGS_VM)

#define DEFINE_BREAK(rule, ...)                                                                    \
	static void break_##rule(struct guest *g)                                                  \
	{                                                                                          \
		__VA_ARGS__;                                                                       \
	}
BREAKS(DEFINE_BREAK)

#define LIST_BREAK(rule, ...) { rule, #rule, break_##rule },

static const struct {
	bool (*rule)(const struct guest *g);
	const char *name;
	void (*apply)(struct guest *g);
} breaks[] = { BREAKS(LIST_BREAK) };

static void every_rule_can_fail(void **state)
{
	assert_int_equal(sizeof(breaks) / sizeof(breaks[0]), RULES);
	for (unsigned i = 0; i < RULES; i++) {
		for (unsigned p = BOOT_LINUX64; p <= BOOT_PVH; p++) {
			struct guest g = boot_state(p);

			breaks[i].apply(&g);
			if (breaks[i].rule(&g))
				fail_msg("%s does not notice", breaks[i].name);
		}
	}
}

static void linux64_enters_as_the_boot_protocol_says(void **state)
{
	const struct guest g = boot_state(BOOT_LINUX64);

	assert_int_equal(g.s.cs.selector, 0x10);
	assert_int_equal(g.s.cs.l, 1);
	assert_int_equal(g.s.ds.selector, 0x18);
	assert_int_equal(g.s.es.selector, 0x18);
	assert_int_equal(g.s.ss.selector, 0x18);
	assert_true(long_mode(&g));
	assert_int_equal(g.s.cr3, X86_BOOT_PML4);
	assert_int_equal(g.r.rip, 0x1000200);
	assert_int_equal(g.r.rsi, 0x7000);
	assert_int_equal(g.r.rflags, 2);
	assert_int_equal(g.s.apic_base, 0xfee00900);
}

static void pvh_enters_as_its_specification_says(void **state)
{
	const struct guest g = boot_state(BOOT_PVH);

	assert_int_equal(g.r.rbx, 0x7000);
	assert_int_equal(g.s.cr0 & (CR0_PE | CR0_PG), CR0_PE);
	assert_int_equal(g.s.cr4, 0);
	assert_int_equal(g.s.efer, 0);
	assert_int_equal(g.s.cs.db, 1);
	assert_int_equal(g.s.cs.l, 0);
	assert_int_equal(g.s.cs.limit, 0xffffffff);
	assert_int_equal(g.s.ss.db, 1);
	assert_int_equal(g.s.tr.limit, 0x67);
	assert_int_equal(g.r.rflags, 2);
}

static void gdt_says_what_the_segment_registers_hold(void **state)
{
	static uint8_t ram[0x10000];
	struct guest_memory mem = { 0 };
	const uint64_t *gdt = (uint64_t *)(ram + X86_BOOT_GDT);

	assert_int_equal(guest_memory_add(&mem, 0, sizeof(ram), ram), 0);
	assert_int_equal(x86_boot_tables(&mem, BOOT_LINUX64), 0);
	assert_int_equal(gdt[0], 0);
	assert_int_equal(gdt[2], 0x00af9b000000ffff);
	assert_int_equal(gdt[3], 0x00cf93000000ffff);
	assert_int_equal(gdt[4], 0x00008b0000000067);
	assert_int_equal(gdt[5], 0);
	assert_int_equal(x86_boot_tables(&mem, BOOT_PVH), 0);
	assert_int_equal(gdt[2], 0x00cf9b000000ffff);
}

/* Walks the tables as a CPU would; -1 where nothing is mapped. */
static uint64_t walk(const uint8_t *ram, uint64_t va)
{
	uint64_t entry = X86_BOOT_PML4;

	for (int shift = 39; shift >= 21; shift -= 9) {
		entry = ((const uint64_t *)(ram + (entry & ~0xfffULL)))[va >> shift & 511];
		if ((entry & 3) != 3)
			return -1;
		if (entry & 1 << 7)
			return (entry & ~((1ULL << shift) - 1)) | (va & ((1ULL << shift) - 1));
	}
	return -1;
}

static void the_first_4_gib_are_mapped_to_themselves(void **state)
{
	static uint8_t ram[0x10000];
	struct guest_memory mem = { 0 };

	assert_int_equal(guest_memory_add(&mem, 0, sizeof(ram), ram), 0);
	assert_int_equal(x86_boot_tables(&mem, BOOT_LINUX64), 0);
	for (uint64_t va = 0; va < 1ULL << 32; va += 1ULL << 20)
		assert_int_equal(walk(ram, va | 0x123), va | 0x123);
	assert_int_equal(walk(ram, 1ULL << 32), -1);
	assert_int_equal(walk(ram, 1ULL << 39), -1);
}

static void too_little_memory_is_an_error(void **state)
{
	static uint8_t ram[0x1000];
	struct guest_memory mem = { 0 };

	assert_int_equal(x86_boot_tables(&mem, BOOT_PVH), -EFAULT);
	assert_int_equal(guest_memory_add(&mem, 0, sizeof(ram), ram), 0);
	assert_int_equal(x86_boot_tables(&mem, BOOT_PVH), 0);
	assert_int_equal(x86_boot_tables(&mem, BOOT_LINUX64), -EFAULT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(linux64_state_passes_every_check),
		cmocka_unit_test(pvh_state_passes_every_check),
		cmocka_unit_test(every_rule_can_fail),
		cmocka_unit_test(linux64_enters_as_the_boot_protocol_says),
		cmocka_unit_test(pvh_enters_as_its_specification_says),
		cmocka_unit_test(gdt_says_what_the_segment_registers_hold),
		cmocka_unit_test(the_first_4_gib_are_mapped_to_themselves),
		cmocka_unit_test(too_little_memory_is_an_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
