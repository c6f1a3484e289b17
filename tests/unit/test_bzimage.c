/* SPDX-License-Identifier: Apache-2.0 */
/* bzImage files, sound and broken: what is loaded where, and what is refused how. */
#include "loader_test.h"

#include <errno.h>
#include <stdlib.h>

#include "bzimage_fake.h"

static int load(const struct guest_memory *mem, const struct fake_bzimage *bz,
		struct kernel *kernel, struct error *err)
{
	return load_file(bzimage_load, mem, bz->bytes, sizeof(bz->bytes), kernel, err);
}

static void assert_no_byte(const uint8_t *p, size_t len)
{
	for (size_t i = 0; i < len; i++)
		assert_int_equal(p[i], 0);
}

static void loads_at_its_preferred_address(void **state)
{
	struct guest_memory mem = guest_alloc(64 * MIB, 0);
	struct fake_bzimage bz;
	struct kernel k;
	struct error err;
	uint8_t *at;

	fake_bzimage_init(&bz);
	assert_int_equal(load(&mem, &bz, &k, &err), 0);
	assert_int_equal(k.protocol, BOOT_LINUX64);
	assert_int_equal(k.entry, FAKE_PREF + 0x200);
	assert_int_equal(k.end, FAKE_PREF + FAKE_INIT);
	assert_int_equal(k.initrd_max, 0x7fffffff);
	assert_int_equal(k.cmdline_max, 2047);
	at = guest_at(&mem, FAKE_PREF, FAKE_PAYLOAD);
	assert_memory_equal(at, bz.bytes + FAKE_SETUP, FAKE_PAYLOAD);
	assert_no_byte(at + FAKE_PAYLOAD, 4096);
	assert_no_byte(at - 4096, 4096);
	guest_free(&mem);
}

static void setup_sects_of_zero_means_four(void **state)
{
	struct guest_memory mem = guest_alloc(64 * MIB, 0);
	struct fake_bzimage bz;
	struct kernel k;
	struct error err;

	fake_bzimage_init(&bz);
	fake_header(&bz)->setup_sects = 0;
	assert_int_equal(load(&mem, &bz, &k, &err), 0);
	assert_memory_equal(guest_at(&mem, FAKE_PREF, FAKE_PAYLOAD), bz.bytes + FAKE_SETUP,
			    FAKE_PAYLOAD);
	guest_free(&mem);
}

static void what_follows_the_kernel_is_not_loaded(void **state)
{
	struct guest_memory mem = guest_alloc(64 * MIB, 0);
	struct fake_bzimage bz;
	struct kernel k;
	struct error err;

	fake_bzimage_init(&bz);
	fake_header(&bz)->syssize = (FAKE_PAYLOAD - 1024) / 16;
	assert_int_equal(load(&mem, &bz, &k, &err), 0);
	assert_no_byte(guest_at(&mem, FAKE_PREF + FAKE_PAYLOAD - 1024, 1024), 1024);
	guest_free(&mem);
}

static void the_last_paragraph_may_be_partly_there(void **state)
{
	struct guest_memory mem = guest_alloc(64 * MIB, 0);
	struct fake_bzimage bz;
	struct kernel k;
	struct error err;

	fake_bzimage_init(&bz);
	assert_int_equal(load_file(bzimage_load, &mem, bz.bytes, sizeof(bz.bytes) - 15, &k, &err),
			 0);
	assert_error(load_file(bzimage_load, &mem, bz.bytes, sizeof(bz.bytes) - 16, &k, &err), &err,
		     "truncated");
	guest_free(&mem);
}

static void fields_past_the_header_length_are_not_read(void **state)
{
	struct guest_memory mem = guest_alloc(64 * MIB, 0);
	struct fake_bzimage bz;
	struct kernel k;
	struct error err;

	fake_bzimage_init(&bz);
	/* Ends before pref_address (0x258), which is then 0: the lowest aligned address is used. */
	fake_header(&bz)->jump = (0x258 - 0x202) << 8 | 0xeb;
	assert_int_equal(load(&mem, &bz, &k, &err), 0);
	assert_int_equal(k.entry, 0x200000 + 0x200);
	assert_int_equal(k.end, 0x200000 + FAKE_PAYLOAD);
	/* Ends before xloadflags (0x236). */
	fake_header(&bz)->jump = (0x236 - 0x202) << 8 | 0xeb;
	assert_error(load(&mem, &bz, &k, &err), &err, "no 64-bit entry");
	guest_free(&mem);
}

