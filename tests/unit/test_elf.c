/* SPDX-License-Identifier: Apache-2.0 */
/* ELF kernels, sound and hostile: segments, entries, notes. */
#include "loader_test.h"

#include <errno.h>

#include "elf_fake.h"

#define RAM (64 * MIB)

static int load(const struct guest_memory *mem, const struct fake_elf *e, struct kernel *kernel,
		struct error *err)
{
	return load_file(elf_load, mem, e, sizeof(*e), kernel, err);
}

static void segments_go_to_their_physical_addresses(void **state)
{
	struct guest_memory mem = guest_alloc(RAM, 0);
	struct fake_elf e;
	struct kernel k;
	struct error err;
	uint8_t *bss;

	fake_elf_init(&e);
	assert_int_equal(load(&mem, &e, &k, &err), 0);
	assert_memory_equal(guest_at(&mem, ELF_TEXT, sizeof(e.text)), e.text, sizeof(e.text));
	assert_memory_equal(guest_at(&mem, ELF_DATA, sizeof(e.data)), e.data, sizeof(e.data));
	bss = guest_at(&mem, ELF_DATA, ELF_BSS_END - ELF_DATA);
	for (size_t i = sizeof(e.data); i < ELF_BSS_END - ELF_DATA; i++)
		assert_int_equal(bss[i], 0);
	assert_int_equal(k.end, ELF_BSS_END);
	guest_free(&mem);
}

static void a_pvh_note_decides_the_entry(void **state)
{
	struct guest_memory mem = guest_alloc(RAM, 0);
	struct fake_elf e;
	struct kernel k;
	struct error err;

	fake_elf_init(&e);
	assert_int_equal(load(&mem, &e, &k, &err), 0);
	assert_int_equal(k.protocol, BOOT_PVH);
	assert_int_equal(k.entry, ELF_PVH);
	/* The same with a description of eight bytes. */
	e.note.xen.n_descsz = 8;
	e.phdr[FAKE_NOTE].p_filesz = sizeof(e.note);
	assert_int_equal(load(&mem, &e, &k, &err), 0);
	assert_int_equal(k.entry, ELF_PVH);
	/* And with a few bytes of padding after it. */
	e.note.xen.n_descsz = 4;
	assert_int_equal(load(&mem, &e, &k, &err), 0);
	assert_int_equal(k.entry, ELF_PVH);
	guest_free(&mem);
}

static void a_note_aligned_to_eight_bytes_is_found(void **state)
{
	struct guest_memory mem = guest_alloc(RAM, 0);
	struct fake_elf e;
	struct kernel k;
	struct error err;
	struct {
		Elf64_Nhdr nhdr;
		char name[8]; /* 5 used; the description begins at 24, not at 20 */
		uint32_t pad;
		uint32_t desc[2];
		Elf64_Nhdr xen;
		char xen_name[4];
		uint32_t entry;
	} note = {
		.nhdr = { .n_namesz = 5, .n_descsz = 8, .n_type = 18 },
		.name = "GNUx",
		.xen = { .n_namesz = 4, .n_descsz = 4, .n_type = 18 },
		.xen_name = "Xen",
		.entry = ELF_PVH,
	};

	fake_elf_init(&e);
	memcpy(e.data, &note, sizeof(note));
	e.phdr[FAKE_NOTE].p_offset = offsetof(struct fake_elf, data);
	e.phdr[FAKE_NOTE].p_filesz = sizeof(note);
	e.phdr[FAKE_NOTE].p_align = 8;
	assert_int_equal(load(&mem, &e, &k, &err), 0);
	assert_int_equal(k.protocol, BOOT_PVH);
	assert_int_equal(k.entry, ELF_PVH);
	guest_free(&mem);
}

static void without_a_pvh_note_the_64_bit_entry_is_used(void **state)
{
	struct guest_memory mem = guest_alloc(RAM, 0);
	struct fake_elf e;
	struct kernel k;
	struct error err;

	fake_elf_init(&e);
	e.note.xen.n_type = 17;
	assert_int_equal(load(&mem, &e, &k, &err), 0);
	assert_int_equal(k.protocol, BOOT_LINUX64);
	assert_int_equal(k.entry, ELF_ENTRY);
	/* Another vendor's note of the same number is not ours. */
	fake_elf_init(&e);
	memcpy(e.note.xen_name, "Xem", 4);
	assert_int_equal(load(&mem, &e, &k, &err), 0);
	assert_int_equal(k.protocol, BOOT_LINUX64);
	/* No notes at all. */
	fake_elf_init(&e);
	e.ehdr.e_phnum = FAKE_NOTE;
	assert_int_equal(load(&mem, &e, &k, &err), 0);
	assert_int_equal(k.protocol, BOOT_LINUX64);
	guest_free(&mem);
}

