/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A disk gets another size while the guest uses it: main's steps, of which none waits.
 *
 *	          larger            the disk's thread     the guest      smaller
 *	start --> GROWS the file --> TELLS_DISK --------> TELLS_GUEST --> CUTS the file --> end
 *	   \________smaller_________/    ^                  |  it holds the device for too long
 *	                                 |                  v
 *	                                 +-- retries    TAKES_BACK --------------------> end
 *
 * So at no time may the guest ask for more than the disk's thread allows it, nor the thread allow more
 * than the file has; and a file is cut when nobody uses what is cut off any more.
 */
#ifndef MVMM_CLI_RESIZING_H
#define MVMM_CLI_RESIZING_H

#include <stdbool.h>
#include <stdint.h>

#include "vmm/cli/disk_call.h"
#include "vmm/cli/errand.h"
#include "vmm/cli/loop.h"
#include "vmm/error.h"

struct machine_disk;

/* Called once, on main: 0, or -errno with a message; `bytes` is what the guest sees from now on. */
struct resizing_waiter {
	void (*done)(void *opaque, int ret, uint64_t bytes, const struct error *err);
	void *opaque;
};

enum resizing_state {
	RESIZING_NOT,
	RESIZING_GROWS, /* or looks how large file or device are */
	RESIZING_TELLS_DISK,
	RESIZING_TELLS_GUEST,
	RESIZING_CUTS,
	RESIZING_TAKES_BACK,
};

/* A disk's; zero-initialised, but for the first. */
struct resizing {
	struct machine_disk *disk;
	struct loop *loop;
	enum resizing_state state;
	bool away;	/* the errand is under way: the disk must stay */
	uint64_t bytes; /* the new size */
	bool follows;	/* it is what the host's file or device has become */
	bool smaller;
	uint64_t until; /* clock_ms(): no more tries then */
	struct loop_timer retry;
	struct errand errand;
	struct disk_call call;
	int ret; /* the errand's, as are `bytes` and `err` while it is under way */
	struct error err;
	struct resizing_waiter waiter;
};

void resizing_init(struct resizing *r, struct machine_disk *disk);

/* The disk is no more: whoever waits is told so. */
void resizing_destroy(struct resizing *r);

/*
 * Makes the disk and its file `bytes` large; 0: the disk as large as the host's file or block device is
 * now. -EBUSY: it is being resized, copied or removed; -EROFS, -EINVAL: not with this disk, or not to
 * this size. 0: the waiter will be called. Main.
 */
int resizing_start(struct resizing *r, struct loop *loop, uint64_t bytes,
		   const struct resizing_waiter *waiter, struct error *err);

static inline bool resizing_under_way(const struct resizing *r)
{
	return r->state != RESIZING_NOT;
}

#endif
