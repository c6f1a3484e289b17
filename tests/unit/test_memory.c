/* SPDX-License-Identifier: Apache-2.0 */
/* Translation at every edge a guest can name; see vmm/memory.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "vmm/host_memory.h"
#include "vmm/memory.h"

#define MIB (1ULL << 20)
#define GIB (1ULL << 30)

/* Two slots with a hole between them; no byte of the second is ever touched. */
#define LOW_SIZE  0x3000ULL
#define HIGH_BASE 0x8000ULL
#define HIGH_SIZE 0x2000ULL

static uint8_t low[LOW_SIZE], high[HIGH_SIZE];

static struct guest_memory two_slots(void)
{
	struct guest_memory mem = { 0 };

	assert_int_equal(guest_memory_add(&mem, 0, LOW_SIZE, low), 0);
	assert_int_equal(guest_memory_add(&mem, HIGH_BASE, HIGH_SIZE, high), 0);
	return mem;
}

static void translates_every_edge(void **state)
{
	const struct guest_memory mem = two_slots();
	const struct {
		uint64_t gpa, len;
		void *want;
	} cases[] = {
		{ 0, 1, low },
		{ 0, LOW_SIZE, low },
		{ 0, LOW_SIZE + 1, NULL },
		{ LOW_SIZE - 1, 1, low + LOW_SIZE - 1 },
		{ LOW_SIZE - 1, 2, NULL },
		{ LOW_SIZE, 1, NULL },
		{ HIGH_BASE - 1, 1, NULL },
		{ HIGH_BASE - 1, 2, NULL },
		{ HIGH_BASE, 1, high },
		{ HIGH_BASE, HIGH_SIZE, high },
		{ HIGH_BASE + HIGH_SIZE - 1, 1, high + HIGH_SIZE - 1 },
		{ HIGH_BASE + HIGH_SIZE, 1, NULL },
		{ 0, HIGH_BASE + 1, NULL }, /* across the hole */
		{ 0, UINT64_MAX, NULL },
		{ 1, UINT64_MAX, NULL }, /* gpa + len wraps to 0 */
		{ 0x10, UINT64_MAX - 0xf, NULL },
		{ HIGH_BASE, UINT64_MAX - HIGH_BASE + 2, NULL },
		{ UINT64_MAX, 1, NULL },
		{ UINT64_MAX, UINT64_MAX, NULL },
	};

	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_ptr_equal(guest_memory_ptr(&mem, cases[i].gpa, cases[i].len), cases[i].want);
}

static void length_zero_is_answered_inside_ram_only(void **state)
{
	const struct guest_memory mem = two_slots();

	assert_ptr_equal(guest_memory_ptr(&mem, 0, 0), low);
	assert_ptr_equal(guest_memory_ptr(&mem, LOW_SIZE - 1, 0), low + LOW_SIZE - 1);
	assert_null(guest_memory_ptr(&mem, LOW_SIZE, 0));
	assert_null(guest_memory_ptr(&mem, HIGH_BASE - 1, 0));
	assert_null(guest_memory_ptr(&mem, UINT64_MAX, 0));
}

static void memory_without_slots_translates_nothing(void **state)
{
	const struct guest_memory mem = { 0 };

	assert_null(guest_memory_ptr(&mem, 0, 0));
	assert_null(guest_memory_ptr(&mem, 0, 1));
}

static void a_slot_at_the_very_end_of_the_address_space(void **state)
{
	struct guest_memory mem = { 0 };

	assert_int_equal(guest_memory_add(&mem, UINT64_MAX - 0x1000, 0x1000, low), 0);
	assert_ptr_equal(guest_memory_ptr(&mem, UINT64_MAX - 1, 1), low + 0xfff);
	assert_null(guest_memory_ptr(&mem, UINT64_MAX - 1, 2));
	assert_null(guest_memory_ptr(&mem, 0, 1));
}

