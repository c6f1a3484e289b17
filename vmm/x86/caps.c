/* SPDX-License-Identifier: Apache-2.0 */
/* The KVM capabilities that only x86 has; see vmm/kvm_caps.h. */
#include <linux/kvm.h>

#include "vmm/arch.h"

static const struct kvm_cap x86_caps[] = {
	{ "KVM_CAP_SET_TSS_ADDR", KVM_CAP_SET_TSS_ADDR, true, "VMX: real-mode helper pages" },
	{ "KVM_CAP_SET_IDENTITY_MAP_ADDR", KVM_CAP_SET_IDENTITY_MAP_ADDR, true,
	  "VMX: guests without paging" },
	{ "KVM_CAP_EXT_CPUID", KVM_CAP_EXT_CPUID, true, "CPUID of the vCPUs" },
	{ "KVM_CAP_PIT2", KVM_CAP_PIT2, true, "the timer of kernels without ACPI" },
	{ "KVM_CAP_TSC_DEADLINE_TIMER", KVM_CAP_TSC_DEADLINE_TIMER, false,
	  "the cheapest guest timer" },
	{ "KVM_CAP_GET_TSC_KHZ", KVM_CAP_GET_TSC_KHZ, false,
	  "telling the guest its TSC frequency" },
	{ "KVM_CAP_ADJUST_CLOCK", KVM_CAP_ADJUST_CLOCK, false, "kvm-clock that can be paused" },
};

const struct kvm_cap *arch_kvm_caps(unsigned *n)
{
	*n = sizeof(x86_caps) / sizeof(x86_caps[0]);
	return x86_caps;
}
