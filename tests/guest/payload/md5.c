/* SPDX-License-Identifier: Apache-2.0 */
/*
 * MD5 (RFC 1321), because every host has md5sum: the guest says what its disk must hold without
 * having it, the host looks at the image. Whole 64-byte blocks only.
 */
#include "md5.h"

#include "guest/lib.h"

#define BLOCK 64

static const uint32_t sines[64] = {
	0xd76aa478, 0xe8c7b756, 0x242070db, 0xc1bdceee, 0xf57c0faf, 0x4787c62a, 0xa8304613,
	0xfd469501, 0x698098d8, 0x8b44f7af, 0xffff5bb1, 0x895cd7be, 0x6b901122, 0xfd987193,
	0xa679438e, 0x49b40821, 0xf61e2562, 0xc040b340, 0x265e5a51, 0xe9b6c7aa, 0xd62f105d,
	0x02441453, 0xd8a1e681, 0xe7d3fbc8, 0x21e1cde6, 0xc33707d6, 0xf4d50d87, 0x455a14ed,
	0xa9e3e905, 0xfcefa3f8, 0x676f02d9, 0x8d2a4c8a, 0xfffa3942, 0x8771f681, 0x6d9d6122,
	0xfde5380c, 0xa4beea44, 0x4bdecfa9, 0xf6bb4b60, 0xbebfbc70, 0x289b7ec6, 0xeaa127fa,
	0xd4ef3085, 0x04881d05, 0xd9d4d039, 0xe6db99e5, 0x1fa27cf8, 0xc4ac5665, 0xf4292244,
	0x432aff97, 0xab9423a7, 0xfc93a039, 0x655b59c3, 0x8f0ccc92, 0xffeff47d, 0x85845dd1,
	0x6fa87e4f, 0xfe2ce6e0, 0xa3014314, 0x4e0811a1, 0xf7537e82, 0xbd3af235, 0x2ad7d2bb,
	0xeb86d391,
};

static const uint8_t shifts[4][4] = {
	{ 7, 12, 17, 22 }, { 5, 9, 14, 20 }, { 4, 11, 16, 23 }, { 6, 10, 15, 21 }
};

static uint32_t mix(unsigned round, const uint32_t *s)
{
	switch (round) {
	case 0:
		return (s[1] & s[2]) | (~s[1] & s[3]);
	case 1:
		return (s[3] & s[1]) | (~s[3] & s[2]);
	case 2:
		return s[1] ^ s[2] ^ s[3];
	default:
		return s[2] ^ (s[1] | ~s[3]);
	}
}

/* Which word of the block a step takes: i, 5i + 1, 3i + 5, 7i. */
static unsigned word_of(unsigned i)
{
	static const uint8_t times[] = { 1, 5, 3, 7 }, plus[] = { 0, 1, 5, 0 };

	return (i * times[i / 16] + plus[i / 16]) % 16;
}

static void add_block(struct md5 *md5, const uint32_t *words)
{
	uint32_t s[4];

	memcpy(s, md5->state, sizeof(s));
	for (unsigned i = 0; i < 64; i++) {
		uint32_t sum = s[0] + mix(i / 16, s) + sines[i] + words[word_of(i)];
		unsigned shift = shifts[i / 16][i % 4];

		s[0] = s[3];
		s[3] = s[2];
		s[2] = s[1];
		s[1] += sum << shift | sum >> (32 - shift);
	}
	for (unsigned i = 0; i < 4; i++)
		md5->state[i] += s[i];
	md5->bytes += BLOCK;
}

void md5_init(struct md5 *md5)
{
	*md5 = (struct md5){ .state = { 0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476 } };
}

void md5_add(struct md5 *md5, const void *data, size_t bytes)
{
	const uint8_t *block = data;

	for (; bytes >= BLOCK; bytes -= BLOCK, block += BLOCK)
		add_block(md5, (const uint32_t *)block);
}

void md5_end(struct md5 *md5, char *text)
{
	uint64_t bits = md5->bytes * 8;
	uint32_t pad[16] = { 0x80, [14] = bits, [15] = bits >> 32 };
	const uint8_t *state = (const uint8_t *)md5->state;

	add_block(md5, pad);
	for (unsigned i = 0; i < 16; i++) {
		text[2 * i] = "0123456789abcdef"[state[i] >> 4];
		text[2 * i + 1] = "0123456789abcdef"[state[i] & 15];
	}
	text[32] = '\0';
}
