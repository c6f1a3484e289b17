/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The capabilities that every architecture wants, and the check that they are there. Main thread.
 * The architecture adds its own by arch_kvm_caps().
 */
#include "vmm/kvm_caps.h"

#include <errno.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <string.h>

#include "vmm/arch.h"
#include "vmm/kvm.h"

static const struct kvm_cap common_caps[] = {
	{ "KVM_CAP_USER_MEMORY", KVM_CAP_USER_MEMORY, true, "guest memory from user space" },
	{ "KVM_CAP_IRQCHIP", KVM_CAP_IRQCHIP, true, "interrupt controllers in the kernel" },
	{ "KVM_CAP_IRQ_ROUTING", KVM_CAP_IRQ_ROUTING, true, "MSI routes for interrupts" },
	{ "KVM_CAP_IRQFD", KVM_CAP_IRQFD, true, "interrupts without an exit" },
	{ "KVM_CAP_IOEVENTFD", KVM_CAP_IOEVENTFD, true, "doorbells without an exit" },
	{ "KVM_CAP_IMMEDIATE_EXIT", KVM_CAP_IMMEDIATE_EXIT, true,
	  "stopping a vCPU without a race" },
	{ "KVM_CAP_MP_STATE", KVM_CAP_MP_STATE, true, "several vCPUs, halt detection" },
	{ "KVM_CAP_IOEVENTFD_ANY_LENGTH", KVM_CAP_IOEVENTFD_ANY_LENGTH, false,
	  "doorbells of any width; the fastest path on Intel" },
	{ "KVM_CAP_READONLY_MEM", KVM_CAP_READONLY_MEM, false,
	  "register pages read without an exit" },
	{ "KVM_CAP_SYNC_MMU", KVM_CAP_SYNC_MMU, false, "swapping and sharing guest memory" },
	{ "KVM_CAP_INTERNAL_ERROR_DATA", KVM_CAP_INTERNAL_ERROR_DATA, false,
	  "details in crash reports" },
};

#define COMMON_CAPS (sizeof(common_caps) / sizeof(common_caps[0]))

const struct kvm_cap *kvm_cap_at(unsigned i)
{
	const struct kvm_cap *arch;
	unsigned n;

	if (i < COMMON_CAPS)
		return &common_caps[i];
	arch = arch_kvm_caps(&n);
	return i - COMMON_CAPS < n ? &arch[i - COMMON_CAPS] : NULL;
}

int kvm_require(int kvm_fd, struct error *err)
{
	char missing[256] = "";
	const struct kvm_cap *cap;
	size_t n = 0;

	for (unsigned i = 0; (cap = kvm_cap_at(i)); i++) {
		if (!cap->required || kvm_check_extension(kvm_fd, cap->number) > 0)
			continue;
		/* A name that does not fit is left out; the first ones say enough. */
		if (n < sizeof(missing))
			n += snprintf(missing + n, sizeof(missing) - n, " %s", cap->name);
	}
	if (!n)
		return 0;
	return error_setx(err, ENOTSUP, "this host's KVM lacks%s: a newer kernel is needed",
			  missing);
}
