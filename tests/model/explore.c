/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The explorer; see explore.h.
 *
 * Depth first, by running again from the start: a run is told by the choices it made, and the next
 * one makes the same up to the last choice that has an alternative left.
 */
#include "tests/model/explore.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <ucontext.h>

#include "tests/model/explore_priv.h"

#define MAX_BLOBS   8
#define MAX_CHOICES 4096
#define MAX_STEPS   4000
#define MAX_STATES  (1u << 22)
#define STACK_SIZE  (64u << 10)

struct blob {
	uint8_t *p, *saved;
	size_t len;
};

struct step {
	uint8_t thread;
	const char *what;
	int loc;
	uint64_t value;
	const struct site *site;
};

static struct blob blobs[MAX_BLOBS];
static unsigned nblobs;

struct model_thread threads[MAX_THREADS], *me;
unsigned nthreads;
struct event events[MAX_EVENTS];
unsigned nevents;

static struct {
	uint16_t n, taken;
} choices[MAX_CHOICES];
static unsigned nchoices, at_choice;
static unsigned nsteps;
static struct step steps[MAX_STEPS];

static sigjmp_buf scheduler;
static bool failed, restart, too_long, dropped;
static struct site *weak_site;
static uint64_t reached_by;

static uint64_t *visited;

uint64_t model_states, model_runs, model_limit = MAX_STATES;
char model_failure[256];
struct site *model_sites;

static const void *known;
static size_t known_len;
void model_die(const char *what)
{
	fprintf(stderr, "model: %s\n", what);
	exit(1);
}

/* ---- hashes ---------------------------------------------------------------------------------- */

uint64_t hash_mix(uint64_t hash, uint64_t value)
{
	hash ^= value + 0x9e3779b97f4a7c15 + (hash << 6) + (hash >> 2);
	hash ^= hash >> 32;
	hash *= 0xd6e8feb86659fd93;
	return hash ^ hash >> 29;
}

uint64_t model_hash(uint64_t seed, const void *p, size_t len)
{
	const uint8_t *bytes = p;
	uint64_t word;

	for (; len >= 8; len -= 8, bytes += 8) {
		memcpy(&word, bytes, 8);
		seed = hash_mix(seed, word);
	}
	word = 0;
	memcpy(&word, bytes, len);
	return hash_mix(seed, word);
}

/* A run that is longer than there is room for: perhaps it only sees what is old for ever. */
void run_give_up(void)
{
	too_long = true;
	siglongjmp(scheduler, 2);
}

void thread_traces(const char *what, int loc, uint64_t value, const struct site *site)
{
	if (nsteps < MAX_STEPS)
		steps[nsteps] = (struct step){ me - threads, what, loc, value, site };
	if (++nsteps >= MAX_STEPS)
		run_give_up();
}

/* ---- scheduling ------------------------------------------------------------------------------ */

unsigned model_choose(unsigned n)
{
	if (n <= 1)
		return 0;
	if (at_choice == nchoices) {
		if (nchoices == MAX_CHOICES)
			model_die("too many choices in one run");
		choices[nchoices].n = n;
		choices[nchoices++].taken = 0;
	}
	if (choices[at_choice].n != n)
		model_die("a run is not the same when run again");
	return choices[at_choice++].taken;
}

void model_begin_anew(void)
{
	restart = true;
}

void thread_noticed(uint64_t what)
{
	me->history = hash_mix(me->history, what);
}

/* Lets others run; comes back when this thread is chosen and, if it waits, may go on. */
void thread_pause(bool (*ready)(void *), void *arg)
{
	memory_collect_plain();
	thread_noticed(0);
	me->ready = ready;
	me->arg = arg;
	me->visible = true;
	if (!_setjmp(me->context))
		siglongjmp(scheduler, 1);
	me->visible = false;
}

static void thread_main(void)
{
	me->fn(me->fn_arg);
	memory_collect_plain();
	me->ended = true;
	siglongjmp(scheduler, 1);
}

static void resume(struct model_thread *t)
{
	me = t;
	memory_show_to(t);
	switch (sigsetjmp(scheduler, 0)) {
	case 1:
		return;
	case 2:
		dropped = true;
		return;
	}
	if (t->begun)
		_longjmp(t->context, 1);
	t->begun = true;
	getcontext(&t->start);
	t->start.uc_stack.ss_sp = t->stack;
	t->start.uc_stack.ss_size = STACK_SIZE;
	makecontext(&t->start, thread_main, 0);
	setcontext(&t->start);
}

