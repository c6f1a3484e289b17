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
#include <linux/mman.h>
#include <sys/mman.h>

#include "vmm/host_memory.h"

#define SLOT_ALIGN 4096ULL
/* A huge page needs the host address and the gpa to agree in their low 21 bits. */
#define HUGE_ALIGN GUEST_MEMORY_HUGE_PAGE
#define MAP_ANY	   (MAP_PRIVATE | MAP_ANONYMOUS)

/* Linux 5.14; older headers do not know it. */
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

/* Reserves the pages, so that no one else gets them before they are populated. */
static void *map_huge(uint64_t size)
{
	uint8_t *map = mmap(NULL, size, PROT_READ | PROT_WRITE,
			    MAP_ANY | MAP_HUGETLB | MAP_HUGE_2MB, -1, 0);

	return map == MAP_FAILED ? NULL : map;
}

/* Maps `size` bytes aligned to HUGE_ALIGN by mapping too much and giving back both ends. */
static void *map_aligned(uint64_t size)
{
	const uint64_t total = size + HUGE_ALIGN;
	uint64_t head;
	uint8_t *map;

	map = mmap(NULL, total, PROT_READ | PROT_WRITE, MAP_ANY | MAP_NORESERVE, -1, 0);
	if (map == MAP_FAILED)
		return NULL;
	head = -(uintptr_t)map & (HUGE_ALIGN - 1);
	if (head)
		munmap(map, head);
	munmap(map + head + size, HUGE_ALIGN - head);
	return map + head;
}

static int check_size(uint64_t size, uint64_t low_max, gpa_t high_base, unsigned flags,
		      struct error *err)
{
	if (!size || size % SLOT_ALIGN)
		return error_setx(err, EINVAL, "memory size %llu is not a multiple of 4096 bytes",
				  (unsigned long long)size);
	if (flags & GUEST_MEMORY_HUGETLB && (size % HUGE_ALIGN || low_max % HUGE_ALIGN))
		return error_setx(err, EINVAL, "memory size %llu KiB is not a multiple of 2 MiB",
				  (unsigned long long)(size >> 10));
	/* Also keeps every later sum of a gpa and a size away from overflow. */
	if (size > INT64_MAX - HUGE_ALIGN - high_base || low_max > high_base)
		return error_setx(err, EINVAL, "memory size %llu MiB is more than can be addressed",
				  (unsigned long long)(size >> 20));
	return 0;
}

/*
 * Linux would rather kill somebody than refuse a page, us or a neighbour, so what is not there has
 * to be noticed before. What somebody else takes meanwhile is beyond us.
 */
static int check_available(uint64_t size, struct error *err)
{
	const uint64_t available = host_memory_available();

	if (size <= available)
		return 0;
	return error_setx(err, ENOMEM,
			  "cannot populate %llu MiB of guest memory: the host has %llu MiB to give",
			  (unsigned long long)(size >> 20), (unsigned long long)(available >> 20));
}

static int huge_pages_missing(uint64_t size, int error, struct error *err)
{
	struct host_huge_pages pool;

	if (error != ENOMEM || host_huge_pages_read(&pool))
		return error_set(err, error, "cannot map %llu MiB of guest memory as huge pages",
				 (unsigned long long)(size >> 20));
	return error_setx(err, ENOMEM,
			  "cannot map %llu MiB of guest memory: needs %llu huge pages of 2 MiB, "
			  "and "
			  "%llu of the host's %llu are free (sysctl vm.nr_hugepages)",
			  (unsigned long long)(size >> 20), (unsigned long long)(size / HUGE_ALIGN),
			  (unsigned long long)pool.free, (unsigned long long)pool.total);
}

static void *map_memory(uint64_t size, unsigned flags, struct error *err)
{
	void *map;

	if (flags & GUEST_MEMORY_HUGETLB) {
		map = map_huge(size);
		if (!map)
			huge_pages_missing(size, errno, err);
		return map;
	}
	if (flags & GUEST_MEMORY_POPULATE && check_available(size, err))
		return NULL;
	map = map_aligned(size);
	if (!map)
		error_set(err, errno, "cannot map %llu MiB of guest memory",
			  (unsigned long long)(size >> 20));
	return map;
}

/* EFAULT is a page whose use would be a SIGBUS: of the pool's, but not ours to use. */
static int populate(void *map, uint64_t size, unsigned flags, struct error *err)
{
	int ret;

	do {
		ret = madvise(map, size, MADV_POPULATE_WRITE) ? -errno : 0;
	} while (ret == -EINTR || ret == -EAGAIN);
	if (ret == -EINVAL && flags & GUEST_MEMORY_HUGETLB)
		return 0; /* before Linux 5.14; reserved they are */
	if (ret == -EINVAL)
		return error_setx(err, EINVAL, "cannot populate guest memory before Linux 5.14");
	if (ret == -EFAULT)
		return error_setx(err, ENOMEM,
				  "cannot populate %llu MiB of guest memory: a limit on huge pages "
				  "or host nodes leaves it less",
				  (unsigned long long)(size >> 20));
	if (ret)
		return error_set(err, -ret, "cannot populate %llu MiB of guest memory",
				 (unsigned long long)(size >> 20));
	return 0;
}

static int prepare(uint8_t *map, uint64_t size, unsigned flags, struct error *err)
{
	/* A forked helper must not keep the guest's memory alive, nor make the guest copy it. */
	if (madvise(map, size, MADV_DONTFORK))
		return error_set(err, errno, "cannot keep guest memory out of forks");
	/*
	 * Fewer TLB misses where the host has huge pages to give; correct without. Not for the first
	 * one: set-up writes a dozen small things there, and clearing 2 MiB for them is the longest
	 * step of a start where the host itself is a VM (4 ms measured).
	 */
	if (!(flags & GUEST_MEMORY_HUGETLB) && size > HUGE_ALIGN)
		madvise(map + HUGE_ALIGN, size - HUGE_ALIGN, MADV_HUGEPAGE);
	return flags ? populate(map, size, flags, err) : 0;
}

int guest_memory_alloc(struct guest_memory *mem, uint64_t size, uint64_t low_max, gpa_t high_base,
		       unsigned flags, struct error *err)
{
	uint64_t low;
	uint8_t *map;
	int ret;

	memset(mem, 0, sizeof(*mem));
	ret = check_size(size, low_max, high_base, flags, err);
	if (ret)
		return ret;
	map = map_memory(size, flags, err);
	if (!map)
		return -ENOMEM;
	ret = prepare(map, size, flags, err);
	if (ret) {
		munmap(map, size);
		return ret;
	}
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