static void slots_must_come_in_order_and_apart(void **state)
{
	struct guest_memory mem = { 0 };

	assert_int_equal(guest_memory_add(&mem, 0x1000, 0, low), -EINVAL);
	assert_int_equal(guest_memory_add(&mem, 0x1000, 0x1000, NULL), -EINVAL);
	assert_int_equal(guest_memory_add(&mem, UINT64_MAX, 0x1000, low), -EINVAL);
	assert_int_equal(guest_memory_add(&mem, 0x1000, 0x1000, low), 0);
	assert_int_equal(guest_memory_add(&mem, 0x1fff, 0x1000, high), -EEXIST);
	assert_int_equal(guest_memory_add(&mem, 0, 0x1000, high), -EEXIST);
	assert_int_equal(mem.size, 0x1000);
	for (unsigned i = 1; i < GUEST_MEMORY_MAX_SLOTS; i++)
		assert_int_equal(guest_memory_add(&mem, (i + 1) * 0x4000, 0x1000, high), 0);
	assert_int_equal(guest_memory_add(&mem, 0x100000, 0x1000, high), -ENOSPC);
}

static void copies_are_whole_or_not_at_all(void **state)
{
	const struct guest_memory mem = two_slots();
	const uint8_t pair[2] = { 0x22, 0x33 };

	memset(low, 0, sizeof(low));
	assert_int_equal(guest_memory_write(&mem, LOW_SIZE - 1, pair, 2), -EFAULT);
	assert_int_equal(low[LOW_SIZE - 1], 0);
	assert_int_equal(guest_memory_write(&mem, LOW_SIZE - 2, pair, 2), 0);
	assert_int_equal(low[LOW_SIZE - 1], 0x33);
}

static void ram_that_fits_below_the_hole_is_one_slot(void **state)
{
	struct guest_memory mem;
	uint8_t *p;

	assert_int_equal(guest_memory_alloc(&mem, 64 * MIB, 3 * GIB, 4 * GIB, 0, NULL), 0);
	assert_int_equal(mem.nslots, 1);
	assert_int_equal(mem.size, 64 * MIB);
	p = guest_memory_ptr(&mem, 64 * MIB - 1, 1);
	assert_non_null(p);
	assert_int_equal(*p, 0);
	*p = 1;
	assert_null(guest_memory_ptr(&mem, 64 * MIB, 1));
	guest_memory_free(&mem);
	assert_null(guest_memory_ptr(&mem, 0, 1));
}

static void ram_beyond_the_hole_goes_above_it(void **state)
{
	struct guest_memory mem;

	assert_int_equal(guest_memory_alloc(&mem, 4 * GIB, 3 * GIB, 4 * GIB, 0, NULL), 0);
	assert_int_equal(mem.nslots, 2);
	assert_int_equal(mem.slot[1].gpa, 4 * GIB);
	assert_int_equal(mem.slot[1].size, GIB);
	assert_non_null(guest_memory_ptr(&mem, 3 * GIB - 1, 1));
	assert_null(guest_memory_ptr(&mem, 3 * GIB - 1, 2));
	assert_null(guest_memory_ptr(&mem, 4 * GIB - 1, 1));
	*(uint8_t *)guest_memory_ptr(&mem, 5 * GIB - 1, 1) = 1;
	assert_null(guest_memory_ptr(&mem, 5 * GIB, 1));
	guest_memory_free(&mem);
}

static void exactly_up_to_the_hole_needs_no_second_slot(void **state)
{
	struct guest_memory mem;

	assert_int_equal(guest_memory_alloc(&mem, 8 * MIB, 8 * MIB, 16 * MIB, 0, NULL), 0);
	assert_int_equal(mem.nslots, 1);
	guest_memory_free(&mem);
}

static void host_and_guest_agree_on_huge_pages(void **state)
{
	struct guest_memory mem;

	assert_int_equal(guest_memory_alloc(&mem, 12 * MIB, 8 * MIB, 16 * MIB, 0, NULL), 0);
	for (unsigned i = 0; i < mem.nslots; i++)
		assert_int_equal(((uintptr_t)mem.slot[i].hva ^ mem.slot[i].gpa) % (2 * MIB), 0);
	guest_memory_free(&mem);
}

static void impossible_sizes_are_refused(void **state)
{
	const uint64_t sizes[] = { 0, 1, 4095, 4097, UINT64_MAX, UINT64_MAX - 4095, 1ULL << 63 };
	struct guest_memory mem;
	struct error err;

	for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		err.text[0] = 0;
		assert_int_equal(guest_memory_alloc(&mem, sizes[i], 3 * GIB, 4 * GIB, 0, &err),
				 -EINVAL);
		assert_non_null(strstr(err.text, "memory size"));
	}
}