static void a_longer_header_reaches_the_zero_page(void **state)
{
	struct guest_memory mem = guest_alloc(64 * MIB, 0);
	struct fake_bzimage bz;
	struct kernel k;
	struct error err;

	fake_bzimage_init(&bz);
	fake_header(&bz)->jump = 0xffeb; /* ends at 0x301; our own fields begin at 0x290 */
	bz.bytes[0x28f] = 0x5a;
	bz.bytes[0x290] = 0x77;
	assert_int_equal(load(&mem, &bz, &k, &err), 0);
	assert_int_equal(k.header[0x28f - 0x1f1], 0x5a);
	guest_free(&mem);
}

static void a_preferred_address_below_1_mib_moves_up_if_relocatable(void **state)
{
	struct guest_memory mem = guest_alloc(64 * MIB, 0);
	struct fake_bzimage bz;
	struct kernel k;
	struct error err;

	fake_bzimage_init(&bz);
	fake_header(&bz)->pref_address = 0x10000;
	assert_int_equal(load(&mem, &bz, &k, &err), 0);
	assert_int_equal(k.entry, 0x200000 + 0x200);
	fake_header(&bz)->relocatable_kernel = 0;
	assert_error(load(&mem, &bz, &k, &err), &err, "below 1 MiB");
	guest_free(&mem);
}

static void a_kernel_that_is_not_relocatable_needs_no_alignment(void **state)
{
	struct guest_memory mem = guest_alloc(64 * MIB, 0);
	struct fake_bzimage bz;
	struct kernel k;
	struct error err;

	fake_bzimage_init(&bz);
	fake_header(&bz)->relocatable_kernel = 0;
	fake_header(&bz)->kernel_alignment = 0;
	fake_header(&bz)->pref_address = 0x100000;
	assert_int_equal(load(&mem, &bz, &k, &err), 0);
	assert_int_equal(k.entry, 0x100200);
	guest_free(&mem);
}

static void it_may_fill_memory_to_the_last_byte(void **state)
{
	struct guest_memory mem = guest_alloc(FAKE_PREF + FAKE_INIT, 0);
	struct fake_bzimage bz;
	struct kernel k;
	struct error err;

	fake_bzimage_init(&bz);
	assert_int_equal(load(&mem, &bz, &k, &err), 0);
	fake_header(&bz)->init_size++;
	assert_error(load(&mem, &bz, &k, &err), &err, "too large for 20 MiB of guest memory");
	guest_free(&mem);
}

static void too_large_names_a_memory_size_that_is_enough(void **state)
{
	struct guest_memory mem = guest_alloc(16 * MIB, 0);
	struct fake_bzimage bz;
	struct kernel k;
	struct error err;
	const char *remedy;
	unsigned long need;

	fake_bzimage_init(&bz);
	fake_header(&bz)->init_size = 0x3378123;
	assert_error(load(&mem, &bz, &k, &err), &err, "--memory ");
	guest_free(&mem);
	remedy = strstr(err.text, "--memory ") + strlen("--memory ");
	need = strtoul(remedy, NULL, 10);
	mem = guest_alloc(need * MIB, 0);
	assert_int_equal(load(&mem, &bz, &k, &err), 0);
	guest_free(&mem);
	mem = guest_alloc((need - 1) * MIB, 0);
	assert_error(load(&mem, &bz, &k, &err), &err, "too large");
	guest_free(&mem);
}

static void a_kernel_is_never_put_above_4_gib(void **state)
{
	struct guest_memory mem = guest_alloc(64 * MIB, 64 * MIB);
	struct fake_bzimage bz;
	struct kernel k;
	struct error err;

	fake_bzimage_init(&bz);
	fake_header(&bz)->pref_address = 4 * GIB;
	assert_error(load(&mem, &bz, &k, &err), &err, "below 4 GiB");
	guest_free(&mem);
}

