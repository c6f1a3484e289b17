/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Thin wrappers around KVM's ioctls: >= 0 or -errno, no policy, no state.
 *
 * Any thread, as KVM itself allows (a vCPU's descriptor belongs to the vCPU's thread).
 */
#include "vmm/kvm.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "vmm/irq.h"

#define KVM_STABLE_API_VERSION 12

static int open_error(const char *path, int code, struct error *err)
{
	if (code == ENOENT || code == ENODEV || code == ENXIO)
		return error_setx(err, code,
				  "%s: no KVM on this host: load the kernel's kvm module for this "
				  "CPU, enable virtualization in the firmware, or nested "
				  "virtualization where this host is itself a VM",
				  path);
	if (code == EACCES || code == EPERM)
		return error_setx(err, code,
				  "%s: permission denied: join the device's group (as root: "
				  "'usermod -aG kvm USER', then log in again)",
				  path);
	return error_set(err, code, "%s: cannot open", path);
}

int kvm_open(const char *path, struct error *err)
{
	const char *name = path ? path : "/dev/kvm";
	int fd = open(name, O_RDWR | O_CLOEXEC);
	int version;

	if (fd < 0)
		return open_error(name, errno, err);
	version = kvm_ioctl(fd, KVM_GET_API_VERSION, NULL);
	if (version == KVM_STABLE_API_VERSION)
		return fd;
	close(fd);
	if (version < 0)
		return error_set(err, -version, "%s: is not a KVM device", name);
	return error_setx(err, ENOTSUP, "%s: speaks KVM API version %d, wanted %d", name, version,
			  KVM_STABLE_API_VERSION);
}

int kvm_ioctl(int fd, unsigned long request, void *arg)
{
	int ret = ioctl(fd, request, arg);

	return ret < 0 ? -errno : ret;
}

int kvm_check_extension(int fd, unsigned cap)
{
	return kvm_ioctl(fd, KVM_CHECK_EXTENSION, (void *)(uintptr_t)cap);
}

int kvm_create_vm(int kvm_fd)
{
	int fd;

	/* Creating a VM waits for other CPUs in the kernel, and gives up when a signal comes. */
	do {
		fd = kvm_ioctl(kvm_fd, KVM_CREATE_VM, NULL);
	} while (fd == -EINTR);
	return fd;
}

int kvm_set_memory(int vm_fd, uint32_t slot, uint32_t flags, uint64_t gpa, uint64_t size, void *hva)
{
	struct kvm_userspace_memory_region region = {
		.slot = slot,
		.flags = flags,
		.guest_phys_addr = gpa,
		.memory_size = size,
		.userspace_addr = (uintptr_t)hva,
	};

	return kvm_ioctl(vm_fd, KVM_SET_USER_MEMORY_REGION, &region);
}

int kvm_create_vcpu(int vm_fd, unsigned id)
{
	return kvm_ioctl(vm_fd, KVM_CREATE_VCPU, (void *)(uintptr_t)id);
}

int kvm_vcpu_mmap_size(int kvm_fd)
{
	return kvm_ioctl(kvm_fd, KVM_GET_VCPU_MMAP_SIZE, NULL);
}

static int set_irqfd(int vm_fd, int eventfd, uint32_t gsi, uint32_t flags)
{
	struct kvm_irqfd irqfd = { .fd = eventfd, .gsi = gsi, .flags = flags };

	return kvm_ioctl(vm_fd, KVM_IRQFD, &irqfd);
}

int irqfd_assign(int vm_fd, int eventfd, uint32_t gsi)
{
	return set_irqfd(vm_fd, eventfd, gsi, 0);
}

int irqfd_deassign(int vm_fd, int eventfd, uint32_t gsi)
{
	return set_irqfd(vm_fd, eventfd, gsi, KVM_IRQFD_FLAG_DEASSIGN);
}

static int set_ioeventfd(int vm_fd, int eventfd, uint64_t addr, unsigned len, int64_t datamatch,
			 uint32_t flags)
{
	struct kvm_ioeventfd io = {
		.fd = eventfd,
		.addr = addr,
		.len = len,
		.flags = flags,
	};

	if (datamatch >= 0) {
		io.datamatch = (uint64_t)datamatch;
		io.flags |= KVM_IOEVENTFD_FLAG_DATAMATCH;
	}
	return kvm_ioctl(vm_fd, KVM_IOEVENTFD, &io);
}

int ioeventfd_assign(int vm_fd, int eventfd, uint64_t addr, unsigned len, int64_t datamatch)
{
	return set_ioeventfd(vm_fd, eventfd, addr, len, datamatch, 0);
}

int ioeventfd_deassign(int vm_fd, int eventfd, uint64_t addr, unsigned len, int64_t datamatch)
{
	return set_ioeventfd(vm_fd, eventfd, addr, len, datamatch, KVM_IOEVENTFD_FLAG_DEASSIGN);
}
