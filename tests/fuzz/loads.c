/* SPDX-License-Identifier: Apache-2.0 */
/* Where clang's load hooks end; see loads.h. Other builds do not call them. */
#include "tests/fuzz/loads.h"

#include <stddef.h>
#include <stdint.h>

void (*fuzz_before_load)(const void *p);

/* The names are clang's. */
void __sanitizer_cov_load1(const uint8_t *p);
void __sanitizer_cov_load2(const uint16_t *p);
void __sanitizer_cov_load4(const uint32_t *p);
void __sanitizer_cov_load8(const uint64_t *p);
void __sanitizer_cov_load16(const __uint128_t *p);

void __sanitizer_cov_load1(const uint8_t *p)
{
	if (fuzz_before_load)
		fuzz_before_load(p);
}

void __sanitizer_cov_load2(const uint16_t *p)
{
	if (fuzz_before_load)
		fuzz_before_load(p);
}

void __sanitizer_cov_load4(const uint32_t *p)
{
	if (fuzz_before_load)
		fuzz_before_load(p);
}

void __sanitizer_cov_load8(const uint64_t *p)
{
	if (fuzz_before_load)
		fuzz_before_load(p);
}

void __sanitizer_cov_load16(const __uint128_t *p)
{
	if (fuzz_before_load)
		fuzz_before_load(p);
}
