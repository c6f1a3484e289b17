/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PCI configuration, BAR and port accesses of a hostile driver -> the host bridge and two virtio
 * functions, on real buses and a KVM in the test that may refuse.
 *
 * An input is a run of accesses of 8 bytes: see registers.h.
 */
#include <linux/virtio_pci.h>

#include "tests/fuzz/registers.h"
#include "virtio/virtio_pci.h"
#include "vmm/pci_config.h"

const char fuzz_target[] = "pci";

#define ECAM	0xe0000000ULL
#define WINDOW	0xc0000000ULL
#define SIZE	0x10000ULL /* two BARs fill it: they have to meet */
#define FUNCS	2
#define NQUEUES 3

static struct {
	struct vm vm;
	struct pci_bus pci;
	struct plain_dev d[FUNCS];
	struct virtio_pci vpci[FUNCS];
	uint8_t config[FUNCS][PCI_CONFIG_SIZE]; /* as it was made */
	bool kvm_failed;			/* once: doorbells and vectors may be missing */
} rig;

/* ---- accesses -------------------------------------------------------------------------------- */

static void store(uint64_t addr, uint64_t value, unsigned len)
{
	guest_store(&rig.vm, addr, &value, len);
}

static uint64_t load(uint64_t addr, unsigned len)
{
	uint64_t value = 0;

	bus_read(&rig.vm.mmio, addr, &value, len);
	return value;
}

static uint64_t config_addr(unsigned f, unsigned off)
{
	return ECAM + ((uint64_t)rig.vpci[f].slot << 15) + off;
}

static void config_store(unsigned f, unsigned off, uint32_t value, unsigned len)
{
	store(config_addr(f, off), value, len);
}

/* Where the driver of function f believes its BAR is. */
static uint64_t bar(unsigned f)
{
	uint32_t addr;

	memcpy(&addr, rig.vpci[f].func.config + PCI_BASE_ADDRESS_0, sizeof(addr));
	return addr;
}

static void common_store(unsigned f, unsigned off, uint32_t value, unsigned len)
{
	store(bar(f) + VIRTIO_PCI_COMMON + off, value, len);
}

/* Function f answers in its BAR, and nobody else. */
static bool alone(unsigned f)
{
	const struct pci_func *me = &rig.vpci[f].func, *other = &rig.vpci[!f].func;

	return me->bar_mapped && (!other->bar_mapped || other->bar_addr != me->bar_addr);
}

/* ---- what an honest driver does -------------------------------------------------------------- */

static void place(unsigned f, uint64_t addr)
{
	rig.d[f].may_need_reset |= rig.d[f].running; /* bus mastering goes away */
	config_store(f, PCI_COMMAND, 0, 2);
	config_store(f, PCI_BASE_ADDRESS_0, (uint32_t)addr, 4);
	config_store(f, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 2);
}

static void enable_msix(unsigned f, unsigned n)
{
	for (unsigned v = 0; v < n; v++) {
		const uint64_t entry = bar(f) + VIRTIO_PCI_MSIX + 16 * v;

		store(entry, 0xfee00000, 4);
		store(entry + 8, 0x4000 + v, 4);
		store(entry + 12, 0, 4);
	}
	config_store(f, rig.vpci[f].msix_cap + PCI_MSIX_FLAGS, PCI_MSIX_FLAGS_ENABLE, 2);
	for (unsigned v = 0; v < n && alone(f) && !rig.kvm_failed; v++)
		fuzz_check(rig.vpci[f].msix.vector[v].assigned, "vector %u does not fire", v);
}

