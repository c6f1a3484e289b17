/* SPDX-License-Identifier: Apache-2.0 */
/* One CPU's part of the load: its lanes in turn, and sleep when an interrupt is to end it. */
#include "guest/bench/bench.h"
#include "guest/io.h"
#include "guest/lib.h"

#define SILENCE_NS 5000000000 /* without a completion: an interrupt or a request was lost */

static bool serve_all(struct worker *w)
{
	bool busy = false;

	for (unsigned i = 0; i < w->nlanes; i++)
		busy |= lane_serve(w->lane[i]);
	return busy;
}

static void idle(struct worker *w, uint64_t now)
{
	if (now - w->last_busy > ns_to_ticks(SILENCE_NS)) {
		w->failed = "no completion for 5 s";
		return;
	}
	if (w->params->complete == COMPLETE_IRQ)
		irq_sleep(&w->watch);
	else
		cpu_relax();
}

/* The counters are copied before they are looked at: what comes later keeps us from sleeping. */
static void turn(struct worker *w, uint64_t now)
{
	if (w->params->complete == COMPLETE_IRQ)
		irq_watch(&w->watch);
	if (serve_all(w))
		w->last_busy = now;
	else
		idle(w, now);
}

static uint64_t run_until(struct worker *w, uint64_t end)
{
	uint64_t now;

	while ((now = rdtsc()) < end && !w->failed)
		turn(w, now);
	return now;
}

static unsigned in_flight(const struct worker *w)
{
	unsigned n = 0;

	for (unsigned i = 0; i < w->nlanes; i++)
		n += w->lane[i]->in_flight;
	return n;
}

static void drain(struct worker *w)
{
	while (in_flight(w) && !w->failed)
		turn(w, rdtsc());
}

void worker_run(void *arg)
{
	struct worker *w = arg;
	uint64_t begin = rdtsc();

	irq_watch_init(&w->watch, w->lane[0]->vq->vector, w->lane[w->nlanes - 1]->vq->vector);
	if (w->params->complete == COMPLETE_IRQ)
		irq_start_tick(); /* so that a lost interrupt is noticed */
	w->last_busy = begin;
	for (unsigned i = 0; i < w->nlanes; i++)
		lane_start(w->lane[i]);
	begin = run_until(w, begin + w->params->warmup);
	for (unsigned i = 0; i < w->nlanes; i++)
		lane_measure(w->lane[i]);
	w->measured = run_until(w, begin + w->params->time) - begin;
	for (unsigned i = 0; i < w->nlanes; i++)
		lane_stop(w->lane[i]);
	drain(w);
}
