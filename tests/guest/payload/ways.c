/* SPDX-License-Identifier: Apache-2.0 */
/* The ways a guest can end its machine; the VMM's exit status tells them apart. */
#include "ways.h"
#include "guest/end.h"
#include "guest/io.h"
#include "guest/irq.h"
#include "guest/lib.h"
#include "vmm/power_regs.h"

#define PORT_I8042_COMMAND 0x64
#define PORT_PVPANIC	   0x505
#define PORT_POWER	   0x600

#define I8042_PULSE_RESET 0xfe
#define PVPANIC_PANICKED  1

static void power_off(void)
{
	outb(PORT_POWER + POWER_SLEEP_CONTROL, POWER_SLP_TYP_S5 << 2 | POWER_SLP_EN);
}

static void reset_by_power(void)
{
	outb(PORT_POWER + POWER_RESET, POWER_RESET_VALUE);
}

static void reset_by_i8042(void)
{
	outb(PORT_I8042_COMMAND, I8042_PULSE_RESET);
}

static void triple_fault(void)
{
	ring0(ring0_triple_fault, 0);
}

static void halt(void)
{
	end_halted();
}

static void spin(void)
{
	for (;;)
		cpu_relax();
}

/* Waits for interrupts that never come, with interrupts on: not the same as halted. */
static void idle(void)
{
	for (;;)
		ring0(ring0_halt, 0);
}

static void debug_exit(void)
{
	outb(END_PORT, option_u64("value", 0x2a));
}

static void panic_by_pvpanic(void)
{
	note("pvpanic offers %x", inb(PORT_PVPANIC));
	outb(PORT_PVPANIC, PVPANIC_PANICKED);
}

static void panic_then_reset(void)
{
	panic_by_pvpanic();
	reset_by_i8042();
}

static void panic_then_halt(void)
{
	panic_by_pvpanic();
	end_halted();
}

/* More to say after the panic: the VMM gives it a few seconds and ends by itself. */
static void panic_then_spin(void)
{
	panic_by_pvpanic();
	note("said after the panic");
	spin();
}

static void panic_by_text(void)
{
	print("Kernel panic - not syncing: the payload was told to\n");
	reset_by_i8042();
}

static void bad_instruction(void)
{
	__asm__ volatile("ud2");
}

/* More than any console buffer, then off: nothing may be lost on a reader that is only slow. */
static void talk(void)
{
	uint64_t lines = option_u64("lines", 4000);

	for (uint64_t i = 0; i < lines; i++)
		print("%06lu ------------------------------------------------------\n", i);
	power_off();
}

static const struct {
	const char *name;
	void (*end)(void);
} ways[] = {
	{ "end-poweroff", power_off },
	{ "end-reset", reset_by_power },
	{ "end-i8042", reset_by_i8042 },
	{ "end-triple-fault", triple_fault },
	{ "end-bad-instruction", bad_instruction },
	{ "end-halt", halt },
	{ "end-spin", spin },
	{ "end-idle", idle },
	{ "end-debug-exit", debug_exit },
	{ "end-panic-reset", panic_then_reset },
	{ "end-panic-halt", panic_then_halt },
	{ "end-panic-spin", panic_then_spin },
	{ "end-panic-text", panic_by_text },
	{ "end-talk", talk },
};

int end_by_name(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(ways); i++) {
		if (strcmp(ways[i].name, name) == 0) {
			ways[i].end();
			return true;
		}
	}
	return false;
}

void end_tests(unsigned failures)
{
	if (!failures && !option_is("end", "debug-exit"))
		power_off();
	end_now(failures ? (failures < 15 ? failures : 15) : END_GOOD);
}