static void set_queues(unsigned f, unsigned size)
{
	for (unsigned q = 0; q < NQUEUES; q++) {
		common_store(f, VIRTIO_PCI_COMMON_Q_SELECT, q, 2);
		common_store(f, VIRTIO_PCI_COMMON_Q_SIZE, size, 2);
		common_store(f, VIRTIO_PCI_COMMON_Q_MSIX, q + 1, 2);
		common_store(f, VIRTIO_PCI_COMMON_Q_DESCLO, ring_gpa(q), 4);
		common_store(f, VIRTIO_PCI_COMMON_Q_AVAILLO, ring_gpa(q) + 0x800, 4);
		common_store(f, VIRTIO_PCI_COMMON_Q_USEDLO, ring_gpa(q) + 0xa00, 4);
		common_store(f, VIRTIO_PCI_COMMON_Q_ENABLE, 1, 2);
	}
}

static void set_up(const struct access *x, unsigned f)
{
	if (x->how & 8)
		place(f, WINDOW + (x->off & 7) * (VIRTIO_PCI_BAR_SIZE / 2));
	common_store(f, VIRTIO_PCI_COMMON_STATUS, 0, 1);
	/* Of either device: they may be in one place. */
	rig.d[0].last_status = rig.d[1].last_status = 0;
	if (x->how & 16)
		enable_msix(f, 1 + (x->off >> 3 & 3));
	common_store(f, VIRTIO_PCI_COMMON_STATUS, 3, 1);
	common_store(f, VIRTIO_PCI_COMMON_GFSELECT, 1, 4);
	common_store(f, VIRTIO_PCI_COMMON_GF, 1, 4);
	common_store(f, VIRTIO_PCI_COMMON_STATUS, 11, 1);
	common_store(f, VIRTIO_PCI_COMMON_MSIX, 0, 2);
	if (x->how & 32)
		set_queues(f, 1u << (x->value & 7));
	if (x->how & 64)
		common_store(f, VIRTIO_PCI_COMMON_STATUS, 15, 1);
}

/* ---- what must hold -------------------------------------------------------------------------- */

static void check_bar(const struct pci_func *func)
{
	uint16_t command;
	uint32_t addr;

	memcpy(&command, func->config + PCI_COMMAND, sizeof(command));
	memcpy(&addr, func->config + PCI_BASE_ADDRESS_0, sizeof(addr));
	fuzz_check(!(addr & (VIRTIO_PCI_BAR_SIZE - 1)), "BAR %#x", addr);
	if (!func->bar_mapped)
		return;
	fuzz_check(command & PCI_COMMAND_MEMORY, "a BAR decodes though it is switched off");
	fuzz_check(addr == func->bar_addr && addr >= WINDOW && addr - WINDOW < SIZE,
		   "BAR %#x decodes at %#llx", addr, (unsigned long long)func->bar_addr);
	fuzz_check(func->bar_claimed, "a BAR decodes without doorbells");
}

/* Every doorbell in KVM is where its function has it, and rings the right queue. */
static void check_doorbells(void)
{
	unsigned expected = 0;

	for (unsigned f = 0; f < FUNCS; f++) {
		const struct virtio_pci *vpci = &rig.vpci[f];

		expected += __builtin_popcountll(vpci->doorbell_mask);
		fuzz_check(!vpci->doorbell_mask || vpci->func.bar_claimed, "a stale doorbell");
	}
	fuzz_check(rig.kvm_failed || fake_kvm.nio == expected, "%u doorbells, not %u", fake_kvm.nio,
		   expected);
	for (unsigned i = 0; i < fake_kvm.nio && !rig.kvm_failed; i++) {
		const struct kvm_ioeventfd *io = &fake_kvm.io[i];
		bool found = false;

		for (unsigned f = 0; f < FUNCS; f++)
			for (unsigned q = 0; q < NQUEUES; q++)
				found |= io->fd == rig.d[f].dev.kick_fd[q] &&
					 io->addr == rig.vpci[f].func.bar_addr + VIRTIO_PCI_NOTIFY +
							     4 * q;
		fuzz_check(found, "a doorbell at %#llx", (unsigned long long)io->addr);
	}
}