/* Sizes that leave a reader looking past the end of the notes, unless it checks them. */
static void notes_end_where_their_segment_ends(void **state)
{
	struct guest_memory mem = guest_alloc(RAM, 0);
	struct fake_elf e;
	struct kernel k;
	struct error err;

	/* The last note need not be padded. */
	fake_elf_init(&e);
	e.phdr[FAKE_NOTE].p_filesz = sizeof(Elf64_Nhdr) + 4 + 5;
	assert_int_equal(load(&mem, &e, &k, &err), 0);
	assert_int_equal(k.protocol, BOOT_LINUX64);
	/* A note of the right type without a name, and what follows is no name either. */
	fake_elf_init(&e);
	e.note.xen.n_namesz = 0;
	assert_int_equal(load(&mem, &e, &k, &err), 0);
	assert_int_equal(k.protocol, BOOT_LINUX64);
	e.note.xen.n_descsz = 0;
	e.phdr[FAKE_NOTE].p_filesz =
		offsetof(struct fake_elf, note.xen_name) - offsetof(struct fake_elf, note);
	assert_int_equal(load(&mem, &e, &k, &err), 0);
	assert_int_equal(k.protocol, BOOT_LINUX64);
	guest_free(&mem);
}

static void a_virtual_entry_is_translated(void **state)
{
	struct guest_memory mem = guest_alloc(RAM, 0);
	struct fake_elf e;
	struct kernel k;
	struct error err;

	fake_elf_init(&e);
	e.ehdr.e_phnum = FAKE_NOTE;
	e.ehdr.e_entry = ELF_VIRTUAL + ELF_ENTRY;
	assert_int_equal(load(&mem, &e, &k, &err), 0);
	assert_int_equal(k.entry, ELF_ENTRY);
	guest_free(&mem);
}

static void a_physical_entry_wins_over_a_virtual_one(void **state)
{
	struct guest_memory mem = guest_alloc(RAM, 0);
	struct fake_elf e;
	struct kernel k;
	struct error err;

	fake_elf_init(&e);
	e.ehdr.e_phnum = FAKE_NOTE;
	/* Per-CPU data of old vmlinux files has virtual addresses from 0. */
	e.phdr[FAKE_DATA].p_vaddr = ELF_TEXT;
	assert_int_equal(load(&mem, &e, &k, &err), 0);
	assert_int_equal(k.entry, ELF_ENTRY);
	guest_free(&mem);
}

static void the_last_byte_of_memory_is_usable(void **state)
{
	struct guest_memory mem = guest_alloc(ELF_DATA + 0xa000, 0);
	struct fake_elf e;
	struct kernel k;
	struct error err;

	fake_elf_init(&e);
	e.phdr[FAKE_DATA].p_memsz = 0xa000;
	assert_int_equal(load(&mem, &e, &k, &err), 0);
	e.phdr[FAKE_DATA].p_memsz = 0xa001;
	assert_error(load(&mem, &e, &k, &err), &err, "use --memory 3M");
	/* All of it from the file. */
	e.phdr[FAKE_DATA].p_paddr = ELF_DATA + 0xa000 - sizeof(e.data);
	e.phdr[FAKE_DATA].p_memsz = sizeof(e.data);
	assert_int_equal(load(&mem, &e, &k, &err), 0);
	guest_free(&mem);
}

struct hostile {
	const char *says;
	int code;
	void (*spoil)(struct fake_elf *e);
};

#define SPOIL(name, statement)                                                                     \
	static void name(struct fake_elf *e)                                                       \
	{                                                                                          \
		statement;                                                                         \
	}

