/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Register accesses of a hostile driver -> virtio-mmio, on a real bus and a KVM in the test, with
 * and without a page that the guest reads.
 *
 * An input is one byte of configuration and then accesses of 8 bytes: see registers.h.
 */
#include <linux/virtio_mmio.h>

#include "tests/fuzz/registers.h"
#include "virtio/virtio_mmio.h"

const char fuzz_target[] = "mmio";

#define BASE	0xd0003000ULL
#define GSI	9
#define NQUEUES 3

static struct {
	struct vm vm;
	struct plain_dev d;
	struct virtio_mmio mmio;
	bool paged;
	uint8_t page[VIRTIO_MMIO_SIZE] __attribute__((aligned(4096)));
} rig;

static void check_read(uint64_t off, const uint8_t *data, unsigned len)
{
	uint32_t value;

	if (off >= VIRTIO_MMIO_CONFIG) {
		check_config_read(&rig.d, off - VIRTIO_MMIO_CONFIG, data, len);
		return;
	}
	memcpy(&value, data, sizeof(value));
	if (len != 4 || off % 4)
		return;
	if (off == VIRTIO_MMIO_INTERRUPT_STATUS)
		fuzz_check(!(value & ~3u), "InterruptStatus %#x", value);
	if (off == VIRTIO_MMIO_STATUS)
		fuzz_check(value == atomic_load(rig.d.dev.status), "Status %#x", value);
}

static void load(uint64_t off, unsigned len)
{
	uint8_t data[8];

	bus_read(&rig.vm.mmio, BASE + off, data, len);
	if (off + len <= VIRTIO_MMIO_SIZE)
		check_read(off, data, len);
}

/* The guest sees in the page what it would be told. */
static void check_page(void)
{
	uint32_t told, seen;

	if (!rig.paged)
		return;
	for (unsigned off = 0; off < VIRTIO_MMIO_CONFIG + 256; off += 4) {
		bus_read(&rig.vm.mmio, BASE + off, &told, 4);
		memcpy(&seen, rig.page + off, 4);
		fuzz_check(told == seen, "register %#x reads %#x, the page has %#x", off, told,
			   seen);
	}
}

static void check_doorbells(uint64_t off, uint32_t value, unsigned len)
{
	const bool notify = off == VIRTIO_MMIO_QUEUE_NOTIFY && len == 4;

	for (unsigned q = 0; q < NQUEUES; q++)
		fuzz_check(take_kicks(&rig.d, q) == (notify && value == q),
			   "doorbell %u after %u bytes of %#x to %#llx", q, len, value,
			   (unsigned long long)off);
}

static void store(uint64_t off, uint64_t value, unsigned len)
{
	guest_store(&rig.vm, BASE + off, &value, len);
	check_doorbells(off, (uint32_t)value, len);
	if (off == VIRTIO_MMIO_STATUS && len == 4 && !(value & 0xff)) {
		fuzz_check(!atomic_load(rig.d.dev.status), "a reset leaves a status");
		fuzz_check(!atomic_load(rig.mmio.isr), "a reset leaves an interrupt");
	}
}

static void set(uint64_t off, uint32_t value)
{
	store(off, value, 4);
}

/* All that an honest driver does for its queues, up to a step of choice. */
static void set_up(const struct access *x)
{
	set(VIRTIO_MMIO_STATUS, 0);
	rig.d.last_status = 0;
	set(VIRTIO_MMIO_STATUS, 1);
	set(VIRTIO_MMIO_STATUS, 3);
	set(VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
	set(VIRTIO_MMIO_DRIVER_FEATURES, 1);
	set(VIRTIO_MMIO_STATUS, 11);
	for (unsigned q = 0; q < NQUEUES && x->how & 1; q++) {
		set(VIRTIO_MMIO_QUEUE_SEL, q);
		set(VIRTIO_MMIO_QUEUE_NUM, 1u << (x->value & 7));
		set(VIRTIO_MMIO_QUEUE_DESC_LOW, ring_gpa(q));
		set(VIRTIO_MMIO_QUEUE_AVAIL_LOW, ring_gpa(q) + 0x800);
		set(VIRTIO_MMIO_QUEUE_USED_LOW, ring_gpa(q) + 0xa00);
		set(VIRTIO_MMIO_QUEUE_READY, 1);
	}
	if (x->how & 2)
		set(VIRTIO_MMIO_STATUS, 15);
}

static const uint16_t registers[] = {
	VIRTIO_MMIO_STATUS,
	VIRTIO_MMIO_DRIVER_FEATURES_SEL,
	VIRTIO_MMIO_DRIVER_FEATURES,
	VIRTIO_MMIO_QUEUE_SEL,
	VIRTIO_MMIO_QUEUE_NUM,
	VIRTIO_MMIO_QUEUE_READY,
	VIRTIO_MMIO_QUEUE_DESC_LOW,
	VIRTIO_MMIO_QUEUE_DESC_HIGH,
	VIRTIO_MMIO_QUEUE_AVAIL_LOW,
	VIRTIO_MMIO_QUEUE_AVAIL_HIGH,
	VIRTIO_MMIO_QUEUE_USED_LOW,
	VIRTIO_MMIO_QUEUE_USED_HIGH,
	VIRTIO_MMIO_QUEUE_NOTIFY,
	VIRTIO_MMIO_INTERRUPT_ACK,
	VIRTIO_MMIO_DEVICE_FEATURES_SEL,
	VIRTIO_MMIO_CONFIG,
};

static void act(const struct access *x)
{
	switch (x->op % 8) {
	case 0:
		load(x->off & 0xfff, access_len(x));
		break;
	case 1:
		store(x->off & 0xfff, x->value | (uint64_t)x->value << 32, access_len(x));
		break;
	case 2:
	case 3:
		set(registers[x->off % (sizeof(registers) / sizeof(registers[0]))], x->value);
		break;
	case 4:
		set_up(x);
		break;
	case 5:
		plain_signal(&rig.d, x->how);
		break;
	case 6:
		plain_break(&rig.d);
		break;
	case 7:
		rig.d.start_fails = true;
		break;
	}
}

static void rig_init(bool paged)
{
	struct error err;

	fake_kvm_reset();
	memset(&rig, 0, sizeof(rig));
	rig.vm.fd = rig.vm.kvm_fd = VM_FD;
	rig.paged = paged;
	plain_init(&rig.d, NQUEUES);
	fuzz_check(!virtio_mmio_init(&rig.mmio, &rig.d.dev, &rig.vm, BASE, GSI,
				     paged ? rig.page : NULL, &err),
		   "%s", err.text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct bytes script = bytes_init(data, size);
	struct access x;

	ram_init();
	rig_init(bytes_take(&script, 1) & 1);
	for (unsigned i = 0; i < MAX_ACCESS && access_next(&script, &x); i++) {
		act(&x);
		plain_check(&rig.d);
		fuzz_check(!(atomic_load(rig.mmio.isr) & ~3u), "isr");
		check_page();
	}
	ram_is_untouched();
	virtio_mmio_destroy(&rig.mmio);
	fuzz_check(!fake_kvm.nirqfds && !fake_kvm.nio, "something is left in KVM");
	virtio_dev_destroy(&rig.d.dev);
	return 0;
}
