/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads numbers from the bytes of a fuzzer. Beyond the end everything is 0, so that every input
 * means something and a longer one begins with what the shorter one does.
 */
#ifndef MVMM_TESTS_FUZZ_BYTES_H
#define MVMM_TESTS_FUZZ_BYTES_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct bytes {
	const uint8_t *at;
	size_t left;
};

static inline struct bytes bytes_init(const uint8_t *data, size_t size)
{
	return (struct bytes){ .at = data, .left = size };
}

/* Copies `n` bytes. */
static inline void bytes_copy(struct bytes *b, void *to, size_t n)
{
	const size_t have = n < b->left ? n : b->left;

	memset(to, 0, n);
	if (have)
		memcpy(to, b->at, have);
	b->at += have;
	b->left -= have;
}

/* `n` bytes, at most 8, the first one lowest. */
static inline uint64_t bytes_take(struct bytes *b, unsigned n)
{
	uint64_t value = 0;

	bytes_copy(b, &value, n);
	return value;
}

#endif