SPOIL(class32, e->ehdr.e_ident[EI_CLASS] = ELFCLASS32)
SPOIL(big_endian, e->ehdr.e_ident[EI_DATA] = ELFDATA2MSB)
SPOIL(arm, e->ehdr.e_machine = EM_AARCH64)
SPOIL(object, e->ehdr.e_type = ET_REL)
SPOIL(core, e->ehdr.e_type = ET_CORE)
SPOIL(phentsize_0, e->ehdr.e_phentsize = 0)
SPOIL(phentsize_big, e->ehdr.e_phentsize = 57)
SPOIL(phnum_0, e->ehdr.e_phnum = 0)
SPOIL(phnum_max, e->ehdr.e_phnum = 65535)
SPOIL(phnum_past_end, e->ehdr.e_phnum = 64)
SPOIL(phoff_past_end, e->ehdr.e_phoff = sizeof(*e))
SPOIL(phoff_wraps, e->ehdr.e_phoff = UINT64_MAX - 16)
SPOIL(no_load, e->phdr[0].p_type = e->phdr[1].p_type = PT_NULL)
SPOIL(no_memory, e->phdr[0].p_memsz = e->phdr[1].p_memsz = 0)
SPOIL(file_over_memory, e->phdr[FAKE_TEXT].p_filesz = e->phdr[FAKE_TEXT].p_memsz + 1)
SPOIL(offset_past_end, e->phdr[FAKE_TEXT].p_offset = sizeof(*e) - 0x1ff)
SPOIL(offset_wraps, e->phdr[FAKE_TEXT].p_offset = UINT64_MAX - 0xff)
SPOIL(file_wraps, e->phdr[FAKE_TEXT].p_filesz = e->phdr[FAKE_TEXT].p_memsz = UINT64_MAX - 0x100)
SPOIL(on_boot_params, e->phdr[FAKE_TEXT].p_paddr = 0x7000)
SPOIL(on_acpi, e->phdr[FAKE_TEXT].p_paddr = 0xe0000)
SPOIL(at_0, e->phdr[FAKE_TEXT].p_paddr = 0)
SPOIL(just_below, e->phdr[FAKE_TEXT].p_paddr = 0xfffff)
SPOIL(at_end_of_ram, e->phdr[FAKE_TEXT].p_paddr = RAM)
SPOIL(over_end_of_ram, e->phdr[FAKE_TEXT].p_paddr = RAM - 0x1ff)
SPOIL(in_hole, e->phdr[FAKE_TEXT].p_paddr = 0xfec00000)
SPOIL(above_4g, e->phdr[FAKE_TEXT].p_paddr = 1ULL << 32)
SPOIL(paddr_wraps, e->phdr[FAKE_TEXT].p_paddr = UINT64_MAX - 0xff)
SPOIL(memory_wraps, e->phdr[FAKE_DATA].p_memsz = UINT64_MAX - 0xfffff)
SPOIL(same_place, e->phdr[FAKE_DATA].p_paddr = ELF_TEXT)
SPOIL(one_byte_over, e->phdr[FAKE_DATA].p_paddr = ELF_TEXT + 0x1ff)
SPOIL(covered, e->phdr[FAKE_TEXT].p_paddr = ELF_DATA + 0x1000)
SPOIL(entry_outside, e->note.xen_desc[0] = ELF_TEXT + 0x200)
SPOIL(entry_in_bss, e->note.xen_desc[0] = ELF_DATA + 0x1000)
SPOIL(entry_64_outside, e->ehdr.e_phnum = FAKE_NOTE; e->ehdr.e_entry = 0)
SPOIL(entry_64_wild, e->ehdr.e_phnum = FAKE_NOTE; e->ehdr.e_entry = UINT64_MAX)
SPOIL(note_past_file, e->phdr[FAKE_NOTE].p_offset = sizeof(*e) - 8)
SPOIL(note_huge, e->phdr[FAKE_NOTE].p_filesz = UINT64_MAX)
SPOIL(note_name_wraps, e->note.gnu.n_namesz = UINT32_MAX)
SPOIL(note_desc_wraps, e->note.gnu.n_descsz = UINT32_MAX)
SPOIL(note_both_wrap, e->note.gnu.n_namesz = e->note.gnu.n_descsz = 0x7ffffff8)
SPOIL(note_cut, e->phdr[FAKE_NOTE].p_filesz -= 1)
SPOIL(note_desc_3, e->note.xen.n_descsz = 3)
SPOIL(note_desc_0, e->note.xen.n_descsz = 0)
SPOIL(note_entry_64, e->note.xen.n_descsz = 8; e->note.xen_desc[1] = 1;
      e->phdr[FAKE_NOTE].p_filesz += 4)

