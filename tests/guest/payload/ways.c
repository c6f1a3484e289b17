/* SPDX-License-Identifier: Apache-2.0 */
/* The ways a guest can end its machine; the VMM's exit status tells them apart. */
#include "ways.h"
#include "guest/end.h"
#include "guest/io.h"
#include "guest/irq.h"
#include "guest/lib.h"
#include "guest/smp.h"
#include "guest/start.h"
#include "tests.h"
#include "vmm/power_regs.h"

#define PORT_I8042_COMMAND 0x64
#define PORT_PVPANIC	   0x505
#define PORT_POWER	   0x600

extern char gdt[], idt[]; /* start.S */

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

/* ---- hostile ends ---------------------------------------------------------------------------- */

static uint64_t ring0_spin(uint64_t unused)
{
	for (;;)
		cpu_relax();
	return 0;
}

static void spin_here(void *unused)
{
	spin();
}

static void spin_deaf_here(void *unused)
{
	ring0(ring0_spin, 0);
}

static void halt_here(void *unused)
{
	end_halted();
}

/* On all CPUs: the first one last. */
static void everywhere(void (*fn)(void *unused))
{
	start_all_cpus();
	for (unsigned i = 1; i < smp_count(); i++)
		smp_run(i, fn, NULL);
	fn(NULL);
}

static void spin_all(void)
{
	everywhere(spin_here);
}

/* In ring 0, where the call gate leaves interrupts off. */
static void spin_deaf_all(void)
{
	everywhere(spin_deaf_here);
}

static void halt_all(void)
{
	everywhere(halt_here);
}

static void triple_fault_here(void *unused)
{
	triple_fault();
}

static void triple_fault_all(void)
{
	everywhere(triple_fault_here);
}

/* The others are told to wait for a start-up message that never comes. */
static void init_others(void)
{
	start_all_cpus();
	for (unsigned i = 1; i < smp_count(); i++)
		irq_send(smp_apic_id(i), 0x4500);
	end_halted();
}

/* An instruction that KVM's emulator does not have, on a place that only the emulator can answer. */
static uint64_t ring0_not_emulated(uint64_t at)
{
	__asm__ volatile("fldl (%0)" : : "r"(at));
	return 0;
}

static void internal_error(void)
{
	ring0(ring0_not_emulated, 0xb0000000);
	note("it was emulated");
}

/* Its own boot parameters, tables and descriptors: nobody's loss but the guest's, which has kept only
 * its options. */
static void scribble(void)
{
	static char options[256];

	for (unsigned i = 0; i < sizeof(options) - 1 && boot.cmdline[i]; i++)
		options[i] = boot.cmdline[i];
	boot.cmdline = options;
	memset((void *)0x500, 0xff, 0x9f000 - 0x500);
	memset((void *)0xe0000, 0xff, 0x20000);
	ok(disk_works(), "the disk works without boot parameters and tables");
}

static void scribble_and_fault(void)
{
	scribble();
	memset(gdt, 0xff, GDT_SIZE);
	memset(idt, 0xff, IDT_SIZE);
	bad_instruction();
}

/* Panics first: the crash that follows is the panic's. */
static void panic_then_triple_fault(void)
{
	panic_by_pvpanic();
	triple_fault();
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
	{ "end-halt", halt },
	{ "end-spin", spin },
	{ "end-idle", idle },
	{ "end-debug-exit", debug_exit },
	{ "end-panic-reset", panic_then_reset },
	{ "end-panic-halt", panic_then_halt },
	{ "end-panic-spin", panic_then_spin },
	{ "end-panic-text", panic_by_text },
	{ "end-panic-triple-fault", panic_then_triple_fault },
	{ "end-talk", talk },
	{ "end-spin-all", spin_all },
	{ "end-spin-deaf-all", spin_deaf_all },
	{ "end-halt-all", halt_all },
	{ "end-triple-fault-all", triple_fault_all },
	{ "end-init-others", init_others },
	{ "end-internal-error", internal_error },
	{ "end-scribble", scribble_and_fault },
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
