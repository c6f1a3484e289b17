/* SPDX-License-Identifier: Apache-2.0 */
/* The console: a polled 16550 at COM1, and a small printf. */
#include "guest/io.h"
#include "guest/lib.h"

#define COM1	 0x3f8
#define UART_THR (COM1 + 0)
#define UART_IER (COM1 + 1)
#define UART_FCR (COM1 + 2)
#define UART_LCR (COM1 + 3)
#define UART_MCR (COM1 + 4)
#define UART_LSR (COM1 + 5)
#define LSR_THRE 0x20
#define FIFO	 16 /* bytes that fit whenever the FIFO has run empty */

static unsigned room;

void serial_init(void)
{
	outb(UART_IER, 0);
	outb(UART_LCR, 3); /* 8n1 */
	outb(UART_FCR, 7); /* FIFOs on and cleared */
	outb(UART_MCR, 3); /* DTR, RTS */
}

static void serial_put(char c)
{
	if (room == 0) {
		while (!(inb(UART_LSR) & LSR_THRE))
			cpu_relax();
		room = FIFO;
	}
	outb(UART_THR, c);
	room--;
}

static void put_number(uint64_t v, unsigned base, unsigned width, char pad, bool negative)
{
	char text[24];
	unsigned n = 0;

	do {
		text[n++] = "0123456789abcdef"[v % base];
		v /= base;
	} while (v);
	if (negative)
		text[n++] = '-';
	while (n < width && n < sizeof(text))
		text[n++] = pad;
	while (n)
		serial_put(text[--n]);
}

static void put_string(const char *s)
{
	while (*s)
		serial_put(*s++);
}

/* One conversion, `f` behind the percent sign; returns the last character used. */
static const char *put_argument(const char *f, va_list *args)
{
	char pad = *f == '0' ? '0' : ' ';
	unsigned width = parse_u64(f, &f);
	bool wide = false;
	int64_t v;

	for (; *f == 'l'; f++)
		wide = true;
	switch (*f) {
	case 's':
		put_string(va_arg(*args, const char *));
		break;
	case 'c':
		serial_put(va_arg(*args, int));
		break;
	case 'd':
		v = wide ? va_arg(*args, int64_t) : va_arg(*args, int);
		put_number(v < 0 ? -(uint64_t)v : (uint64_t)v, 10, width, pad, v < 0);
		break;
	case 'u':
	case 'x':
		put_number(wide ? va_arg(*args, uint64_t) : va_arg(*args, unsigned int),
			   *f == 'x' ? 16 : 10, width, pad, false);
		break;
	default:
		serial_put(*f);
	}
	return f;
}

void vprint(const char *format, va_list args)
{
	va_list copy;

	va_copy(copy, args);
	for (const char *f = format; *f; f++) {
		if (*f == '%')
			f = put_argument(f + 1, &copy);
		else
			serial_put(*f);
	}
	va_end(copy);
}

void print(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vprint(format, args);
	va_end(args);
}
