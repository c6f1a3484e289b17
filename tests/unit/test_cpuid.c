/* SPDX-License-Identifier: Apache-2.0 */
/* What is made of the CPUID table that KVM offers; tables as Intel and AMD hosts give them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/x86/x86.h"

#define ANY 0xffffffff /* a leaf without subleaves */

struct leaf {
	uint32_t function, index, eax, ebx, ecx, edx;
};

/* An Intel host with hyper-threads, 4 cores, PMU, AMX instructions without permitted state. */
static const struct leaf intel[] = {
	{ 0x0, ANY, 0x1f, 0x756e6547, 0x6c65746e, 0x49656e69 },
	{ 0x1, ANY, 0x806f8, 0x05100800, 0x7ed8f3bf, 0xbfebfbff },
	{ 0x2, ANY, 0, 0, 0, 0 },
	{ 0x4, 0, 0x1c004121, 0x02c0003f, 0x3f, 0 },
	{ 0x4, 2, 0x1c004143, 0x03c0003f, 0x7ff, 0 },
	{ 0x4, 3, 0x1c03c163, 0x0380003f, 0x7fff, 4 },
	{ 0x7, 0, 1, 0xf1bf07ab, 0x1b415f6e, 0x03c00000 },
	{ 0x7, 1, 0x00201c30, 0, 0, 0 },
	{ 0xa, ANY, 0x08300802, 0, 0, 0x603 },
	{ 0xb, 0, 1, 2, 0x100, 7 },
	{ 0xb, 1, 4, 8, 0x201, 7 },
	{ 0xd, 0, 0x2e7, 0x988, 0x988, 0 },
	{ 0x1f, 0, 1, 2, 0x100, 7 },
	{ 0x1f, 1, 4, 8, 0x201, 7 },
	{ 0x1f, 2, 6, 16, 0x502, 7 },
	{ 0x80000000, ANY, 0x80000008, 0, 0, 0 },
	{ 0x80000001, ANY, 0, 0, 0x121, 0x2c100800 },
	{ 0x80000007, ANY, 0, 0, 0, 0x100 },
	{ 0x80000008, ANY, 0x302e, 0, 0, 0 },
	{ 0x40000000, ANY, 0x40000001, 0x4b4d564b, 0x564b4d56, 0x4d },
	{ 0x40000001, ANY, 0x01007efb, 0, 0, 0 },
};

/* An AMD host, as kvm_amd in an emulated EPYC gives it: leaf 0xB all zero, no PMU. */
static const struct leaf amd[] = {
	{ 0x0, ANY, 0xd, 0x68747541, 0x444d4163, 0x69746e65 },
	{ 0x1, ANY, 0x00800f12, 0x03020800, 0x76d8220b, 0x0783fbff },
	{ 0xb, 0, 0, 0, 0, 0 },
	{ 0xd, 0, 7, 0x340, 0x340, 0 },
	{ 0x80000000, ANY, 0x8000001f, 0x68747541, 0x444d4163, 0x69746e65 },
	{ 0x80000001, ANY, 0x00800f12, 0, 0x00400393, 0x2fd3fbff },
	{ 0x80000008, ANY, 0x3030, 0, 0x3007, 0 },
	{ 0x8000001d, 0, 0x00004121, 0x01c0003f, 0x3f, 0 },
	{ 0x8000001d, 2, 0x00004143, 0x01c0003f, 0x3ff, 2 },
	{ 0x8000001d, 3, 0x0001c163, 0x03c0003f, 0x1fff, 1 },
	{ 0x80000026, 0, 1, 2, 0x100, 7 },
	{ 0x40000000, ANY, 0x40000001, 0x4b4d564b, 0x564b4d56, 0x4d },
	{ 0x40000001, ANY, 0x01007efb, 0, 0, 0 },
};

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static struct x86_cpuid *make(const struct leaf *leaf, unsigned n, unsigned room)
{
	struct x86_cpuid *c;

	c = calloc(1, sizeof(*c) + (n + room) * sizeof(struct kvm_cpuid_entry2));
	c->capacity = n + room;
	c->table.nent = n;
	for (unsigned i = 0; i < n; i++)
		c->table.entries[i] = (struct kvm_cpuid_entry2){
			.function = leaf[i].function,
			.index = leaf[i].index == ANY ? 0 : leaf[i].index,
			.flags = leaf[i].index == ANY ? 0 : KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
			.eax = leaf[i].eax,
			.ebx = leaf[i].ebx,
			.ecx = leaf[i].ecx,
			.edx = leaf[i].edx,
		};
	return c;
}

