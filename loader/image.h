/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A file to boot from: opened once, read with pread(2), never mapped. All messages about it begin
 * with what it is and its path. Main only.
 */
#ifndef MVMM_LOADER_IMAGE_H
#define MVMM_LOADER_IMAGE_H

#include <stddef.h>
#include <stdint.h>

#include "vmm/error.h"
#include "vmm/memory.h"

struct image {
	int fd;
	uint64_t size;	  /* bytes, at open; a file that shrinks later fails the read */
	const char *what; /* "kernel", "initrd" */
	const char *path; /* borrowed */
};

/* Regular files only, and not empty: a pipe or a device would block or never end. */
int image_open(struct image *img, const char *what, const char *path, struct error *err);
void image_close(struct image *img);

/* Exactly `len` bytes at `off`, or an error. */
int image_read(const struct image *img, uint64_t off, void *buf, size_t len, struct error *err);

/* The same, straight into guest memory: no copy of the file is ever held. */
int image_load(const struct image *img, uint64_t off, uint64_t len, const struct guest_memory *mem,
	       gpa_t gpa, struct error *err);

/* "<what> '<path>': <message>"; returns -code. */
int image_error(const struct image *img, struct error *err, int code, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

/* The image needs guest memory up to `end`, which is not there. Says how much would do. */
int image_too_large(const struct image *img, const struct guest_memory *mem, gpa_t end,
		    struct error *err);

#endif