static const struct hostile hostile[] = {
	{ "not a 64-bit", ENOEXEC, class32 },
	{ "little-endian", ENOEXEC, big_endian },
	{ "machine 183", ENOEXEC, arm },
	{ "type 1", ENOEXEC, object },
	{ "type 4", ENOEXEC, core },
	{ "program headers of 0 bytes", EINVAL, phentsize_0 },
	{ "program headers of 57 bytes", EINVAL, phentsize_big },
	{ "has 0 program headers", EINVAL, phnum_0 },
	{ "has 65535 program headers", EINVAL, phnum_max },
	{ "truncated", EINVAL, phnum_past_end },
	{ "truncated", EINVAL, phoff_past_end },
	{ "truncated", EINVAL, phoff_wraps },
	{ "nothing to load", ENOEXEC, no_load },
	{ "in the file", EINVAL, no_memory },
	{ "in the file", EINVAL, file_over_memory },
	{ "truncated", EINVAL, offset_past_end },
	{ "truncated", EINVAL, offset_wraps },
	{ "truncated", EINVAL, file_wraps },
	{ "below 1 MiB", EINVAL, on_boot_params },
	{ "below 1 MiB", EINVAL, on_acpi },
	{ "below 1 MiB", EINVAL, at_0 },
	{ "below 1 MiB", EINVAL, just_below },
	{ "MiB of guest memory", EFBIG, at_end_of_ram },
	{ "MiB of guest memory", EFBIG, over_end_of_ram },
	{ "32-bit hole", EINVAL, in_hole },
	{ "32-bit hole", EINVAL, above_4g },
	{ "32-bit hole", EINVAL, paddr_wraps },
	{ "32-bit hole", EINVAL, memory_wraps },
	{ "segments 0 and 1 overlap at 0x100000", EINVAL, same_place },
	{ "segments 0 and 1 overlap at 0x1001ff", EINVAL, one_byte_over },
	{ "segments 0 and 1 overlap at 0x201000", EINVAL, covered },
	{ "none of its segments", EINVAL, entry_outside },
	{ "none of its segments", EINVAL, entry_in_bss },
	{ "none of its segments", EINVAL, entry_64_outside },
	{ "none of its segments", EINVAL, entry_64_wild },
	{ "truncated", EINVAL, note_past_file },
	{ "bytes of notes", EINVAL, note_huge },
	{ "a note runs past", EINVAL, note_name_wraps },
	{ "a note runs past", EINVAL, note_desc_wraps },
	{ "a note runs past", EINVAL, note_both_wrap },
	{ "a note runs past", EINVAL, note_cut },
	{ "PVH note has 3 bytes", EINVAL, note_desc_3 },
	{ "PVH note has 0 bytes", EINVAL, note_desc_0 },
	{ "beyond 32 bits", EINVAL, note_entry_64 },
};

static void hostile_files_are_refused_in_one_line(void **state)
{
	struct guest_memory mem = guest_alloc(RAM, RAM);
	size_t i;

	for (i = 0; i < sizeof(hostile) / sizeof(hostile[0]); i++) {
		struct fake_elf e;
		struct kernel k;
		struct error err;
		int ret;

		fake_elf_init(&e);
		hostile[i].spoil(&e);
		ret = load(&mem, &e, &k, &err);
		if (ret != -hostile[i].code)
			print_error("case %zu (%s): %d, \"%s\"\n", i, hostile[i].says, ret,
				    err.text);
		assert_int_equal(ret, -hostile[i].code);
		assert_error(ret, &err, hostile[i].says);
	}
	guest_free(&mem);
}

static void every_truncation_is_refused(void **state)
{
	struct guest_memory mem = guest_alloc(RAM, 0);
	struct fake_elf e;
	struct kernel k;
	struct error err;
	size_t len;

	fake_elf_init(&e);
	for (len = 1; len < sizeof(e); len++)
		assert_error(load_file(elf_load, &mem, &e, len, &k, &err), &err, "truncated");
	guest_free(&mem);
}

static void random_files_never_reach_outside_memory(void **state)
{
	struct guest_memory mem = guest_alloc(RAM, 0);
	uint32_t seed = 7;
	unsigned round, n;

	for (round = 0; round < 5000; round++) {
		struct fake_elf e;
		struct kernel k;
		struct error err;

		fake_elf_init(&e);
		for (n = test_random(&seed) % 8 + 1; n; n--)
			((uint8_t *)&e)[test_random(&seed) % offsetof(struct fake_elf, text)] =
				test_random(&seed);
		if (load(&mem, &e, &k, &err)) {
			assert_true(err.text[0] != '\0');
			continue;
		}
		assert_true(k.entry >= MIB && k.entry < k.end && k.end <= RAM);
	}
	guest_free(&mem);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(segments_go_to_their_physical_addresses),
		cmocka_unit_test(a_pvh_note_decides_the_entry),
		cmocka_unit_test(a_note_aligned_to_eight_bytes_is_found),
		cmocka_unit_test(without_a_pvh_note_the_64_bit_entry_is_used),
		cmocka_unit_test(notes_end_where_their_segment_ends),
		cmocka_unit_test(a_virtual_entry_is_translated),
		cmocka_unit_test(a_physical_entry_wins_over_a_virtual_one),
		cmocka_unit_test(the_last_byte_of_memory_is_usable),
		cmocka_unit_test(hostile_files_are_refused_in_one_line),
		cmocka_unit_test(every_truncation_is_refused),
		cmocka_unit_test(random_files_never_reach_outside_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
