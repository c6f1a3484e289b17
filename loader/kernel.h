/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What boot.c puts together: a kernel in guest memory, told apart by its format, and the pieces
 * every boot protocol wants besides it. Private to loader/. Main only.
 */
#ifndef MVMM_LOADER_KERNEL_H
#define MVMM_LOADER_KERNEL_H

#include <asm/bootparam.h>
#include <stddef.h>
#include <stdint.h>

#include "loader/image.h"
#include "vmm/arch.h"
#include "vmm/error.h"
#include "vmm/memory.h"

#define SETUP_HEADER_OFFSET 0x1f1
/* The zero page has room for the header up to here, whatever length it claims (Linux boot protocol,
 * "The 64-bit boot protocol"): what follows are our own fields. */
#define SETUP_HEADER_END 0x290

struct kernel {
	enum boot_protocol protocol;
	gpa_t entry;
	gpa_t end;	      /* nothing else may lie in [1 MiB, end) */
	gpa_t initrd_max;     /* the highest address a byte of the initrd may have */
	uint32_t cmdline_max; /* bytes, without the NUL */
	uint8_t header[SETUP_HEADER_END - SETUP_HEADER_OFFSET]; /* BOOT_LINUX64: its setup header */
};

struct initrd {
	gpa_t addr;
	uint64_t size; /* 0: there is none */
};

/* Each refuses with one line what it cannot load; on success the kernel is in guest memory. */
int bzimage_load(const struct image *img, const struct guest_memory *mem, struct kernel *kernel,
		 struct error *err);
int elf_load(const struct image *img, const struct guest_memory *mem, struct kernel *kernel,
	     struct error *err);

/* As high in low RAM as the kernel allows, page aligned. */
int initrd_load(const struct image *img, const struct guest_memory *mem,
		const struct kernel *kernel, struct initrd *initrd, struct error *err);

/* Copies the command line to X86_CMDLINE. */
int cmdline_load(const struct guest_memory *mem, const char *cmdline, uint32_t max,
		 struct error *err);

/* The boot information of either protocol; the command line is at X86_CMDLINE. */
int zero_page_write(const struct guest_memory *mem, const struct kernel *kernel,
		    const struct initrd *initrd, gpa_t rsdp, struct error *err);
int pvh_write(const struct guest_memory *mem, const struct initrd *initrd, gpa_t rsdp,
	      struct error *err);

#endif
