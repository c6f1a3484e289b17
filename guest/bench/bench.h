/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The benchmark guest: each lane keeps `depth` requests in flight on one queue of one disk, each
 * worker drives the lanes of one CPU.
 */
#ifndef GUEST_BENCH_H
#define GUEST_BENCH_H

#include <stdbool.h>
#include <stdint.h>

#include "guest/blk.h"
#include "guest/irq.h"

#define MAX_LANES 64

/*
 * A histogram of ticks: exact below 2^HIST_BITS, then 2^HIST_BITS buckets for each power of two, so
 * that no value is off by more than 3 %.
 */
#define HIST_BITS    5
#define HIST_BUCKETS ((64 - HIST_BITS + 1) << HIST_BITS)

struct hist {
	uint64_t total, sum, max;
	uint32_t count[HIST_BUCKETS];
};

static inline unsigned hist_bucket(uint64_t ticks)
{
	unsigned shift;

	if (ticks >> HIST_BITS == 0)
		return ticks;
	shift = 63 - __builtin_clzll(ticks) - HIST_BITS;
	return ((shift + 1) << HIST_BITS) + ((ticks >> shift) & ((1 << HIST_BITS) - 1));
}

static inline void hist_add(struct hist *h, uint64_t ticks)
{
	h->total++;
	h->sum += ticks;
	if (ticks > h->max)
		h->max = ticks;
	h->count[hist_bucket(ticks)]++;
}

void hist_merge(struct hist *into, const struct hist *h);
/* The middle of a bucket, in ticks. */
uint64_t hist_value(unsigned bucket);
/* What `permille` of the values do not pass. */
uint64_t hist_percentile(const struct hist *h, unsigned permille);

enum completion {
	COMPLETE_IRQ,  /* sleep in HLT until an interrupt */
	COMPLETE_BUSY, /* interrupts, which find the CPU running */
	COMPLETE_POLL, /* interrupts off, the guest looks at the used rings */
};

enum pattern {
	PATTERN_RANDOM,
	PATTERN_SEQUENTIAL,
};

struct params {
	enum completion complete;
	enum pattern pattern;
	unsigned write_percent;
	uint32_t bs; /* bytes, whole sectors */
	unsigned depth;
	uint64_t warmup, time; /* ticks */
};

/* One request's place for good: descriptor `head` of the ring points to `desc`, which is filled
 * once. The device reads the first line and writes to the second. */
struct slot {
	struct vring_desc desc[3];
	struct virtio_blk_outhdr hdr;
	uint8_t status __attribute__((aligned(64)));
	uint64_t started;
} __attribute__((aligned(64)));

struct lane {
	const struct params *params;
	struct virtq *vq;
	struct slot *slot; /* depth of them, by head */
	unsigned depth;	   /* as far as the ring has room */
	unsigned disk;
	uint32_t irqs_seen;	    /* interrupts handled */
	bool pending;		    /* used chains may be there without a further interrupt */
	unsigned ndone;		    /* requests taken from the used ring and not yet made anew */
	uint16_t done[VQ_MAX_SIZE]; /* their heads */
	bool stopping;		    /* no new requests */
	unsigned in_flight;
	uint64_t blocks, next; /* of the disk, in `bs`; of a sequential pattern */
	uint64_t seed;
	/* what is measured, from lane_measure() to lane_stop() */
	uint64_t passes; /* looks at the used ring that found something */
	uint64_t errors;
	uint64_t kicks;
	uint32_t irqs;
	struct hist hist;
};

/* Allocates the slots. The queue must be empty and the device running. */
void lane_init(struct lane *lane, const struct params *params, struct blk *blk, struct virtq *vq);
void lane_start(struct lane *lane);
/* Takes what is used, asks for as much again. False: nothing was there (or, with interrupts, none
 * has come). */
bool lane_serve(struct lane *lane);
void lane_measure(struct lane *lane);
/* Ends the measurement; what is in flight is still to be served. */
void lane_stop(struct lane *lane);

struct worker {
	const struct params *params;
	struct lane *lane[MAX_LANES];
	unsigned nlanes;
	struct irq_watch watch; /* the lanes' vectors */
	uint64_t measured;	/* ticks */
	uint64_t last_busy;
	const char *failed; /* NULL: all went well */
};

/* The whole load of one CPU: warm-up, measurement, drain. For smp_run(). */
void worker_run(void *worker);

/* One line for each disk, one for all, and the histogram, on the serial port. `ticks` is how long
 * was measured. */
void report(const struct lane *lanes, unsigned nlanes, unsigned ndisks, uint64_t ticks);

#endif
