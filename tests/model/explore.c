/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The explorer; see explore.h.
 *
 * Depth first, by running again from the start: a run is told by the choices it made, and the next
 * one makes the same up to the last choice that has an alternative left.
 */
#include "tests/model/explore.h"

#undef atomic_load
#undef atomic_store

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <ucontext.h>

#include "tests/model/explore_priv.h"

#define MAX_RANGES  32
#define MAX_BLOBS   8
#define MAX_STORES  64 /* to one word in one run */
#define MAX_CHOICES 4096
#define MAX_STEPS   4000
#define MAX_STATES  (1u << 22)
#define STACK_SIZE  (64u << 10)

struct range {
	const char *name;
	uint8_t *p;
	size_t len;
	unsigned unit, first; /* location of its first word */
	unsigned users;	      /* one bit per thread */
};

struct blob {
	uint8_t *p, *saved;
	size_t len;
};

/* One store to one word, and what its writer had seen when it released it. */
struct message {
	uint64_t value;
	struct view view;
};

struct step {
	uint8_t thread;
	const char *what;
	int loc;
	uint64_t value;
	const struct site *site;
};

static struct range ranges[MAX_RANGES];
static unsigned nranges;
static struct blob blobs[MAX_BLOBS];
static unsigned nblobs;

static struct location {
	uint8_t *p;
	const struct range *range;
	uint64_t initial;
	unsigned last;	  /* newest store */
	unsigned sc;	  /* newest store that was seq_cst */
	unsigned writers; /* one bit per thread that ever stored here */
	bool ordered; /* stores must be told apart by when they happen: see pause_before_store() */
	struct message store[MAX_STORES];
} locations[MAX_LOCATIONS];
static unsigned nlocations;

static struct model_thread threads[MAX_THREADS];
static unsigned nthreads;
static struct model_thread *me;
static struct view sc_view; /* what the last full fence had seen */
static struct event events[MAX_EVENTS];
static unsigned nevents;

static struct {
	uint16_t n, taken;
} choices[MAX_CHOICES];
static unsigned nchoices, at_choice;
static unsigned nsteps, nstores;
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

/* Where threads may forget what they have seen. */
static struct {
	const volatile void *at;
	const char *in;
	void (*by)(void);
} forgets[4];
static unsigned nforgets;

static void die(const char *what)
{
	fprintf(stderr, "model: %s\n", what);
	exit(1);
}

/* ---- hashes ---------------------------------------------------------------------------------- */

static uint64_t mix(uint64_t hash, uint64_t value)
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
		seed = mix(seed, word);
	}
	word = 0;
	memcpy(&word, bytes, len);
	return mix(seed, word);
}

/* ---- views ----------------------------------------------------------------------------------- */

static void set_image(struct model_thread *t, unsigned loc, unsigned ts)
{
	const struct location *l = &locations[loc];
	uint8_t *image = t->image + loc * 8;

	memcpy(image, &l->store[ts].value, 8);
	if (t == me)
		memcpy(l->p, image, l->range->unit);
}

/* `t` has seen store `ts` of a word. */
static void saw(struct model_thread *t, unsigned loc, unsigned ts)
{
	if (ts > t->now.ts[loc]) {
		t->now.ts[loc] = ts;
		set_image(t, loc, ts);
	}
	if (ts > t->later.ts[loc])
		t->later.ts[loc] = ts;
}

static void merge(struct view *into, const struct view *from)
{
	for (unsigned i = 0; i < MAX_LOCATIONS; i++)
		into->ts[i] = from->ts[i] > into->ts[i] ? from->ts[i] : into->ts[i];
}

void thread_learns(struct model_thread *t, const struct view *view)
{
	for (unsigned i = 0; i < nlocations; i++)
		if (view->ts[i] > t->now.ts[i])
			saw(t, i, view->ts[i]);
	merge(&t->later, view);
}

/* ---- memory ---------------------------------------------------------------------------------- */

static int location_of(const volatile void *p, unsigned size)
{
	const uint8_t *byte = (const uint8_t *)p;

	for (unsigned i = 0; i < nranges; i++) {
		const struct range *r = &ranges[i];

		if (byte < r->p || byte >= r->p + r->len)
			continue;
		if ((byte - r->p) % r->unit || size > r->unit)
			die("an access does not fit the words of its range");
		return r->first + (byte - r->p) / r->unit;
	}
	return -1;
}

