/* SPDX-License-Identifier: Apache-2.0 */
/*
 * AML encoding (ACPI 6.5: 20.2 for terms, 6.4 for resource descriptors). Main only; knows nothing
 * of what is described.
 */
#include "loader/aml.h"

#include <string.h>

#define AML_ZERO       0x00
#define AML_ONE	       0x01
#define AML_NAME       0x08
#define AML_BYTE       0x0a
#define AML_WORD       0x0b
#define AML_DWORD      0x0c
#define AML_STRING     0x0d
#define AML_QWORD      0x0e
#define AML_SCOPE      0x10
#define AML_BUFFER     0x11
#define AML_PACKAGE    0x12
#define AML_METHOD     0x14
#define AML_DUAL_NAME  0x2e
#define AML_MULTI_NAME 0x2f
#define AML_EXT	       0x5b
#define AML_EXT_REGION 0x80
#define AML_EXT_FIELD  0x81
#define AML_EXT_DEVICE 0x82
#define AML_ROOT       0x5c
#define AML_LOCAL0     0x60
#define AML_STORE      0x70
#define AML_AND	       0x7b
#define AML_NOTIFY     0x86
#define AML_IF	       0xa0

#define AML_METHOD_SERIALIZED 0x08
#define AML_REGION_SYSTEM_IO  0x01
#define AML_FIELD_DWORD	      0x03 /* DWordAcc, NoLock, Preserve */

#define RES_IO		   0x47
#define RES_END		   0x79
#define RES_MEMORY32_FIXED 0x86
#define RES_DWORD	   0x87
#define RES_WORD	   0x88
#define RES_IRQ		   0x89
#define RES_TYPE_MEMORY	   0
#define RES_TYPE_IO	   1
#define RES_TYPE_BUS	   2
#define RES_WINDOW	   0x0c /* producer, positive decode, minimum and maximum fixed */
#define RES_READ_WRITE	   0x01 /* memory: not cacheable */
#define RES_ENTIRE_RANGE   0x03 /* I/O: ISA and non-ISA */
#define RES_IRQ_CONSUMER   0x01
#define RES_IRQ_EDGE	   0x02

void aml_bytes(struct aml *aml, const void *data, size_t len)
{
	if (len > aml->cap - aml->len)
		aml->full = true;
	if (aml->full)
		return;
	memcpy(aml->buf + aml->len, data, len);
	aml->len += len;
}

/* Opens a gap at `at` for bytes whose value was not known before. */
static void insert(struct aml *aml, size_t at, const void *data, size_t len)
{
	if (len > aml->cap - aml->len)
		aml->full = true;
	if (aml->full)
		return;
	memmove(aml->buf + at + len, aml->buf + at, aml->len - at);
	memcpy(aml->buf + at, data, len);
	aml->len += len;
}

void aml_u8(struct aml *aml, uint8_t v)
{
	aml_bytes(aml, &v, 1);
}

static void aml_u16(struct aml *aml, uint16_t v)
{
	const uint8_t b[] = { v, v >> 8 };

	aml_bytes(aml, b, sizeof(b));
}

static void aml_u32(struct aml *aml, uint32_t v)
{
	aml_u16(aml, v);
	aml_u16(aml, v >> 16);
}

/* 20.2.3: the shortest form that holds v. Returns its length. */
static size_t encode_int(uint8_t out[9], uint64_t v)
{
	size_t bytes, i;

	if (v <= 1) {
		out[0] = v ? AML_ONE : AML_ZERO;
		return 1;
	}
	if (v <= UINT8_MAX)
		out[0] = AML_BYTE, bytes = 1;
	else if (v <= UINT16_MAX)
		out[0] = AML_WORD, bytes = 2;
	else if (v <= UINT32_MAX)
		out[0] = AML_DWORD, bytes = 4;
	else
		out[0] = AML_QWORD, bytes = 8;
	for (i = 0; i < bytes; i++)
		out[1 + i] = v >> (8 * i);
	return 1 + bytes;
}

void aml_int(struct aml *aml, uint64_t v)
{
	uint8_t b[9];
	size_t len = encode_int(b, v);

	aml_bytes(aml, b, len);
}

