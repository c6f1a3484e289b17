/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Power off, reset, and the event register behind ACPI's generic event device.
 *
 * vCPU threads access the registers, any thread raises events; `events` is one atomic word. Must
 * not know ACPI tables: loader/acpi.c announces what is here.
 */
#include "devices/power.h"

#include <string.h>

#define SLP_TYP(control) ((control) >> 2 & 7) /* ACPI 6.5, table 4.25 */

static void write_sleep_control(struct power *power, uint8_t value)
{
	if ((value & POWER_SLP_EN) && SLP_TYP(value) == POWER_SLP_TYP_S5)
		vm_request_end(power->vm, VM_END_POWEROFF, 0);
}

static void write_register(struct power *power, uint64_t reg, uint8_t value)
{
	if (reg == POWER_SLEEP_CONTROL)
		write_sleep_control(power, value);
	else if (reg == POWER_RESET && value == POWER_RESET_VALUE)
		vm_request_end(power->vm, VM_END_RESET, 0);
}

static void power_write(void *opaque, uint64_t off, const void *data, unsigned len)
{
	const uint8_t *byte = data;

	for (unsigned i = 0; i < len; i++)
		write_register(opaque, off + i, byte[i]);
}

/*
 * The sleep registers read as 0: nothing sleeps here, so nothing wakes (WAK_STS). The events go to
 * whoever reads the first of their bytes: the acquire pairs with power_raise(), whose caller did
 * something before that the guest is about to look at.
 */
static void power_read(void *opaque, uint64_t off, void *data, unsigned len)
{
	struct power *power = opaque;
	uint8_t regs[POWER_SIZE] = {};
	uint32_t events;

	if (off <= POWER_GED_EVENTS && POWER_GED_EVENTS < off + len) {
		events = atomic_exchange_explicit(&power->events, 0, memory_order_acquire);
		memcpy(regs + POWER_GED_EVENTS, &events, sizeof(events));
	}
	memcpy(data, regs + off, len);
}

static const struct bus_ops power_ops = { .read = power_read, .write = power_write };

int power_init(struct power *power, struct vm *vm, uint64_t port, struct irq_line ged,
	       struct error *err)
{
	power->vm = vm;
	power->ged = ged;
	atomic_init(&power->events, 0);
	return bus_add(&vm->pio, "power", port, POWER_SIZE, &power_ops, power, err);
}

void power_raise(struct power *power, uint32_t events)
{
	atomic_fetch_or_explicit(&power->events, events, memory_order_release);
	irq_line_signal(&power->ged);
}
