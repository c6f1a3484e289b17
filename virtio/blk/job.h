/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A job of a disk: its mirror or its backup (copy.h has the rules). Main makes it with all that it
 * will ever need and gives it to the disk's thread (BLK_CMD_JOB_START), which copies beside the
 * guest's requests and says by `progress` how far it is. In a state of its end it is main's again.
 *
 *	COPYING -> READY -> COMPLETING -> HELD -> DONE		a mirror
 *	COPYING ------------------------------> DONE		a backup
 *	any of the first three -> FAILED; any of the first four -> CANCELLED
 *
 * A job never writes the source. One that fails or is cancelled leaves the disk as if it had never
 * been.
 */
#ifndef MVMM_BLK_JOB_H
#define MVMM_BLK_JOB_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "virtio/blk/backend.h"
#include "virtio/blk/copy.h"
#include "virtio/blk/thread.h"
#include "vmm/error.h"

enum blk_job_state {
	BLK_JOB_COPYING,
	BLK_JOB_READY,	    /* a mirror: little is left; what is written is copied again */
	BLK_JOB_COMPLETING, /* is asked to become the disk */
	BLK_JOB_HELD, /* source and target are equal and the target is durable. The guest's I/O
			     * waits for BLK_CMD_JOB_PIVOT (or _CANCEL): until main says to the world
			     * which of the two is the disk, both are */
	BLK_JOB_DONE, /* a mirror: the target is the disk. A backup: it is whole and durable */
	BLK_JOB_FAILED,
	BLK_JOB_CANCELLED,
};

static inline bool blk_job_has_ended(enum blk_job_state state)
{
	return state >= BLK_JOB_DONE;
}

/* One writer, the disk's thread; relaxed loads by anyone, but see blk_job_state(). */
struct blk_job_progress {
	_Atomic uint32_t state;	  /* enum blk_job_state */
	_Atomic int error;	  /* what it fails of, errno; 0: nothing yet */
	_Atomic bool source;	  /* `error` is of the source */
	_Atomic uint64_t left;	  /* bytes to be copied, as far as is known */
	_Atomic uint64_t copied;  /* bytes copied, those that were copied again included */
	_Atomic uint64_t written; /* of them, bytes that the target was given: others were zeroes */
	_Atomic uint64_t waits;	  /* writes of the guest that had to wait for the job */
	_Atomic uint64_t
		wait_ns; /* the longest time that one of them, which then went on, has waited */
	_Atomic uint64_t
		hold_ns; /* the longest time for which the job held all of the guest's I/O */
};

struct blk_job;

struct blk_job_config {
	enum blk_copy_mode mode;
	const struct block_backend
		*source; /* the disk's; outlives the job; of a mirror: no overlay */
	const struct block_backend
		*target;  /* the same; as large as the source, of the same engine */
	bool target_zero; /* the target is known to hold nothing but zeroes */
	uint64_t speed;	  /* bytes per second, 0: as fast as it goes */
	const char *name; /* of the job's workers, cut at 11 characters */
	int notify_fd;	  /* eventfd, non-blocking, to be told of new states; outlives the disk's
			     * thread */
	const struct blk_hooks *hooks; /* copied; NULL: none */
};

/* Main. -EAGAIN: the host is out of AIO slots. */
int blk_job_create(struct blk_job **out, const struct blk_job_config *config, struct error *err);

/* Once it has ended, or was never given away, or the disk's thread has ended. Main. */
void blk_job_destroy(struct blk_job *job);

const struct blk_job_progress *blk_job_progress(const struct blk_job *job);

/* Acquire: of a job that has ended, all that it did has happened. */
enum blk_job_state blk_job_state(const struct blk_job *job);

#endif