/* 20.2.2: a name segment has four characters, filled up with '_'. */
static size_t name_seg(struct aml *aml, const char *name)
{
	char seg[4] = { '_', '_', '_', '_' };
	size_t len = strcspn(name, ".");

	memcpy(seg, name, len < 4 ? len : 4);
	aml_bytes(aml, seg, 4);
	return len;
}

void aml_path(struct aml *aml, const char *path)
{
	unsigned segs = 1;
	const char *p;

	if (*path == '\\') {
		aml_u8(aml, AML_ROOT);
		path++;
	}
	for (p = path; *p; p++)
		segs += *p == '.';
	if (segs == 2)
		aml_u8(aml, AML_DUAL_NAME);
	if (segs > 2) {
		aml_u8(aml, AML_MULTI_NAME);
		aml_u8(aml, segs);
	}
	for (; segs; segs--) {
		path += name_seg(aml, path);
		path += *path == '.';
	}
}

static void name_op(struct aml *aml, const char *name)
{
	aml_u8(aml, AML_NAME);
	aml_path(aml, name);
}

void aml_name_int(struct aml *aml, const char *name, uint64_t v)
{
	name_op(aml, name);
	aml_int(aml, v);
}

void aml_name_string(struct aml *aml, const char *name, const char *s)
{
	name_op(aml, name);
	aml_u8(aml, AML_STRING);
	aml_bytes(aml, s, strlen(s) + 1);
}

static unsigned hex_digit(char c)
{
	return c <= '9' ? c - '0' : (c & ~0x20) - 'A' + 10;
}

/* 19.3.4: five bits a letter, four a digit, most significant byte first. */
void aml_name_eisa_id(struct aml *aml, const char *name, const char *id)
{
	uint32_t v = (id[0] & 0x1f) << 10 | (id[1] & 0x1f) << 5 | (id[2] & 0x1f);
	unsigned i;

	for (i = 3; i < 7; i++)
		v = v << 4 | hex_digit(id[i]);
	name_op(aml, name);
	aml_u8(aml, AML_DWORD);
	aml_u32(aml, __builtin_bswap32(v));
}

size_t aml_scope(struct aml *aml, const char *path)
{
	size_t mark;

	aml_u8(aml, AML_SCOPE);
	mark = aml->len;
	aml_path(aml, path);
	return mark;
}

size_t aml_device(struct aml *aml, const char *name)
{
	size_t mark;

	aml_u8(aml, AML_EXT);
	aml_u8(aml, AML_EXT_DEVICE);
	mark = aml->len;
	aml_path(aml, name);
	return mark;
}

size_t aml_method(struct aml *aml, const char *name, unsigned nargs)
{
	size_t mark;

	aml_u8(aml, AML_METHOD);
	mark = aml->len;
	aml_path(aml, name);
	aml_u8(aml, nargs | AML_METHOD_SERIALIZED);
	return mark;
}

size_t aml_name_package(struct aml *aml, const char *name, uint8_t count)
{
	size_t mark;

	name_op(aml, name);
	aml_u8(aml, AML_PACKAGE);
	mark = aml->len;
	aml_u8(aml, count);
	return mark;
}

size_t aml_if_bit(struct aml *aml, uint64_t mask)
{
	size_t mark;

	aml_u8(aml, AML_IF);
	mark = aml->len;
	aml_u8(aml, AML_AND);
	aml_u8(aml, AML_LOCAL0);
	aml_int(aml, mask);
	aml_u8(aml, AML_ZERO); /* no target */
	return mark;
}

/* 20.2.4: a length counts its own bytes, of which there are one to four. */
static size_t encode_pkg_length(uint8_t out[4], size_t body)
{
	size_t len, i;

	if (body + 1 < 64) {
		out[0] = body + 1;
		return 1;
	}
	for (len = 2; len < 4 && (body + len) >> (4 + 8 * (len - 1)); len++)
		;
	body += len;
	out[0] = (len - 1) << 6 | (body & 0xf);
	for (i = 1; i < len; i++)
		out[i] = body >> (4 + 8 * (i - 1));
	return len;
}

void aml_end(struct aml *aml, size_t mark)
{
	uint8_t b[4];
	size_t len = encode_pkg_length(b, aml->len - mark);

	insert(aml, mark, b, len);
}

