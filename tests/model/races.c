/* SPDX-License-Identifier: Apache-2.0 */
/*
 * No lost kick, no lost interrupt, no lost completion, no stale data: explores the scenarios, as TAP,
 * and then takes the order away from each place in the source that asks for one. Some scenario must
 * fail then, or the explorer could not tell, or the order is not needed.
 *
 *	races [WORD]		only the scenarios with that word in their name
 *
 * Environment: LONG=1 for the large scenarios, TRACE=1 for the steps that led to a failure, AFTER=n
 * for the number of the test before the first.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "tests/model/scenarios.h"

struct scenario {
	const char *name;
	scenario_fn *explore;
	const void *config;
	bool large;
};

#define RING(...)                                                                                  \
	ring_explore, &(const struct ring_config)                                                  \
	{                                                                                          \
		__VA_ARGS__                                                                        \
	}
#define POOL(...)                                                                                  \
	pool_explore, &(const struct pool_config)                                                  \
	{                                                                                          \
		__VA_ARGS__                                                                        \
	}

/* Small ones first: most of what is taken away shows there. */
static const struct scenario scenarios[] = {
	{ "one request at a time, EVENT_IDX", RING(.event_idx = true, .requests = 2, .depth = 1),
	  false },
	{ "one request at a time, flags", RING(.requests = 2, .depth = 1), false },
	{ "two requests in flight, EVENT_IDX", RING(.event_idx = true, .requests = 4, .depth = 2),
	  false },
	{ "two requests in flight, flags", RING(.requests = 3, .depth = 2), false },
	{ "an interrupt for every second request, EVENT_IDX",
	  RING(.event_idx = true, .requests = 4, .depth = 2, .after = 1), false },
	{ "virtio-mmio's status, EVENT_IDX",
	  RING(.event_idx = true, .mmio = true, .requests = 3, .depth = 2), false },
	{ "virtio-mmio's status, flags",
	  RING(.mmio = true, .singly = true, .requests = 2, .depth = 2), false },
	{ "a look before the sleep, EVENT_IDX",
	  RING(.event_idx = true, .poll = true, .requests = 1, .depth = 1), false },
	{ "a look before the sleep, flags", RING(.poll = true, .requests = 1, .depth = 1), false },
	{ "completions by the host, EVENT_IDX",
	  RING(.event_idx = true, .host = true, .requests = 1, .depth = 1), false },
	{ "completions by the host, flags", RING(.host = true, .requests = 1, .depth = 1), false },
	{ "reset and start, with the end in between",
	  RING(.guests = "ba", .controls = "f", .quits = true), false },
	{ "a reset while control pauses", RING(.guests = "b", .controls = "de"), false },
	{ "pause and resume under I/O",
	  RING(.event_idx = true, .requests = 1, .depth = 1, .controls = "de"), false },
	{ "one worker", POOL(.workers = 1, .requests = 3, .batch = 1), false },
	{ "one worker's end", POOL(.workers = 1, .requests = 1, .batch = 1, .end = true), false },
	{ "two workers, one request", POOL(.workers = 2, .requests = 1, .batch = 1), false },
	{ "two workers, two requests at once", POOL(.workers = 2, .requests = 2, .batch = 2),
	  true },
	{ "two workers' end", POOL(.workers = 2, .requests = 1, .batch = 1, .end = true), true },
	{ "two looks before a sleep, EVENT_IDX",
	  RING(.event_idx = true, .poll = true, .requests = 2, .depth = 1), true },
	{ "two looks before a sleep, flags", RING(.poll = true, .requests = 2, .depth = 1), true },
	{ "three requests, EVENT_IDX", RING(.event_idx = true, .requests = 3, .depth = 1), true },
	{ "two completions by the host, EVENT_IDX",
	  RING(.event_idx = true, .host = true, .requests = 2, .depth = 1), true },
	{ "two completions by the host at once, EVENT_IDX",
	  RING(.event_idx = true, .host = true, .requests = 2, .depth = 2), true },
	{ "two completions by the host at once, flags",
	  RING(.host = true, .requests = 2, .depth = 2), true },
	{ "a look for the host's completions, EVENT_IDX",
	  RING(.event_idx = true, .host = true, .poll = true, .requests = 1, .depth = 1), true },
};
#define NSCENARIOS (sizeof(scenarios) / sizeof(*scenarios))

static unsigned tests;
static const char *only;

static void result(bool good, const char *what, const char *how)
{
	printf("%sok %u - %s\n# %s\n", good ? "" : "not ", ++tests, what, how);
}

static uint64_t bit_of(const struct scenario *s)
{
	return 1ULL << (s - scenarios);
}

