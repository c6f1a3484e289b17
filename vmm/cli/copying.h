/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A disk's mirror, backup or commit as main sees it: opens the target, gives the disk's thread a job
 * (virtio/blk/job.h), follows it, and keeps what has become of the last one.
 *
 * A mirror's pivot is told before the guest goes on with the target: at any moment somebody who looks
 * at what was said last knows an image that holds all that the guest was promised.
 *
 * All of it on main, and nothing here waits.
 */
#ifndef MVMM_CLI_COPYING_H
#define MVMM_CLI_COPYING_H

#include <stdbool.h>
#include <stdint.h>

#include "virtio/blk/job.h"
#include "vmm/cli/disk_call.h"
#include "vmm/cli/errand.h"
#include "vmm/cli/loop.h"
#include "vmm/error.h"

struct machine;
struct machine_disk;

/* A commit is the backup of a disk with an overlay: what both files of it are together. */
enum copying_kind { COPYING_MIRROR, COPYING_BACKUP, COPYING_COMMIT };

/* What a user asks for. */
struct copying_wish {
	enum copying_kind kind;
	const char *target;
	uint64_t speed; /* bytes per second; 0: no limit */
};

/* Called once, on main: 0, or -errno with a message. */
struct copying_waiter {
	void (*done)(void *opaque, int ret, const struct error *err);
	void *opaque;
};

/* CLOSES: it is over but for its target, which is still open and locked. */
enum copying_phase { COPYING_NONE, COPYING_OPENS, COPYING_RUNS, COPYING_CLOSES, COPYING_ENDED };

/* Of the last job, or of this one. */
struct copying_view {
	enum blk_job_state state;
	int error;
	bool source; /* where it is of */
	uint64_t size, left, copied, written, waits, wait_ns, hold_ns;
	uint64_t ms; /* it has taken so far */
	uint64_t rate;
};

/* What is told of a copy that has ended, for as long as the next one has not begun. */
struct copying_last {
	enum copying_phase phase;
	enum copying_kind kind;
	char *target; /* owned */
	uint64_t speed;
	struct copying_view view;
};

/* A disk's; zero-initialised, but for the first two. */
struct copying {
	struct machine *machine;
	struct machine_disk *disk;
	struct loop *loop;
	enum copying_phase phase;
	enum copying_kind kind;
	char *target; /* owned */
	uint64_t speed, new_speed;
	bool opening;			 /* the errand is under way: the disk must stay */
	bool cancelled;			 /* perhaps before it has begun */
	bool vanished;			 /* the target's file, before the copy had ended */
	bool posted;			 /* the disk's thread may have the job */
	bool completes, cancels, pivots; /* it was asked to */
	bool moved;			 /* the target was said to be the disk */
	struct errand errand;
	struct block_backend *be; /* the target, until it is the disk's */
	bool zero;
	int ret;
	struct error err;
	struct blk_job *job;
	int notify_fd; /* of all the disk's jobs; -1: there has been none */
	struct loop_watch notify;
	struct loop_timer sample; /* of the rate */
	uint64_t sampled_at, sampled;
	uint64_t begun; /* clock_ms() */
	unsigned calls; /* of the following under way */
	struct disk_call start, complete, pivot, cancel, pace;
	struct copying_waiter started, completed, paced;
	struct copying_view view;
	struct copying_last last;
};

static inline bool copying_under_way(const struct copying *c)
{
	return (c->phase != COPYING_NONE && c->phase != COPYING_ENDED) || c->calls;
}

void copying_init(struct copying *c, struct machine *m, struct machine_disk *disk);

/* The disk is at its end, and has taken a copy that is under way along: that is told, once. */
void copying_cut_short(struct copying *c);

/* The disk's thread has ended: false: something is still being opened or closed, ask again. */
bool copying_has_left(struct copying *c);

/* After that. */
void copying_destroy(struct copying *c);

/* 0: the waiter is told when it has begun, or why it has not. -EBUSY: there is one already; -ENOTSUP:
 * not of such a disk. */
int copying_start(struct copying *c, struct loop *loop, const struct copying_wish *wish,
		  const struct copying_waiter *waiter, struct error *err);

/* A mirror is to become the disk: the waiter is told when it is, just before the guest goes on. */
int copying_complete(struct copying *c, const struct copying_waiter *waiter, struct error *err);

/* Another limit, from when the waiter is told. */
int copying_set_speed(struct copying *c, uint64_t speed, const struct copying_waiter *waiter,
		      struct error *err);

/* -ESRCH: there is nothing to cancel; -EALREADY: its target was said to be the disk. */
int copying_cancel(struct copying *c, struct error *err);

/* False: the last one was not of this kind. */
bool copying_look(struct copying *c, enum copying_kind kind, struct copying_view *view);

/* "mirror" and so on. */
const char *copying_kind_name(enum copying_kind kind);

/* "opening", then as blk_job_state has them, "copying" and so on; "ending" until the target is closed. */
const char *copying_state_name(const struct copying *c);

#endif
