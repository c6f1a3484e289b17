/* SPDX-License-Identifier: Apache-2.0 */
/* Parses and prints numbers and sizes of the command line. Pure functions; knows no option. */
#include "vmm/cli/number.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* strtoull() alone takes blanks, signs and, in base 16, an 0x of its own, and turns "-1" into a huge
 * number. */
static int parse_digits(const char *text, int base, uint64_t *out, char **end)
{
	if (!isxdigit((unsigned char)text[0]) ||
	    (base == 16 && toupper((unsigned char)text[1]) == 'X'))
		return -EINVAL;
	errno = 0;
	*out = strtoull(text, end, base);
	return errno || *end == text ? -EINVAL : 0;
}

static int suffix_shift(const char *suffix, int none)
{
	if (!suffix[0])
		return none;
	if (suffix[1])
		return -EINVAL;
	switch (toupper((unsigned char)suffix[0])) {
	case 'K':
		return 10;
	case 'M':
		return 20;
	case 'G':
		return 30;
	case 'T':
		return 40;
	default:
		return -EINVAL;
	}
}

static int parse_scaled(const char *text, int none, uint64_t *out)
{
	uint64_t n;
	char *end;
	int shift;

	if (parse_digits(text, 10, &n, &end))
		return -EINVAL;
	shift = suffix_shift(end, none);
	if (shift < 0 || n > UINT64_MAX >> shift)
		return -EINVAL;
	*out = n << shift;
	return 0;
}

int number_parse_size(const char *text, uint64_t *out)
{
	return parse_scaled(text, 20, out);
}

int number_parse_bytes(const char *text, uint64_t max, uint64_t *out)
{
	uint64_t n;

	if (parse_scaled(text, 0, &n) || n > max)
		return -EINVAL;
	*out = n;
	return 0;
}

int number_parse(const char *text, uint64_t min, uint64_t max, uint64_t *out)
{
	bool hex = text[0] == '0' && (text[1] == 'x' || text[1] == 'X');
	uint64_t n;
	char *end;

	if (parse_digits(hex ? text + 2 : text, hex ? 16 : 10, &n, &end))
		return -EINVAL;
	if (*end || n < min || n > max)
		return -EINVAL;
	*out = n;
	return 0;
}

int number_parse_seconds(const char *text, uint64_t *ms)
{
	uint64_t whole, frac = 0;
	unsigned unit = 100;
	char *end;

	if (parse_digits(text, 10, &whole, &end) || whole > INT_MAX)
		return -EINVAL;
	if (*end == '.' && isdigit((unsigned char)end[1]))
		for (end++; isdigit((unsigned char)*end); end++, unit /= 10)
			frac += unit * (unsigned)(*end - '0');
	if (*end || whole * 1000 + frac == 0)
		return -EINVAL;
	*ms = whole * 1000 + frac;
	return 0;
}

const char *number_format_size(uint64_t bytes, char buf[24])
{
	static const char units[] = "KMGT";
	unsigned unit = 0;

	if (!bytes || bytes % 1024) {
		snprintf(buf, 24, "%" PRIu64, bytes);
		return buf;
	}
	for (bytes /= 1024; bytes % 1024 == 0 && unit < strlen(units) - 1; bytes /= 1024)
		unit++;
	snprintf(buf, 24, "%" PRIu64 "%c", bytes, units[unit]);
	return buf;
}