static struct x86_cpuid *complete(const struct leaf *leaf, unsigned n, unsigned nvcpus)
{
	const struct x86_cpuid_config config = {
		.nvcpus = nvcpus,
		.tsc_deadline = true,
		.tsc_khz = 2600000,
	};
	struct x86_cpuid *c = make(leaf, n, 16);

	assert_int_equal(x86_cpuid_complete(c, &config), 0);
	return c;
}

static struct kvm_cpuid_entry2 leaf(struct x86_cpuid *c, uint32_t function, uint32_t index)
{
	const struct kvm_cpuid_entry2 *e = x86_cpuid_find(c, function, index);

	return e ? *e : (struct kvm_cpuid_entry2){ 0 };
}

static void assert_leaf(struct x86_cpuid *c, uint32_t function, uint32_t index, uint32_t eax,
			uint32_t ebx, uint32_t ecx, uint32_t edx)
{
	const struct kvm_cpuid_entry2 e = leaf(c, function, index);

	assert_int_equal(e.eax, eax);
	assert_int_equal(e.ebx, ebx);
	assert_int_equal(e.ecx, ecx);
	assert_int_equal(e.edx, edx);
}

static void the_guest_is_told_of_hypervisor_x2apic_and_deadline(void **state)
{
	struct x86_cpuid *c = complete(amd, COUNT(amd), 1);

	assert_int_equal(leaf(c, 1, 0).ecx & 0x81200000, 0x81200000);
	free(c);
}

static void tsc_deadline_is_not_promised_without_the_capability(void **state)
{
	const struct x86_cpuid_config config = { .nvcpus = 1 };
	struct x86_cpuid *c = make(amd, COUNT(amd), 16);

	c->table.entries[1].ecx &= ~(1u << 24);
	assert_int_equal(x86_cpuid_complete(c, &config), 0);
	assert_int_equal(leaf(c, 1, 0).ecx & (1 << 24), 0);
	free(c);
}

static void a_guest_cannot_be_a_hypervisor_itself(void **state)
{
	const struct leaf nested[] = {
		{ 0x1, ANY, 0x806f8, 0x05100800, 1 << 5 | 1, 0xbfebfbff },
		{ 0x80000001, ANY, 0, 0, 1 << 2 | 1, 0x2c100800 },
		{ 0x8000000a, ANY, 1, 0x8000, 0, 0x1fbcff },
	};
	struct x86_cpuid *c = complete(nested, COUNT(nested), 1);

	assert_int_equal(leaf(c, 1, 0).ecx & (1 << 5 | 1), 1);
	assert_int_equal(leaf(c, 0x80000001, 0).ecx, 1);
	assert_leaf(c, 0x8000000a, 0, 0, 0, 0, 0);
	free(c);
}

static void osxsave_stays_as_kvm_has_it(void **state)
{
	struct x86_cpuid *c = complete(intel, COUNT(intel), 2);

	assert_int_equal((leaf(c, 1, 0).ecx ^ intel[1].ecx) & (1 << 27), 0);
	free(c);
}

static void apic_ids_and_counts_are_the_vms_own(void **state)
{
	struct x86_cpuid *c = complete(intel, COUNT(intel), 6);

	x86_cpuid_set_apic_id(c, 5);
	/* brand index and CLFLUSH size stay; ids are counted in powers of two */
	assert_int_equal(leaf(c, 1, 0).ebx, 0x05080800);
	assert_int_equal(leaf(c, 1, 0).edx & (1 << 28), 1 << 28);
	x86_cpuid_set_apic_id(c, 2);
	assert_int_equal(leaf(c, 1, 0).ebx, 0x02080800);
	free(c);
}

