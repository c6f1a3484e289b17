/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pvpanic, QEMU's port by which a guest kernel says that it panicked (QEMU, docs/specs/pvpanic).
 *
 * vCPU threads; it has no state of its own. Must not know what a panic leads to.
 */
#include "devices/legacy.h"

#include "vmm/x86/layout.h"

#define PVPANIC_PANICKED     0x01
#define PVPANIC_CRASH_LOADED 0x02 /* a crash kernel takes over, and ends the VM in its time */

/* Reading says which events the host listens to; a driver sends no others. */
static void pvpanic_read(void *opaque, uint64_t off, void *data, unsigned len)
{
	*(uint8_t *)data = PVPANIC_PANICKED | PVPANIC_CRASH_LOADED;
}

static void pvpanic_write(void *opaque, uint64_t off, const void *data, unsigned len)
{
	if (*(const uint8_t *)data & PVPANIC_PANICKED)
		vm_note_panic(opaque);
}

static const struct bus_ops pvpanic_ops = { .read = pvpanic_read, .write = pvpanic_write };

int pvpanic_init(struct vm *vm, struct error *err)
{
	return bus_add(&vm->pio, "pvpanic", X86_PORT_PVPANIC, 1, &pvpanic_ops, vm, err);
}
