/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Verified random I/O. Every sector has a generation; its 512 bytes follow from its number and its
 * generation, and generation 0 is a sector never written, all zeroes. What a read must find is thus
 * known without a second copy of the disk.
 */
#ifndef PAYLOAD_WORKLOAD_H
#define PAYLOAD_WORKLOAD_H

#include <stdbool.h>
#include <stdint.h>

#include "guest/blk.h"

#define WORKLOAD_MAX_DEPTH   256
#define WORKLOAD_MAX_SECTORS 64

enum waiting {
	WAIT_POLL, /* look at the used ring, no interrupts asked for */
	WAIT_IRQ,  /* spin until an interrupt was taken */
	WAIT_HALT, /* sleep until one */
};

/* A disk's expected content; made once per disk, on zeroes, or with `generation=1` on what the test
 * `fill` has left. */
struct shadow {
	uint64_t sectors;
	uint32_t *generation;
	uint8_t *busy; /* by a request in flight */
};

struct workload {
	struct virtq *queue; /* the first of `nqueues` that this workload has for itself */
	unsigned nqueues;
	struct shadow *shadow;
	uint64_t first, sectors; /* the part of the disk it may touch; sectors 0: all */
	uint32_t unit;		 /* the disk's block, in sectors; 0: 1 */
	enum waiting waiting;
	unsigned depth;	      /* requests in flight, over all queues */
	unsigned max_sectors; /* of one request */
	unsigned write_percent;
	uint64_t total; /* requests to do */
	uint64_t leave; /* a run ends when so many are done, the others in flight; 0: not */
	uint64_t *when; /* when each was found to be done, us; NULL: nobody asks */
	uint64_t seed;
	void (*disturb)(struct virtio *dev); /* after every kick, if not NULL */
	/* results */
	uint64_t done, bad_status, bad_data, bad_length;
	uint64_t interrupts, kicks, us;
	bool stalled; /* nothing completed for PATIENCE_US, or an awaited interrupt did not come */
	/* its own */
	unsigned in_flight;
	unsigned vector[VIRTIO_MAX_QUEUES], nvectors;
	uint32_t irqs_handled; /* compared with the vectors' counters */
	struct blk_req *req, **idle;
};

void shadow_init(struct shadow *shadow, uint64_t sectors);
/* What the sector must hold. */
void shadow_fill(const struct shadow *shadow, uint64_t sector, uint64_t *data);
bool shadow_check(const struct shadow *shadow, uint64_t sector, const uint64_t *data);
/* Forgets what a range holds now: it reads as zeroes. */
void shadow_zero(struct shadow *shadow, uint64_t sector, uint64_t n);
/* Of the whole disk as it must be. */
void shadow_md5(const struct shadow *shadow, char *text);

/* Takes memory, so on the first CPU only; then run on any, as often as wanted. */
void workload_init(struct workload *w);
/* True if all went well. Goes on with what an earlier one has left in flight. On a further CPU only to poll or to spin for interrupts sent there. */
bool workload_run(struct workload *w);
void workload_report(const struct workload *w);

#endif