/* A run that is longer than there is room for: perhaps it only sees what is old for ever. */
static void give_up(void)
{
	too_long = true;
	siglongjmp(scheduler, 2);
}

static void trace(const char *what, int loc, uint64_t value, const struct site *site)
{
	if (nsteps < MAX_STEPS)
		steps[nsteps] = (struct step){ me - threads, what, loc, value, site };
	if (++nsteps >= MAX_STEPS)
		give_up();
}

static void must_be_user(const struct location *l)
{
	if (!(l->range->users & 1u << (me - threads)))
		die("a thread uses a word that it was not to use");
}

static void append(unsigned loc, uint64_t value, const struct view *view)
{
	struct location *l = &locations[loc];
	struct message *m;

	must_be_user(l);
	if (l->last + 1 == MAX_STORES)
		give_up();
	l->last++;
	m = &l->store[l->last];
	m->value = value;
	m->view = *view;
	m->view.ts[loc] = l->last;
	nstores++;
	me->visible = true;
	l->writers |= 1u << (me - threads);
	me->now.ts[loc] = me->later.ts[loc] = l->last;
	set_image(me, loc, l->last);
}

/* Stores of plain code since the last step: whatever differs from what the thread found. */
static void collect_plain(void)
{
	for (unsigned i = 0; i < nlocations; i++) {
		const struct location *l = &locations[i];
		uint64_t value = 0;

		if (!memcmp(l->p, me->image + i * 8, l->range->unit))
			continue;
		memcpy(&value, l->p, l->range->unit);
		trace("writes", i, value, NULL);
		append(i, value, &me->released);
	}
}

/* ---- scheduling ------------------------------------------------------------------------------ */

unsigned model_choose(unsigned n)
{
	if (n <= 1)
		return 0;
	if (at_choice == nchoices) {
		if (nchoices == MAX_CHOICES)
			die("too many choices in one run");
		choices[nchoices].n = n;
		choices[nchoices++].taken = 0;
	}
	if (choices[at_choice].n != n)
		die("a run is not the same when run again");
	return choices[at_choice++].taken;
}

void thread_noticed(uint64_t what)
{
	me->history = mix(me->history, what);
}

/* Lets others run; comes back when this thread is chosen and, if it waits, may go on. */
void thread_pause(bool (*ready)(void *), void *arg)
{
	collect_plain();
	thread_noticed(0);
	me->ready = ready;
	me->arg = arg;
	me->visible = true;
	if (!_setjmp(me->context))
		siglongjmp(scheduler, 1);
	me->visible = false;
}

/*
 * Where others need not run. A load may see what is old, so what others do before it they may as well
 * do after it, as long as this thread has done nothing meanwhile that they could see: only the first
 * load behind such a thing needs a pause. A store may go unseen for a while, so it may as well happen
 * early: it needs a pause only where somebody is bound to see the newest one, that is where not only
 * one thread stores, or where it is seq_cst.
 */
static void pause_before_load(int order)
{
	collect_plain();
	if (me->visible || order == __ATOMIC_SEQ_CST)
		thread_pause(NULL, NULL);
	else
		thread_noticed(0);
}

static void pause_before_store(unsigned loc, int order)
{
	collect_plain();
	if (locations[loc].ordered || order == __ATOMIC_SEQ_CST)
		thread_pause(NULL, NULL);
	else
		thread_noticed(0);
}

static void thread_main(void)
{
	me->fn(me->fn_arg);
	collect_plain();
	me->ended = true;
	siglongjmp(scheduler, 1);
}

