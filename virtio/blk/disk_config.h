/* SPDX-License-Identifier: Apache-2.0 */
/* What the user asked of one disk: the values of --disk PATH[,key=value...]. */
#ifndef MVMM_DISK_CONFIG_H
#define MVMM_DISK_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "virtio/blk/throttle_limits.h"

enum disk_cache {
	DISK_CACHE_NONE,      /* O_DIRECT */
	DISK_CACHE_WRITEBACK, /* the host's page cache */
	DISK_CACHE_UNSAFE,    /* the same, and flushes are ignored */
};

enum disk_aio {
	DISK_AIO_NATIVE,  /* Linux AIO; needs O_DIRECT */
	DISK_AIO_THREADS, /* a pool of blocking workers */
};

/* What a READ or WRITE that the host fails is to the guest. */
enum disk_on_error {
	DISK_ON_ERROR_REPORT, /* an error */
	DISK_ON_ERROR_STOP,   /* nothing: the disk stops, and tries again when it is resumed */
	DISK_ON_ERROR_ENOSPC, /* the same, but only when there is no space left; else an error */
};

#define DISK_AUTO -1 /* not given: the default, with a fallback and a notice where needed */

struct disk_config {
	char *text; /* owned; all of this, as the option has it */
	char *path; /* owned */
	bool readonly;
	bool overlay;	      /* writes go to a file that is gone when the VM ends */
	char *overlay_dir;    /* owned; where that is made, NULL: $TMPDIR or /var/tmp */
	char serial[21];      /* 20 bytes and a NUL; empty: none */
	int cache;	      /* enum disk_cache or DISK_AUTO */
	int aio;	      /* enum disk_aio or DISK_AUTO */
	unsigned queues;      /* 0: min(vCPUs, 4) */
	unsigned queue_size;  /* 256 */
	unsigned aio_depth;   /* 128, at most 256 */
	unsigned block_size;  /* 512 or 4096 */
	unsigned poll_max_us; /* 100; how long the thread may look for work before it sleeps */
	int on_error;	      /* enum disk_on_error */
	int cpu;	      /* host CPU for the disk's thread; -1: any */
	struct throttle_limits limits;
	char group[THROTTLE_GROUP_NAME]; /* of disks that share the limits; empty: none */
};

#endif