static void check_vectors(const struct virtio_pci *vpci)
{
	const struct msix *msix = &vpci->msix;

	for (unsigned i = 0; i < msix->nvectors; i++) {
		const struct msix_vector *v = &msix->vector[i];
		const bool open = msix->enabled && !msix->function_masked &&
				  !(v->control & PCI_MSIX_ENTRY_CTRL_MASKBIT);

		fuzz_check(!v->assigned || open || rig.kvm_failed, "vector %u fires though masked",
			   i);
		fuzz_check(fake_kvm_is_assigned(v->fd) == v->assigned, "vector %u in KVM", i);
		fuzz_check(!v->assigned || fake_kvm.route[v->gsi].type == KVM_IRQ_ROUTING_MSI,
			   "vector %u has no route", i);
	}
	for (unsigned q = 0; q < NQUEUES; q++)
		fuzz_check(vpci->queue_vector[q] < msix->nvectors ||
				   vpci->queue_vector[q] == VIRTIO_MSI_NO_VECTOR,
			   "queue %u has vector %u", q, vpci->queue_vector[q]);
}

static void check_all(void)
{
	for (unsigned f = 0; f < FUNCS; f++) {
		struct pci_func *func = &rig.vpci[f].func;

		rig.d[f].may_need_reset |= !pci_func_is_master(func);
		fuzz_check(!rig.d[f].running || pci_func_is_master(func),
			   "a device runs that may not reach memory");
		plain_check(&rig.d[f]);
		check_bar(func);
		check_vectors(&rig.vpci[f]);
		for (unsigned i = 0; i < PCI_CONFIG_SIZE; i++)
			fuzz_check(!((func->config[i] ^ rig.config[f][i]) & ~func->writable[i]),
				   "configuration byte %#x is not writable", i);
	}
	check_doorbells();
}

/* ---- the script ------------------------------------------------------------------------------ */

static void access_config(const struct access *x, unsigned f)
{
	const unsigned len = access_len(x), off = x->off & 0xfff;
	const struct pci_func *func = &rig.vpci[f].func;
	uint64_t value = 0;

	if (x->how & 0x10) {
		config_store(f, off, x->value, len);
		return;
	}
	value = load(config_addr(f, off), len);
	if (off % 4 + len <= 4 && off + len <= PCI_CONFIG_SIZE && off / 4 != func->window / 4u)
		fuzz_check(!memcmp(&value, func->config + off, len), "register %#x reads %#llx",
			   off, (unsigned long long)value);
	else if (off >= PCI_CONFIG_SIZE)
		fuzz_check(value == (len == 8 ? UINT64_MAX : (1ULL << 8 * len) - 1),
			   "nothing reads %#llx", (unsigned long long)value);
}

static void access_bar(const struct access *x, unsigned f)
{
	const uint64_t addr = bar(f) + (x->off & 0x7fff);
	const uint64_t off = x->off & 0x7fff;
	const unsigned len = access_len(x);
	uint64_t value;

	if (x->how & 0x10) {
		store(addr, x->value | (uint64_t)x->value << 32, len);
		return;
	}
	value = load(addr, len);
	if (alone(f) && off >= VIRTIO_PCI_DEVICE && off + len <= VIRTIO_PCI_DEVICE + 256)
		check_config_read(&rig.d[f], off - VIRTIO_PCI_DEVICE, (uint8_t *)&value, len);
}

/* Through the door in configuration space (4.1.4.9): its offset is anything. */
static void access_door(const struct access *x, unsigned f)
{
	const unsigned cap = rig.vpci[f].cfg_cap;

	config_store(f, cap + VIRTIO_PCI_CAP_BAR, x->how >> 7, 1);
	config_store(f, cap + VIRTIO_PCI_CAP_OFFSET, x->how & 0x20 ? x->value : x->off & 0x7fff, 4);
	config_store(f, cap + VIRTIO_PCI_CAP_LENGTH, access_len(x), 4);
	if (x->how & 0x10)
		config_store(f, cap + sizeof(struct virtio_pci_cap), x->value, 4);
	else
		load(config_addr(f, cap + sizeof(struct virtio_pci_cap)), 4);
}