static void every_truncation_is_refused(void **state)
{
	struct guest_memory mem = guest_alloc(64 * MIB, 0);
	struct fake_bzimage bz;
	struct kernel k;
	struct error err;
	size_t len;

	fake_bzimage_init(&bz);
	for (len = 512; len < sizeof(bz.bytes); len += 512)
		assert_error(load_file(bzimage_load, &mem, bz.bytes, len, &k, &err), &err,
			     "truncated");
	for (len = 1; len < 0x26c; len++)
		assert_error(load_file(bzimage_load, &mem, bz.bytes, len, &k, &err), &err,
			     "kernel '/proc/");
	assert_no_byte(guest_at(&mem, FAKE_PREF, FAKE_PAYLOAD), FAKE_PAYLOAD);
	guest_free(&mem);
}

struct wild_field {
	size_t off;
	unsigned width;
	uint64_t value;
	int code;
	const char *says;
};

#define FIELD(name)                                                                                \
	0x1f1 + offsetof(struct setup_header, name), sizeof(((struct setup_header *)0)->name)

static const struct wild_field wild_fields[] = {
	{ FIELD(boot_flag), 0, ENOEXEC, "boot flag" },
	{ FIELD(version), 0x0207, ENOEXEC, "no 64-bit entry (boot protocol 2.07)" },
	{ FIELD(version), 0x020b, ENOEXEC, "no 64-bit entry (boot protocol 2.11)" },
	{ FIELD(version), 0, ENOEXEC, "no 64-bit entry" },
	{ FIELD(xloadflags), 0, ENOEXEC, "32-bit code only" },
	{ FIELD(xloadflags), 0xfffe, ENOEXEC, "32-bit code only" },
	{ FIELD(loadflags), 0, ENOEXEC, "zImage" },
	{ FIELD(setup_sects), 255, EINVAL, "truncated" },
	{ FIELD(setup_sects), 20, EINVAL, "truncated" },
	{ FIELD(setup_sects), 5, EINVAL, "truncated" },
	{ FIELD(syssize), 0, EINVAL, "no 64-bit entry" },
	{ FIELD(syssize), 0x20, EINVAL, "no 64-bit entry" },
	{ FIELD(syssize), 0xffffffff, EINVAL, "truncated" },
	{ FIELD(syssize), 0x10000000, EINVAL, "truncated" },
	{ FIELD(syssize), FAKE_PAYLOAD / 16 + 1, EINVAL, "truncated" },
	{ FIELD(kernel_alignment), 0, EINVAL, "kernel_alignment" },
	{ FIELD(kernel_alignment), 3, EINVAL, "kernel_alignment" },
	{ FIELD(kernel_alignment), 0xffffffff, EINVAL, "kernel_alignment" },
	{ FIELD(kernel_alignment), 0x80000000, EINVAL, "not aligned" },
	{ FIELD(pref_address), 0x1000200, EINVAL, "not aligned" },
	{ FIELD(pref_address), 0x7fe00000, EFBIG, "too large" },
	{ FIELD(pref_address), 0xbfe00000, EFBIG, "RAM below 4 GiB ends" },
	{ FIELD(pref_address), 0xc0000000, EINVAL, "RAM below 4 GiB ends" },
	{ FIELD(pref_address), 0xffffffff00000000, EINVAL, "RAM below 4 GiB ends" },
	{ FIELD(pref_address), 0xffffffffffe00000, EINVAL, "RAM below 4 GiB ends" },
	{ FIELD(init_size), 0xffffffff, EINVAL, "RAM below 4 GiB ends" },
	{ FIELD(init_size), 0x80000000, EFBIG, "too large" },
};

static void wild_header_fields_are_refused_in_one_line(void **state)
{
	struct guest_memory mem = guest_alloc(64 * MIB, 0);
	size_t i;

	for (i = 0; i < sizeof(wild_fields) / sizeof(wild_fields[0]); i++) {
		const struct wild_field *f = &wild_fields[i];
		struct fake_bzimage bz;
		struct kernel k;
		struct error err;
		int ret;

		fake_bzimage_init(&bz);
		memcpy(bz.bytes + f->off, &f->value, f->width);
		ret = load(&mem, &bz, &k, &err);
		if (ret != -f->code)
			print_error("field %#zx = %#llx: %d, \"%s\"\n", f->off,
				    (unsigned long long)f->value, ret, err.text);
		assert_int_equal(ret, -f->code);
		assert_error(ret, &err, f->says);
	}
	guest_free(&mem);
}

