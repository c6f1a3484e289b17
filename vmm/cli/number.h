/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers as people type them. All return 0 or -EINVAL and leave *out alone on error. */
#ifndef MVMM_CLI_NUMBER_H
#define MVMM_CLI_NUMBER_H

#include <stdint.h>

/* "512M", "4G", "8192k": K, M, G and T are powers of 1024. Without a suffix the unit is MiB, as
 * with QEMU and Firecracker. Neither sign nor fraction; overflow is an error. */
int number_parse_size(const char *text, uint64_t *out);

/* "512", "64K", "100M": without a suffix, bytes. */
int number_parse_bytes(const char *text, uint64_t max, uint64_t *out);

/* Decimal, or hexadecimal with 0x; min and max included. */
int number_parse(const char *text, uint64_t min, uint64_t max, uint64_t *out);

/* Seconds with an optional fraction, more than 0, to milliseconds. */
int number_parse_seconds(const char *text, uint64_t *ms);

/* "256M", "3G", "1536M", "640K": the largest unit that divides; for plans and messages. */
const char *number_format_size(uint64_t bytes, char buf[24]);

#endif
