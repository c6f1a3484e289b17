/* SPDX-License-Identifier: Apache-2.0 */
/* The PC's small ports and the ACPI power registers: what ends the VM, and what must not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "devices/legacy.h"
#include "devices/power.h"
#include "vmm/vm.h"
#include "vmm/x86/layout.h"

#define DEBUG_EXIT 0xf4

struct fixture {
	struct vm vm; /* only its bus and its end are alive */
	struct i8042 kbd;
	struct cmos cmos;
	struct power power;
	int ged;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	if (!f)
		return -1;
	*state = f;
	f->vm.event_fd = eventfd(0, EFD_NONBLOCK);
	f->ged = eventfd(0, EFD_NONBLOCK);
	return i8042_init(&f->kbd, &f->vm, NULL) || cmos_init(&f->cmos, &f->vm, NULL) ||
	       pvpanic_init(&f->vm, NULL) || debug_exit_init(&f->vm, DEBUG_EXIT, NULL) ||
	       power_init(&f->power, &f->vm, X86_PORT_POWER, (struct irq_line){ .fd = f->ged },
			  NULL);
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	close(f->ged);
	close(f->vm.event_fd);
	free(f);
	return 0;
}

static uint32_t in(struct fixture *f, uint64_t port, unsigned len)
{
	uint32_t value = 0;

	bus_read(&f->vm.pio, port, &value, len);
	return value;
}

static void out(struct fixture *f, uint64_t port, uint32_t value, unsigned len)
{
	bus_write(&f->vm.pio, port, &value, len);
}

static uint64_t count_of(int eventfd)
{
	uint64_t count;

	return read(eventfd, &count, sizeof(count)) < 0 ? 0 : count;
}

static void assert_end(struct fixture *f, enum vm_end end, uint32_t value)
{
	uint32_t got;

	assert_int_equal(vm_end_reason(&f->vm, &got), end);
	assert_int_equal(got, value);
	assert_int_equal(count_of(f->vm.event_fd), 1);
}

static void assert_running(struct fixture *f)
{
	assert_int_equal(vm_end_reason(&f->vm, NULL), VM_RUNNING);
	assert_int_equal(count_of(f->vm.event_fd), 0);
}

/* ---- i8042 ---- */

/* arch/x86/kernel/reboot.c: kb_wait(), then 0xfe. */
static void i8042_pulse_resets(void **state)
{
	struct fixture *f = *state;

	assert_false(in(f, 0x64, 1) & 0x02); /* or kb_wait() takes 65536 exits */
	assert_running(f);
	out(f, 0x64, 0xfe, 1);
	assert_end(f, VM_END_RESET, 0);
}

static void i8042_output_port_resets(void **state)
{
	struct fixture *f = *state;

	out(f, 0x64, 0xd1, 1);
	out(f, 0x60, 0x03, 1); /* A20 on, reset inactive */
	out(f, 0x60, 0x00, 1); /* data without its command */
	assert_running(f);
	out(f, 0x64, 0xd1, 1);
	out(f, 0x64, 0xae, 1); /* another command takes its place */
	out(f, 0x60, 0x00, 1);
	assert_running(f);
	out(f, 0x64, 0xd1, 1);
	out(f, 0x60, 0xfe, 1);
	assert_end(f, VM_END_RESET, 0);
}

static void i8042_other_commands_do_nothing(void **state)
{
	struct fixture *f = *state;

	for (unsigned command = 0; command < 256; command++)
		if ((command & 0xf1) != 0xf0) /* pulses with bit 0 low */
			out(f, 0x64, command, 1);
	assert_running(f);
}

/* drivers/input/serio/i8042.c, i8042_flush(): "No controller found" after 16 bytes. */
static bool linux_finds_a_controller(struct fixture *f)
{
	unsigned count = 0;

	while (in(f, 0x64, 1) & 0x01) {
		if (count++ == 16)
			return false;
		in(f, 0x60, 1);
	}
	return true;
}

static void i8042_is_not_found_by_linux(void **state)
{
	struct fixture *f = *state;

	assert_false(linux_finds_a_controller(f));
	assert_false(linux_finds_a_controller(f));
	out(f, 0x64, 0xfd, 1);
	assert_false(linux_finds_a_controller(f));
}

static void i8042_endless_drain_ends(void **state)
{
	struct fixture *f = *state;
	unsigned count = 0;

	for (unsigned round = 0; round < 3; round++) {
		while (in(f, 0x64, 1) & 0x01) {
			in(f, 0x60, 1);
			assert_in_range(++count, 1, 1000);
		}
	}
}

