/* SPDX-License-Identifier: Apache-2.0 */
/* The registers of ACPI hot-plug: what the guest is told, once, and what it says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

#include "devices/hotplug.h"
#include "vmm/x86/layout.h"

#define PORT X86_PORT_HOTPLUG

struct fixture {
	struct vm vm; /* only its bus is alive */
	struct power power;
	struct hotplug hp;
	int ged;
	uint32_t given; /* slots */
	unsigned times;
};

static void ejected(void *opaque, uint32_t slots)
{
	struct fixture *f = opaque;

	f->given |= slots;
	f->times++;
}

static const struct hotplug_ops ops = { ejected };

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	int ret;

	if (!f)
		return -1;
	*state = f;
	f->ged = eventfd(0, EFD_NONBLOCK);
	ret = power_init(&f->power, &f->vm, X86_PORT_POWER, (struct irq_line){ .fd = f->ged },
			 NULL);
	return ret ? ret : hotplug_init(&f->hp, &f->vm.pio, PORT, &f->power, &ops, f, NULL);
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	close(f->ged);
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

/* What the GED's handler sees: the interrupt, and its register, which clears. */
static uint32_t events(struct fixture *f)
{
	uint64_t count;

	if (read(f->ged, &count, sizeof(count)) < 0)
		return 0;
	return in(f, X86_PORT_POWER + POWER_GED_EVENTS, 4);
}

static void a_new_device_is_told_of_once(void **state)
{
	struct fixture *f = *state;

	hotplug_insert(&f->hp, 1);
	hotplug_insert(&f->hp, 31);
	assert_int_equal(events(f), POWER_GED_HOTPLUG);
	assert_int_equal(in(f, PORT + HOTPLUG_INSERTED, 4), 1u << 31 | 1u << 1);
	assert_int_equal(in(f, PORT + HOTPLUG_INSERTED, 4), 0);
	assert_int_equal(in(f, PORT + HOTPLUG_ASKED, 4), 0);
	assert_int_equal(events(f), 0);
}

static void a_guest_is_asked_once_and_answers(void **state)
{
	struct fixture *f = *state;

	hotplug_ask(&f->hp, 7);
	assert_int_equal(events(f), POWER_GED_HOTPLUG);
	assert_int_equal(in(f, PORT + HOTPLUG_INSERTED, 4), 0);
	assert_int_equal(in(f, PORT + HOTPLUG_ASKED, 4), 1u << 7);
	assert_int_equal(in(f, PORT + HOTPLUG_ASKED, 4), 0);
	assert_int_equal(f->given, 0);
	out(f, PORT + HOTPLUG_EJECT, 1u << 7, 4);
	assert_int_equal(f->given, 1u << 7);
	assert_int_equal(f->times, 1);
}

static void it_may_be_asked_again(void **state)
{
	struct fixture *f = *state;

	hotplug_ask(&f->hp, 7);
	assert_int_equal(in(f, PORT + HOTPLUG_ASKED, 4), 1u << 7); /* and nobody listens */
	hotplug_ask(&f->hp, 7);
	assert_int_equal(in(f, PORT + HOTPLUG_ASKED, 4), 1u << 7);
}

static void several_slots_are_given_up_at_once(void **state)
{
	struct fixture *f = *state;

	out(f, PORT + HOTPLUG_EJECT, 1u << 31 | 1u << 3, 4);
	assert_int_equal(f->given, 1u << 31 | 1u << 3);
	assert_int_equal(f->times, 1); /* one look at the bus for all of them */
}

static void a_forgotten_slot_tells_nothing(void **state)
{
	struct fixture *f = *state;

	hotplug_insert(&f->hp, 4);
	hotplug_ask(&f->hp, 4);
	hotplug_ask(&f->hp, 5);
	hotplug_forget(&f->hp, 4);
	assert_int_equal(in(f, PORT + HOTPLUG_INSERTED, 4), 0);
	assert_int_equal(in(f, PORT + HOTPLUG_ASKED, 4), 1u << 5);
}

static void odd_accesses_eject_nothing(void **state)
{
	static const uint8_t widths[] = { 1, 2, 4, 8 };
	struct fixture *f = *state;
	uint64_t wide = ~0ULL;

	for (unsigned off = 0; off < HOTPLUG_SIZE; off++)
		for (unsigned w = 0; w < sizeof(widths); w++)
			if (off != HOTPLUG_EJECT || widths[w] != 4)
				bus_write(&f->vm.pio, PORT + off, &wide, widths[w]);
	assert_int_equal(f->times, 0);
	assert_int_equal(in(f, PORT + HOTPLUG_EJECT, 4), 0);
}

static void whoever_reads_the_first_byte_gets_the_slots(void **state)
{
	struct fixture *f = *state;
	uint64_t both = 0;

	hotplug_insert(&f->hp, 9);
	hotplug_ask(&f->hp, 1);
	assert_int_equal(in(f, PORT + HOTPLUG_INSERTED + 1, 1), 0);
	bus_read(&f->vm.pio, PORT, &both, 8);
	assert_int_equal(both, 1ULL << 33 | 1u << 9);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_new_device_is_told_of_once, setup, teardown),
		cmocka_unit_test_setup_teardown(a_guest_is_asked_once_and_answers, setup, teardown),
		cmocka_unit_test_setup_teardown(it_may_be_asked_again, setup, teardown),
		cmocka_unit_test_setup_teardown(several_slots_are_given_up_at_once, setup,
						teardown),
		cmocka_unit_test_setup_teardown(a_forgotten_slot_tells_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(odd_accesses_eject_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(whoever_reads_the_first_byte_gets_the_slots, setup,
						teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
