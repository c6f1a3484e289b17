/* SPDX-License-Identifier: Apache-2.0 */
/* The end of a guest, good or bad, by QEMU's debug-exit port: its value tells which. */
#include "guest/end.h"
#include "guest/io.h"
#include "guest/irq.h"
#include "guest/lib.h"
#include "guest/start.h"

void end_halted(void)
{
	for (;;)
		ring0(ring0_halt_for_good, 0);
}

void end_now(uint8_t value)
{
	outb(END_PORT, value);
	end_halted();
}

void end_abort(const char *why)
{
	print("Bail out! %s\n", why);
	end_now(END_DEAD);
}

void trap_report(const uint64_t *frame)
{
	print("Bail out! exception %lu, error %lx, rip %lx:%lx, rsp %lx:%lx, flags %lx\n", frame[0],
	      frame[1], frame[3], frame[2], frame[6], frame[5], frame[4]);
	outb(END_PORT, END_TRAP);
}