static void one_vcpu_has_no_siblings(void **state)
{
	struct x86_cpuid *c = complete(intel, COUNT(intel), 1);

	x86_cpuid_set_apic_id(c, 0);
	assert_int_equal(leaf(c, 1, 0).ebx, 0x00010800);
	assert_int_equal(leaf(c, 1, 0).edx & (1 << 28), 0);
	assert_leaf(c, 0xb, 0, 0, 1, 0x100, 0);
	assert_leaf(c, 0xb, 1, 0, 1, 0x201, 0);
	free(c);
}

static void check_levels(struct x86_cpuid *c, uint32_t function, uint32_t nvcpus, uint32_t bits,
			 uint32_t id)
{
	assert_leaf(c, function, 0, 0, 1, 0x100, id);
	assert_leaf(c, function, 1, bits, nvcpus, 0x201, id);
	assert_leaf(c, function, 2, 0, 0, 2, id);
}

static void leaf_b_is_written_where_kvm_has_zeroes(void **state)
{
	struct x86_cpuid *c = complete(amd, COUNT(amd), 3);

	for (unsigned id = 0; id < 3; id++) {
		x86_cpuid_set_apic_id(c, id);
		check_levels(c, 0xb, 3, 2, id);
	}
	assert_null(x86_cpuid_find(c, 0x1f, 0)); /* above this CPU's highest leaf */
	free(c);
}

static void the_hosts_own_topology_is_replaced(void **state)
{
	struct x86_cpuid *c = complete(intel, COUNT(intel), 4);

	x86_cpuid_set_apic_id(c, 3);
	check_levels(c, 0xb, 4, 2, 3);
	check_levels(c, 0x1f, 4, 2, 3);
	free(c);
}

static void an_old_cpu_gets_leaf_b_in_reach(void **state)
{
	const struct leaf old[] = {
		{ 0x0, ANY, 0x5, 0x756e6547, 0x6c65746e, 0x49656e69 },
		{ 0x1, ANY, 0x6f8, 0x800, 0, 0 },
	};
	struct x86_cpuid *c = complete(old, COUNT(old), 2);

	assert_int_equal(leaf(c, 0, 0).eax, 0xb);
	check_levels(c, 0xb, 2, 1, 0);
	free(c);
}

static void every_count_of_vcpus_has_room_for_its_ids(void **state)
{
	for (unsigned n = 1; n <= VM_MAX_VCPUS; n++) {
		struct x86_cpuid *c = complete(amd, COUNT(amd), n);
		const unsigned bits = leaf(c, 0xb, 1).eax;

		assert_true(1u << bits >= n && (n == 1 || 1u << (bits - 1) < n));
		assert_int_equal(leaf(c, 0x80000008, 0).ecx & 0xff, n - 1);
		assert_int_equal(leaf(c, 0x80000008, 0).ecx >> 12 & 0xf, bits);
		assert_true((leaf(c, 1, 0).ebx >> 16 & 0xff) >= n);
		free(c);
	}
}

static void only_the_last_cache_is_shared(void **state)
{
	struct x86_cpuid *c = complete(intel, COUNT(intel), 6);

	/* cores - 1 in bits 31:26, sharers - 1 in 25:14, the rest is the host's */
	assert_int_equal(leaf(c, 4, 0).eax, 7u << 26 | 0x121);
	assert_int_equal(leaf(c, 4, 2).eax, 7u << 26 | 0x143);
	assert_int_equal(leaf(c, 4, 3).eax, 7u << 26 | 7u << 14 | 0x163);
	free(c);
	c = complete(amd, COUNT(amd), 6);
	assert_int_equal(leaf(c, 0x8000001d, 0).eax, 0x121);
	assert_int_equal(leaf(c, 0x8000001d, 2).eax, 0x143);
	assert_int_equal(leaf(c, 0x8000001d, 3).eax, 7u << 14 | 0x163);
	free(c);
}

static void amd_leaves_count_cores(void **state)
{
	struct x86_cpuid *c = complete(amd, COUNT(amd), 4);

	x86_cpuid_set_apic_id(c, 2);
	assert_int_equal(leaf(c, 0x80000008, 0).ecx, 0x2003);
	assert_int_equal(leaf(c, 0x80000001, 0).ecx & 2, 2);
	assert_leaf(c, 0x8000001e, 0, 2, 2, 0, 0);
	assert_int_equal(leaf(c, 0x80000026, 0).ebx, 0);
	free(c);
	c = complete(amd, COUNT(amd), 1);
	assert_int_equal(leaf(c, 0x80000001, 0).ecx & 2, 0);
	free(c);
}

