/* SPDX-License-Identifier: Apache-2.0 */
/* The whole way from files to an entry: formats, command line, zero page, PVH start info. */
#include "loader_test.h"

#include <errno.h>
#include <stdlib.h>

#include "bzimage_fake.h"
#include "elf_fake.h"
#include "loader/boot.h"
#include "loader/e820.h"
#include "vmm/x86/layout.h"

#define RAM  (64 * MIB)
#define RSDP 0xe0000

static int boot(struct guest_memory *mem, const void *kernel, size_t len, const char *initrd,
		const char *cmdline, struct boot_entry *entry, struct error *err)
{
	struct test_file f = file_make(kernel, len);
	const struct boot_config config = {
		.kernel = f.path, .initrd = initrd, .cmdline = cmdline, .acpi_rsdp = RSDP
	};
	int ret;

	memset(err, 0, sizeof(*err));
	memset(entry, 0, sizeof(*entry));
	ret = boot_load(mem, &config, entry, err);
	file_close(&f);
	return ret;
}

static int boot_bz(struct guest_memory *mem, const struct fake_bzimage *bz, const char *initrd,
		   const char *cmdline, struct boot_entry *entry, struct error *err)
{
	return boot(mem, bz->bytes, sizeof(bz->bytes), initrd, cmdline, entry, err);
}

static const struct boot_params *zero_page(const struct guest_memory *mem)
{
	return guest_at(mem, X86_ZERO_PAGE, sizeof(struct boot_params));
}

static void a_bzimage_starts_with_a_full_zero_page(void **state)
{
	struct guest_memory mem = guest_alloc(RAM, RAM);
	struct test_file initrd = file_make("initrd!", 7);
	const struct boot_params *bp;
	struct fake_bzimage bz;
	struct boot_entry entry;
	struct error err;

	fake_bzimage_init(&bz);
	fake_header(&bz)->setup_data = 0x1234567890;
	assert_int_equal(boot_bz(&mem, &bz, initrd.path, "console=ttyS0", &entry, &err), 0);
	assert_int_equal(entry.protocol, BOOT_LINUX64);
	assert_int_equal(entry.entry, FAKE_PREF + 0x200);
	assert_int_equal(entry.arg, X86_ZERO_PAGE);

	bp = zero_page(&mem);
	assert_int_equal(bp->hdr.header, 0x53726448);
	assert_int_equal(bp->hdr.version, 0x020f);
	assert_int_equal(bp->hdr.init_size, FAKE_INIT);
	assert_int_equal(bp->hdr.type_of_loader, 0xff);
	assert_int_equal(bp->hdr.loadflags, LOADED_HIGH | CAN_USE_HEAP);
	assert_int_equal(bp->hdr.heap_end_ptr, 0xfe00);
	assert_int_equal(bp->hdr.vid_mode, 0xffff);
	assert_int_equal(bp->hdr.setup_data, 0);
	assert_int_equal(bp->sentinel, 0);
	assert_int_equal(bp->acpi_rsdp_addr, RSDP);
	assert_int_equal(bp->hdr.ramdisk_image, RAM - 4096);
	assert_int_equal(bp->hdr.ramdisk_size, 7);
	assert_int_equal(bp->ext_ramdisk_image, 0);
	assert_int_equal(bp->ext_ramdisk_size, 0);
	assert_memory_equal(guest_at(&mem, RAM - 4096, 7), "initrd!", 7);
	assert_string_equal(guest_at(&mem, bp->hdr.cmd_line_ptr, 32), "console=ttyS0");
	assert_int_equal(bp->ext_cmd_line_ptr, 0);
	file_close(&initrd);
	guest_free(&mem);
}

