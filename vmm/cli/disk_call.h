/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How main commands a disk's thread while the VM runs: one command after the other, in the order in
 * which they were asked for, and without waiting for any. All of main's commands go this way but the
 * last one, QUIT; an answer then belongs to the one who asked.
 */
#ifndef MVMM_CLI_DISK_CALL_H
#define MVMM_CLI_DISK_CALL_H

#include <stdbool.h>

#include "vmm/cli/loop.h"

struct virtio_blk;

/* The caller's, who keeps it where it is until it is done, and does not call it again before. */
struct disk_call {
	/* Posts the command: 0 or -errno. */
	int (*post)(struct virtio_blk *blk, void *opaque);
	/*
	 * Once for each call: with the disk's answer, with what `post` returned if that is an error,
	 * or with -ENODEV where the disk is being taken away. More calls may be made from there.
	 */
	void (*done)(void *opaque, int result);
	void *opaque;
	struct disk_call *next; /* disk_call.c's */
};

/* A disk's; zero but for `blk`. */
struct disk_calls {
	struct virtio_blk *blk;
	struct loop *loop; /* that watches for answers */
	struct loop_watch watch;
	struct disk_call *first; /* under way, if `posted`; the others wait for it */
	bool posted;
	bool closed;
};

/* Main. `done` may be called before this returns. */
void disk_call(struct disk_calls *calls, struct loop *loop, struct disk_call *call);

/* Is `call` under way, or does it wait for others? Main. */
bool disk_call_waits(const struct disk_calls *calls, const struct disk_call *call);

/* The disk is about to be taken away: ends all calls, and each that is made later. Main. */
void disk_calls_close(struct disk_calls *calls);

#endif
