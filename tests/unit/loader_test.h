/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the loader's tests share: guest memory between inaccessible pages, so that a write beside it
 * ends the test, and files that exist in memory only.
 */
#ifndef MVMM_TESTS_LOADER_TEST_H
#define MVMM_TESTS_LOADER_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "loader/kernel.h"
#include "tests/unit/guarded_map.h"
#include "vmm/error.h"
#include "vmm/memory.h"

#define KIB 1024ULL
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)

#define GUARD (64 * KIB)

static inline void guest_add(struct guest_memory *mem, gpa_t gpa, uint64_t size)
{
	void *ram = guarded_map(size, GUARD);

	assert_non_null(ram);
	assert_int_equal(guest_memory_add(mem, gpa, size, ram), 0);
}

/* `high` bytes above 4 GiB may be 0. */
static inline struct guest_memory guest_alloc(uint64_t low, uint64_t high)
{
	struct guest_memory mem = { 0 };

	guest_add(&mem, 0, low);
	if (high)
		guest_add(&mem, 4 * GIB, high);
	return mem;
}

static inline void guest_free(struct guest_memory *mem)
{
	for (unsigned i = 0; i < mem->nslots; i++)
		guarded_unmap(mem->slot[i].hva, mem->slot[i].size, GUARD);
}

static inline void *guest_at(const struct guest_memory *mem, gpa_t gpa, uint64_t len)
{
	void *p = guest_memory_ptr(mem, gpa, len);

	assert_non_null(p);
	return p;
}

/* A file of this content; `path` opens it as often as wanted until file_close(). */
struct test_file {
	int fd;
	char path[64];
};

static inline struct test_file file_make(const void *data, size_t len)
{
	struct test_file f = { .fd = memfd_create("test", MFD_CLOEXEC) };

	assert_true(f.fd >= 0);
	assert_int_equal(write(f.fd, data, len), len);
	snprintf(f.path, sizeof(f.path), "/proc/self/fd/%d", f.fd);
	return f;
}

static inline void file_close(struct test_file *f)
{
	close(f->fd);
}

/* Loads a kernel file of this content with bzimage_load() or elf_load(). */
static inline int load_file(int (*loader)(const struct image *, const struct guest_memory *,
					  struct kernel *, struct error *),
			    const struct guest_memory *mem, const void *data, size_t len,
			    struct kernel *kernel, struct error *err)
{
	struct test_file f = file_make(data, len);
	struct image img;
	int ret;

	memset(err, 0, sizeof(*err));
	memset(kernel, 0, sizeof(*kernel));
	ret = image_open(&img, "kernel", f.path, err);
	if (!ret) {
		ret = loader(&img, mem, kernel, err);
		image_close(&img);
	}
	file_close(&f);
	return ret;
}

/* A little-endian word of a table, and what all its bytes add up to. */
static inline uint64_t word_at(const uint8_t *p, unsigned bytes)
{
	uint64_t v = 0;

	memcpy(&v, p, bytes);
	return v;
}

static inline uint8_t byte_sum(const uint8_t *p, size_t len)
{
	uint8_t sum = 0;

	while (len--)
		sum += *p++;
	return sum;
}

/* An error as people must see it: a negative errno and one line with `part` in it. */
static inline void assert_error(int ret, const struct error *err, const char *part)
{
	assert_true(ret < 0);
	assert_true(ret >= -4095);
	assert_true(err->text[0] != '\0');
	assert_null(strchr(err->text, '\n'));
	if (!strstr(err->text, part))
		fail_msg("\"%s\" does not say \"%s\"", err->text, part);
}

/* A sequence that looks random and is the same in every run. */
static inline uint32_t test_random(uint32_t *state)
{
	*state = *state * 1664525 + 1013904223;
	return *state >> 8;
}

#endif