static void the_zero_page_holds_the_memory_map(void **state)
{
	struct guest_memory mem = guest_alloc(RAM, RAM);
	const struct boot_params *bp;
	struct e820_range map[E820_MAX];
	struct fake_bzimage bz;
	struct boot_entry entry;
	struct error err;
	unsigned n, i;

	fake_bzimage_init(&bz);
	assert_int_equal(boot_bz(&mem, &bz, NULL, "", &entry, &err), 0);
	bp = zero_page(&mem);
	n = e820_build(&mem, map);
	assert_true(n >= 6);
	assert_int_equal(bp->e820_entries, n);
	for (i = 0; i < n; i++) {
		assert_int_equal(bp->e820_table[i].addr, map[i].addr);
		assert_int_equal(bp->e820_table[i].size, map[i].size);
		assert_int_equal(bp->e820_table[i].type, map[i].type);
	}
	assert_int_equal(bp->hdr.ramdisk_image, 0);
	assert_int_equal(bp->hdr.ramdisk_size, 0);
	guest_free(&mem);
}

static void a_long_header_does_not_reach_our_fields(void **state)
{
	struct guest_memory mem = guest_alloc(RAM, 0);
	struct fake_bzimage bz;
	struct boot_entry entry;
	struct error err;

	fake_bzimage_init(&bz);
	fake_header(&bz)->jump = 0xffeb;
	memset(bz.bytes + 0x26c, 0x77, 0x301 - 0x26c);
	assert_int_equal(boot_bz(&mem, &bz, NULL, "", &entry, &err), 0);
	assert_int_equal(((const uint8_t *)zero_page(&mem))[0x28f], 0x77);
	assert_int_equal(zero_page(&mem)->edd_mbr_sig_buffer[0], 0);
	guest_free(&mem);
}

/* What the start info of version 1 looks like to a guest: words, not our structs. */
static uint64_t word(const struct guest_memory *mem, gpa_t gpa, unsigned bytes)
{
	return word_at(guest_at(mem, gpa, bytes), bytes);
}

static void a_pvh_kernel_starts_with_start_info(void **state)
{
	struct guest_memory mem = guest_alloc(RAM, RAM);
	struct test_file initrd = file_make("initrd!", 7);
	const gpa_t si = X86_PVH_START_INFO;
	struct e820_range map[E820_MAX];
	struct boot_entry entry;
	struct fake_elf e;
	struct error err;
	gpa_t mod, at;
	unsigned i;

	fake_elf_init(&e);
	assert_int_equal(boot(&mem, &e, sizeof(e), initrd.path, "a=b c", &entry, &err), 0);
	assert_int_equal(entry.protocol, BOOT_PVH);
	assert_int_equal(entry.entry, ELF_PVH);
	assert_int_equal(entry.arg, si);

	assert_int_equal(word(&mem, si, 4), 0x336ec578);
	assert_int_equal(word(&mem, si + 4, 4), 1);
	assert_int_equal(word(&mem, si + 8, 4), 0);
	assert_int_equal(word(&mem, si + 12, 4), 1);
	mod = word(&mem, si + 16, 8);
	assert_int_equal(word(&mem, mod, 8), RAM - 4096);
	assert_int_equal(word(&mem, mod + 8, 8), 7);
	assert_string_equal(guest_at(&mem, word(&mem, si + 24, 8), 16), "a=b c");
	assert_int_equal(word(&mem, si + 32, 8), RSDP);
	at = word(&mem, si + 40, 8);
	assert_int_equal(word(&mem, si + 48, 4), e820_build(&mem, map));
	for (i = 0; i < word(&mem, si + 48, 4); i++, at += 24) {
		assert_int_equal(word(&mem, at, 8), map[i].addr);
		assert_int_equal(word(&mem, at + 8, 8), map[i].size);
		assert_int_equal(word(&mem, at + 16, 4), map[i].type);
	}
	file_close(&initrd);
	guest_free(&mem);
}