static void access_ports(const struct access *x)
{
	uint32_t value = x->value;
	uint8_t data[8];

	if (x->how & 0x20) {
		value = 0x80000000 | x->off;
		bus_write(&rig.vm.pio, 0xcf8, &value, 4);
		return;
	}
	if (x->how & 0x10)
		bus_write(&rig.vm.pio, 0xcf8 + (x->off & 7), &value, 1u << (x->how & 3) % 3);
	else
		bus_read(&rig.vm.pio, 0xcf8 + (x->off & 7), data, 1u << (x->how & 3) % 3);
}

static void fail_kvm(const struct access *x)
{
	static const unsigned long requests[] = { KVM_SET_GSI_ROUTING, KVM_IRQFD, KVM_IOEVENTFD };

	rig.kvm_failed = true;
	fake_kvm_fail(requests[x->how % 3], x->off & 1 ? ENOSPC : EINVAL, 1 + x->value % 4);
}

static void act(const struct access *x)
{
	const unsigned f = x->op >> 4 & 1;

	switch (x->op & 15) {
	case 0:
		access_config(x, f);
		break;
	case 1:
		access_bar(x, f);
		break;
	case 2:
		access_door(x, f);
		break;
	case 3:
		access_ports(x);
		break;
	case 4:
		set_up(x, f);
		break;
	case 5:
		place(f, WINDOW + ((uint64_t)x->off << 12));
		break;
	case 6:
		plain_signal(&rig.d[f], x->how);
		break;
	case 7:
		plain_break(&rig.d[f]);
		break;
	case 8:
		fail_kvm(x);
		break;
	case 9:
		rig.d[f].start_fails = true;
		break;
	case 10:
		fake_kvm_deliver();
		break;
	case 11: /* anywhere in the window, or in ECAM */
		if (x->how & 0x10)
			store((x->how & 0x20 ? ECAM : WINDOW) + x->off * 16ULL, x->value,
			      access_len(x));
		else
			load((x->how & 0x20 ? ECAM : WINDOW) + x->off * 16ULL, access_len(x));
		break;
	}
}

static void rig_init(void)
{
	struct vm *vm = &rig.vm;
	struct error err;

	fake_kvm_reset();
	memset(&rig, 0, sizeof(rig));
	vm->fd = vm->kvm_fd = VM_FD;
	fuzz_check(!irq_router_init(&vm->irq, VM_FD, &err), "%s", err.text);
	fuzz_check(!pci_bus_init(&rig.pci, &vm->mmio, WINDOW, SIZE, &err), "%s", err.text);
	fuzz_check(!pci_config_init(&rig.pci, &vm->pio, &vm->mmio, ECAM, &err), "%s", err.text);
	for (unsigned f = 0; f < FUNCS; f++) {
		plain_init(&rig.d[f], NQUEUES);
		fuzz_check(!virtio_pci_init(&rig.vpci[f], &rig.d[f].dev, vm, &rig.pci, 0x018000,
					    &err),
			   "%s", err.text);
		pci_func_show(&rig.vpci[f].func);
		memcpy(rig.config[f], rig.vpci[f].func.config, PCI_CONFIG_SIZE);
	}
}

static void rig_destroy(void)
{
	fake_kvm.fail_count = 0;
	for (unsigned f = 0; f < FUNCS; f++)
		virtio_pci_destroy(&rig.vpci[f]);
	fuzz_check(!fake_kvm.nirqfds && (rig.kvm_failed || !fake_kvm.nio),
		   "something is left in KVM");
	for (unsigned f = 0; f < FUNCS; f++)
		virtio_dev_destroy(&rig.d[f].dev);
	pci_bus_destroy(&rig.pci);
	irq_router_destroy(&rig.vm.irq);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct bytes script = bytes_init(data, size);
	struct access x;

	ram_init();
	rig_init();
	for (unsigned i = 0; i < MAX_ACCESS && access_next(&script, &x); i++) {
		act(&x);
		check_all();
	}
	ram_is_untouched();
	rig_destroy();
	return 0;
}
