/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What there is to be seen of a disk's mirror, backup or commit: figures and names.
 *
 * Main. Only looks: changes nothing but the view that is kept of it.
 */
#include "vmm/cli/clock.h"
#include "vmm/cli/copying_priv.h"

const char *copying_kind_name(enum copying_kind kind)
{
	static const char *const names[] = {
		[COPYING_MIRROR] = "mirror",
		[COPYING_BACKUP] = "backup",
		[COPYING_COMMIT] = "commit",
	};

	return names[kind];
}

static uint64_t get(const _Atomic uint64_t *n)
{
	return atomic_load_explicit(n, memory_order_relaxed);
}

void copying_observe(struct copying *c)
{
	const struct blk_job_progress *p = blk_job_progress(c->job);

	c->view.state = blk_job_state(c->job);
	c->view.error = atomic_load_explicit(&p->error, memory_order_relaxed);
	c->view.source = atomic_load_explicit(&p->source, memory_order_relaxed);
	c->view.left = get(&p->left);
	c->view.copied = get(&p->copied);
	c->view.written = get(&p->written);
	c->view.waits = get(&p->waits);
	c->view.wait_ns = get(&p->wait_ns);
	c->view.hold_ns = get(&p->hold_ns);
	c->view.ms = clock_ms() - c->begun;
}

void copying_sample(void *opaque)
{
	struct copying *c = opaque;
	const uint64_t now = clock_ms();

	copying_observe(c);
	if (now > c->sampled_at)
		c->view.rate = (c->view.copied - c->sampled) * 1000 / (now - c->sampled_at);
	c->sampled_at = now;
	c->sampled = c->view.copied;
	loop_timer_set(c->loop, &c->sample, now + COPYING_SAMPLE_MS);
}

bool copying_look(struct copying *c, enum copying_kind kind, struct copying_view *view)
{
	if (c->phase == COPYING_NONE || c->kind != kind)
		return false;
	if (c->phase == COPYING_RUNS)
		copying_observe(c);
	*view = c->view;
	return true;
}

const char *copying_state_name(const struct copying *c)
{
	static const char *const names[] = {
		[BLK_JOB_COPYING] = "copying",
		[BLK_JOB_READY] = "ready",
		[BLK_JOB_COMPLETING] = "completing",
		[BLK_JOB_HELD] = "completing",
		[BLK_JOB_DONE] = "done",
		[BLK_JOB_FAILED] = "failed",
		[BLK_JOB_CANCELLED] = "cancelled",
	};

	if (c->phase == COPYING_OPENS)
		return "opening";
	return c->phase == COPYING_CLOSES ? "ending" : names[c->view.state];
}
