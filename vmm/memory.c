/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guest RAM: one anonymous mapping laid out as slots, and the one translation from a guest physical
 * address to a pointer.
 *
 * Main allocates and adds slots; any thread translates. Knows nothing of KVM, of what lies where in
 * the guest, or of who reads what it hands out.
 */
#include "vmm/memory.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#define SLOT_ALIGN 4096ULL
/* A huge page needs the host address and the gpa to agree in their low 21 bits. */
#define HUGE_ALIGN (2ULL << 20)

/* Maps `size` bytes aligned to HUGE_ALIGN by mapping too much and giving back both ends. */
static void *map_aligned(uint64_t size)
{
	const uint64_t total = size + HUGE_ALIGN;
	uint64_t head;
	uint8_t *map;

	map = mmap(NULL, total, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (map == MAP_FAILED)
		return NULL;
	head = -(uintptr_t)map & (HUGE_ALIGN - 1);
	if (head)
		munmap(map, head);
	munmap(map + head + size, HUGE_ALIGN - head);
	return map + head;
}

static int check_size(uint64_t size, uint64_t low_max, gpa_t high_base, struct error *err)
{
	if (!size || size % SLOT_ALIGN)
		return error_setx(err, EINVAL, "memory size %llu is not a multiple of 4096 bytes",
				  (unsigned long long)size);
	/* Also keeps every later sum of a gpa and a size away from overflow. */
	if (size > INT64_MAX - HUGE_ALIGN - high_base || low_max > high_base)
		return error_setx(err, EINVAL, "memory size %llu MiB is more than can be addressed",
				  (unsigned long long)(size >> 20));
	return 0;
}

int guest_memory_alloc(struct guest_memory *mem, uint64_t size, uint64_t low_max, gpa_t high_base,
		       struct error *err)
{
	uint64_t low;
	uint8_t *map;
	int ret;

	memset(mem, 0, sizeof(*mem));
	ret = check_size(size, low_max, high_base, err);
	if (ret)
		return ret;
	map = map_aligned(size);
	if (!map)
		return error_set(err, errno, "cannot map %llu MiB of guest memory",
				 (unsigned long long)(size >> 20));
	/* A forked helper must not keep the guest's memory alive, nor make the guest copy it. */
	if (madvise(map, size, MADV_DONTFORK)) {
		ret = error_set(err, errno, "cannot keep guest memory out of forks");
		munmap(map, size);
		return ret;
	}
	/*
	 * Fewer TLB misses where the host has huge pages to give; correct without. Not for the first
	 * one: set-up writes a dozen small things there, and clearing 2 MiB for them is the longest
	 * step of a start where the host itself is a VM (4 ms measured).
	 */
	if (size > HUGE_ALIGN)
		madvise(map + HUGE_ALIGN, size - HUGE_ALIGN, MADV_HUGEPAGE);
	mem->mapping = map;
	mem->mapped = size;
	low = size < low_max ? size : low_max;
	guest_memory_add(mem, 0, low, map);
	if (size > low)
		guest_memory_add(mem, high_base, size - low, map + low);
	return 0;
}

int guest_memory_add(struct guest_memory *mem, gpa_t gpa, uint64_t size, void *hva)
{
	const struct memslot *last = mem->nslots ? &mem->slot[mem->nslots - 1] : NULL;

	if (!size || !hva || gpa > UINT64_MAX - size)
		return -EINVAL;
	if (mem->nslots == GUEST_MEMORY_MAX_SLOTS)
		return -ENOSPC;
	if (last && gpa < last->gpa + last->size)
		return -EEXIST;
	mem->slot[mem->nslots++] = (struct memslot){ .gpa = gpa, .size = size, .hva = hva };
	mem->size += size;
	return 0;
}

void guest_memory_free(struct guest_memory *mem)
{
	if (mem->mapping)
		munmap(mem->mapping, mem->mapped);
	memset(mem, 0, sizeof(*mem));
}

void *guest_memory_ptr(const struct guest_memory *mem, gpa_t gpa, uint64_t len)
{
	for (unsigned i = 0; i < mem->nslots; i++) {
		const struct memslot *slot = &mem->slot[i];
		const uint64_t off = gpa - slot->gpa; /* wraps to something large below the slot */

		if (off < slot->size)
			return len <= slot->size - off ? slot->hva + off : NULL;
	}
	return NULL;
}

int guest_memory_write(const struct guest_memory *mem, gpa_t gpa, const void *src, size_t len)
{
	void *dst = guest_memory_ptr(mem, gpa, len);

	if (!dst)
		return -EFAULT;
	memcpy(dst, src, len);
	return 0;
}

int guest_memory_read(const struct guest_memory *mem, gpa_t gpa, void *dst, size_t len)
{
	const void *src = guest_memory_ptr(mem, gpa, len);

	if (!src)
		return -EFAULT;
	memcpy(dst, src, len);
	return 0;
}
