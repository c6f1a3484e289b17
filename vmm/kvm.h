/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every KVM ioctl of the project, each a thin function that returns >= 0 or -errno.
 * (vmm/irq.h has the four for irqfd and ioeventfd; they live in kvm.c too.)
 */
#ifndef MVMM_KVM_H
#define MVMM_KVM_H

#include <linux/kvm.h>
#include <stdbool.h>
#include <stdint.h>

#include "vmm/error.h"

/* Opens /dev/kvm (`path` NULL) and checks API version 12. The message says what to do about
 * ENOENT (no KVM: modprobe, BIOS, nested) and EACCES (group kvm). Returns the fd. */
int kvm_open(const char *path, struct error *err);

int kvm_ioctl(int fd, unsigned long request, void *arg);
int kvm_check_extension(int fd, unsigned cap);
int kvm_create_vm(int kvm_fd);
int kvm_set_memory(int vm_fd, uint32_t slot, uint32_t flags, uint64_t gpa, uint64_t size,
		   void *hva);
int kvm_create_vcpu(int vm_fd, unsigned id);
int kvm_vcpu_mmap_size(int kvm_fd);

#endif
