/* SPDX-License-Identifier: Apache-2.0 */
/* Where the initrd goes, and when it does not fit. */
#include "loader_test.h"

#include <errno.h>
#include <stdlib.h>

#include "loader/kernel.h"

#define KERNEL_END (20 * MIB + 123)

static int load(const struct guest_memory *mem, gpa_t kernel_end, gpa_t max, const void *data,
		size_t len, struct initrd *rd, struct error *err)
{
	const struct kernel k = { .end = kernel_end, .initrd_max = max };
	struct test_file f = file_make(data, len);
	struct image img;
	int ret;

	memset(err, 0, sizeof(*err));
	memset(rd, 0, sizeof(*rd));
	ret = image_open(&img, "initrd", f.path, err);
	assert_int_equal(ret, 0);
	ret = initrd_load(&img, mem, &k, rd, err);
	image_close(&img);
	file_close(&f);
	return ret;
}

static uint8_t *pattern(size_t len)
{
	uint8_t *p = malloc(len);

	assert_non_null(p);
	for (size_t i = 0; i < len; i++)
		p[i] = i * 7 + 1;
	return p;
}

static void lies_page_aligned_at_the_top_of_low_memory(void **state)
{
	struct guest_memory mem = guest_alloc(64 * MIB, 64 * MIB);
	uint8_t *data = pattern(10000);
	struct initrd rd;
	struct error err;

	assert_int_equal(load(&mem, KERNEL_END, 0x7fffffff, data, 10000, &rd, &err), 0);
	assert_int_equal(rd.addr, 64 * MIB - 3 * 4096);
	assert_int_equal(rd.size, 10000);
	assert_memory_equal(guest_at(&mem, rd.addr, 10000), data, 10000);
	free(data);
	guest_free(&mem);
}

static void stays_below_what_the_kernel_can_reach(void **state)
{
	struct guest_memory mem = guest_alloc(64 * MIB, 0);
	uint8_t *data = pattern(4096);
	struct initrd rd;
	struct error err;

	assert_int_equal(load(&mem, KERNEL_END, 0x37fffff /* inclusive */, data, 4096, &rd, &err),
			 0);
	assert_int_equal(rd.addr, 0x3800000 - 4096);
	assert_int_equal(load(&mem, KERNEL_END, 0x37ffffe, data, 4096, &rd, &err), 0);
	assert_int_equal(rd.addr, 0x3800000 - 2 * 4096);
	assert_error(load(&mem, KERNEL_END, 20 * MIB, data, 4096, &rd, &err), &err,
		     "highest address it takes");
	assert_error(load(&mem, KERNEL_END, 0, data, 4096, &rd, &err), &err,
		     "highest address it takes");
	free(data);
	guest_free(&mem);
}

static void fits_exactly_between_kernel_and_end(void **state)
{
	struct guest_memory mem = guest_alloc(21 * MIB, 0);
	size_t room = MIB - 4096; /* the kernel's last page is not shared */
	uint8_t *data = pattern(room + 1);
	struct initrd rd;
	struct error err;

	assert_int_equal(load(&mem, KERNEL_END, 0x7fffffff, data, room, &rd, &err), 0);
	assert_int_equal(rd.addr, 20 * MIB + 4096);
	assert_memory_equal(guest_at(&mem, rd.addr, room), data, room);
	assert_error(load(&mem, KERNEL_END, 0x7fffffff, data, room + 1, &rd, &err), &err,
		     "too large for 21 MiB of guest memory: use --memory 22M");
	free(data);
	guest_free(&mem);
}

static void a_huge_file_is_refused_without_reading_it(void **state)
{
	struct guest_memory mem = guest_alloc(64 * MIB, 0);
	const struct kernel k = { .end = KERNEL_END, .initrd_max = 0x7fffffff };
	struct image img = { .fd = -1, .what = "initrd", .path = "x" };
	static const uint64_t sizes[] = { 64 * MIB, 3 * GIB, 4 * GIB, INT64_MAX };
	struct initrd rd = { 0 };

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct error err = { 0 };
		int ret;

		img.size = sizes[i];
		ret = initrd_load(&img, &mem, &k, &rd, &err);
		assert_int_equal(ret, -EFBIG);
		assert_error(ret, &err, "initrd 'x': ");
	}
	guest_free(&mem);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lies_page_aligned_at_the_top_of_low_memory),
		cmocka_unit_test(stays_below_what_the_kernel_can_reach),
		cmocka_unit_test(fits_exactly_between_kernel_and_end),
		cmocka_unit_test(a_huge_file_is_refused_without_reading_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
