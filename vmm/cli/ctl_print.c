/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any answer of the control socket as aligned text: the units are in the members' names. Main; must
 * not know any route.
 */
#include "vmm/cli/ctl_print.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdbool.h>
#include <string.h>

#include "vmm/cli/number.h"

#define MAX_COLUMNS 16
#define CELL	    128

static bool ends(const char *key, const char *with)
{
	const size_t n = strlen(key), m = strlen(with);

	return n >= m && !strcmp(key + n - m, with);
}

static bool is_size(const char *key)
{
	return !strcmp(key, "bytes") || ends(key, "_bytes") || !strcmp(key, "memory") ||
	       !strcmp(key, "block_size");
}

/* Names and paths are the user's, but a terminal obeys any of them. */
static void put_string(const char *from, char *to, size_t room)
{
	size_t n = 0;

	for (; *from && n + 1 < room; from++)
		to[n++] = iscntrl((unsigned char)*from) ? '?' : *from;
	to[n] = '\0';
}

/* As long as a request of a disk takes, or a guest is held. */
static void put_time(json_int_t ns, char *to, size_t room)
{
	if (ns < 1000000)
		snprintf(to, room, "%.1f us", (double)ns / 1e3);
	else if (ns < 1000000000)
		snprintf(to, room, "%.1f ms", (double)ns / 1e6);
	else
		snprintf(to, room, "%.3f s", (double)ns / 1e9);
}

static void put_integer(const char *key, json_int_t n, char *to, size_t room)
{
	char size[24];

	if (n >= 0 && is_size(key))
		snprintf(to, room, "%s", number_format_size((uint64_t)n, size));
	else if (ends(key, "_ms"))
		snprintf(to, room, "%.3f s", (double)n / 1e3);
	else if (ends(key, "_ns"))
		put_time(n, to, room);
	else
		snprintf(to, room, "%" JSON_INTEGER_FORMAT, n);
}

static const char *cell(const char *key, const json_t *value, char *to)
{
	switch (json_typeof(value)) {
	case JSON_STRING:
		put_string(json_string_value(value), to, CELL);
		break;
	case JSON_INTEGER:
		put_integer(key, json_integer_value(value), to, CELL);
		break;
	case JSON_REAL:
		snprintf(to, CELL, "%g", json_real_value(value));
		break;
	case JSON_TRUE:
		return "yes";
	case JSON_FALSE:
		return "no";
	default:
		return "-";
	}
	return to;
}

/* uptime_ms is "uptime": the unit stands behind the number. */
static int key_width(const char *key)
{
	return (int)strlen(key) - (ends(key, "_ms") || ends(key, "_ns") ? 3 : 0);
}

static bool is_plain(const json_t *value)
{
	return !json_is_object(value) && !json_is_array(value);
}

static void print_members(json_t *object, int indent, FILE *out);

/* Plain members of a row are its columns; each is as wide as its widest cell. */
static void fit_columns(json_t *row, int *width)
{
	const char *key;
	char text[CELL];
	json_t *value;
	int n = 0;

	json_object_foreach(row, key, value)
	{
		int len = (int)strlen(cell(key, value, text));

		if (!is_plain(value) || n == MAX_COLUMNS)
			continue;
		if (len < key_width(key))
			len = key_width(key);
		if (len > width[n])
			width[n] = len;
		n++;
	}
}

static void print_row(json_t *row, const int *width, bool names, int indent, FILE *out)
{
	const char *key;
	char text[CELL];
	json_t *value;
	int n = 0;

	fprintf(out, "%*s", indent, "");
	json_object_foreach(row, key, value)
	{
		if (!is_plain(value) || n == MAX_COLUMNS)
			continue;
		if (names)
			fprintf(out, "%-*.*s  ", width[n], key_width(key), key);
		else
			fprintf(out, "%-*s  ", width[n], cell(key, value, text));
		n++;
	}
	fputc('\n', out);
}

static void print_table(json_t *rows, int indent, FILE *out)
{
	const size_t n = json_array_size(rows);
	int width[MAX_COLUMNS] = { 0 };

	for (size_t i = 0; i < n; i++)
		fit_columns(json_array_get(rows, i), width);
	print_row(json_array_get(rows, 0), width, true, indent, out);
	for (size_t i = 0; i < n; i++)
		print_row(json_array_get(rows, i), width, false, indent, out);
}

static void print_array(json_t *array, int indent, FILE *out)
{
	char text[CELL];

	if (json_is_object(json_array_get(array, 0))) {
		print_table(array, indent, out);
		return;
	}
	for (size_t i = 0; i < json_array_size(array); i++)
		fprintf(out, "%*s%s\n", indent, "", cell("", json_array_get(array, i), text));
}

static void print_members(json_t *object, int indent, FILE *out)
{
	const char *key;
	json_t *value;
	char text[CELL];
	int width = 0;

	json_object_foreach(object, key, value) if (key_width(key) > width) width = key_width(key);
	json_object_foreach(object, key, value)
	{
		if (is_plain(value)) {
			fprintf(out, "%*s%-*.*s  %s\n", indent, "", width, key_width(key), key,
				cell(key, value, text));
			continue;
		}
		fprintf(out, "%*s%s%s\n", indent, "", key,
			json_is_array(value) && !json_array_size(value) ? ": none" : ":");
		if (json_is_object(value))
			print_members(value, indent + 2, out);
		else
			print_array(value, indent + 2, out);
	}
}

void ctl_print(const json_t *json, FILE *out)
{
	/* The iterators want what they could change; they change nothing. */
	if (json_is_object(json))
		print_members((json_t *)json, 0, out);
	else if (json_is_array(json) && json_array_size(json))
		print_array((json_t *)json, 0, out);
	else
		fputs("none\n", out);
}
