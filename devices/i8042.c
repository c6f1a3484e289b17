/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is left of the PC's keyboard controller: its wire to the CPU's reset pin.
 *
 * vCPU threads; there is no lock, each register is one atomic byte. Must not know keyboards.
 *
 * There is no keyboard controller, and drivers should find that out fast. Status therefore always
 * reads "output buffer full, input buffer empty": Linux's i8042_flush() sees a buffer that does not
 * empty within 16 reads and says "No controller found" within a millisecond, where a controller
 * that only kept silent would cost it half a second per command; and its reboot=k, which first
 * waits for the input buffer, does not wait at all. (All-ones, as from an empty slot, makes it wait
 * 65536 exits.) For kernels that drain the buffer without counting, it does look empty once in a
 * while.
 */
#include "devices/legacy.h"

#include "vmm/x86/layout.h"

#define I8042_STATUS_PORT (X86_PORT_I8042 + 4)

#define STATUS_OUTPUT_FULL  0x01
#define COMMAND_WRITE_PORT  0xd1 /* the next data byte goes to the output port */
#define COMMAND_PULSE	    0xf0 /* pulses the output port lines whose bits are 0 */
#define PORT_RESET_INACTIVE 0x01 /* bit 0 drives the reset pin, active low */
#define DRAIN_READS	    64

static void request_reset(struct i8042 *kbd)
{
	vm_request_end(kbd->vm, VM_END_RESET, 0);
}

static void data_read(void *opaque, uint64_t off, void *data, unsigned len)
{
	struct i8042 *kbd = opaque;

	atomic_fetch_add_explicit(&kbd->drained, 1, memory_order_relaxed);
	*(uint8_t *)data = 0xff;
}

static void data_write(void *opaque, uint64_t off, const void *data, unsigned len)
{
	struct i8042 *kbd = opaque;
	const uint8_t value = *(const uint8_t *)data;

	atomic_store_explicit(&kbd->drained, 0, memory_order_relaxed);
	if (atomic_exchange(&kbd->command, 0) == COMMAND_WRITE_PORT &&
	    !(value & PORT_RESET_INACTIVE))
		request_reset(kbd);
}

static void status_read(void *opaque, uint64_t off, void *data, unsigned len)
{
	struct i8042 *kbd = opaque;
	uint8_t status = STATUS_OUTPUT_FULL;

	if (atomic_load_explicit(&kbd->drained, memory_order_relaxed) >= DRAIN_READS) {
		atomic_store_explicit(&kbd->drained, 0, memory_order_relaxed);
		status = 0;
	}
	*(uint8_t *)data = status;
}

static void command_write(void *opaque, uint64_t off, const void *data, unsigned len)
{
	struct i8042 *kbd = opaque;
	const uint8_t command = *(const uint8_t *)data;

	atomic_store_explicit(&kbd->drained, 0, memory_order_relaxed);
	atomic_store(&kbd->command, command == COMMAND_WRITE_PORT ? command : 0);
	if ((command & COMMAND_PULSE) == COMMAND_PULSE && !(command & PORT_RESET_INACTIVE))
		request_reset(kbd);
}

static const struct bus_ops data_ops = { .read = data_read, .write = data_write };
static const struct bus_ops command_ops = { .read = status_read, .write = command_write };

/* Two ranges of one byte: 0x61, between them, is the PIT's. */
int i8042_init(struct i8042 *kbd, struct vm *vm, struct error *err)
{
	int ret;

	kbd->vm = vm;
	atomic_init(&kbd->command, 0);
	atomic_init(&kbd->drained, 0);
	ret = bus_add(&vm->pio, "i8042 data", X86_PORT_I8042, 1, &data_ops, kbd, err);
	if (ret)
		return ret;
	return bus_add(&vm->pio, "i8042 command", I8042_STATUS_PORT, 1, &command_ops, kbd, err);
}
