/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guest RAM of the ring target: two slots with a hole between, nothing accessible beside them, and a
 * shadow that says what each byte must be. Host pointers are found here by arithmetic of our own.
 */
#ifndef MVMM_TESTS_FUZZ_RING_MEMORY_H
#define MVMM_TESTS_FUZZ_RING_MEMORY_H

#include <string.h>

#include "tests/fuzz/target.h"
#include "tests/unit/guarded_map.h"
#include "vmm/memory.h"

#define LOW_SIZE  0x8000ULL
#define HIGH_GPA  0x100000000ULL
#define HIGH_SIZE 0x2000ULL
#define GUARD	  (1ULL << 30)

static struct {
	struct guest_memory mem;
	uint8_t *low, *high;
	uint8_t low_shadow[LOW_SIZE], high_shadow[HIGH_SIZE];
} ram;

static inline uint8_t *map_slot(uint64_t size)
{
	uint8_t *p = guarded_map(size, GUARD);

	fuzz_check(p, "no memory for a guest");
	return p;
}

/* All zero. */
static inline void ram_init(void)
{
	if (!ram.low) {
		ram.low = map_slot(LOW_SIZE);
		ram.high = map_slot(HIGH_SIZE);
		guest_memory_add(&ram.mem, 0, LOW_SIZE, ram.low);
		guest_memory_add(&ram.mem, HIGH_GPA, HIGH_SIZE, ram.high);
	}
	memset(ram.low, 0, LOW_SIZE);
	memset(ram.high, 0, HIGH_SIZE);
	memset(ram.low_shadow, 0, LOW_SIZE);
	memset(ram.high_shadow, 0, HIGH_SIZE);
}

static inline int ram_within(uint64_t gpa, uint64_t len, uint64_t base, uint64_t size)
{
	return gpa >= base && (unsigned __int128)gpa + len <= (unsigned __int128)base + size;
}

/* NULL unless all of it is RAM; `len` is not 0. */
static inline uint8_t *ram_at(uint64_t gpa, uint64_t len)
{
	if (ram_within(gpa, len, 0, LOW_SIZE))
		return ram.low + gpa;
	if (ram_within(gpa, len, HIGH_GPA, HIGH_SIZE))
		return ram.high + (gpa - HIGH_GPA);
	return NULL;
}

static inline int ram_holds(const void *p, uint64_t len)
{
	const uintptr_t at = (uintptr_t)p;

	return ram_within(at, len, (uintptr_t)ram.low, LOW_SIZE) ||
	       ram_within(at, len, (uintptr_t)ram.high, HIGH_SIZE);
}

/* The shadow of a byte of RAM. */
static inline uint8_t *shadow_of(const void *p)
{
	if (ram_within((uintptr_t)p, 1, (uintptr_t)ram.low, LOW_SIZE))
		return ram.low_shadow + ((const uint8_t *)p - ram.low);
	return ram.high_shadow + ((const uint8_t *)p - ram.high);
}

/* The guest writes, as far as it is RAM. */
static inline void guest_write(uint64_t gpa, const void *data, uint64_t len)
{
	uint8_t *p = ram_at(gpa, len);

	if (!p)
		return;
	memcpy(p, data, len);
	memcpy(shadow_of(p), data, len);
}

/* For targets whose device has no business there. */
static inline void ram_is_untouched(void)
{
	fuzz_check(!memcmp(ram.low, ram.low_shadow, LOW_SIZE) &&
			   !memcmp(ram.high, ram.high_shadow, HIGH_SIZE),
		   "guest memory was written");
}

/* The device is to have written this to a place of its own, and has. */
static inline void device_wrote(const void *p, const void *data, uint64_t len, const char *what)
{
	fuzz_check(!memcmp(p, data, len), "%s is not as it must be", what);
	memcpy(shadow_of(p), data, len);
}

/*
 * What a script calls an address, in 16 bits: 15 bits of low RAM, 13 of high RAM, or a place
 * around an edge.
 */
static inline uint64_t gpa_decode(uint16_t code)
{
	static const uint64_t edge[] = {
		LOW_SIZE,   HIGH_GPA,	HIGH_GPA + HIGH_SIZE, 0, 1ULL << 63, 0xc0000000,
		1ULL << 32, 0xfee00000, 0xfffffffffffff000,
	};

	if (code < 0x8000)
		return code;
	if (code < 0xc000)
		return HIGH_GPA + (code & (HIGH_SIZE - 1));
	return edge[(code >> 8 & 0x3f) % (sizeof(edge) / sizeof(edge[0]))] + (code & 0xff) - 0x80;
}

/* A length in 16 bits: itself, sectors, or something large. */
static inline uint32_t len_decode(uint16_t code)
{
	if (code < 0xc000)
		return code;
	if (code < 0xf000)
		return (code & 0xfff) * 512u;
	return 0u - (code & 0xfff) * 16;
}

#endif