static void amd_leaves_of_an_intel_cpu_stay_alone(void **state)
{
	struct x86_cpuid *c = complete(intel, COUNT(intel), 4);

	assert_int_equal(leaf(c, 0x80000008, 0).ecx, 0);
	assert_int_equal(leaf(c, 0x80000001, 0).ecx, 0x121);
	assert_null(x86_cpuid_find(c, 0x8000001e, 0));
	free(c);
}

static void a_pmu_is_kept_or_wholly_absent(void **state)
{
	struct x86_cpuid *c = complete(intel, COUNT(intel), 1);

	assert_leaf(c, 0xa, 0, 0x08300802, 0, 0, 0x603);
	assert_int_equal(leaf(c, 1, 0).ecx & (1 << 15), 1 << 15);
	free(c);
	c = make(intel, COUNT(intel), 16);
	x86_cpuid_find(c, 0xa, 0)->eax = 0x08300800;
	assert_int_equal(x86_cpuid_complete(c, &(struct x86_cpuid_config){ .nvcpus = 1 }), 0);
	assert_leaf(c, 0xa, 0, 0, 0, 0, 0);
	assert_int_equal(leaf(c, 1, 0).ecx & (1 << 15), 0);
	free(c);
}

static void amx_goes_with_its_state(void **state)
{
	struct x86_cpuid *c = complete(intel, COUNT(intel), 1);

	assert_int_equal(leaf(c, 7, 0).edx, 0x00800000);
	assert_int_equal(leaf(c, 7, 1).eax, 0x00001c30);
	free(c);
	c = make(intel, COUNT(intel), 16);
	x86_cpuid_find(c, 0xd, 0)->eax |= 3 << 17;
	assert_int_equal(x86_cpuid_complete(c, &(struct x86_cpuid_config){ .nvcpus = 1 }), 0);
	assert_int_equal(leaf(c, 7, 0).edx, 0x03c00000);
	free(c);
}

/* An EPYC set up for SEV: KVM lists SEV and SEV-ES, C-bit 51. */
static void a_plain_guest_is_not_told_of_memory_encryption(void **state)
{
	struct x86_cpuid *c = make(amd, COUNT(amd), 16);
	struct kvm_cpuid_entry2 *e = x86_cpuid_add(c, 0x8000001f);

	e->eax = 0x40a;
	e->ebx = 51;
	e->ecx = 509;
	assert_int_equal(x86_cpuid_complete(c, &(struct x86_cpuid_config){ .nvcpus = 1 }), 0);
	assert_leaf(c, 0x8000001f, 0, 0, 0, 0, 0);
	free(c);
}

static void kvms_own_leaves_are_kept(void **state)
{
	struct x86_cpuid *c = complete(amd, COUNT(amd), 2);

	assert_leaf(c, 0x40000001, 0, 0x01007efb, 0, 0, 0);
	assert_leaf(c, 0x40000000, 0, 0x40000001, 0x4b4d564b, 0x564b4d56, 0x4d);
	free(c);
}

static void frequencies_are_told_only_of_an_invariant_tsc(void **state)
{
	struct x86_cpuid *c = complete(intel, COUNT(intel), 1);

	assert_leaf(c, 0x40000010, 0, 2600000, 1000000, 0, 0);
	assert_int_equal(leaf(c, 0x40000000, 0).eax, 0x40000010);
	assert_int_equal(leaf(c, 0x80000007, 0).edx, 0x100);
	free(c);
	c = complete(amd, COUNT(amd), 1);
	assert_null(x86_cpuid_find(c, 0x40000010, 0));
	free(c);
}

static unsigned address_bits(uint32_t eax)
{
	const struct leaf leaf = { 0x80000008, ANY, eax, 0, 0, 0 };
	struct x86_cpuid *c = make(&leaf, 1, 0);
	const unsigned bits = x86_cpuid_address_bits(c);

	free(c);
	return bits;
}