static enum model_result explore(const struct scenario *s, struct site *weak)
{
	return s->explore(s->config, weak, bit_of(s), !weak && getenv("TRACE"));
}

static void holds(const struct scenario *s)
{
	const clock_t from = clock();
	const enum model_result ret = explore(s, NULL);
	char how[400];

	snprintf(how, sizeof(how), "%s %lu states, %lu runs, %.2f s",
		 ret == MODEL_FAILS	? model_failure
		 : ret == MODEL_TOO_BIG ? "more than"
					: "all of",
		 (unsigned long)model_states, (unsigned long)model_runs,
		 (double)(clock() - from) / CLOCKS_PER_SEC);
	result(ret == MODEL_HOLDS, s->name, how);
}

static const char *name_of(const struct site *site)
{
	if (site->kind == SITE_FENCE)
		return "full fence";
	switch (site->order) {
	case __ATOMIC_ACQUIRE:
		return "acquire";
	case __ATOMIC_RELEASE:
		return "release";
	case __ATOMIC_ACQ_REL:
		return "acquire and release";
	default:
		return "sequential consistency";
	}
}

/*
 * Orders that nothing here depends on, and why they stand in the source all the same.
 */
static const struct {
	const char *function;
	enum site_kind kind;
	int order, nth; /* of its like in the function, from its start */
	const char *why;
} spare[] = {
	{ "stop_workers", SITE_LOAD, __ATOMIC_SEQ_CST, 1, "the only writer has ended" },
	{ "pool_sleep", SITE_RMW, __ATOMIC_SEQ_CST, 2, "seen late, it costs a wake-up in vain" },
	{ "pool_take", SITE_LOAD, __ATOMIC_ACQUIRE, 3,
	  "the exchange behind it fails in any case where this one matters" },
	{ "blk_pool_queue", SITE_STORE, __ATOMIC_RELEASE, 1, "the same exchange" },
	{ "irq_line_signal", SITE_RMW, __ATOMIC_RELEASE, 1,
	  "used elements have virtq_publish()'s fence; it is for NEEDS_RESET" },
	{ "aio_ring_reap", SITE_STORE, __ATOMIC_RELEASE, 1,
	  "keeps loads before a store: the explorer never swaps those" },
};

static int nth_in_function(const struct site *site)
{
	int n = 1;

	for (const struct site *s = model_sites; s; s = s->next)
		n += s->kind == site->kind && s->order == site->order && s->line < site->line &&
		     !strcmp(s->function, site->function);
	return n;
}

static const char *why_spare(const struct site *site)
{
	for (unsigned i = 0; i < sizeof(spare) / sizeof(*spare); i++)
		if (!strcmp(site->function, spare[i].function) && site->kind == spare[i].kind &&
		    site->order == spare[i].order && nth_in_function(site) == spare[i].nth)
			return spare[i].why;
	return NULL;
}

static bool wanted(const struct scenario *s)
{
	return !only || strstr(s->name, only);
}

static bool loses_something(struct site *site, char *how, size_t size)
{
	for (unsigned i = 0; i < NSCENARIOS; i++) {
		if (scenarios[i].large || !(site->reached & bit_of(&scenarios[i])))
			continue;
		if (explore(&scenarios[i], site) != MODEL_FAILS)
			continue;
		snprintf(how, size, "%s: %s", scenarios[i].name, model_failure);
		return true;
	}
	return false;
}

static void is_needed(struct site *site)
{
	const char *why = why_spare(site);
	char what[200], how[500] = "nothing is lost";
	bool lost;

	model_limit = 60000;
	if (why) {
		printf("# spare: %s in %s(), %s:%d: %s\n", name_of(site), site->function,
		       site->file, site->line, why);
		return;
	}
	lost = loses_something(site, how, sizeof(how));
	snprintf(what, sizeof(what), "without the %s in %s(), %s:%d", name_of(site), site->function,
		 site->file, site->line);
	result(lost, what, how);
}

int main(int argc, char **argv)
{
	only = argv[1];
	tests = getenv("AFTER") ? atoi(getenv("AFTER")) : 0;
	setvbuf(stdout, NULL, _IOLBF, 0);
	for (unsigned i = 0; i < NSCENARIOS; i++)
		if (wanted(&scenarios[i]) && (!scenarios[i].large || getenv("LONG")))
			holds(&scenarios[i]);
	for (struct site *site = model_sites; site; site = site->next)
		if (site->order != __ATOMIC_RELAXED && !strstr(site->file, "tests/"))
			is_needed(site);
	printf("1..%u\n", tests);
	return 0;
}
