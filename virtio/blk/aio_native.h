/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Linux AIO: requests are queued, a batch is submitted with one call, completions are reaped
 * without one. One context per disk; all but init and destroy on the disk's thread.
 *
 * A completion that rings an eventfd costs the kernel about a tenth of a small I/O, and is only
 * wanted by a thread that sleeps. So requests are *silent* as long as they complete before the
 * thread would sleep (files in memory, disks that polling keeps up with), and where it has to sleep
 * on silent ones all the same, blk_aio_wait() does.
 *
 * Neighbours in a batch (READs or WRITEs of one file of which each begins where the one before it ends) become
 * a group, one iocb: that halves the cost of small sequential I/O. Only one outcome shows how each
 * of a group fared: all of it done. After any other each is sent again, alone.
 */
#ifndef MVMM_BLK_AIO_NATIVE_H
#define MVMM_BLK_AIO_NATIVE_H

#include <libaio.h>
#include <stdbool.h>

#include "virtio/blk/aio_ring.h"
#include "virtio/blk/request.h"

#define BLK_MAX_DEPTH 256
/* The largest group of neighbours, in bytes. */
#define BLK_GROUP_MAX (256U << 10)

struct blk_aio {
	io_context_t ctx;
	struct aio_ring *ring; /* NULL: io_getevents() */
	int event_fd;	       /* eventfd, signalled per completion; owned */
	int file_fd;	       /* the image, or the overlay on it */
	int base_fd;	       /* the image below an overlay: for requests that are from_base */
	unsigned depth;
	unsigned first, queued; /* iocb[first .. first + queued) wait for submission */
	unsigned in_flight;	/* submitted, not reaped */
	unsigned silent;	/* of those and of the queued, the ones that ring nothing */
	bool ring_bell;		/* requests queued from now on ring event_fd when they are done */
	bool armed;		/* `others` is with the kernel */
	struct iocb others;	/* polls for all else that may wake the thread */
	struct iocb *iocb[BLK_MAX_DEPTH];
};

/*
 * A context for `depth` requests (at most BLK_MAX_DEPTH) on `be`. -EAGAIN: the host is out of AIO
 * slots, which the message explains. Main.
 */
int blk_aio_init(struct blk_aio *aio, const struct block_backend *be, unsigned depth,
		 struct error *err);

/* Nothing may be in flight: io_destroy() would wait for it, uninterruptibly. Main. */
void blk_aio_destroy(struct blk_aio *aio);

/* READ, WRITE or FLUSH joins the batch, and a group if it may. At most `depth` requests may be queued and in flight. */
void blk_aio_queue(struct blk_aio *aio, struct blk_request *req);

/*
 * One io_submit() for all that is queued; more only to get past an error. Returns how many the
 * kernel took, a group as one. On one that the kernel refuses, *refused is that request or the first
 * of that group, *error its -errno, and the rest stays queued: the caller ends it and calls again.
 * EAGAIN refuses nobody.
 */
unsigned blk_aio_submit(struct blk_aio *aio, struct blk_request **refused, int *error);

/* Takes up to `max` completions; event.data is the request or the first of the group, event.res
 * bytes or -errno. */
unsigned blk_aio_reap(struct blk_aio *aio, struct io_event *events, unsigned max);

/*
 * Sleeps until a request completes or `epoll_fd` has an event. Returns completions like
 * blk_aio_reap(), perhaps none; -errno where the kernel cannot (IO_CMD_POLL is of Linux 4.18).
 */
int blk_aio_wait(struct blk_aio *aio, int epoll_fd, struct io_event *events, unsigned max);

#endif
