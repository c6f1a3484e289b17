/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads from a stopped vCPU which of KVM's offers its guest has taken up: guests hardly say so
 * themselves (6.1 kernels print nothing about PV-EOI). Main.
 */
#include <asm/kvm_para.h>
#include <inttypes.h>
#include <linux/kvm.h>

#include "vmm/arch.h"
#include "vmm/kvm.h"

#define MSR_APIC_BASE	 0x1b
#define APIC_BASE_X2APIC (1 << 10) /* Intel SDM vol. 3, 11.12.1 */

/* 0 when the MSR is 0 or this host's KVM does not know it. */
static uint64_t read_msr(struct vcpu *vcpu, uint32_t index)
{
	_Alignas(struct kvm_msrs) char buf[sizeof(struct kvm_msrs) + sizeof(struct kvm_msr_entry)];
	struct kvm_msrs *msrs = (struct kvm_msrs *)buf;

	msrs->nmsrs = 1;
	msrs->pad = 0;
	msrs->entries[0] = (struct kvm_msr_entry){ .index = index };
	return kvm_ioctl(vcpu->fd, KVM_GET_MSRS, msrs) == 1 ? msrs->entries[0].data : 0;
}

static void report_msr(FILE *out, const char *what, uint32_t index, uint64_t value, uint64_t on)
{
	fprintf(out, " %s %s (MSR 0x%08" PRIx32 " = 0x%" PRIx64 ");", what,
		value & on ? "on" : "off", index, value);
}

void arch_vcpu_report(struct vcpu *vcpu, FILE *out)
{
	fprintf(out, "mvmm: vcpu%u:", vcpu->id);
	report_msr(out, "x2apic", MSR_APIC_BASE, read_msr(vcpu, MSR_APIC_BASE), APIC_BASE_X2APIC);
	report_msr(out, "kvm-clock", MSR_KVM_SYSTEM_TIME_NEW,
		   read_msr(vcpu, MSR_KVM_SYSTEM_TIME_NEW), 1);
	report_msr(out, "pv-eoi", MSR_KVM_PV_EOI_EN, read_msr(vcpu, MSR_KVM_PV_EOI_EN),
		   KVM_MSR_ENABLED);
	fputc('\n', out);
}
