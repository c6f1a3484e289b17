/* SPDX-License-Identifier: Apache-2.0 */
/* The MultiProcessor table (Intel MP specification 1.4), for kernels that cannot read ACPI. */
#ifndef MVMM_LOADER_MPTABLE_H
#define MVMM_LOADER_MPTABLE_H

#include "vmm/error.h"
#include "vmm/memory.h"

int mptable_write(struct guest_memory *mem, unsigned ncpus, struct error *err);

#endif
