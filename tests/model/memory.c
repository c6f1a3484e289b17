/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The explorer's memory: what a load may see and what a store changes; see explore.h.
 *
 * Knows threads and their views, and asks explore.c to let others run and to choose.
 */
#include <stdio.h>
#include <stdlib.h>

#include "tests/model/explore.h"
#include "tests/model/explore_priv.h"

#define MAX_RANGES 32
#define MAX_STORES 64 /* to one word in one run */

struct range {
	const char *name;
	uint8_t *p;
	size_t len;
	unsigned unit, first; /* location of its first word */
	unsigned users;	      /* one bit per thread */
};

/* One store to one word, and what its writer had seen when it released it. */
struct message {
	uint64_t value;
	struct view view;
};

static struct range ranges[MAX_RANGES];
static unsigned nranges;

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

static struct view sc_view; /* what the last full fence had seen */
static unsigned nstores;

/* Where threads may forget what they have seen. */
static struct {
	const volatile void *at;
	const char *in;
	void (*by)(void);
} forgets[4];
static unsigned nforgets;

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
			model_die("an access does not fit the words of its range");
		return r->first + (byte - r->p) / r->unit;
	}
	return -1;
}

static void must_be_user(const struct location *l)
{
	if (!(l->range->users & 1u << (me - threads)))
		model_die("a thread uses a word that it was not to use");
}

static void append(unsigned loc, uint64_t value, const struct view *view)
{
	struct location *l = &locations[loc];
	struct message *m;

	must_be_user(l);
	if (l->last + 1 == MAX_STORES)
		run_give_up();
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
void memory_collect_plain(void)
{
	for (unsigned i = 0; i < nlocations; i++) {
		const struct location *l = &locations[i];
		uint64_t value = 0;

		if (!memcmp(l->p, me->image + i * 8, l->range->unit))
			continue;
		memcpy(&value, l->p, l->range->unit);
		thread_traces("writes", i, value, NULL);
		append(i, value, &me->released);
	}
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
	memory_collect_plain();
	if (me->visible || order == __ATOMIC_SEQ_CST)
		thread_pause(NULL, NULL);
	else
		thread_noticed(0);
}

static void pause_before_store(unsigned loc, int order)
{
	memory_collect_plain();
	if (locations[loc].ordered || order == __ATOMIC_SEQ_CST)
		thread_pause(NULL, NULL);
	else
		thread_noticed(0);
}

/* ---- for explore.c --------------------------------------------------------------------------- */

/* The oldest store of each word that somebody may still see. */
void memory_oldest(struct view *oldest)
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
uint64_t view_hash(uint64_t hash, const struct view *view, const struct view *oldest)
{
	struct view rest;

	for (unsigned i = 0; i < MAX_LOCATIONS; i++)
		rest.ts[i] = view->ts[i] > oldest->ts[i] ? view->ts[i] - oldest->ts[i] : 0;
	return model_hash(hash, &rest, (nlocations + 7) & ~7u);
}

uint64_t memory_hash(uint64_t hash, const struct view *oldest)
{
	hash = view_hash(hash, &sc_view, oldest);
	for (unsigned i = 0; i < nlocations; i++) {
		const struct location *l = &locations[i];

		hash = hash_mix(hash, l->sc > oldest->ts[i] ? l->sc - oldest->ts[i] : 0);
		for (unsigned ts = oldest->ts[i]; ts <= l->last; ts++)
			hash = view_hash(hash_mix(hash, l->store[ts].value), &l->store[ts].view,
					 oldest);
	}
	return hash;
}

void model_shared(const char *name, volatile void *p, size_t len, unsigned unit, unsigned users)
{
	struct range *r = &ranges[nranges];

	if (nranges++ == MAX_RANGES || nlocations + len / unit > MAX_LOCATIONS)
		model_die("too many shared words");
	*r = (struct range){ name, (uint8_t *)p, len, unit, nlocations, users };
	for (size_t i = 0; i < len / unit; i++) {
		struct location *l = &locations[nlocations++];

		l->p = r->p + i * unit;
		l->range = r;
		l->writers = 0;
		l->ordered = false;
	}
}

void memory_forget(void)
{
	nranges = nlocations = nforgets = 0;
}

/* What setup left is how each run begins. */
void memory_take_initial(void)
{
	for (unsigned i = 0; i < nlocations; i++) {
		struct location *l = &locations[i];

		l->initial = 0;
		memcpy(&l->initial, l->p, l->range->unit);
		memset(&l->store[0], 0, sizeof(l->store[0]));
		l->store[0].value = l->initial;
	}
}

void memory_begin_run(void)
{
	for (unsigned i = 0; i < nlocations; i++)
		locations[i].last = locations[i].sc = 0;
	for (unsigned t = 0; t < nthreads; t++)
		for (unsigned i = 0; i < nlocations; i++)
			memcpy(threads[t].image + i * 8, &locations[i].initial, 8);
	memset(&sc_view, 0, sizeof(sc_view));
	nstores = 0;
}

void memory_show_to(const struct model_thread *t)
{
	for (unsigned i = 0; i < nlocations; i++)
		memcpy(locations[i].p, t->image + i * 8, locations[i].range->unit);
}

void memory_name(unsigned loc, char *name, size_t size)
{
	const struct location *l = &locations[loc];

	snprintf(name, size, "%s+%td", l->range->name, l->p - l->range->p);
}

/* ---- steps ----------------------------------------------------------------------------------- */

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
	thread_traces("loads", loc, m->value, site);
	return m->value;
}

/* If that is news, the exploration begins anew. */
static void must_order(unsigned loc)
{
	if (!locations[loc].ordered)
		model_begin_anew();
	locations[loc].ordered = true;
}

static void put(unsigned loc, uint64_t value, int order, const struct site *site)
{
	thread_traces("stores", loc, value, site);
	if (locations[loc].writers & ~(1u << (me - threads)))
		must_order(loc);
	append(loc, value, releases(order) ? &me->now : &me->released);
	if (order == __ATOMIC_SEQ_CST)
		locations[loc].sc = locations[loc].last;
}

uint64_t model_load(const volatile void *p, unsigned size, struct site *site)
{
	const int order = site_order(site);
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
	const int order = site_order(site);
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
	thread_traces("changes", loc, value, site);
	append(loc, value, &view);
	if (order == __ATOMIC_SEQ_CST)
		locations[loc].sc = locations[loc].last;
}

uint64_t model_rmw(volatile void *p, unsigned size, model_rmw_fn *next, uint64_t operand,
		   struct site *site)
{
	const uint64_t mask = size == 8 ? ~0ULL : (1ULL << 8 * size) - 1;
	const int order = site_order(site);
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
	const int order = site_order(site);
	const int loc = location_of(p, size);
	uint64_t old;

	if (loc < 0)
		model_die("a compare and exchange on a word that nobody shares");
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
	const int order = site_order(site);

	if (order == __ATOMIC_SEQ_CST)
		thread_pause(NULL, NULL);
	else
		thread_noticed(0);
	me->visible = true;
	thread_traces(order == __ATOMIC_SEQ_CST ? "fences" : "no fence", -1, 0, site);
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
		model_die("too many places to forget");
	forgets[nforgets].at = p;
	forgets[nforgets].in = function;
	forgets[nforgets++].by = by;
}

void model_forget(const void *p, size_t len)
{
	me->history = model_hash(me - threads, p, len);
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
