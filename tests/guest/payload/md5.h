/* SPDX-License-Identifier: Apache-2.0 */
/* MD5 of whole 64-byte blocks. */
#ifndef PAYLOAD_MD5_H
#define PAYLOAD_MD5_H

#include <stddef.h>
#include <stdint.h>

#define MD5_TEXT 33

struct md5 {
	uint32_t state[4];
	uint64_t bytes;
};

void md5_init(struct md5 *md5);
void md5_add(struct md5 *md5, const void *data, size_t bytes);
void md5_end(struct md5 *md5, char *text); /* MD5_TEXT bytes */

#endif