static void without_an_initrd_there_is_no_module(void **state)
{
	struct guest_memory mem = guest_alloc(RAM, 0);
	struct boot_entry entry;
	struct fake_elf e;
	struct error err;

	fake_elf_init(&e);
	assert_int_equal(boot(&mem, &e, sizeof(e), NULL, "", &entry, &err), 0);
	assert_int_equal(word(&mem, X86_PVH_START_INFO + 12, 4), 0);
	assert_int_equal(word(&mem, X86_PVH_START_INFO + 16, 8), 0);
	guest_free(&mem);
}

static void an_elf_without_pvh_gets_a_zero_page_with_a_header(void **state)
{
	struct guest_memory mem = guest_alloc(RAM, 0);
	struct boot_entry entry;
	struct fake_elf e;
	struct error err;

	fake_elf_init(&e);
	e.ehdr.e_phnum = FAKE_NOTE;
	assert_int_equal(boot(&mem, &e, sizeof(e), NULL, "x", &entry, &err), 0);
	assert_int_equal(entry.protocol, BOOT_LINUX64);
	assert_int_equal(entry.arg, X86_ZERO_PAGE);
	assert_int_equal(zero_page(&mem)->hdr.boot_flag, 0xaa55);
	assert_int_equal(zero_page(&mem)->hdr.header, 0x53726448);
	assert_int_equal(zero_page(&mem)->hdr.type_of_loader, 0xff);
	assert_int_equal(zero_page(&mem)->hdr.cmd_line_ptr, X86_CMDLINE);
	guest_free(&mem);
}

static char *line_of(size_t len)
{
	char *line = malloc(len + 1);

	assert_non_null(line);
	memset(line, 'x', len);
	line[len] = '\0';
	return line;
}

static void a_command_line_is_taken_whole_or_not_at_all(void **state)
{
	static const struct {
		uint32_t takes;
		size_t len;
		const char *refusal;
	} cases[] = {
		{ 2047, 0, NULL },
		{ 2047, 2047, NULL },
		{ 2047, 3, NULL },
		{ 2047, 2048, "2048 bytes long, this kernel takes 2047" },
		{ 255, 256, "256 bytes long, this kernel takes 255" },
		{ 0, 1, "1 bytes long, this kernel takes 0" },
		{ 0xffffffff, 65535, NULL },
		{ 0xffffffff, 65536, "65536 bytes long, this kernel takes 65535" },
	};
	struct guest_memory mem = guest_alloc(RAM, 0);
	size_t i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char *line = line_of(cases[i].len);
		struct boot_entry entry;
		struct fake_bzimage bz;
		struct error err;
		int ret;

		fake_bzimage_init(&bz);
		fake_header(&bz)->cmdline_size = cases[i].takes;
		ret = boot_bz(&mem, &bz, NULL, line, &entry, &err);
		if (cases[i].refusal) {
			assert_int_equal(ret, -E2BIG);
			assert_error(ret, &err, cases[i].refusal);
		} else {
			assert_int_equal(ret, 0);
			assert_string_equal(guest_at(&mem, X86_CMDLINE, X86_CMDLINE_MAX), line);
		}
		free(line);
	}
	guest_free(&mem);
}

/* What the bytes mean is the kernel's business. */
static void a_command_line_may_hold_any_byte(void **state)
{
	struct guest_memory mem = guest_alloc(RAM, 0);
	struct boot_entry entry;
	struct fake_bzimage bz;
	struct error err;
	char line[256];

	for (unsigned i = 0; i < 255; i++)
		line[i] = 1 + i;
	line[255] = '\0';
	fake_bzimage_init(&bz);
	assert_int_equal(boot_bz(&mem, &bz, NULL, line, &entry, &err), 0);
	assert_memory_equal(guest_at(&mem, X86_CMDLINE, X86_CMDLINE_MAX), line, sizeof(line));
	guest_free(&mem);
}

