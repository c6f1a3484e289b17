/* SPDX-License-Identifier: Apache-2.0 */
/* What is explored. */
#ifndef MVMM_TESTS_MODEL_SCENARIOS_H
#define MVMM_TESTS_MODEL_SCENARIOS_H

#include "tests/model/explore.h"

/* A driver, the disk's thread, and either the host that ends I/O or those who send commands. */
struct ring_config {
	bool event_idx;
	bool poll;	      /* the disk's thread looks for work before it sleeps */
	bool host;	      /* requests are ended by the host's AIO, not by the thread itself */
	bool mmio;	      /* interrupts have a status word */
	bool singly;	      /* each request is published as soon as it is made */
	bool quits;	      /* the commands end the thread */
	unsigned requests;    /* in all */
	unsigned depth;	      /* at once */
	unsigned after;	      /* EVENT_IDX: interrupt wanted after so many more */
	const char *guests;   /* a vCPU's commands. Letters: 'a' + enum blk_command_type */
	const char *controls; /* main's */
};

/* The disk's thread and its workers. */
struct pool_config {
	unsigned workers;
	unsigned requests;
	unsigned batch; /* queued at once */
	bool end;	/* and then the workers are ended */
};

typedef enum model_result scenario_fn(const void *config, struct site *weak, uint64_t mark,
				      bool show);

scenario_fn ring_explore, pool_explore;

#endif
