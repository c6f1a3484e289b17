/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One VM from its descriptors to its vCPUs, and why it ends.
 *
 * Main creates, starts, stops and destroys; any thread but a disk's may ask for the end. Knows no
 * device and no option.
 */
#include "vmm/vm.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "vmm/arch.h"
#include "vmm/kvm.h"
#include "vmm/kvm_caps.h"
#include "vmm/vcpu.h"

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static int create_vm(struct vm *vm, struct error *err)
{
	vm->fd = kvm_create_vm(vm->kvm_fd);
	if (vm->fd == -EBUSY)
		return error_setx(err, EBUSY,
				  "KVM cannot create a VM: another hypervisor (VirtualBox, VMware) "
				  "holds this CPU's virtualization; stop it first");
	if (vm->fd < 0)
		return error_set(err, -vm->fd, "KVM cannot create a VM");
	return 0;
}

static int create_eventfds(struct vm *vm, struct error *err)
{
	vm->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	vm->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (vm->stop_fd < 0 || vm->event_fd < 0)
		return error_set(err, errno, "virtual machine: cannot create an eventfd");
	return 0;
}

int vm_init(struct vm *vm, const char *kvm_path, struct error *err)
{
	int ret;

	memset(vm, 0, sizeof(*vm));
	vm->fd = vm->stop_fd = vm->event_fd = -1;
	vm->kvm_fd = ret = kvm_open(kvm_path, err);
	if (ret < 0)
		return ret;
	ret = kvm_require(vm->kvm_fd, err);
	if (!ret)
		ret = create_vm(vm, err);
	if (!ret)
		ret = create_eventfds(vm, err);
	if (!ret)
		ret = vcpu_report_open(vm, err);
	if (ret)
		vm_destroy(vm);
	return ret;
}

static int check_vcpus(struct vm *vm, unsigned nvcpus, struct error *err)
{
	int max = kvm_check_extension(vm->kvm_fd, KVM_CAP_MAX_VCPUS);

	if (max < 1) /* KVM's documentation: assume 4 where the capability is unknown */
		max = 4;
	if (max > VM_MAX_VCPUS)
		max = VM_MAX_VCPUS;
	if (nvcpus < 1 || nvcpus > (unsigned)max)
		return error_setx(err, EINVAL, "%u vCPUs: this host can do 1 to %d", nvcpus, max);
	return 0;
}

static int set_memory(struct vm *vm, struct error *err)
{
	int ret;

	for (unsigned i = 0; i < vm->mem.nslots; i++) {
		const struct memslot *slot = &vm->mem.slot[i];

		ret = kvm_set_memory(vm->fd, i, 0, slot->gpa, slot->size, slot->hva);
		if (ret < 0)
			return error_set(err, -ret, "KVM refuses %llu MiB of guest memory at %#llx",
					 (unsigned long long)(slot->size >> 20),
					 (unsigned long long)slot->gpa);
	}
	return 0;
}

static int create_vcpus(struct vm *vm, unsigned nvcpus, struct error *err)
{
	unsigned i;
	int ret;

	vm->vcpu = calloc(nvcpus, sizeof(*vm->vcpu));
	if (!vm->vcpu)
		return error_set(err, ENOMEM, "cannot allocate %u vCPUs", nvcpus);
	for (i = 0; i < nvcpus; i++) {
		ret = vcpu_init(&vm->vcpu[i], vm, i, err);
		if (ret)
			goto err_vcpus;
	}
	return 0;

err_vcpus:
	while (i--)
		vcpu_destroy(&vm->vcpu[i]);
	free(vm->vcpu);
	vm->vcpu = NULL;
	return ret;
}

int vm_create_machine(struct vm *vm, uint64_t memory_size, unsigned memory_flags, unsigned nvcpus,
		      struct error *err)
{
	uint64_t low_max;
	gpa_t high_base;
	int ret;

