/* SPDX-License-Identifier: Apache-2.0 */
/* The UART abused: its registers at random, loops, interrupts over and over, more text than anybody
 * takes. */
#include "guest/io.h"
#include "guest/irq.h"
#include "guest/lib.h"
#include "tests.h"

#define COM1	   0x3f8
#define COM1_IER   (COM1 + 1)
#define COM1_IIR   (COM1 + 2)
#define COM1_FCR   (COM1 + 2)
#define FCR_CLEAR  7
#define COM1_LCR   (COM1 + 3)
#define COM1_MCR   (COM1 + 4)
#define COM1_LSR   (COM1 + 5)
#define IER_THRI   2
#define LCR_DLAB   0x80
#define MCR_LOOP   0x10
#define MCR_NORMAL 0xb
#define LSR_DR	   1
#define LSR_OE	   2
#define LSR_THRE   0x20
#define SERIAL_PIN 4

/* The transmitter is left out where what is sent would be seen. */
static void serial_abuse(void)
{
	unsigned n = option_u64("writes", 10000);

	outb(COM1_MCR, MCR_LOOP);
	for (unsigned i = 0; i < n; i++) {
		const uint64_t value = chance();
		const uint16_t port = COM1 + (value >> 8 & 7);

		if (value >> 16 & 1)
			inb(port);
		else
			outb(port, port == COM1_MCR ? value | MCR_LOOP : value);
	}
	outw(COM1 + 3, 0xffff);
	outl(COM1 + 4, 0x10101010);
	inl(COM1);
	serial_init();
	while (inb(COM1_LSR) & LSR_DR)
		inb(COM1);
	ok(inb(COM1_LSR) & LSR_THRE, "after %u accesses at random it sends", n);
}

/* A byte sent comes back; one too many is an overrun and no more. */
static void serial_loop(void)
{
	bool back, overrun;
	unsigned n = 0;

	outb(COM1_MCR, MCR_LOOP);
	outb(COM1_FCR, FCR_CLEAR);
	outb(COM1, 'x');
	back = inb(COM1_LSR) & LSR_DR && inb(COM1) == 'x';
	for (unsigned i = 0; i < 1000; i++)
		outb(COM1, i);
	overrun = inb(COM1_LSR) & LSR_OE;
	for (; inb(COM1_LSR) & LSR_DR && n < 1000; n++)
		inb(COM1);
	serial_init();
	ok(back, "in a loop a byte comes back");
	ok(overrun, "1000 are too many");
	ok(n && n < 1000, "%u of them come", n);
}

/* IER off and on raises the condition every time. */
static void serial_storm(void)
{
	const unsigned vector = irq_alloc();
	unsigned n = option_u64("toggles", 3000);

	irq_ioapic_route(SERIAL_PIN, vector);
	outb(COM1_MCR, MCR_NORMAL);
	for (unsigned i = 0; i < n; i++) {
		outb(COM1_IER, 0xff);
		if (i % 3 == 0)
			inb(COM1_IIR);
		outb(COM1_IER, 0);
	}
	/* Fastest and slowest line: neither makes us wait. */
	outb(COM1_LCR, LCR_DLAB | 3);
	outb(COM1, 0xff);
	outb(COM1_IER, 0xff);
	print("#\n");
	outb(COM1_LCR, 3);
	serial_init();
	ok(irq_seen(&vector, 1) > 0, "%u interrupts for %u times the transmitter is empty",
	   irq_seen(&vector, 1), n);
}

/* Without a look at the line status. */
static void serial_flood(void)
{
	for (uint64_t i = option_u64("kib", 16) << 10; i; i--)
		outb(COM1, i % 64 ? 'x' : '\n');
}

const struct test serial_tests[] = {
	{ "serial-abuse", serial_abuse },
	{ "serial-loop", serial_loop },
	{ "serial-storm", serial_storm },
	{ "serial-flood", serial_flood },
	{ NULL, NULL },
};