static void more_than_the_address_space_names_the_size(void **state)
{
	struct guest_memory mem;
	struct error err;

	assert_int_equal(guest_memory_alloc(&mem, 1ULL << 60, 3 * GIB, 4 * GIB, 0, &err), -ENOMEM);
	assert_non_null(strstr(err.text, "1099511627776 MiB"));
}

/* Pages of the mapping that are in memory. */
static uint64_t resident(const struct guest_memory *mem)
{
	const uint64_t pages = mem->mapped / 4096;
	unsigned char *in = malloc(pages);
	uint64_t n = 0;

	assert_non_null(in);
	assert_int_equal(mincore(mem->mapping, mem->mapped, in), 0);
	for (uint64_t i = 0; i < pages; i++)
		n += in[i] & 1;
	free(in);
	return n;
}

static void memory_is_taken_at_the_start_only_if_asked(void **state)
{
	struct guest_memory mem;
	struct error err;
	int ret;

	assert_int_equal(guest_memory_alloc(&mem, 8 * MIB, 4 * MIB, 16 * MIB, 0, &err), 0);
	assert_int_equal(resident(&mem), 0);
	guest_memory_free(&mem);
	ret = guest_memory_alloc(&mem, 8 * MIB, 4 * MIB, 16 * MIB, GUEST_MEMORY_POPULATE, &err);
	if (ret == -EINVAL) /* before Linux 5.14 */
		skip();
	assert_int_equal(ret, 0);
	assert_int_equal(resident(&mem), 8 * MIB / 4096);
	guest_memory_free(&mem);
}

static void populating_more_than_the_host_has_says_how_much_there_is(void **state)
{
	const uint64_t available = host_memory_available();
	const uint64_t size = (available + GIB) & ~(2 * MIB - 1);
	struct guest_memory mem;
	struct error err;

	if (available == UINT64_MAX)
		skip();
	assert_int_equal(guest_memory_alloc(&mem, size, 3 * GIB, 4 * GIB, GUEST_MEMORY_POPULATE,
					    &err),
			 -ENOMEM);
	assert_non_null(strstr(err.text, "the host has"));
	assert_null(mem.mapping);
}

static void huge_pages_the_pool_lacks_are_counted(void **state)
{
	struct host_huge_pages pool;
	struct guest_memory mem;
	struct error err;
	char needs[64];

	if (host_huge_pages_read(&pool))
		skip();
	assert_true(pool.free <= pool.total);
	/* More than a pool may grow by on demand, too. */
	snprintf(needs, sizeof(needs), "needs %llu huge pages", 1ULL << 18);
	assert_int_equal(guest_memory_alloc(&mem, 512 * GIB, 3 * GIB, 4 * GIB, GUEST_MEMORY_HUGETLB,
					    &err),
			 -ENOMEM);
	assert_non_null(strstr(err.text, needs));
	assert_non_null(strstr(err.text, "vm.nr_hugepages"));
}

static void huge_pages_are_whole(void **state)
{
	struct guest_memory mem;
	struct error err;

	assert_int_equal(guest_memory_alloc(&mem, 3 * MIB, 3 * GIB, 4 * GIB, GUEST_MEMORY_HUGETLB,
					    &err),
			 -EINVAL);
	assert_non_null(strstr(err.text, "not a multiple of 2 MiB"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(translates_every_edge),
		cmocka_unit_test(length_zero_is_answered_inside_ram_only),
		cmocka_unit_test(memory_without_slots_translates_nothing),
		cmocka_unit_test(a_slot_at_the_very_end_of_the_address_space),
		cmocka_unit_test(slots_must_come_in_order_and_apart),
		cmocka_unit_test(copies_are_whole_or_not_at_all),
		cmocka_unit_test(ram_that_fits_below_the_hole_is_one_slot),
		cmocka_unit_test(ram_beyond_the_hole_goes_above_it),
		cmocka_unit_test(exactly_up_to_the_hole_needs_no_second_slot),
		cmocka_unit_test(host_and_guest_agree_on_huge_pages),
		cmocka_unit_test(impossible_sizes_are_refused),
		cmocka_unit_test(more_than_the_address_space_names_the_size),
		cmocka_unit_test(memory_is_taken_at_the_start_only_if_asked),
		cmocka_unit_test(populating_more_than_the_host_has_says_how_much_there_is),
		cmocka_unit_test(huge_pages_the_pool_lacks_are_counted),
		cmocka_unit_test(huge_pages_are_whole),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
