/* SPDX-License-Identifier: Apache-2.0 */
/* One run of the ring target: what its script can do, and where it is. */
#ifndef MVMM_TESTS_FUZZ_RING_RUN_H
#define MVMM_TESTS_FUZZ_RING_RUN_H

#include "tests/fuzz/bytes.h"
#include "tests/fuzz/ring_calls.h"
#include "tests/fuzz/ring_engine.h"
#include "tests/fuzz/ring_memory.h"
#include "tests/fuzz/ring_model.h"
#include "tests/fuzz/ring_workers.h"
#include "tests/fuzz/target.h"

#define RECORD	    8 /* bytes of an action */
#define MAX_ACTIONS 400
#define MAX_PASSES  20000 /* without a sleep; all requests of the largest queues are far fewer */
#define SECTORS	    (DISK_SIZE / 512)

/* Where rings lie if the script does not say otherwise; then requests' headers, then data. */
#define RING_GPA(q) (0x1000 + (q)*0x2000ULL)
#define AVAIL_OFF   0x1000
#define USED_OFF    0x1400
#define HEADERS_GPA 0x5000ULL
#define HEADERS	    64
#define TABLES_GPA  0x5800ULL /* indirect tables: one per header, 8 entries each */

enum op {
	OP_REQUEST,  /* a well-formed one: type, segments, sector, where the data is */
	OP_DESC,     /* one descriptor: index, flags, address, length */
	OP_TABLE,    /* one descriptor of an indirect table */
	OP_OFFER,    /* a head into the avail ring */
	OP_INDEX,    /* avail->idx jumps */
	OP_POKE,     /* bytes anywhere */
	OP_EVENT,    /* used_event or avail->flags */
	OP_COMPLETE, /* the k-th request in the kernel: all, short, an error */
	OP_WORK,     /* the k-th request of the workers, likewise */
	OP_SUBMIT,   /* io_submit() takes only so many, then says so */
	OP_RACE,     /* the next action comes in the middle, after so many loads */
	OP_COMMAND,  /* RESET, START, PAUSE, RESUME, SET_WCE */
	OP_RINGS,    /* where the next START finds the rings */
	OP_CONTROL,  /* THROTTLE, RESIZE, SET_ON_ERROR, commands about jobs; time passes */
	OP_COUNT,
};

#define WHEN_IN_PASS 0x40 /* between two steps of the device */
#define THEN_SLEEP   0x80 /* nothing more before the device has run */

struct action {
	uint8_t op, q, a, b;
	uint16_t c, d;
};

static struct {
	struct bytes script;
	unsigned actions;
	bool has_next, offered_in_pass;
	struct action next;
	struct blk_dataplane *dp;
	unsigned nqueues, depth, slots;
	enum disk_on_error on_error;
	struct throttle_buckets buckets;
	struct throttle_limits limits; /* as main knows them */
	uint64_t features;
	struct virtq_config config[MODEL_QUEUES];
	_Atomic uint32_t status, isr;
	uint16_t avail[MODEL_QUEUES];	  /* the driver's own indexes */
	uint16_t next_desc[MODEL_QUEUES]; /* where it looks for free descriptors */
	unsigned next_header;
	unsigned passes; /* of the device since it slept */
	int race;	 /* loads until the next action; -1: none waits */
	bool acting;	 /* the script runs, the device does not */
	bool kicked;	 /* a doorbell rang in the middle of a pass */
	enum { SCRIPT, DRAIN, RESET, QUIT } phase;
} run;

#endif
