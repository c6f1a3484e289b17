/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The x86 machine as KVM has to be told of it: fixed pages, interrupt chips, and what every vCPU
 * starts with. Main, before any vCPU runs. Boot state is in boot.c, CPUID in cpuid.c.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/arch.h"
#include "vmm/kvm.h"
#include "vmm/x86/layout.h"
#include "vmm/x86/x86.h"

/* Local APIC registers, Intel SDM vol. 3, 11.4.1 and 11.5.1. */
#define APIC_LVT_LINT0	 0x350
#define APIC_LVT_LINT1	 0x360
#define APIC_MODE_NMI	 (4 << 8)
#define APIC_MODE_EXTINT (7 << 8)

void arch_memory_layout(uint64_t *low_max, gpa_t *high_base)
{
	*low_max = X86_HOLE;
	*high_base = X86_HOLE_END;
}

/*
 * VMX keeps four pages of its own in the guest's address space, for guests without paging and in
 * real mode; both addresses must be known before the first vCPU. The TSS pages are a memslot, so
 * they come before the interrupt chips (see vm_create_machine()).
 */
static int set_vmx_pages(struct vm *vm, struct error *err)
{
	uint64_t identity = X86_KVM_IDENTITY;
	int ret;

	ret = kvm_ioctl(vm->fd, KVM_SET_IDENTITY_MAP_ADDR, &identity);
	if (ret < 0)
		return error_set(err, -ret, "KVM_SET_IDENTITY_MAP_ADDR");
	ret = kvm_ioctl(vm->fd, KVM_SET_TSS_ADDR, (void *)(uintptr_t)X86_KVM_TSS);
	if (ret < 0)
		return error_set(err, -ret, "KVM_SET_TSS_ADDR");
	return 0;
}

static int create_irqchip(struct vm *vm, struct error *err)
{
	/* The dummy speaker answers port 0x61, by which kernels calibrate against the PIT. */
	struct kvm_pit_config pit = { .flags = KVM_PIT_SPEAKER_DUMMY };
	int ret;

	ret = kvm_ioctl(vm->fd, KVM_CREATE_IRQCHIP, NULL);
	if (ret < 0)
		return error_set(err, -ret, "KVM cannot create the interrupt chips");
	ret = kvm_ioctl(vm->fd, KVM_CREATE_PIT2, &pit);
	if (ret < 0)
		return error_set(err, -ret, "KVM cannot create the timer (PIT)");
	return 0;
}

/* KVM takes a slot beyond what the CPU can address, and the guest then finds page faults there. */
int x86_check_memory(const struct guest_memory *mem, unsigned address_bits, struct error *err)
{
	const struct memslot *last = &mem->slot[mem->nslots - 1];
	const uint64_t reach = 1ULL << address_bits;

	if (last->gpa + last->size <= reach)
		return 0;
	return error_setx(err, EINVAL,
			  "%llu MiB of guest memory are too much for this host's CPU, whose %u-bit "
			  "addresses reach %llu MiB",
			  (unsigned long long)(mem->size >> 20), address_bits,
			  (unsigned long long)((reach - (X86_HOLE_END - X86_HOLE)) >> 20));
}

int arch_vm_init(struct vm *vm, struct error *err)
{
	int ret;

	vm->arch = calloc(1, sizeof(*vm->arch));
	if (!vm->arch)
		return error_set(err, ENOMEM, "cannot allocate the machine");
	ret = set_vmx_pages(vm, err);
	if (!ret)
		ret = create_irqchip(vm, err);
	if (!ret)
		ret = x86_cpuid_get(vm->kvm_fd, &vm->arch->cpuid, err);
	if (!ret)
		ret = x86_check_memory(&vm->mem, x86_cpuid_address_bits(vm->arch->cpuid), err);
	if (ret)
		arch_vm_destroy(vm);
	return ret;
}

