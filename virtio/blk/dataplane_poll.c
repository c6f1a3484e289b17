/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The look before the sleep: everything that could bring work is a word in memory, so for a while
 * we read those words instead of being woken. The guest's doorbells are off meanwhile: it adds to
 * its ring and goes on.
 *
 * The disk's thread. Knows where work can come from, not what it is.
 */
#include <sched.h>
#include <time.h>

#include "virtio/blk/dataplane_priv.h"
#include "vmm/cpu_relax.h"

/* Looks between two readings of the clock: about a microsecond. */
#define LOOKS_PER_TICK 16
/* Ticks between two offers of the CPU to others. */
#define TICKS_PER_YIELD 4
/* An offer that takes longer was accepted. A tick that takes so long was cut by another thread; what
 * interrupts and a busy host take away is shorter, and says nothing about others on this CPU. */
#define TAKEN_NS     5000
#define PREEMPTED_NS 100000

uint64_t dataplane_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000ULL + ts.tv_nsec;
}

static bool rings_have_work(const struct blk_dataplane *dp)
{
	if (!dataplane_serving(dp) || !dataplane_has_request(dp))
		return false;
	for (unsigned i = 0; i < dp->nqueues; i++)
		if (virtq_has_work(&dp->queue[i].vq))
			return true;
	return false;
}

/* Relaxed loads: whoever acts on the answer orders his own. */
static bool work_waits(const struct blk_dataplane *dp)
{
	return rings_have_work(dp) ||
	       (dp->native && dp->aio.ring && aio_ring_has_events(dp->aio.ring)) ||
	       blk_pool_has_done(&dp->pool) || (dp->job && dataplane_job_has_work(dp)) ||
	       blk_bell_has_rung(&dp->bell);
}

/* One tick. */
static bool look_once(const struct blk_dataplane *dp)
{
	for (unsigned i = 0; i < LOOKS_PER_TICK; i++) {
		if (work_waits(dp))
			return true;
		cpu_relax();
	}
	return false;
}

/*
 * A thread that looks for work keeps others on its CPU from doing some, the vCPU or another disk
 * perhaps, and they cannot tell us. So the CPU is offered now and then, and when somebody takes it
 * the look is over: seven disks on one CPU then behave as if none of them looked.
 */
static bool others_want_cpu(struct blk_dataplane *dp, unsigned tick, uint64_t *now)
{
	const bool offer = tick % TICKS_PER_YIELD == TICKS_PER_YIELD - 1;
	const uint64_t before = *now;

	if (offer)
		sched_yield();
	*now = dataplane_now();
	if (*now - before < (offer ? TAKEN_NS : PREEMPTED_NS)) {
		if (offer)
			blk_poller_alone(&dp->poller);
		return false;
	}
	blk_poller_contended(&dp->poller, *now);
	stat_add(&dp->stats.yields, 1);
	return true;
}

/*
 * Our own interrupt may wait for a kernel thread that wants this CPU: while we look it would not
 * arrive, and once it took the CPU from us, we would take it for somebody who needs it more.
 */
static uint64_t let_interrupt_pass(struct blk_dataplane *dp, uint64_t now)
{
	if (!dp->owes_cpu)
		return now;
	dp->owes_cpu = false;
	sched_yield();
	return dataplane_now();
}

/*
 * Where all that was taken waits for a limit, and what may still come would do the same, nothing but
 * the deadline is to be expected: bridge it if it is near, for that is more exact than a timer.
 */
static bool worth_looking(const struct blk_dataplane *dp, uint64_t end, uint64_t deadline)
{
	return deadline <= end || dp->in_flight != dp->parked ||
	       !dp->throttle.limits[THROTTLE_READ] || !dp->throttle.limits[THROTTLE_WRITE];
}

bool dataplane_look(struct blk_dataplane *dp)
{
	uint64_t now, end, deadline = UINT64_MAX;

	if (!dp->poller.window_ns || !dp->started)
		return false;
	now = dataplane_now();
	end = now + blk_poller_window(&dp->poller, now);
	if (end == now)
		return false;
	if (dp->throttled && dataplane_next_deadline(dp, &deadline) &&
	    !worth_looking(dp, end, deadline))
		return false;
	stat_add(&dp->stats.looks, 1);
	now = let_interrupt_pass(dp, now);
	for (unsigned tick = 0; now < end; tick++) {
		if (look_once(dp) || now >= deadline) {
			stat_add(&dp->stats.hits, 1);
			return true;
		}
		if (others_want_cpu(dp, tick, &now))
			return false;
	}
	return false;
}
