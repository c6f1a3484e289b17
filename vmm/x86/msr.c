/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The MSRs that firmware would have set. Main, before the vCPU runs, after its CPUID.
 *
 * KVM_SET_MSRS stops at the first one it refuses, so each goes on its own; none of them is worth
 * failing a boot for, and hosts differ in what they know.
 */
#include <errno.h>

#include "vmm/kvm.h"
#include "vmm/log.h"
#include "vmm/x86/x86.h"

#define MSR_TSC		 0x010
#define MSR_MISC_ENABLE	 0x1a0
#define MSR_PAT		 0x277
#define MSR_MTRR_DEFTYPE 0x2ff

#define MISC_ENABLE_FAST_STRING (1 << 0)
#define PAT_RESET		0x0007040600070406ULL /* SDM vol. 3, 12.12.4 */
#define MTRR_ENABLE		(1 << 11)
#define MTRR_WRITE_BACK		6

union one_msr {
	struct kvm_msrs list;
	uint8_t room[sizeof(struct kvm_msrs) + sizeof(struct kvm_msr_entry)];
};

/* 1, 0 for an MSR this KVM does not know, or -errno. */
static int get_msr(struct vcpu *vcpu, uint32_t index, uint64_t *value)
{
	union one_msr msr = { .list.nmsrs = 1 };
	int ret;

	msr.list.entries[0] = (struct kvm_msr_entry){ .index = index };
	ret = kvm_ioctl(vcpu->fd, KVM_GET_MSRS, &msr);
	*value = msr.list.entries[0].data;
	return ret;
}

static int set_msr(struct vcpu *vcpu, uint32_t index, uint64_t value)
{
	union one_msr msr = { .list.nmsrs = 1 };
	int ret;

	msr.list.entries[0] = (struct kvm_msr_entry){ .index = index, .data = value };
	ret = kvm_ioctl(vcpu->fd, KVM_SET_MSRS, &msr);
	if (ret == 0)
		log_verbose("vcpu%u: KVM does not take MSR %#x", vcpu->id, index);
	return ret;
}

int x86_msr_init(struct vcpu *vcpu, struct error *err)
{
	uint64_t misc;
	int ret;

	/* Equal values written together keep the vCPUs' TSCs synchronous. */
	ret = set_msr(vcpu, MSR_TSC, 0);
	if (ret >= 0)
		ret = set_msr(vcpu, MSR_PAT, PAT_RESET);
	/* Nobody else will make RAM cacheable; the PCI window is made uncached by the guest's PAT. */
	if (ret >= 0)
		ret = set_msr(vcpu, MSR_MTRR_DEFTYPE, MTRR_ENABLE | MTRR_WRITE_BACK);
	/* Linux clears REP_GOOD and ERMS without it. The other bits say what the PMU cannot do. */
	if (ret >= 0 && get_msr(vcpu, MSR_MISC_ENABLE, &misc) > 0)
		ret = set_msr(vcpu, MSR_MISC_ENABLE, misc | MISC_ENABLE_FAST_STRING);
	if (ret < 0)
		return error_set(err, -ret, "KVM_SET_MSRS of vCPU %u", vcpu->id);
	return 0;
}
