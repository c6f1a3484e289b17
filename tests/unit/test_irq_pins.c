/* SPDX-License-Identifier: Apache-2.0 */
/* The pins' routes are KVM's own defaults: those stay in force until the first MSI route is set. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "vmm/arch.h"

#define PINS (16 * 2 + 8) /* 16 of PIC and IOAPIC both, 8 of the IOAPIC alone */

static unsigned count(const struct kvm_irq_routing_entry *e, unsigned n, uint32_t gsi,
		      uint32_t chip, uint32_t pin)
{
	unsigned found = 0;

	for (unsigned i = 0; i < n; i++)
		found += e[i].gsi == gsi && e[i].type == KVM_IRQ_ROUTING_IRQCHIP &&
			 e[i].u.irqchip.irqchip == chip && e[i].u.irqchip.pin == pin;
	return found;
}

static void every_pin_is_routed_once_as_kvm_does(void **state)
{
	struct kvm_irq_routing_entry e[64];

	assert_int_equal(arch_irq_pins(e, 64), PINS);
	for (unsigned gsi = 0; gsi < 24; gsi++)
		assert_int_equal(count(e, PINS, gsi, KVM_IRQCHIP_IOAPIC, gsi), 1);
	for (unsigned gsi = 0; gsi < 8; gsi++)
		assert_int_equal(count(e, PINS, gsi, KVM_IRQCHIP_PIC_MASTER, gsi), 1);
	for (unsigned gsi = 8; gsi < 16; gsi++)
		assert_int_equal(count(e, PINS, gsi, KVM_IRQCHIP_PIC_SLAVE, gsi - 8), 1);
}

static void a_small_table_is_not_overrun(void **state)
{
	struct kvm_irq_routing_entry e[PINS];

	for (unsigned max = 0; max <= PINS; max++)
		assert_true(arch_irq_pins(e, max) <= max);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_pin_is_routed_once_as_kvm_does),
		cmocka_unit_test(a_small_table_is_not_overrun),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
