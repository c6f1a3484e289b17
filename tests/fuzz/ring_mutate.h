/* SPDX-License-Identifier: Apache-2.0 */
/* How libFuzzer changes scripts of the ring target. Included by it alone. */
#ifndef MVMM_TESTS_FUZZ_RING_MUTATE_H
#define MVMM_TESTS_FUZZ_RING_MUTATE_H

#include "tests/fuzz/ring_run.h"

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max) __attribute__((weak));

/* Whole actions are copied, dropped and swapped; within one, libFuzzer knows best. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed)
{
	const size_t n = size / RECORD;
	const size_t from = n ? seed / 8 % n * RECORD : 0, to = n ? seed / 4096 % n * RECORD : 0;
	uint8_t record[RECORD];

	if (n < 2 || seed % 8 > 3)
		return LLVMFuzzerMutate(data, size, max);
	memcpy(record, data + from, RECORD);
	switch (seed % 8) {
	case 0: /* once more, somewhere */
		if (size + RECORD > max)
			return size;
		memmove(data + to + RECORD, data + to, size - to);
		memcpy(data + to, record, RECORD);
		return size + RECORD;
	case 1:
		memmove(data + from, data + from + RECORD, size - from - RECORD);
		return size - RECORD;
	case 2:
		memcpy(data + from, data + to, RECORD);
		memcpy(data + to, record, RECORD);
		return size;
	default: /* one action changes, at its place */
		LLVMFuzzerMutate(data + from, RECORD, RECORD);
		return size;
	}
}

#endif