static void i8042_leaves_the_pits_port_alone(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(in(f, 0x61, 1), 0xff);
	assert_int_equal(in(f, 0x60, 2), 0xffff);
}

/* ---- CMOS ---- */

static uint8_t cmos(struct fixture *f, uint8_t index)
{
	out(f, 0x70, index, 1);
	return in(f, 0x71, 1);
}

static int from_bcd(uint8_t value)
{
	assert_in_range(value & 0x0f, 0, 9);
	return (value >> 4) * 10 + (value & 0x0f);
}

static time_t cmos_time(struct fixture *f)
{
	struct tm tm = {
		.tm_sec = from_bcd(cmos(f, 0x00)),
		.tm_min = from_bcd(cmos(f, 0x02)),
		.tm_hour = from_bcd(cmos(f, 0x04)),
		.tm_mday = from_bcd(cmos(f, 0x07)),
		.tm_mon = from_bcd(cmos(f, 0x08)) - 1,
		.tm_year = from_bcd(cmos(f, 0x32)) * 100 + from_bcd(cmos(f, 0x09)) - 1900,
	};

	return timegm(&tm);
}

/* Read twice, as drivers do, for the minute that ends in between. */
static void cmos_tells_the_hosts_time(void **state)
{
	struct fixture *f = *state;
	struct timespec now; /* time() is as late as the last tick */
	time_t first, second;

	do {
		first = cmos_time(f);
		second = cmos_time(f);
	} while (first != second);
	clock_gettime(CLOCK_REALTIME, &now);
	assert_in_range(now.tv_sec - first, 0, 2);
	assert_int_equal(from_bcd(cmos(f, 0x06)), gmtime(&first)->tm_wday + 1);
}

/* Every day to the end of 2403, at another second each. */
static void cmos_knows_the_calendar(void **state)
{
	(void)state;
	for (time_t now = 0; now < 86400L * 158500; now += 86400 + 61) {
		struct tm tm = { 0 }, want;

		cmos_date(now, &tm);
		gmtime_r(&now, &want);
		if (tm.tm_year != want.tm_year || tm.tm_mon != want.tm_mon ||
		    tm.tm_mday != want.tm_mday || tm.tm_wday != want.tm_wday ||
		    tm.tm_hour != want.tm_hour || tm.tm_min != want.tm_min ||
		    tm.tm_sec != want.tm_sec)
			fail_msg("at %ld: %d-%d-%d", now, tm.tm_year, tm.tm_mon, tm.tm_mday);
	}
}

static void cmos_is_bcd_24h_valid_and_never_busy(void **state)
{
	struct fixture *f = *state;

	for (unsigned i = 0; i < 100; i++)
		assert_false(cmos(f, 0x0a) & 0x80);
	assert_int_equal(cmos(f, 0x0b), 0x02);
	assert_int_equal(cmos(f, 0x0c), 0);
	assert_int_equal(cmos(f, 0x0d), 0x80);
	assert_int_equal(cmos(f, 0x8d), 0x80); /* bit 7 is the NMI mask */
}

static void cmos_is_not_written(void **state)
{
	struct fixture *f = *state;

	cmos(f, 0x0b);
	out(f, 0x71, 0xff, 1);
	assert_int_equal(cmos(f, 0x0b), 0x02);
	cmos(f, 0x0f);
	out(f, 0x71, 0x0a, 1);
	assert_int_equal(cmos(f, 0x0f), 0);
	out(f, 0x70, 0xff0d, 2);
	assert_int_equal(in(f, 0x70, 2), 0x80ff);
}

/* ---- pvpanic ---- */

static void pvpanic_notes_a_panic_and_goes_on(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(in(f, X86_PORT_PVPANIC, 1), 3);
	out(f, X86_PORT_PVPANIC, 1, 1);
	assert_true(atomic_load(&f->vm.panicked));
	assert_int_equal(vm_end_reason(&f->vm, NULL), VM_RUNNING);
	assert_int_equal(count_of(f->vm.event_fd), 1);
	out(f, 0x64, 0xfe, 1);
	assert_end(f, VM_END_PANIC, 0);
}

static void pvpanic_leaves_a_crash_kernel_in_peace(void **state)
{
	struct fixture *f = *state;

	out(f, X86_PORT_PVPANIC, 2, 1);
	out(f, X86_PORT_PVPANIC, 0xfc, 1);
	assert_false(atomic_load(&f->vm.panicked));
	assert_running(f);
}

/* ---- debug-exit ---- */

static void debug_exit_carries_the_value(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(in(f, DEBUG_EXIT, 4), 0);
	out(f, DEBUG_EXIT, 0x89abcdef, 4);
	assert_end(f, VM_END_DEBUG_EXIT, 0x89abcdef);
	out(f, DEBUG_EXIT, 1, 4);
	assert_int_equal(count_of(f->vm.event_fd), 0); /* the first counts */
}

