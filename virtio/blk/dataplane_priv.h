/* SPDX-License-Identifier: Apache-2.0 */
/* The inside of the dataplane, shared by dataplane.c (main's side) and dataplane_*.c (the thread). */
#ifndef MVMM_BLK_DATAPLANE_PRIV_H
#define MVMM_BLK_DATAPLANE_PRIV_H

#include "virtio/blk/aio_native.h"
#include "virtio/blk/aio_pool.h"
#include "virtio/blk/dataplane.h"
#include "virtio/blk/overlay.h"
#include "virtio/blk/poller.h"
#include "virtio/blk/request_list.h"
#include "virtio/blk/throttle.h"
#include "virtio/blk/thread.h"

/* Requests taken from one queue before the others, the engine and the guest get their turn: see
 * batch_size(). */
#define BLK_BATCH_MIN 8
#define BLK_BATCH_MAX 64
/* Completions reaped at once. */
#define BLK_EVENTS 64

struct blk_queue {
	struct virtqueue vq;
	struct irq_line line;
};

/* Requests that wait for a limit. */
struct blk_line {
	struct blk_request_list waiting;
	uint64_t deadline; /* when the first may go; it has its claim */
};

/* Lists through `next`. */
struct blk_flushes {
	bool under_way;
	struct blk_request *sharing; /* end with the one under way */
	struct blk_request_list waiting;
};

struct blk_dataplane {
	/* Main's until the thread starts, constant from then on. */
	const struct block_backend *be;
	struct blk_overlay *overlay; /* NULL: none; the thread's */
	const struct guest_memory *mem;
	int epoll_fd;
	int timer_fd; /* a timerfd in the epoll set */
	unsigned nqueues;
	unsigned depth;
	unsigned slots;
	bool native; /* READ, WRITE and FLUSH go by Linux AIO; the rest, and all else, to workers */
	char serial[VIRTIO_BLK_ID_BYTES + 1];
	int event_fd;	     /* the config's */
	struct iovec *spill; /* slots tables of VIRTQ_MAX_CHAIN entries, touched when needed */
	size_t mapped;	     /* bytes of this very mapping */
	struct blk_thread thread;
	bool quit_posted; /* main's: nobody would answer a second QUIT */
	bool joined;	  /* main's: the thread has ended */

	struct blk_bell bell;
	struct blk_mailbox mailbox[BLK_BOX_COUNT];

	/* The thread's. */
	bool started;  /* between START and RESET */
	bool measures; /* how long requests take; constant */
	bool over;     /* QUIT has come and the image is synced; only a job may be in flight */
	bool quit;
	union {
		struct {
			bool paused;  /* between PAUSE and RESUME */
			bool broken;  /* the guest broke a ring: nothing goes there until RESET */
			bool stopped; /* by a failed request and on-error=, until RESUME or RESET */
			bool draining; /* one of `pending` waits until all in flight is parked */
			bool held;     /* by the job: a backup's moment, a mirror's pivot */
		};
		uint64_t rests; /* for any of these reasons: one load on the way of every request */
	};
	unsigned first_queue; /* where the next pass over the rings begins */
	bool notify_on;	      /* the driver was asked to kick */
	bool writeback;	      /* completed writes may sit in a volatile cache until FLUSH */
	bool try_cached;      /* READs may be tried in the host's page cache first */
	bool checks_ends;     /* an overlay, or a lost sync: see landed() */
	const struct blk_command *pending[BLK_BOX_COUNT]; /* taken, to be ended when drained */
	unsigned in_flight; /* requests taken from a ring and not given back */
	struct blk_flushes flushes;
	unsigned
		parked; /* of them, in lists of ours: see dataplane_failed.c, dataplane_throttle.c */
	struct blk_request_list failed;
	enum disk_on_error on_error;
	bool throttled;	   /* some limit is set, or some request still waits for one */
	uint64_t timer_at; /* what timer_fd is set to */
	struct blk_line line[THROTTLE_DIRS];
	struct throttle throttle;
	struct blk_job *job; /* NULL: none */
	struct blk_poller poller;
	bool owes_cpu;	 /* an interrupt of ours waits for a kernel thread of this CPU */
	uint64_t now_ns; /* dataplane_measure.c's */
	uint64_t dirty;	 /* queues with used elements the guest cannot see yet */
	struct irq_line config_line;
	_Atomic uint32_t *status; /* the device's */
	struct blk_request *free; /* given back, the last one first: the fewest pages get touched */
	unsigned fresh;		  /* request[fresh ..] were never used */
	uint64_t size;		  /* bytes the guest may touch; be->size is main's */
	struct blk_limits limits;
	struct desc_chain chain; /* the one being parsed */
	struct io_event events[BLK_EVENTS];
	struct blk_stats stats;
	struct blk_aio aio;
	struct blk_pool pool;
	struct blk_queue queue[BLK_MAX_QUEUES];
	struct blk_request request[]; /* slots */
};

static inline void stat_add(_Atomic uint64_t *counter, uint64_t n)
{
	/* One writer: no read-modify-write needed. */
	atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n,
			      memory_order_relaxed);
}

/* Completed writes may be lost; see end_flush(). Both the thread's. */
static inline bool dataplane_has_lost(const struct blk_dataplane *dp)
{
	return atomic_load_explicit(&dp->stats.sync_errno, memory_order_relaxed);
}

static inline void dataplane_sync_failed(struct blk_dataplane *dp, int error)
{
	atomic_store_explicit(&dp->stats.sync_errno, -error, memory_order_relaxed);
	dp->checks_ends = true;
}

