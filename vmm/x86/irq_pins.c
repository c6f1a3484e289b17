/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pins of PIC and IOAPIC as KVM routes them by default (virt/kvm: default_routing). The table sent
 * with the first MSI must not differ: the router relies on KVM's own until then.
 *
 * GSI n is IOAPIC pin n, GSI 0 included: neither ACPI nor the MP table override the PIT to pin 2.
 */
#include "vmm/arch.h"
#include "vmm/x86/layout.h"

#define PIC_PINS 16

static struct kvm_irq_routing_entry pin_route(unsigned gsi, unsigned chip, unsigned pin)
{
	return (struct kvm_irq_routing_entry){
		.gsi = gsi,
		.type = KVM_IRQ_ROUTING_IRQCHIP,
		.u.irqchip = { .irqchip = chip, .pin = pin },
	};
}

unsigned arch_irq_pins(struct kvm_irq_routing_entry *entries, unsigned max)
{
	unsigned n = 0;

	for (unsigned gsi = 0; gsi < X86_IOAPIC_PINS && n + 2 <= max; gsi++) {
		entries[n++] = pin_route(gsi, KVM_IRQCHIP_IOAPIC, gsi);
		if (gsi < PIC_PINS)
			entries[n++] =
				pin_route(gsi,
					  gsi < 8 ? KVM_IRQCHIP_PIC_MASTER : KVM_IRQCHIP_PIC_SLAVE,
					  gsi % 8);
	}
	return n;
}