void arch_vm_destroy(struct vm *vm)
{
	if (!vm->arch)
		return;
	free(vm->arch->cpuid);
	free(vm->arch);
	vm->arch = NULL;
}

/* Only now is there a vCPU to ask for its TSC frequency. */
static int complete_cpuid(struct vcpu *vcpu, struct error *err)
{
	struct x86_cpuid_config config = { .nvcpus = vcpu->vm->nvcpus };
	int khz = kvm_ioctl(vcpu->fd, KVM_GET_TSC_KHZ, NULL);

	config.tsc_khz = khz > 0 ? khz : 0;
	config.tsc_deadline = kvm_check_extension(vcpu->vm->fd, KVM_CAP_TSC_DEADLINE_TIMER) > 0;
	if (x86_cpuid_complete(vcpu->vm->arch->cpuid, &config))
		return error_setx(err, ENOSPC, "KVM's CPUID table is too long");
	return 0;
}

static int set_cpuid(struct vcpu *vcpu, struct error *err)
{
	struct x86_cpuid *cpuid = vcpu->vm->arch->cpuid;
	int ret;

	if (vcpu->id == 0) {
		ret = complete_cpuid(vcpu, err);
		if (ret)
			return ret;
	}
	x86_cpuid_set_apic_id(cpuid, vcpu->id);
	ret = kvm_ioctl(vcpu->fd, KVM_SET_CPUID2, &cpuid->table);
	if (ret < 0)
		return error_set(err, -ret, "KVM refuses the CPUID of vCPU %u", vcpu->id);
	return 0;
}

static void set_lvt(struct kvm_lapic_state *lapic, unsigned reg, uint32_t mode)
{
	memcpy(&lapic->regs[reg], &mode, sizeof(mode));
}

/*
 * Virtual wire mode (MP specification 1.4, 3.6.2.2), as firmware leaves it: the PIC on LINT0, NMI on
 * LINT1, both at the boot CPU only. The other APICs are set to what they are, because that is what
 * enters them into KVM's map of APIC ids: without it a boot CPU that has not enabled its own APIC
 * first sends INIT to nobody.
 */
static int set_lapic(struct vcpu *vcpu, struct error *err)
{
	struct kvm_lapic_state lapic;
	int ret;

	ret = kvm_ioctl(vcpu->fd, KVM_GET_LAPIC, &lapic);
	if (ret < 0)
		return error_set(err, -ret, "KVM_GET_LAPIC of vCPU %u", vcpu->id);
	if (vcpu->id == 0) {
		set_lvt(&lapic, APIC_LVT_LINT0, APIC_MODE_EXTINT);
		set_lvt(&lapic, APIC_LVT_LINT1, APIC_MODE_NMI);
	}
	ret = kvm_ioctl(vcpu->fd, KVM_SET_LAPIC, &lapic);
	if (ret < 0)
		return error_set(err, -ret, "KVM_SET_LAPIC of vCPU %u", vcpu->id);
	return 0;
}

static int set_mp_state(struct vcpu *vcpu, struct error *err)
{
	struct kvm_mp_state state = {
		.mp_state = vcpu->id ? KVM_MP_STATE_UNINITIALIZED : KVM_MP_STATE_RUNNABLE,
	};
	int ret = kvm_ioctl(vcpu->fd, KVM_SET_MP_STATE, &state);

	if (ret < 0)
		return error_set(err, -ret, "KVM_SET_MP_STATE of vCPU %u", vcpu->id);
	return 0;
}

/* CPUID first: since Linux 6.13 KVM answers MSRs by what the guest's CPUID says is there. */
int arch_vcpu_init(struct vcpu *vcpu, struct error *err)
{
	int ret = set_cpuid(vcpu, err);

	if (!ret)
		ret = x86_msr_init(vcpu, err);
	if (!ret)
		ret = set_lapic(vcpu, err);
	if (!ret)
		ret = set_mp_state(vcpu, err);
	return ret;
}
