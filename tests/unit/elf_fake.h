/* SPDX-License-Identifier: Apache-2.0 */
/* An ELF kernel with two segments and a PVH note; tests break one thing at a time. */
#ifndef MVMM_TESTS_ELF_FAKE_H
#define MVMM_TESTS_ELF_FAKE_H

#include <elf.h>
#include <stdint.h>
#include <string.h>

#define ELF_TEXT    0x100000ULL /* physical */
#define ELF_VIRTUAL 0xffffffff80000000ULL
#define ELF_DATA    0x200000ULL
#define ELF_BSS_END (ELF_DATA + 0x9000)
#define ELF_ENTRY   (ELF_TEXT + 0x40)
#define ELF_PVH	    (ELF_TEXT + 0x80)

enum { FAKE_TEXT, FAKE_DATA, FAKE_NOTE, FAKE_PHDRS };

struct fake_elf {
	Elf64_Ehdr ehdr;
	Elf64_Phdr phdr[FAKE_PHDRS];
	struct {
		/* Somebody else's note first, of an odd size. */
		Elf64_Nhdr gnu;
		char gnu_name[4];
		uint8_t gnu_desc[8]; /* 5 used */
		Elf64_Nhdr xen;
		char xen_name[4];
		uint32_t xen_desc[2];
	} note;
	uint8_t text[0x200];
	uint8_t data[0x100];
};

static inline void fake_elf_init(struct fake_elf *e)
{
	memset(e, 0, sizeof(*e));
	e->ehdr = (Elf64_Ehdr){
		.e_ident = { ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB,
			     EV_CURRENT },
		.e_type = ET_EXEC,
		.e_machine = EM_X86_64,
		.e_version = EV_CURRENT,
		.e_entry = ELF_ENTRY,
		.e_phoff = offsetof(struct fake_elf, phdr),
		.e_ehsize = sizeof(e->ehdr),
		.e_phentsize = sizeof(e->phdr[0]),
		.e_phnum = FAKE_PHDRS,
	};
	e->phdr[FAKE_TEXT] = (Elf64_Phdr){
		.p_type = PT_LOAD,
		.p_offset = offsetof(struct fake_elf, text),
		.p_vaddr = ELF_VIRTUAL + ELF_TEXT,
		.p_paddr = ELF_TEXT,
		.p_filesz = sizeof(e->text),
		.p_memsz = sizeof(e->text),
	};
	e->phdr[FAKE_DATA] = (Elf64_Phdr){
		.p_type = PT_LOAD,
		.p_offset = offsetof(struct fake_elf, data),
		.p_vaddr = ELF_VIRTUAL + ELF_DATA,
		.p_paddr = ELF_DATA,
		.p_filesz = sizeof(e->data),
		.p_memsz = ELF_BSS_END - ELF_DATA,
	};
	e->phdr[FAKE_NOTE] = (Elf64_Phdr){
		.p_type = PT_NOTE,
		.p_offset = offsetof(struct fake_elf, note),
		.p_filesz = sizeof(e->note) - 4, /* a description of 4 bytes */
		.p_align = 4,
	};
	e->note.gnu = (Elf64_Nhdr){ .n_namesz = 4, .n_descsz = 5, .n_type = 3 };
	memcpy(e->note.gnu_name, "GNU", 4);
	e->note.xen = (Elf64_Nhdr){ .n_namesz = 4, .n_descsz = 4, .n_type = 18 };
	memcpy(e->note.xen_name, "Xen", 4);
	e->note.xen_desc[0] = ELF_PVH;
	memset(e->text, 0x90, sizeof(e->text));
	memset(e->data, 0xda, sizeof(e->data));
}

#endif