void model_fail(const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	vsnprintf(model_failure, sizeof(model_failure), format, ap);
	va_end(ap);
	failed = true;
	siglongjmp(scheduler, 1);
}

static void crashed(int sig)
{
	model_fail("%s crashes (signal %d)", me->name, sig);
}

/* ---- states ---------------------------------------------------------------------------------- */

static uint64_t state_hash(void)
{
	struct view oldest;
	uint64_t hash;

	memory_oldest(&oldest);
	hash = view_hash(0, model_wakers(), &oldest);
	for (unsigned i = 0; i < nthreads; i++) {
		const struct model_thread *t = &threads[i];

		hash = hash_mix(hash, t->ended ? 1 : t->history);
		if (t->ended)
			continue;
		hash = view_hash(hash, &t->now, &oldest);
		hash = view_hash(hash, &t->later, &oldest);
		hash = view_hash(hash, &t->released, &oldest);
	}
	for (unsigned i = 0; i < nevents; i++)
		hash = view_hash(hash_mix(hash, events[i].rung | events[i].edge << 1),
				 &events[i].view, &oldest);
	hash = model_hash(hash, known, known_len);
	return memory_hash(hash, &oldest);
}

/* True when it is new. */
static bool visit(uint64_t hash)
{
	uint32_t at = hash & (2 * MAX_STATES - 1);

	hash |= 1; /* 0 is an empty slot */
	for (; visited[at]; at = (at + 1) & (2 * MAX_STATES - 1))
		if (visited[at] == hash)
			return false;
	visited[at] = hash;
	model_states++;
	return true;
}

/* ---- sites ---------------------------------------------------------------------------------- */

/* Headers have their sites once per file that includes them. */
static bool same_place(const struct site *a, const struct site *b)
{
	return a->line == b->line && a->kind == b->kind && !strcmp(a->file, b->file) &&
	       !strcmp(a->function, b->function);
}

static void list_site(struct site *site)
{
	for (struct site *other = model_sites; other; other = other->next) {
		if (!same_place(site, other))
			continue;
		other->reached |= site->reached;
		return;
	}
	site->next = model_sites;
	model_sites = site;
}

int site_order(struct site *site)
{
	if (!(site->reached & reached_by)) {
		site->reached |= reached_by;
		list_site(site);
	}
	if (!weak_site || !same_place(site, weak_site))
		return site->order;
	if (site->order != __ATOMIC_SEQ_CST)
		return __ATOMIC_RELAXED;
	return site->kind == SITE_LOAD	  ? __ATOMIC_ACQUIRE
	       : site->kind == SITE_STORE ? __ATOMIC_RELEASE
					  : __ATOMIC_ACQ_REL;
}

/* ---- runs ------------------------------------------------------------------------------------ */

static void begin_run(void)
{
	for (unsigned i = 0; i < nblobs; i++)
		memcpy(blobs[i].p, blobs[i].saved, blobs[i].len);
	for (unsigned i = 0; i < nthreads; i++) {
		struct model_thread *t = &threads[i];

		t->begun = t->ended = t->blind = t->slept = t->visible = t->futex_wait =
			t->blind_wait = false;
		t->ready = NULL;
		t->history = i;
		memset(&t->now, 0, 3 * sizeof(t->now));
	}
	memory_begin_run();
	events_reset();
	*model_clock() = 0;
	at_choice = nsteps = 0;
	model_runs++;
}

static bool enabled(const struct model_thread *t)
{
	return !t->ended && (!t->ready || t->ready(t->arg));
}

/* Who runs next: whoever ran last is first in the list. NULL: nobody can. */
static struct model_thread *choose_thread(const struct model_thread *last)
{
	struct model_thread *list[MAX_THREADS];
	unsigned n = 0;

	for (unsigned i = 0; i < nthreads; i++) {
		struct model_thread *t = &threads[(last - threads + i) % nthreads];

		if (enabled(t))
			list[n++] = t;
	}
	return n ? list[model_choose(n)] : NULL;
}

/* Nobody can go on: is that an end? Threads that wait for something new to look at have another way
 * to go, in another run. */
static void judge_end(void)
{
	for (unsigned i = 0; i < nthreads; i++)
		if (!threads[i].ended && threads[i].blind_wait)
			return;
	for (unsigned i = 0; i < nthreads; i++) {
		if (threads[i].ended || !threads[i].must_end)
			continue;
		snprintf(model_failure, sizeof(model_failure), "%s waits for ever",
			 threads[i].name);
		failed = true;
	}
}

