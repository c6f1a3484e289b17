/* SPDX-License-Identifier: Apache-2.0 */
/* ACPI and MP tables alike: all bytes of a table add up to 0. Private to loader/. */
#ifndef MVMM_LOADER_CHECKSUM_H
#define MVMM_LOADER_CHECKSUM_H

#include <stddef.h>
#include <stdint.h>

/* What the checksum byte must be; it counts as it is, so it is 0 before. */
static inline uint8_t table_checksum(const void *data, size_t len)
{
	const uint8_t *p = data;
	uint8_t sum = 0;

	while (len--)
		sum += *p++;
	return -sum;
}

#endif
