/* SPDX-License-Identifier: Apache-2.0 */
/*
 * QEMU's isa-debug-exit: the guest ends the VM and says with which value.
 *
 * vCPU threads; it has no state of its own. Must not know exit statuses.
 */
#include "devices/legacy.h"

#include <string.h>

#define DEBUG_EXIT_PORTS 4 /* iosize=4, as everybody configures it */

static void debug_exit_read(void *opaque, uint64_t off, void *data, unsigned len)
{
	memset(data, 0, len);
}

/* The value is what is written, at any width and any of the ports, as in QEMU. */
static void debug_exit_write(void *opaque, uint64_t off, const void *data, unsigned len)
{
	uint32_t value = 0;

	memcpy(&value, data, len < sizeof(value) ? len : sizeof(value));
	vm_request_end(opaque, VM_END_DEBUG_EXIT, value);
}

static const struct bus_ops debug_exit_ops = { .read = debug_exit_read, .write = debug_exit_write };

int debug_exit_init(struct vm *vm, uint16_t port, struct error *err)
{
	return bus_add(&vm->pio, "debug-exit", port, DEBUG_EXIT_PORTS, &debug_exit_ops, vm, err);
}
