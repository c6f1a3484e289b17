/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A fuzz target: one function that takes any bytes, and oracles that end the process when what came
 * out is wrong. Linked twice: with libFuzzer (`make fuzz`), which looks for new inputs, and with
 * replay.c (`make test`), which runs those of tests/fuzz/corpus/NAME.
 */
#ifndef MVMM_TESTS_FUZZ_TARGET_H
#define MVMM_TESTS_FUZZ_TARGET_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

/* The target's name: of its corpus. */
extern const char fuzz_target[];

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* An oracle says no. */
static inline __attribute__((noreturn, format(printf, 1, 2))) void fuzz_fail(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fputs("oracle: ", stderr);
	vfprintf(stderr, fmt, ap);
	fputc('\n', stderr);
	va_end(ap);
	abort();
}

#define fuzz_check(what, ...)                                                                      \
	do {                                                                                       \
		if (!(what))                                                                       \
			fuzz_fail(__VA_ARGS__);                                                    \
	} while (0)

#endif
