/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by copying.c, a copy's life, and copying_view.c, what is seen of it. */
#ifndef MVMM_CLI_COPYING_PRIV_H
#define MVMM_CLI_COPYING_PRIV_H

#include "vmm/cli/copying.h"

#define COPYING_SAMPLE_MS 1000

/* The job's figures of now, into c->view. */
void copying_observe(struct copying *c);

/* Of a timer: what was copied since the last one, into c->view; and the timer is set anew. */
void copying_sample(void *copying);

#endif
