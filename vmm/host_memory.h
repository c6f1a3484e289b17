/* SPDX-License-Identifier: Apache-2.0 */
/* What the host has left to give; answers that may be old a moment later. Any thread. */
#ifndef MVMM_HOST_MEMORY_H
#define MVMM_HOST_MEMORY_H

#include <stdint.h>

/* Bytes this process could use without anybody being killed for it: what the host has available,
 * or less where a control group (v2) says so. UINT64_MAX when nothing can be found out. */
uint64_t host_memory_available(void);

/* The host's pool of 2 MiB pages. */
struct host_huge_pages {
	uint64_t total;
	uint64_t free; /* not in use and not reserved by anybody */
};

/* 0, or -ENOENT when the host has no such pool. */
int host_huge_pages_read(struct host_huge_pages *pool);

#endif