static void run_once(void)
{
	struct model_thread *t = threads;

	begin_run();
	dropped = false;
	while (!failed && !restart && !dropped && model_states < model_limit) {
		if (at_choice == nchoices && !visit(state_hash()))
			return;
		t = choose_thread(t);
		if (!t) {
			judge_end();
			return;
		}
		resume(t);
	}
}

/* The next run's choices. False: there is none. */
static bool advance(void)
{
	while (nchoices && choices[nchoices - 1].taken + 1 == choices[nchoices - 1].n)
		nchoices--;
	if (!nchoices)
		return false;
	choices[nchoices - 1].taken++;
	return true;
}

static void print_trace(void)
{
	for (unsigned i = 0; i < nsteps; i++) {
		const struct step *s = &steps[i];
		char name[40] = "";

		if (s->loc >= 0)
			memory_name(s->loc, name, sizeof(name));
		printf("#   %-8s %-8s %s %#lx", threads[s->thread].name, s->what, name,
		       (unsigned long)s->value);
		if (s->site)
			printf("  %s:%d %s", s->site->file, s->site->line, s->site->function);
		printf("\n");
	}
}

/* ---- setup ----------------------------------------------------------------------------------- */

void model_private(void *p, size_t len)
{
	if (nblobs == MAX_BLOBS)
		model_die("too many private areas");
	blobs[nblobs++] = (struct blob){ p, malloc(len), len };
}

void model_known_to_all(const void *p, size_t len)
{
	known = p;
	known_len = len;
}

unsigned model_thread(const char *name, void (*fn)(void *arg), void *arg, bool must_end)
{
	struct model_thread *t = &threads[nthreads];
	uint8_t *stack = t->stack ? t->stack : malloc(STACK_SIZE);

	if (nthreads++ == MAX_THREADS)
		model_die("too many threads");
	memset(t, 0, sizeof(*t));
	t->name = name;
	t->fn = fn;
	t->fn_arg = arg;
	t->must_end = must_end;
	t->stack = stack;
	return t - threads;
}

static bool has_ended(void *arg)
{
	return ((struct model_thread *)arg)->ended;
}

void model_join(unsigned thread)
{
	thread_pause(has_ended, &threads[thread]);
	thread_learns(me, &threads[thread].now);
}

int model_eventfd(void)
{
	if (nevents == MAX_EVENTS)
		model_die("too many eventfds");
	memset(&events[nevents], 0, sizeof(events[nevents]));
	return FIRST_FD + nevents++;
}

struct event *event_of(int fd)
{
	return fd >= FIRST_FD && fd < FIRST_FD + (int)nevents ? &events[fd - FIRST_FD] : NULL;
}

/* What setup left is how each run begins. */
static void take_initial(void)
{
	for (unsigned i = 0; i < nblobs; i++)
		memcpy(blobs[i].saved, blobs[i].p, blobs[i].len);
	memory_take_initial();
}

static void forget_all(void)
{
	for (unsigned i = 0; i < nblobs; i++)
		free(blobs[i].saved);
	nblobs = nthreads = nevents = 0;
	me = NULL;
	memory_forget();
	known_len = 0;
}

static void begin_exploration(void)
{
	nchoices = 0;
	failed = restart = too_long = false;
	model_states = model_runs = 0;
	model_failure[0] = '\0';
	if (!visited)
		visited = calloc(2 * MAX_STATES, sizeof(*visited));
	else
		memset(visited, 0, 2 * MAX_STATES * sizeof(*visited));
	if (!visited)
		model_die("out of memory");
}

static void catch_crashes(void)
{
	static uint8_t stack[32 << 10];
	const stack_t alt = { .ss_sp = stack, .ss_size = sizeof(stack) };
	const struct sigaction action = { .sa_handler = crashed,
					  .sa_flags = SA_ONSTACK | SA_NODEFER };

	sigaltstack(&alt, NULL);
	sigaction(SIGSEGV, &action, NULL);
	sigaction(SIGBUS, &action, NULL);
}

enum model_result model_explore(void (*setup)(void), struct site *weak, uint64_t mark, bool show)
{
	forget_all();
	catch_crashes();
	weak_site = weak;
	reached_by = mark;
	setup();
	take_initial();
	do {
		begin_exploration();
		do
			run_once();
		while (!failed && !restart && model_states < model_limit && advance());
	} while (restart && !failed);
	if (failed && show)
		print_trace();
	if (failed)
		return MODEL_FAILS;
	return model_states < model_limit && !too_long ? MODEL_HOLDS : MODEL_TOO_BIG;
}
