/* SPDX-License-Identifier: Apache-2.0 */
/* Memory with nothing accessible beside it: a stray access ends the test, with a sanitizer or without. */
#ifndef MVMM_TESTS_GUARDED_MAP_H
#define MVMM_TESTS_GUARDED_MAP_H

#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>

/* `size` zeroed bytes between two times `guard`, both in whole pages; NULL: there is no memory. */
static inline uint8_t *guarded_map(uint64_t size, uint64_t guard)
{
	uint8_t *map = mmap(NULL, size + 2 * guard, PROT_NONE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (map == MAP_FAILED || mprotect(map + guard, size, PROT_READ | PROT_WRITE))
		return NULL;
	return map + guard;
}

/* With the numbers it was made with. */
static inline void guarded_unmap(uint8_t *p, uint64_t size, uint64_t guard)
{
	munmap(p - guard, size + 2 * guard);
}

#endif
