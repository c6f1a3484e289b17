/* SPDX-License-Identifier: Apache-2.0 */
/* The inside of a job, shared by job.c (main's side), job_io.c, job_pace.c and dataplane_job.c (the
 * disk's thread). */
#ifndef MVMM_BLK_JOB_PRIV_H
#define MVMM_BLK_JOB_PRIV_H

#include "virtio/blk/aio_pool.h"
#include "virtio/blk/aio_ring.h"
#include "virtio/blk/job.h"
#include "virtio/blk/request_list.h"
#include "virtio/blk/throttle.h"

/* Chunks with the job at once, and its memory. */
#define BLK_JOB_SLOTS BLK_CHUNKS_BUSY
/* A backup keeps so many for chunks that the guest's writes wait for. */
#define BLK_JOB_RESERVE 4
/* Calls that block: first writes to a hole, syncs, and all of a buffered disk. Not the disk's own
 * workers, so that a target that hangs keeps no request of the guest waiting. */
#define BLK_JOB_WORKERS 4
/* Chunks left when a mirror counts as ready, and when the guest's I/O is held for the last of them. */
#define BLK_JOB_FEW 16
/* The guest's I/O is held no longer than that, and no write waits longer for a backup's target that does
 * not answer: a lost copy is cheaper than a guest that stands still. */
#define BLK_JOB_HOLD_MAX_NS 5000000000ULL

/* A mirror that completes slows the guest's writes down to what is copied; but a target that has done
 * nothing for so long is not to stop them. */
#define BLK_JOB_PATIENCE_NS 1000000000ULL

struct blk_dataplane;

enum blk_slot_phase { SLOT_FREE, SLOT_READ, SLOT_WRITE };

struct blk_slot {
	struct blk_request req; /* for workers; of it the iocb for AIO */
	uint8_t *buffer;	/* a chunk's size */
	uint64_t chunk;
	enum blk_slot_phase phase;
	/* The part of the chunk that is being transferred: all of it, but of a disk with an overlay
	 * what lies in one file. What is before it has been done. */
	uint32_t at, len;
};

struct blk_job {
	/* Main's until the job is given away, and when it has ended. */
	const struct block_backend *source, *target;
	bool native;   /* AIO for reads, and for writes to where the target has blocks */
	size_t mapped; /* bytes of this very mapping: maps and buffers are behind it */
	int notify_fd; /* not owned */
	int timer_fd;  /* in the disk's epoll set, as is pool.event_fd, which AIO signals, too */
	io_context_t ctx;
	struct aio_ring *ring; /* NULL: io_getevents() */
	struct throttle_buckets buckets;
	struct throttle throttle;

	/* The disk's thread's. */
	struct blk_copy copy;
	struct blk_pool pool; /* of the target */
	struct blk_slot slot[BLK_JOB_SLOTS];
	struct blk_request sync;
	bool syncing;			   /* `sync` is with a worker */
	unsigned used;			   /* slots not free */
	unsigned in_flight;		   /* of them, with AIO */
	struct iocb *batch[BLK_JOB_SLOTS]; /* to be submitted */
	unsigned nbatch;
	uint64_t timer_at;

	bool complete;	/* a mirror: was asked to become the disk */
	bool presynced; /* what was copied before the hold is durable */
	bool synced;	/* all is: source and target are the same disk */
	uint64_t held_at;
	uint64_t hold_max_ns, patience_ns; /* the constants, but a test may have its own */
	int64_t credit;	    /* COMPLETING: half chunks that the guest may mark anew */
	uint64_t copied_at; /* the last chunk that writes wait for, or since when they do */
	bool stalled;	    /* long ago, so writes wait for no credit and cost none */
	enum blk_job_state
		outcome; /* COPYING: goes on; an end: comes to it when nothing is in flight */
	bool claimed;	 /* the next chunk has its time, `may_begin` */
	uint64_t may_begin;
	struct blk_request_list waiting; /* the guest's writes that wait */
	bool recheck;			 /* one of them may go, perhaps */

	struct blk_job_progress progress;
};

/* ---- job_io.c: slots and engines --------------------------------------------------------------- */

/* A free slot, or NULL. */
struct blk_slot *job_slot_get(struct blk_job *job);
void job_slot_put(struct blk_job *job, struct blk_slot *slot);

/* Starts to read slot->chunk, to write it, to make the target durable. */
void job_slot_read(struct blk_job *job, struct blk_slot *slot);
void job_slot_write(struct blk_job *job, struct blk_slot *slot, bool by_worker);
void job_sync(struct blk_job *job);

/* What was started goes to the engines. False: there was nothing, or the host would not have it yet.
 * Then a completion or the timer asks again. */
bool job_submit(struct blk_job *job);

/* Something may have ended. Relaxed. */
bool job_has_ended_io(const struct blk_job *job);

struct job_end {
	struct blk_slot *slot; /* NULL: the sync */
	int error;	       /* 0 or -errno: a short transfer is an error, too */
};

/* Room for JOB_ENDS; never waits. What is started afterwards needs a job_submit(). */
#define JOB_ENDS (BLK_JOB_SLOTS + 1)
unsigned job_reap(struct blk_job *job, struct job_end *ends);

/* The thread is to be woken at `at`, CLOCK_MONOTONIC in ns. */
void job_wake_at(struct blk_job *job, uint64_t at);

/* ---- job_pace.c: its limit --------------------------------------------------------------------- */

/* Bytes per second from now on; 0: no limit. Also main, before the job is given away. */
void job_set_speed(struct blk_job *job, uint64_t speed);

/* Whether the limit lets another chunk begin. False: the thread will be woken when it does. */
bool job_may_begin(struct blk_job *job);

/* A chunk has begun, and counts; whether it was asked for or not: what the guest waits for is held to
 * no limit. */
void job_has_begun(struct blk_job *job);

/* ---- dataplane_job_writes.c: the guest's writes that wait --------------------------------------- */

/* A chunk has been copied. */
void job_has_copied(struct blk_job *job);

/* While writes may wait for chunks to be copied: perhaps none is, for long. True: it is a backup, whose
 * writes cannot go on without. */
bool job_is_stuck(struct blk_job *job);

/* A chunk that a write waits for, or NONE. */
uint64_t job_wanted_chunk(const struct blk_job *job);

/* The disk does not serve, and perhaps not for long: a job's end does not wait for that. */
void job_leave_waiting(struct blk_dataplane *dp);

/* One writer. */
static inline void job_raise_to(_Atomic uint64_t *longest, uint64_t ns)
{
	if (ns > atomic_load_explicit(longest, memory_order_relaxed))
		atomic_store_explicit(longest, ns, memory_order_relaxed);
}

static inline bool job_is_idle(const struct blk_job *job)
{
	return !job->used && !job->syncing;
}

#endif
