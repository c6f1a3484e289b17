/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hot-plug of PCI slots as ACPI has it: which slots the guest shall look at, and which it has given
 * up.
 *
 * vCPU threads access the registers, main inserts and asks; each register is one atomic word. Must
 * not know ACPI tables (loader/dsdt.c announces what is here), nor what is in a slot.
 */
#include "devices/hotplug.h"

#include <string.h>

static bool covers(uint64_t off, unsigned len, uint64_t reg)
{
	return off <= reg && reg < off + len;
}

/* The slots go to whoever reads the first of their bytes; see power_read(). */
static void take(uint8_t *regs, uint64_t reg, _Atomic uint32_t *slots)
{
	const uint32_t value = atomic_exchange_explicit(slots, 0, memory_order_acquire);

	memcpy(regs + reg, &value, sizeof(value));
}

static void hotplug_read(void *opaque, uint64_t off, void *data, unsigned len)
{
	struct hotplug *hp = opaque;
	uint8_t regs[HOTPLUG_SIZE] = {};

	if (covers(off, len, HOTPLUG_INSERTED))
		take(regs, HOTPLUG_INSERTED, &hp->inserted);
	if (covers(off, len, HOTPLUG_ASKED))
		take(regs, HOTPLUG_ASKED, &hp->asked);
	memcpy(data, regs + off, len);
}

static void hotplug_write(void *opaque, uint64_t off, const void *data, unsigned len)
{
	struct hotplug *hp = opaque;
	uint32_t slots;

	if (off != HOTPLUG_EJECT || len != sizeof(slots))
		return;
	memcpy(&slots, data, sizeof(slots));
	if (slots)
		hp->ops->ejected(hp->opaque, slots);
}

static const struct bus_ops hotplug_bus_ops = { .read = hotplug_read, .write = hotplug_write };

int hotplug_init(struct hotplug *hp, struct bus *pio, uint64_t port, struct power *power,
		 const struct hotplug_ops *ops, void *opaque, struct error *err)
{
	hp->power = power;
	hp->ops = ops;
	hp->opaque = opaque;
	atomic_init(&hp->inserted, 0);
	atomic_init(&hp->asked, 0);
	return bus_add(pio, "PCI hot-plug", port, HOTPLUG_SIZE, &hotplug_bus_ops, hp, err);
}

/* The release pairs with the acquire in take(): the slot is as it shall be found. */
void hotplug_insert(struct hotplug *hp, unsigned slot)
{
	atomic_fetch_or_explicit(&hp->inserted, 1u << slot, memory_order_release);
	power_raise(hp->power, POWER_GED_HOTPLUG);
}

void hotplug_ask(struct hotplug *hp, unsigned slot)
{
	atomic_fetch_or_explicit(&hp->asked, 1u << slot, memory_order_release);
	power_raise(hp->power, POWER_GED_HOTPLUG);
}

void hotplug_forget(struct hotplug *hp, unsigned slot)
{
	atomic_fetch_and(&hp->inserted, ~(1u << slot));
	atomic_fetch_and(&hp->asked, ~(1u << slot));
}