static void addresses_are_as_wide_as_cpu_and_kvm_can(void **state)
{
	struct x86_cpuid *c = make(NULL, 0, 0);

	assert_int_equal(address_bits(0x3027), 39);
	assert_int_equal(address_bits(0x303934), 48);
	assert_int_equal(address_bits(0x3f3934), 52);
	assert_int_equal(x86_cpuid_address_bits(c), 36);
	free(c);
}

static void memory_beyond_the_cpus_addresses_is_refused(void **state)
{
	const uint64_t hole = 1ULL << 30, reach = 1ULL << 39;
	struct guest_memory mem = { .nslots = 2, .slot = { { 0, 3 * hole, NULL } } };
	struct error err;

	mem.slot[1] = (struct memslot){ .gpa = 4 * hole, .size = reach - 4 * hole };
	mem.size = reach - hole;
	assert_int_equal(x86_check_memory(&mem, 39, &err), 0);
	assert_int_equal(x86_check_memory(&mem, 38, &err), -EINVAL);
	mem.slot[1].size += 4096;
	mem.size += 4096;
	assert_int_equal(x86_check_memory(&mem, 39, &err), -EINVAL);
	assert_string_equal(err.text,
			    "523264 MiB of guest memory are too much for this host's CPU, "
			    "whose 39-bit addresses reach 523264 MiB");
}

static void empty_entries_are_dropped(void **state)
{
	struct x86_cpuid *c = complete(intel, COUNT(intel), 1);

	assert_null(x86_cpuid_find(c, 2, 0));
	assert_true(c->table.nent <= c->capacity);
	free(c);
}

static void a_full_table_is_an_error_and_not_an_overrun(void **state)
{
	const struct x86_cpuid_config config = { .nvcpus = 2, .tsc_khz = 1000 };

	for (unsigned room = 0; room < 2; room++) {
		struct x86_cpuid *c = make(amd, COUNT(amd), room);

		assert_int_equal(x86_cpuid_complete(c, &config), -ENOSPC);
		assert_true(c->table.nent <= c->capacity);
		free(c);
	}
}

static void a_table_without_the_basics_is_survived(void **state)
{
	const struct leaf bare[] = { { 0x80000002, ANY, 1, 1, 1, 1 } };
	struct x86_cpuid *c = complete(bare, 1, 2);

	x86_cpuid_set_apic_id(c, 1);
	check_levels(c, 0xb, 2, 1, 1);
	free(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_guest_is_told_of_hypervisor_x2apic_and_deadline),
		cmocka_unit_test(tsc_deadline_is_not_promised_without_the_capability),
		cmocka_unit_test(a_guest_cannot_be_a_hypervisor_itself),
		cmocka_unit_test(osxsave_stays_as_kvm_has_it),
		cmocka_unit_test(apic_ids_and_counts_are_the_vms_own),
		cmocka_unit_test(one_vcpu_has_no_siblings),
		cmocka_unit_test(leaf_b_is_written_where_kvm_has_zeroes),
		cmocka_unit_test(the_hosts_own_topology_is_replaced),
		cmocka_unit_test(an_old_cpu_gets_leaf_b_in_reach),
		cmocka_unit_test(every_count_of_vcpus_has_room_for_its_ids),
		cmocka_unit_test(only_the_last_cache_is_shared),
		cmocka_unit_test(amd_leaves_count_cores),
		cmocka_unit_test(amd_leaves_of_an_intel_cpu_stay_alone),
		cmocka_unit_test(a_pmu_is_kept_or_wholly_absent),
		cmocka_unit_test(amx_goes_with_its_state),
		cmocka_unit_test(a_plain_guest_is_not_told_of_memory_encryption),
		cmocka_unit_test(kvms_own_leaves_are_kept),
		cmocka_unit_test(frequencies_are_told_only_of_an_invariant_tsc),
		cmocka_unit_test(addresses_are_as_wide_as_cpu_and_kvm_can),
		cmocka_unit_test(memory_beyond_the_cpus_addresses_is_refused),
		cmocka_unit_test(empty_entries_are_dropped),
		cmocka_unit_test(a_full_table_is_an_error_and_not_an_overrun),
		cmocka_unit_test(a_table_without_the_basics_is_survived),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
