/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The memory behind virtio-mmio's register pages. Main, before the first vCPU and after the last;
 * what is in the pages, virtio_mmio.c knows.
 */
#include "virtio/virtio_mmio_pages.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "virtio/virtio_mmio.h"
#include "vmm/kvm.h"

bool virtio_mmio_pages_possible(const struct vm *vm)
{
	return kvm_check_extension(vm->kvm_fd, KVM_CAP_READONLY_MEM) > 0;
}

int virtio_mmio_pages_init(struct virtio_mmio_pages *pages, const struct vm *vm, gpa_t base,
			   unsigned n, struct error *err)
{
	const size_t size = n * VIRTIO_MMIO_SIZE;
	void *hva = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int ret;

	if (hva == MAP_FAILED)
		return error_set(err, errno, "cannot map %u register pages", n);
	ret = kvm_set_memory(vm->fd, GUEST_MEMORY_MAX_SLOTS, KVM_MEM_READONLY, base, size, hva);
	if (ret < 0) {
		munmap(hva, size);
		return error_set(err, -ret, "KVM refuses %u read-only register pages at %#llx", n,
				 (unsigned long long)base);
	}
	*pages = (struct virtio_mmio_pages){ .base = base, .n = n, .hva = hva };
	return 0;
}

void *virtio_mmio_pages_at(const struct virtio_mmio_pages *pages, gpa_t base)
{
	if (base < pages->base || base - pages->base >= pages->n * VIRTIO_MMIO_SIZE)
		return NULL;
	return (uint8_t *)pages->hva + (base - pages->base);
}

void virtio_mmio_pages_destroy(struct virtio_mmio_pages *pages)
{
	if (pages->n)
		munmap(pages->hva, pages->n * VIRTIO_MMIO_SIZE);
	memset(pages, 0, sizeof(*pages));
}