void aml_port_u32(struct aml *aml, const char *region, const char *field, uint16_t port)
{
	size_t mark;

	aml_u8(aml, AML_EXT);
	aml_u8(aml, AML_EXT_REGION);
	aml_path(aml, region);
	aml_u8(aml, AML_REGION_SYSTEM_IO);
	aml_int(aml, port);
	aml_int(aml, 4);

	aml_u8(aml, AML_EXT);
	aml_u8(aml, AML_EXT_FIELD);
	mark = aml->len;
	aml_path(aml, region);
	aml_u8(aml, AML_FIELD_DWORD);
	aml_path(aml, field);
	aml_u8(aml, 32); /* bits, encoded like a package length */
	aml_end(aml, mark);
}

void aml_load_local0(struct aml *aml, const char *field)
{
	aml_u8(aml, AML_STORE);
	aml_path(aml, field);
	aml_u8(aml, AML_LOCAL0);
}

void aml_store(struct aml *aml, uint64_t v, const char *field)
{
	aml_u8(aml, AML_STORE);
	aml_int(aml, v);
	aml_path(aml, field);
}

void aml_notify(struct aml *aml, const char *path, uint8_t value)
{
	aml_u8(aml, AML_NOTIFY);
	aml_path(aml, path);
	aml_int(aml, value);
}

size_t aml_crs(struct aml *aml)
{
	name_op(aml, "_CRS");
	aml_u8(aml, AML_BUFFER);
	return aml->len;
}

void aml_crs_end(struct aml *aml, size_t mark)
{
	uint8_t b[9];
	size_t len;

	aml_u8(aml, RES_END);
	aml_u8(aml, 0); /* 6.4.2.9: a checksum of 0 counts as right */
	len = encode_int(b, aml->len - mark);
	insert(aml, mark, b, len);
	aml_end(aml, mark);
}

void aml_io(struct aml *aml, uint16_t base, uint8_t len)
{
	aml_u8(aml, RES_IO);
	aml_u8(aml, 1); /* Decode16 */
	aml_u16(aml, base);
	aml_u16(aml, base);
	aml_u8(aml, 1);
	aml_u8(aml, len);
}

void aml_memory32(struct aml *aml, uint32_t base, uint32_t len)
{
	aml_u8(aml, RES_MEMORY32_FIXED);
	aml_u16(aml, 9);
	aml_u8(aml, RES_READ_WRITE);
	aml_u32(aml, base);
	aml_u32(aml, len);
}

void aml_irq_edge(struct aml *aml, uint32_t gsi)
{
	aml_u8(aml, RES_IRQ);
	aml_u16(aml, 6);
	aml_u8(aml, RES_IRQ_CONSUMER | RES_IRQ_EDGE);
	aml_u8(aml, 1);
	aml_u32(aml, gsi);
}

static void window_word(struct aml *aml, uint8_t type, uint8_t flags, uint16_t first, uint16_t last)
{
	aml_u8(aml, RES_WORD);
	aml_u16(aml, 13);
	aml_u8(aml, type);
	aml_u8(aml, RES_WINDOW);
	aml_u8(aml, flags);
	aml_u16(aml, 0); /* granularity */
	aml_u16(aml, first);
	aml_u16(aml, last);
	aml_u16(aml, 0); /* translation */
	aml_u16(aml, last - first + 1);
}

void aml_window_bus(struct aml *aml, uint8_t first, uint8_t last)
{
	window_word(aml, RES_TYPE_BUS, 0, first, last);
}

void aml_window_io(struct aml *aml, uint16_t first, uint16_t last)
{
	window_word(aml, RES_TYPE_IO, RES_ENTIRE_RANGE, first, last);
}

void aml_window_memory(struct aml *aml, uint32_t base, uint32_t len)
{
	aml_u8(aml, RES_DWORD);
	aml_u16(aml, 23);
	aml_u8(aml, RES_TYPE_MEMORY);
	aml_u8(aml, RES_WINDOW);
	aml_u8(aml, RES_READ_WRITE);
	aml_u32(aml, 0);
	aml_u32(aml, base);
	aml_u32(aml, base + len - 1);
	aml_u32(aml, 0);
	aml_u32(aml, len);
}