/* True when requests may be taken from the rings, and parked ones sent. */
static inline bool dataplane_serving(const struct blk_dataplane *dp)
{
	return dp->started && !dp->rests;
}

/* What is parked is not with the host. */
static inline bool dataplane_has_room(const struct blk_dataplane *dp)
{
	return dp->in_flight - dp->parked < dp->depth;
}

/* One may be taken from a ring, and go to the host. */
static inline bool dataplane_has_request(const struct blk_dataplane *dp)
{
	return (dp->free || dp->fresh < dp->slots) && dataplane_has_room(dp);
}

static inline bool dataplane_drained(const struct blk_dataplane *dp)
{
	return dp->in_flight == dp->parked;
}

static inline void dataplane_put(struct blk_dataplane *dp, struct blk_request *req)
{
	req->next = dp->free;
	dp->free = req;
}

/* ---- dataplane_failed.c ---- */

/* The host failed it. True: on-error= has it parked; false: the guest is to be told. */
bool dataplane_keep_failed(struct blk_dataplane *dp, struct blk_request *req, int error);

/* Keeps one that no engine has, and that goes with them. */
void dataplane_park(struct blk_dataplane *dp, struct blk_request *req);

/* Serving: sends them again, as many as there is room for. */
bool dataplane_send_failed(struct blk_dataplane *dp);

/* RESUME: not stopped any more. */
void dataplane_go_on(struct blk_dataplane *dp);

/* RESET, QUIT: they are forgotten. */
void dataplane_forget_failed(struct blk_dataplane *dp);

/* dataplane_io.c: one that was parked, or what is left of it, goes to an engine. */
void dataplane_start_parked(struct blk_dataplane *dp, struct blk_request *req);

/*
 * One pass over all work there is, commands apart: takes requests from the rings, submits, reaps,
 * completes, publishes, interrupts. True when it did anything; never waits.
 */
bool dataplane_poll_once(struct blk_dataplane *dp);

/* Requests of Linux AIO have completed: events[0 .. n). */
void dataplane_reaped(struct blk_dataplane *dp, unsigned n);

/* A request that will never be completed: gives it back. */
void dataplane_forget(struct blk_dataplane *dp, struct blk_request *req);

/* ---- dataplane_measure.c; only where dp->measures ---- */

void dataplane_measure_taken(struct blk_dataplane *dp, struct blk_request *req);
void dataplane_measure_done(struct blk_dataplane *dp, const struct blk_request *req);

/* ---- dataplane_flush.c ---- */

/* A FLUSH, to be executed: true when it goes now, false when it waits. */
bool dataplane_flush_may_go(struct blk_dataplane *dp, struct blk_request *req);

/* The one under way has ended: who ends with it, a list. */
struct blk_request *dataplane_flush_ended(struct blk_dataplane *dp);

/* The host did not even take it: who would have ended with it waits again. */
void dataplane_flush_refused(struct blk_dataplane *dp);

/* None is under way: the one that is now, for all that wait, or NULL. */
struct blk_request *dataplane_flush_next(struct blk_dataplane *dp);

/* ---- dataplane_throttle.c ---- */

/* A new request: true when it has to wait, and does. */
bool dataplane_must_wait(struct blk_dataplane *dp, struct blk_request *req);

/* A request whose wait is over, if there is room for it with the host, or NULL. */
struct blk_request *dataplane_next_due(struct blk_dataplane *dp);

/* When the next one's will be; false: none waits, or not for that alone: the disk is paused, or the
 * host has as many as it may. */
bool dataplane_next_deadline(const struct blk_dataplane *dp, uint64_t *deadline);

/* Before sleep: something will wake us then. */
void dataplane_set_timer(struct blk_dataplane *dp);

void dataplane_set_limits(struct blk_dataplane *dp, const struct throttle_limits *limits);
void dataplane_forget_lines(struct blk_dataplane *dp);

/* ---- dataplane_job.c; but for the last four, only with a job ---- */

/* A request on its way to the engine. True: it is parked until the job lets it go. */
bool dataplane_job_takes(struct blk_dataplane *dp, struct blk_request *req);

/* The engine has ended a request, well or not, before anybody is told. */
void dataplane_job_write_ended(struct blk_dataplane *dp, const struct blk_request *req);

/* One that the job lets go, on its way to the engine; NULL: no more for now. */
struct blk_request *dataplane_job_next(struct blk_dataplane *dp);

/* One pass over all the job has to do. True when it did anything. */
bool dataplane_job_step(struct blk_dataplane *dp);

/* Something of the job's may have ended; a look. */
bool dataplane_job_has_work(const struct blk_dataplane *dp);

/* Carries out a command about jobs. 0 or -errno. */
int dataplane_job_command(struct blk_dataplane *dp, const struct blk_command *cmd);

/* The disk comes to its end: dp->job will be NULL when the job has come to its own. */
void dataplane_job_quit(struct blk_dataplane *dp);

/* Requests that wait for the job are forgotten. */
void dataplane_job_forget(struct blk_dataplane *dp);

/* dataplane_poll.c: looks for work for as long as that pays. True: there is some; false: sleep. */
bool dataplane_look(struct blk_dataplane *dp);

/* CLOCK_MONOTONIC by the vDSO: no system call. */
uint64_t dataplane_now(void);

/* dataplane_loop.c: the thread. */
void *dataplane_run(void *dp);

/* What an epoll event is about: a queue's index or one of these. */
enum { EVENT_MAILBOX = BLK_MAX_QUEUES, EVENT_AIO, EVENT_POOL, EVENT_TIMER, EVENT_JOB };

#endif
