/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Walks the notes of an ELF file (gABI, "Note Section"). Runs on main; the file is hostile: sizes
 * are added up in 64 bits and held against what is left before anything is looked at.
 */
#include "loader/elf_note.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define NOTES_MAX	  65536 /* bytes; Linux has about 500 */
#define NOTE_XEN	  "Xen"
#define NOTE_PHYS32_ENTRY 18 /* XEN_ELFNOTE_PHYS32_ENTRY, xen/include/public/elfnote.h */

struct note {
	uint32_t type;
	uint32_t namesz, descsz;
	const uint8_t *name, *desc;
};

static uint64_t round_up(uint64_t v, uint64_t align)
{
	return (v + align - 1) & ~(align - 1);
}

/* Takes the note at the start of [p, p + len), at least a header, and returns how many bytes it
 * uses; 0: it is broken. */
static uint64_t note_parse(const uint8_t *p, uint64_t len, uint64_t align, struct note *note)
{
	Elf64_Nhdr hdr;
	uint64_t desc, end; /* the sizes of a note have 32 bits: no sum wraps */

	memcpy(&hdr, p, sizeof(hdr));
	desc = round_up(sizeof(hdr) + hdr.n_namesz, align);
	end = desc + hdr.n_descsz;
	if (end > len)
		return 0;
	*note = (struct note){ .type = hdr.n_type,
			       .namesz = hdr.n_namesz,
			       .descsz = hdr.n_descsz,
			       .name = p + sizeof(hdr),
			       .desc = p + desc };
	/* The last note of a segment need not be padded. */
	end = round_up(end, align);
	return end < len ? end : len;
}

static int pvh_entry(const struct image *img, const struct note *note, uint64_t *entry,
		     struct error *err)
{
	if (note->type != NOTE_PHYS32_ENTRY || note->namesz != sizeof(NOTE_XEN) ||
	    memcmp(note->name, NOTE_XEN, sizeof(NOTE_XEN)) != 0)
		return 0;
	/* Four bytes or eight: assemblers of 64-bit kernels write either. */
	if (note->descsz != 4 && note->descsz != 8)
		return image_error(img, err, EINVAL, "its PVH note has %u bytes, not 4 or 8",
				   note->descsz);
	*entry = 0;
	memcpy(entry, note->desc, note->descsz);
	if (*entry > UINT32_MAX)
		return image_error(img, err, EINVAL, "its PVH entry %#" PRIx64 " is beyond 32 bits",
				   *entry);
	return 1;
}

static int scan(const struct image *img, const uint8_t *p, uint64_t len, uint64_t align,
		uint64_t *entry, struct error *err)
{
	struct note note;
	uint64_t used;
	int ret;

	/* Fewer bytes than a header are padding: segments are sometimes rounded up. */
	while (len >= sizeof(Elf64_Nhdr)) {
		used = note_parse(p, len, align, &note);
		if (!used)
			return image_error(img, err, EINVAL,
					   "a note runs past the end of its segment");
		ret = pvh_entry(img, &note, entry, err);
		if (ret)
			return ret;
		p += used;
		len -= used;
	}
	return 0;
}

int elf_note_pvh_entry(const struct image *img, const Elf64_Phdr *ph, uint64_t *entry,
		       struct error *err)
{
	uint8_t *buf;
	int ret;

	if (ph->p_filesz == 0)
		return 0;
	if (ph->p_filesz > NOTES_MAX)
		return image_error(img, err, EINVAL, "has %" PRIu64 " bytes of notes, %u are taken",
				   ph->p_filesz, NOTES_MAX);
	buf = malloc(ph->p_filesz);
	if (!buf)
		return error_set(err, ENOMEM, "kernel: cannot read its notes");
	ret = image_read(img, ph->p_offset, buf, ph->p_filesz, err);
	if (!ret)
		ret = scan(img, buf, ph->p_filesz, ph->p_align == 8 ? 8 : 4, entry, err);
	free(buf);
	return ret;
}