static void an_elf_takes_as_long_a_command_line_as_linux(void **state)
{
	struct guest_memory mem = guest_alloc(RAM, 0);
	char *line = line_of(2048);
	struct boot_entry entry;
	struct fake_elf e;
	struct error err;

	fake_elf_init(&e);
	assert_error(boot(&mem, &e, sizeof(e), NULL, line, &entry, &err), &err, "takes 2047");
	line[2047] = '\0';
	assert_int_equal(boot(&mem, &e, sizeof(e), NULL, line, &entry, &err), 0);
	free(line);
	guest_free(&mem);
}

static void other_formats_are_named(void **state)
{
	static const struct {
		unsigned off;
		const char *bytes;
		unsigned len;
		const char *says;
	} formats[] = {
		{ 0, "\x1f\x8b\x08\x00", 4, "gzip" },
		{ 0, "\xfd\x37zXZ", 5, "xz" },
		{ 0, "\x28\xb5\x2f\xfd", 4, "zstd" },
		{ 0, "BZh9", 4, "bzip2" },
		{ 0, "070701", 6, "--initrd" },
		{ 0, "MZ", 2, "EFI" },
		{ 0x38, "ARM\x64", 4, "arm64" },
		{ 0, "#!/bin/sh", 9, "neither a bzImage nor an ELF" },
		{ 0, "", 1, "neither a bzImage nor an ELF" },
	};
	struct guest_memory mem = guest_alloc(RAM, 0);
	struct boot_entry entry;
	struct error err;
	size_t i;

	for (i = 0; i < sizeof(formats) / sizeof(formats[0]); i++) {
		uint8_t file[1024] = { 0 };
		int ret;

		memcpy(file + formats[i].off, formats[i].bytes, formats[i].len);
		ret = boot(&mem, file, sizeof(file), NULL, "", &entry, &err);
		assert_int_equal(ret, -ENOEXEC);
		assert_error(ret, &err, formats[i].says);
	}
	assert_error(boot(&mem, "x", 1, NULL, "", &entry, &err), &err, "neither");
	guest_free(&mem);
}

static void the_bad_file_is_named(void **state)
{
	struct guest_memory mem = guest_alloc(RAM, 0);
	struct boot_config config = { .kernel = "/nonexistent/kernel", .cmdline = "" };
	struct boot_entry entry;
	struct fake_bzimage bz;
	struct error err;

	assert_error(boot_load(&mem, &config, &entry, &err), &err,
		     "kernel '/nonexistent/kernel': cannot open");
	fake_bzimage_init(&bz);
	assert_error(boot_bz(&mem, &bz, "/nonexistent/initrd", "", &entry, &err), &err,
		     "initrd '/nonexistent/initrd': cannot open");
	guest_free(&mem);
}

static void memory_of_a_mib_or_less_boots_nothing(void **state)
{
	struct guest_memory mem = guest_alloc(MIB, 0);
	struct boot_entry entry;
	struct fake_bzimage bz;
	struct error err;

	fake_bzimage_init(&bz);
	assert_error(boot_bz(&mem, &bz, NULL, "", &entry, &err), &err, "more than 1024 KiB");
	guest_free(&mem);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_bzimage_starts_with_a_full_zero_page),
		cmocka_unit_test(the_zero_page_holds_the_memory_map),
		cmocka_unit_test(a_long_header_does_not_reach_our_fields),
		cmocka_unit_test(a_pvh_kernel_starts_with_start_info),
		cmocka_unit_test(without_an_initrd_there_is_no_module),
		cmocka_unit_test(an_elf_without_pvh_gets_a_zero_page_with_a_header),
		cmocka_unit_test(a_command_line_is_taken_whole_or_not_at_all),
		cmocka_unit_test(a_command_line_may_hold_any_byte),
		cmocka_unit_test(an_elf_takes_as_long_a_command_line_as_linux),
		cmocka_unit_test(other_formats_are_named),
		cmocka_unit_test(the_bad_file_is_named),
		cmocka_unit_test(memory_of_a_mib_or_less_boots_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