static void debug_exit_takes_a_byte(void **state)
{
	struct fixture *f = *state;

	out(f, DEBUG_EXIT, 0xabcdef10, 1);
	assert_end(f, VM_END_DEBUG_EXIT, 0x10);
}

static void debug_exit_port_is_chosen(void **state)
{
	struct fixture *f = *state;

	assert_true(debug_exit_init(&f->vm, DEBUG_EXIT + 2, NULL) < 0);
	assert_int_equal(debug_exit_init(&f->vm, 0x501, NULL), 0);
	out(f, 0x501, 7, 2);
	assert_end(f, VM_END_DEBUG_EXIT, 7);
}

/* ---- power ---- */

static void sleep_control_powers_off(void **state)
{
	struct fixture *f = *state;

	out(f, X86_PORT_POWER, POWER_SLP_TYP_S5 << 2, 1);		     /* not enabled */
	out(f, X86_PORT_POWER, POWER_SLP_EN | 3 << 2, 1);		     /* S3 */
	out(f, X86_PORT_POWER + 1, POWER_SLP_EN | POWER_SLP_TYP_S5 << 2, 1); /* wrong register */
	assert_running(f);
	assert_int_equal(in(f, X86_PORT_POWER, 2), 0);
	out(f, X86_PORT_POWER, POWER_SLP_EN | POWER_SLP_TYP_S5 << 2, 1);
	assert_end(f, VM_END_POWEROFF, 0);
}

static void reset_register_resets(void **state)
{
	struct fixture *f = *state;

	out(f, X86_PORT_POWER + POWER_RESET, 0, 1);
	out(f, X86_PORT_POWER + POWER_RESET, POWER_RESET_VALUE + 1, 1);
	assert_running(f);
	out(f, X86_PORT_POWER + POWER_RESET, POWER_RESET_VALUE, 1);
	assert_end(f, VM_END_RESET, 0);
}

static void button_interrupts_and_is_read_once(void **state)
{
	struct fixture *f = *state;
	const uint64_t port = X86_PORT_POWER + POWER_GED_EVENTS;

	assert_int_equal(in(f, port, 4), 0);
	power_raise(&f->power, POWER_GED_BUTTON);
	assert_int_equal(count_of(f->ged), 1);
	assert_int_equal(in(f, port + 1, 1), 0); /* not the byte that clears */
	assert_int_equal(in(f, port, 4), POWER_GED_BUTTON);
	assert_int_equal(in(f, port, 4), 0);
	power_raise(&f->power, POWER_GED_BUTTON);
	power_raise(&f->power, POWER_GED_BUTTON << 1);
	assert_int_equal(in(f, port, 1), POWER_GED_BUTTON | POWER_GED_BUTTON << 1);
	assert_running(f);
}

static void power_takes_any_width(void **state)
{
	struct fixture *f = *state;
	const uint8_t zeroes[8] = { 0 };
	uint8_t data[8];

	power_raise(&f->power, POWER_GED_BUTTON);
	bus_read(&f->vm.pio, X86_PORT_POWER, data, 8);
	assert_int_equal(data[POWER_GED_EVENTS], POWER_GED_BUTTON);
	data[POWER_GED_EVENTS] = 0;
	assert_memory_equal(data, zeroes, 8);
	bus_write(&f->vm.pio, X86_PORT_POWER, zeroes, 8);
	assert_running(f);
	out(f, X86_PORT_POWER, POWER_RESET_VALUE << 16, 4);
	assert_end(f, VM_END_RESET, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(i8042_pulse_resets),
		TEST(i8042_output_port_resets),
		TEST(i8042_other_commands_do_nothing),
		TEST(i8042_is_not_found_by_linux),
		TEST(i8042_endless_drain_ends),
		TEST(i8042_leaves_the_pits_port_alone),
		TEST(cmos_tells_the_hosts_time),
		TEST(cmos_knows_the_calendar),
		TEST(cmos_is_bcd_24h_valid_and_never_busy),
		TEST(cmos_is_not_written),
		TEST(pvpanic_notes_a_panic_and_goes_on),
		TEST(pvpanic_leaves_a_crash_kernel_in_peace),
		TEST(debug_exit_carries_the_value),
		TEST(debug_exit_takes_a_byte),
		TEST(debug_exit_port_is_chosen),
		TEST(sleep_control_powers_off),
		TEST(reset_register_resets),
		TEST(button_interrupts_and_is_read_once),
		TEST(power_takes_any_width),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
