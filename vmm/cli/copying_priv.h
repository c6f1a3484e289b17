/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by copying.c, a copy's life, copying_end.c, its end, and copying_view.c, what is seen of it. */
#ifndef MVMM_CLI_COPYING_PRIV_H
#define MVMM_CLI_COPYING_PRIV_H

#include "vmm/cli/copying.h"
#include "vmm/cli/machine.h"

#define COPYING_SAMPLE_MS 1000

static inline const char *copying_name(const struct copying *c)
{
	return copying_kind_name(c->kind);
}

static inline const char *copying_disk(const struct copying *c)
{
	return c->disk->blk.dev.name;
}

/* Whoever waits there, once. */
void copying_tell(struct copying_waiter *waiter, int ret, const struct error *err);

/* Gives back whatever there is of it, the job being main's; `closed` is called when the target is closed,
 * which is no matter of main's. */
void copying_release(struct copying *c, void (*closed)(void *copying));

/* The job has ended: that is told, and all is given back. */
void copying_ended(struct copying *c);

/* The job's figures of now, into c->view. */
void copying_observe(struct copying *c);

/* Of a timer: what was copied since the last one, into c->view; and the timer is set anew. */
void copying_sample(void *copying);

#endif
