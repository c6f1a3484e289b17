/* SPDX-License-Identifier: Apache-2.0 */
/* What mvmm wants of the host's KVM: the list behind `mvmm check` and behind every start. */
#ifndef MVMM_KVM_CAPS_H
#define MVMM_KVM_CAPS_H

#include <stdbool.h>

#include "vmm/error.h"

struct kvm_cap {
	const char *name; /* as in the kernel's Documentation/virt/kvm/api.rst */
	unsigned number;
	bool required;
	const char *purpose; /* what it is for; for an optional one, what is lost without it */
};

/* The i-th capability, the architecture's own after the common ones; NULL past the end. */
const struct kvm_cap *kvm_cap_at(unsigned i);

/* 0, or -ENOTSUP with a message that names every required capability that is missing. */
int kvm_require(int kvm_fd, struct error *err);

#endif
