/* SPDX-License-Identifier: Apache-2.0 */
/* Guest memory and the reserved ranges of vmm/x86/layout.h, as one map. Main only. */
#include "loader/e820.h"

#include "vmm/x86/layout.h"

static unsigned add(struct e820_range *map, unsigned n, gpa_t start, gpa_t end, uint32_t type)
{
	if (start >= end || n == E820_MAX)
		return n;
	map[n] = (struct e820_range){ .addr = start, .size = end - start, .type = type };
	return n + 1;
}

gpa_t e820_low_end(const struct guest_memory *mem)
{
	if (!mem->nslots || mem->slot[0].gpa != 0)
		return 0;
	return mem->slot[0].size < X86_HOLE ? mem->slot[0].size : X86_HOLE;
}

unsigned e820_build(const struct guest_memory *mem, struct e820_range map[E820_MAX])
{
	unsigned n = 0;
	unsigned i;

	n = add(map, n, 0, X86_EBDA, E820_RAM);
	/* Is RAM to KVM, and holds the ACPI and MP tables: no kernel may allocate it. */
	n = add(map, n, X86_EBDA, X86_HIGH_RAM, E820_RESERVED);
	n = add(map, n, X86_HIGH_RAM, e820_low_end(mem), E820_RAM);
	/* Linux refuses an ECAM that neither E820 nor the DSDT reserves (PCI firmware 3.0, 4.1.2).
	 */
	n = add(map, n, X86_ECAM, X86_ECAM + X86_ECAM_SIZE, E820_RESERVED);
	/* Pages KVM itself may map into the guest: an identity page table and a TSS. */
	n = add(map, n, X86_KVM_IDENTITY, X86_KVM_TSS + 3 * 4096, E820_RESERVED);
	for (i = 0; i < mem->nslots; i++)
		if (mem->slot[i].gpa >= X86_HOLE_END)
			n = add(map, n, mem->slot[i].gpa, mem->slot[i].gpa + mem->slot[i].size,
				E820_RAM);
	return n;
}
