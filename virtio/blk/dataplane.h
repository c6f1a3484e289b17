/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The thread that owns a disk: takes requests out of the guest's rings, has them done, puts them
 * back and interrupts. Between kick and interrupt it takes no lock, allocates nothing, logs nothing
 * and waits for no other thread.
 *
 * It knows file descriptors, guest memory and virtqueues, and nothing of KVM, buses, transports or
 * options. Everything here is called by main or a vCPU; the thread is reached by commands only.
 */
#ifndef MVMM_BLK_DATAPLANE_H
#define MVMM_BLK_DATAPLANE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "virtio/blk/backend.h"
#include "virtio/blk/latency.h"
#include "virtio/blk/mailbox.h"
#include "virtio/blk/request.h"
#include "virtio/blk/throttle.h"
#include "vmm/error.h"
#include "vmm/memory.h"

struct blk_hooks;

struct blk_dataplane_config {
	const struct block_backend *backend; /* outlives the dataplane, as does the next */
	const struct guest_memory *mem;
	const int *kick_fd;   /* one eventfd per queue, non-blocking; stay the caller's */
	unsigned nqueues;     /* at most BLK_MAX_QUEUES */
	unsigned depth;	      /* requests with the host, 1 to BLK_MAX_DEPTH */
	unsigned slots;	      /* requests taken from the rings: what these hold, or fewer */
	int cpu;	      /* host CPU for the thread; -1: any */
	unsigned poll_max_us; /* how long it may look for work before it sleeps; 0: never */
	const char *name;     /* the thread's, cut at 15 characters */
	const char *serial;   /* GET_ID's answer, cut at 20 */
	enum disk_on_error on_error;
	int event_fd; /* an eventfd to ring when on-error= stops the disk; -1: none */
	const struct blk_hooks *hooks;	      /* copied; NULL: none */
	const struct throttle_limits *limits; /* to begin with; copied; NULL: none */
	struct throttle_buckets *buckets;     /* of the disk's group; outlive the dataplane */
	bool measures; /* in_flight and latency below; else they stay 0 and cost nothing */
};

/* One writer, the disk's thread; relaxed loads by anyone, each number right by itself. */
struct blk_stats {
	_Atomic uint64_t requests[BLK_OP_COUNT]; /* completed, by enum blk_op */
	_Atomic uint64_t errors;		 /* of them with a status other than OK */
	_Atomic uint64_t failures;		 /* of these because of the host */
	_Atomic uint64_t bytes_read;		 /* by requests that ended OK */
	_Atomic uint64_t bytes_written;
	_Atomic uint64_t kicks;	     /* doorbells that woke the thread */
	_Atomic uint64_t interrupts; /* sent */
	_Atomic uint64_t batches;    /* times a queue was found with work */
	_Atomic uint64_t submits;    /* batches handed to the engine */
	_Atomic uint64_t stalls;     /* times the host would not take a request yet */
	_Atomic uint64_t sleeps;     /* times the thread blocked */
	_Atomic uint64_t looks;	     /* times it looked for work before it would block */
	_Atomic uint64_t hits;	     /* of them, times it found some */
	_Atomic uint64_t yields;     /* times a look ended because others wanted the CPU */
	_Atomic uint64_t throttled;  /* requests that had to wait for a limit */
	_Atomic uint64_t broken;     /* rings the guest broke */
	_Atomic uint64_t stops;	     /* times on-error= stopped the disk */
	_Atomic uint64_t in_flight;  /* requests taken and not answered, as of the last pass */
	struct blk_latency latency[BLK_TIMED_OPS];
	_Atomic int last_errno; /* what the host said to the last request that failed */
	_Atomic int stopped;	/* why on-error= has stopped it, an errno; 0: it has not */
	_Atomic int sync_errno; /* and to a sync, after which none succeeds; 0: none failed */
};

struct blk_dataplane;

/* Creates the engine, the workers and the thread, which idles until BLK_CMD_START. On error nothing
 * is left behind; -EOPNOTSUPP: the host has no AIO context for us, workers would do. Main. */
int blk_dataplane_create(struct blk_dataplane **out, const struct blk_dataplane_config *config,
			 struct error *err);

/* See blk_mailbox_send(). One sender at a time for the guest's commands, main for control's. */
int blk_dataplane_send(struct blk_dataplane *dp, const struct blk_command *command, int stop_fd,
		       int timeout_ms);

struct blk_job;

/* Posts BLK_CMD_JOB_START, and has the thread woken by the job. On an error, also one of the answer,
 * the job is the caller's as before. Main. */
int blk_dataplane_start_job(struct blk_dataplane *dp, struct blk_job *job);

/*
 * Control's commands without waiting: storage may take its time. Main; see blk_mailbox_post() and
 * blk_mailbox_poll(). The descriptor is for main's loop: blk_dataplane_answer() empties it.
 */
int blk_dataplane_post(struct blk_dataplane *dp, const struct blk_command *command);
int blk_dataplane_answer(struct blk_dataplane *dp, int *result);
int blk_dataplane_answer_fd(const struct blk_dataplane *dp);

/*
 * Drains and ends the thread; then nothing of the disk touches guest memory any more. -ETIMEDOUT
 * after `timeout_ms` (-1: for ever): storage does not answer, the thread lives, nothing may be
 * freed. Main; may be called again.
 */
int blk_dataplane_stop(struct blk_dataplane *dp, int timeout_ms);

/* Only after blk_dataplane_stop() returned 0. Main. */
void blk_dataplane_destroy(struct blk_dataplane *dp);

const struct blk_stats *blk_dataplane_stats(const struct blk_dataplane *dp);

#endif