/* A real file of another kind: protocol 2.07, and ASCII text where later headers have fields. */
static void ipxe_is_refused_for_want_of_a_64_bit_entry(void **state)
{
	struct guest_memory mem = guest_alloc(64 * MIB, 0);
	FILE *f = fopen("/usr/lib/ipxe/ipxe.lkrn", "re");
	struct kernel k;
	struct error err;
	uint8_t *bytes;
	size_t len;

	if (!f) {
		guest_free(&mem);
		skip();
	}
	bytes = malloc(MIB);
	len = fread(bytes, 1, MIB, f);
	fclose(f);
	assert_error(load_file(bzimage_load, &mem, bytes, len, &k, &err), &err,
		     "no 64-bit entry (boot protocol 2.07)");
	free(bytes);
	guest_free(&mem);
}

/* Fields nobody but the kernel's own real-mode code reads. */
static void fields_without_a_meaning_here_may_be_anything(void **state)
{
	static const struct wild_field fields[] = {
		{ FIELD(code32_start), 0xdeadbeef, 0, NULL },
		{ FIELD(payload_offset), 0xffffffff, 0, NULL },
		{ FIELD(setup_data), 0xffffffffffffffff, 0, NULL },
		{ FIELD(ramdisk_image), 0xffffffff, 0, NULL },
		{ FIELD(handover_offset), 0xffffffff, 0, NULL },
	};
	struct guest_memory mem = guest_alloc(64 * MIB, 0);
	size_t i;

	for (i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
		struct fake_bzimage bz;
		struct kernel k;
		struct error err;

		fake_bzimage_init(&bz);
		memcpy(bz.bytes + fields[i].off, &fields[i].value, fields[i].width);
		assert_int_equal(load(&mem, &bz, &k, &err), 0);
	}
	guest_free(&mem);
}

static void random_headers_never_reach_outside_memory(void **state)
{
	struct guest_memory mem = guest_alloc(64 * MIB, 0);
	uint32_t seed = 1;
	unsigned round, n;

	for (round = 0; round < 3000; round++) {
		struct fake_bzimage bz;
		struct kernel k;
		struct error err;

		fake_bzimage_init(&bz);
		for (n = test_random(&seed) % 8 + 1; n; n--)
			bz.bytes[0x1f1 + test_random(&seed) % 0x80] = test_random(&seed);
		if (load(&mem, &bz, &k, &err)) {
			assert_true(err.text[0] != '\0');
			continue;
		}
		assert_true(k.entry >= MIB + 0x200);
		assert_true(k.end <= 64 * MIB);
		assert_true(k.entry < k.end);
	}
	guest_free(&mem);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(loads_at_its_preferred_address),
		cmocka_unit_test(setup_sects_of_zero_means_four),
		cmocka_unit_test(what_follows_the_kernel_is_not_loaded),
		cmocka_unit_test(the_last_paragraph_may_be_partly_there),
		cmocka_unit_test(fields_past_the_header_length_are_not_read),
		cmocka_unit_test(a_longer_header_reaches_the_zero_page),
		cmocka_unit_test(a_preferred_address_below_1_mib_moves_up_if_relocatable),
		cmocka_unit_test(a_kernel_that_is_not_relocatable_needs_no_alignment),
		cmocka_unit_test(it_may_fill_memory_to_the_last_byte),
		cmocka_unit_test(too_large_names_a_memory_size_that_is_enough),
		cmocka_unit_test(a_kernel_is_never_put_above_4_gib),
		cmocka_unit_test(every_truncation_is_refused),
		cmocka_unit_test(wild_header_fields_are_refused_in_one_line),
		cmocka_unit_test(ipxe_is_refused_for_want_of_a_64_bit_entry),
		cmocka_unit_test(fields_without_a_meaning_here_may_be_anything),
		cmocka_unit_test(random_headers_never_reach_outside_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