	ret = check_vcpus(vm, nvcpus, err);
	if (ret)
		return ret;
	arch_memory_layout(&low_max, &high_base);
	ret = guest_memory_alloc(&vm->mem, memory_size, low_max, high_base, memory_flags, err);
	if (ret)
		return ret;
	ret = set_memory(vm, err);
	if (ret)
		goto err_memory;
	vm->nvcpus = nvcpus;
	ret = arch_vm_init(vm, err);
	if (ret)
		goto err_memory;
	ret = irq_router_init(&vm->irq, vm->fd, err);
	if (ret)
		goto err_arch;
	ret = create_vcpus(vm, nvcpus, err);
	if (ret)
		goto err_router;
	return 0;

err_router:
	irq_router_destroy(&vm->irq);
err_arch:
	arch_vm_destroy(vm);
err_memory:
	vm->nvcpus = 0;
	/* KVM still holds the slots, and the VM can no longer be used: nothing runs on them. */
	guest_memory_free(&vm->mem);
	return ret;
}

void vm_destroy(struct vm *vm)
{
	for (unsigned i = 0; vm->vcpu && i < vm->nvcpus; i++)
		vcpu_destroy(&vm->vcpu[i]);
	free(vm->vcpu);
	vm->vcpu = NULL;
	vm->nvcpus = 0;
	irq_router_destroy(&vm->irq);
	arch_vm_destroy(vm);
	vcpu_report_close(vm);
	close_fd(&vm->event_fd);
	close_fd(&vm->stop_fd);
	close_fd(&vm->fd);
	close_fd(&vm->kvm_fd);
	guest_memory_free(&vm->mem);
}

static void wake(int eventfd)
{
	const uint64_t one = 1;

	/* EAGAIN: the counter is full, so whoever polls it is awake already. */
	if (write(eventfd, &one, sizeof(one)) < 0)
		return;
}

void vm_wake_main(struct vm *vm)
{
	wake(vm->event_fd);
}

/* What a kernel that has panicked does in the end: it resets, by a triple fault if need be. */
static bool after_panic(enum vm_end end)
{
	return end == VM_END_RESET || end == VM_END_HALTED || end == VM_END_CRASH;
}

void vm_request_end(struct vm *vm, enum vm_end end, uint32_t value)
{
	uint64_t expected = VM_RUNNING;

	/* Pairs with vm_note_panic(): its caller's later reset, on the same thread, must see it. */
	if (after_panic(end) && atomic_load(&vm->panicked)) {
		end = VM_END_PANIC;
		value = 0;
	}
	if (end != VM_RUNNING &&
	    atomic_compare_exchange_strong(&vm->end, &expected, (uint64_t)end << 32 | value))
		vm_wake_main(vm);
}

void vm_note_panic(struct vm *vm)
{
	if (!atomic_exchange(&vm->panicked, true))
		vm_wake_main(vm);
}

enum vm_end vm_end_reason(const struct vm *vm, uint32_t *value)
{
	const uint64_t end = atomic_load(&vm->end);

	if (value)
		*value = (uint32_t)end;
	return end >> 32;
}

int vm_start_vcpus(struct vm *vm, struct error *err)
{
	int ret;

	for (unsigned i = 0; i < vm->nvcpus; i++) {
		ret = vcpu_start(&vm->vcpu[i], err);
		if (ret) {
			vm_stop_vcpus(vm);
			return ret;
		}
	}
	return 0;
}

void vm_release_vcpus(struct vm *vm)
{
	atomic_store(&vm->released, 1);
	syscall(SYS_futex, &vm->released, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

void vm_stop_vcpus(struct vm *vm)
{
	wake(vm->stop_fd);
	/* First all, then one by one: stopping takes as long as the slowest, not as their sum. */
	for (unsigned i = 0; vm->vcpu && i < vm->nvcpus; i++)
		vcpu_ask_stop(&vm->vcpu[i]);
	/* After `stop`, so that one that held sees it first of all. */
	vm_resume(vm);
	for (unsigned i = 0; vm->vcpu && i < vm->nvcpus; i++)
		vcpu_join(&vm->vcpu[i]);
}