static void resume(struct model_thread *t)
{
	me = t;
	for (unsigned i = 0; i < nlocations; i++)
		memcpy(locations[i].p, t->image + i * 8, locations[i].range->unit);
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

/* The oldest store of each word that somebody may still see. */
static void find_oldest(struct view *oldest)
{
	memset(oldest, 0, sizeof(*oldest));
	for (unsigned i = 0; i < nlocations; i++) {
		oldest->ts[i] = locations[i].last;
		for (unsigned t = 0; t < nthreads; t++)
			if (!threads[t].ended && locations[i].range->users & 1u << t &&
			    threads[t].now.ts[i] < oldest->ts[i])
				oldest->ts[i] = threads[t].now.ts[i];
	}
}

/* How many stores there were before makes no difference. */
static uint64_t view_hash(uint64_t hash, const struct view *view, const struct view *oldest)
{
	struct view rest;

	for (unsigned i = 0; i < MAX_LOCATIONS; i++)
		rest.ts[i] = view->ts[i] > oldest->ts[i] ? view->ts[i] - oldest->ts[i] : 0;
	return model_hash(hash, &rest, (nlocations + 7) & ~7u);
}

static uint64_t memory_hash(uint64_t hash, const struct view *oldest)
{
	for (unsigned i = 0; i < nlocations; i++) {
		const struct location *l = &locations[i];

		hash = mix(hash, l->sc > oldest->ts[i] ? l->sc - oldest->ts[i] : 0);
		for (unsigned ts = oldest->ts[i]; ts <= l->last; ts++)
			hash = view_hash(mix(hash, l->store[ts].value), &l->store[ts].view, oldest);
	}
	return hash;
}

static uint64_t state_hash(void)
{
	struct view oldest;
	uint64_t hash;

	find_oldest(&oldest);
	hash = view_hash(0, &sc_view, &oldest);
	hash = view_hash(hash, model_wakers(), &oldest);
	for (unsigned i = 0; i < nthreads; i++) {
		const struct model_thread *t = &threads[i];

		hash = mix(hash, t->ended ? 1 : t->history);
		if (t->ended)
			continue;
		hash = view_hash(hash, &t->now, &oldest);
		hash = view_hash(hash, &t->later, &oldest);
		hash = view_hash(hash, &t->released, &oldest);
	}
	for (unsigned i = 0; i < nevents; i++)
		hash = view_hash(mix(hash, events[i].rung | events[i].edge << 1), &events[i].view,
				 &oldest);
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

/* ---- runs ------------------------------------------------------------------------------------ */

static void begin_run(void)
{
	for (unsigned i = 0; i < nblobs; i++)
		memcpy(blobs[i].p, blobs[i].saved, blobs[i].len);
	for (unsigned i = 0; i < nlocations; i++)
		locations[i].last = locations[i].sc = 0;
	for (unsigned i = 0; i < nthreads; i++) {
		struct model_thread *t = &threads[i];

		t->begun = t->ended = t->blind = t->slept = t->visible = t->futex_wait =
			t->blind_wait = false;
		t->ready = NULL;
		t->history = i;
		memset(&t->now, 0, 3 * sizeof(t->now));
		for (unsigned loc = 0; loc < nlocations; loc++)
			memcpy(t->image + loc * 8, &locations[loc].initial, 8);
	}
	memset(&sc_view, 0, sizeof(sc_view));
	events_reset(events, nevents);
	*model_clock() = 0;
	at_choice = nsteps = nstores = 0;
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
		const struct location *l = s->loc < 0 ? NULL : &locations[s->loc];

		printf("#   %-8s %-8s", threads[s->thread].name, s->what);
		if (l)
			printf(" %s+%td = %#lx", l->range->name, l->p - l->range->p,
			       (unsigned long)s->value);
		else
			printf(" %#lx", (unsigned long)s->value);
		if (s->site)
			printf("  %s:%d %s", s->site->file, s->site->line, s->site->function);
		printf("\n");
	}
}

/* ---- setup ----------------------------------------------------------------------------------- */

void model_shared(const char *name, volatile void *p, size_t len, unsigned unit, unsigned users)
{
	struct range *r = &ranges[nranges];

	if (nranges++ == MAX_RANGES || nlocations + len / unit > MAX_LOCATIONS)
		die("too many shared words");
	*r = (struct range){ name, (uint8_t *)p, len, unit, nlocations, users };
	for (size_t i = 0; i < len / unit; i++) {
		struct location *l = &locations[nlocations++];

		l->p = r->p + i * unit;
		l->range = r;
		l->writers = 0;
		l->ordered = false;
	}
}

void model_private(void *p, size_t len)
{
	if (nblobs == MAX_BLOBS)
		die("too many private areas");
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
		die("too many threads");
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
		die("too many eventfds");
	memset(&events[nevents], 0, sizeof(events[nevents]));
	return FIRST_FD + nevents++;
}

struct event *event_of(int fd)
{
	return fd >= FIRST_FD && fd < FIRST_FD + (int)nevents ? &events[fd - FIRST_FD] : NULL;
}

struct event *event_list(unsigned *n)
{
	*n = nevents;
	return events;
}

struct model_thread *thread_now(void)
{
	return me;
}

struct model_thread *thread_list(unsigned *n)
{
	*n = nthreads;
	return threads;
}

/* What setup left is how each run begins. */
static void take_initial(void)
{
	for (unsigned i = 0; i < nblobs; i++)
		memcpy(blobs[i].saved, blobs[i].p, blobs[i].len);
	for (unsigned i = 0; i < nlocations; i++) {
		struct location *l = &locations[i];

		l->initial = 0;
		memcpy(&l->initial, l->p, l->range->unit);
		memset(&l->store[0], 0, sizeof(l->store[0]));
		l->store[0].value = l->initial;
	}
}

static void forget_all(void)
{
	for (unsigned i = 0; i < nblobs; i++)
		free(blobs[i].saved);
	nblobs = nranges = nlocations = nthreads = nevents = 0;
	me = NULL;
	nforgets = 0;
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
		die("out of memory");
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

/* ---- steps ----------------------------------------------------------------------------------- */

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

static int order_of(struct site *site)
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

static bool acquires(int order)
{
	return order == __ATOMIC_ACQUIRE || order == __ATOMIC_ACQ_REL || order == __ATOMIC_SEQ_CST;
}

static bool releases(int order)
{
	return order == __ATOMIC_RELEASE || order == __ATOMIC_ACQ_REL || order == __ATOMIC_SEQ_CST;
}

static uint64_t raw_load(const volatile void *p, unsigned size)
{
	uint64_t value = 0;

	memcpy(&value, (const void *)p, size);
	return value;
}

/* Sees store `ts`. */
static uint64_t take(unsigned loc, unsigned ts, int order, const struct site *site)
{
	const struct message *m = &locations[loc].store[ts];

	must_be_user(&locations[loc]);
	saw(me, loc, ts);
	merge(&me->later, &m->view);
	if (acquires(order))
		thread_learns(me, &m->view);
	thread_noticed(m->value);
	trace("loads", loc, m->value, site);
	return m->value;
}

/* If that is news, the exploration begins anew. */
static void must_order(unsigned loc)
{
	if (!locations[loc].ordered)
		restart = true;
	locations[loc].ordered = true;
}

static void put(unsigned loc, uint64_t value, int order, const struct site *site)
{
	trace("stores", loc, value, site);
	if (locations[loc].writers & ~(1u << (me - threads)))
		must_order(loc);
	append(loc, value, releases(order) ? &me->now : &me->released);
	if (order == __ATOMIC_SEQ_CST)
		locations[loc].sc = locations[loc].last;
}

uint64_t model_load(const volatile void *p, unsigned size, struct site *site)
{
	const int order = order_of(site);
	const int loc = location_of(p, size);
	unsigned first;

	for (unsigned i = 0; i < nforgets; i++)
		if (p == forgets[i].at && !strcmp(site->function, forgets[i].in))
			forgets[i].by();
	if (loc < 0)
		return raw_load(p, size);
	if (me->blind)
		return take(loc, me->now.ts[loc], order, site);
	pause_before_load(order);
	first = me->now.ts[loc];
	if (order == __ATOMIC_SEQ_CST && locations[loc].sc > first)
		first = locations[loc].sc;
	/* The newest first: staleness is the exception. */
	return take(loc, locations[loc].last - model_choose(locations[loc].last - first + 1), order,
		    site);
}

void model_store(volatile void *p, unsigned size, uint64_t value, struct site *site)
{
	const int order = order_of(site);
	const int loc = location_of(p, size);

	if (loc < 0) {
		memcpy((void *)p, &value, size);
		return;
	}
	pause_before_store(loc, order);
	put(loc, value, order, site);
}

/* A read-modify-write sees the newest store, and who acquires it acquires what that one released. */
static void change(unsigned loc, uint64_t value, int order, const struct site *site)
{
	const struct message *old = &locations[loc].store[locations[loc].last];
	struct view view = releases(order) ? me->now : me->released;

	must_order(loc);
	merge(&view, &old->view);
	trace("changes", loc, value, site);
	append(loc, value, &view);
	if (order == __ATOMIC_SEQ_CST)
		locations[loc].sc = locations[loc].last;
}

uint64_t model_rmw(volatile void *p, unsigned size, model_rmw_fn *next, uint64_t operand,
		   struct site *site)
{
	const uint64_t mask = size == 8 ? ~0ULL : (1ULL << 8 * size) - 1;
	const int order = order_of(site);
	const int loc = location_of(p, size);
	uint64_t old, new;

	if (loc < 0) {
		old = raw_load(p, size);
		new = next(old, operand);
		memcpy((void *)p, &new, size);
		return old;
	}
	thread_pause(NULL, NULL);
	old = take(loc, locations[loc].last, order, site);
	change(loc, next(old, operand) & mask, order, site);
	return old;
}

bool model_cas(volatile void *p, unsigned size, void *expected, uint64_t value, struct site *site)
{
	const int order = order_of(site);
	const int loc = location_of(p, size);
	uint64_t old;

	if (loc < 0)
		die("a compare and exchange on a word that nobody shares");
	thread_pause(NULL, NULL);
	if (memcmp(&locations[loc].store[locations[loc].last].value, expected, size)) {
		old = take(loc, locations[loc].last, __ATOMIC_RELAXED, site);
		memcpy(expected, &old, size);
		return false;
	}
	take(loc, locations[loc].last, order, site);
	change(loc, value, order, site);
	return true;
}

void model_fence(struct site *site)
{
	const int order = order_of(site);

	if (order == __ATOMIC_SEQ_CST)
		thread_pause(NULL, NULL);
	else
		thread_noticed(0);
	me->visible = true;
	trace(order == __ATOMIC_SEQ_CST ? "fences" : "no fence", -1, 0, site);
	thread_learns(me, &me->later);
	if (order == __ATOMIC_SEQ_CST) {
		thread_learns(me, &sc_view);
		sc_view = me->now;
	}
	me->released = me->now;
}

uint64_t model_newest(const volatile void *p, unsigned size)
{
	const int loc = location_of(p, size);

	if (loc < 0)
		return raw_load(p, size);
	must_order(loc);
	return locations[loc].store[locations[loc].last].value;
}

void model_acquire(const volatile void *p)
{
	const int loc = location_of(p, 1);

	if (loc < 0)
		return;
	must_order(loc);
	take(loc, locations[loc].last, __ATOMIC_ACQUIRE, NULL);
}

/* Has anybody stored anything since this thread looked? */
static bool something_new(void *arg)
{
	return nstores > ((struct model_thread *)arg)->looked_at;
}

/*
 * A pause in a loop that looks for work. Either something new appears before the next look, or the
 * loop ends without it: then the looks up to the next reading of the clock see nothing new, and so
 * need not be told apart from each other.
 */
void model_relax(void)
{
	if (me->blind)
		return;
	thread_pause(NULL, NULL);
	me->blind = model_choose(2);
	thread_noticed(me->blind);
	if (me->blind)
		return;
	me->blind_wait = true;
	me->looked_at = nstores;
	thread_pause(something_new, me);
	me->blind_wait = false;
}

void model_forget_at(const volatile void *p, const char *function, void (*by)(void))
{
	if (nforgets == sizeof(forgets) / sizeof(*forgets))
		die("too many places to forget");
	forgets[nforgets].at = p;
	forgets[nforgets].in = function;
	forgets[nforgets++].by = by;
}

void model_forget(const void *p, size_t len)
{
	me->history = model_hash(me - threads, p, len);
}

void thread_traces(const char *what, uint64_t value)
{
	trace(what, -1, value, NULL);
}

uint64_t model_add(uint64_t old, uint64_t operand)
{
	return old + operand;
}

uint64_t model_sub(uint64_t old, uint64_t operand)
{
	return old - operand;
}

uint64_t model_and(uint64_t old, uint64_t operand)
{
	return old & operand;
}

uint64_t model_or(uint64_t old, uint64_t operand)
{
	return old | operand;
}

uint64_t model_swap(uint64_t old, uint64_t operand)
{
	return operand;
}
