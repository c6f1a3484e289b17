/* SPDX-License-Identifier: Apache-2.0 */
/* Test lines as the Test Anything Protocol has them. */
#include "guest/lib.h"

static unsigned checks, failures;

static void line(const char *verdict, const char *format, va_list args)
{
	print("%s %u - ", verdict, ++checks);
	vprint(format, args);
}

bool ok(bool good, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	line(good ? "ok" : "not ok", format, args);
	va_end(args);
	print("\n");
	failures += !good;
	return good;
}

void skip(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	line("ok", "# SKIP ", args);
	vprint(format, args);
	va_end(args);
	print("\n");
}

void note(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	print("# ");
	vprint(format, args);
	va_end(args);
	print("\n");
}

unsigned tap_end(void)
{
	print("1..%u\n", checks);
	return failures;
}
