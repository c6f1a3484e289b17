/* SPDX-License-Identifier: Apache-2.0 */
/* The inside of the explorer, shared by explore.c (memory, choices) and kernel.c (what stands in for
 * system calls). */
#ifndef MVMM_TESTS_MODEL_EXPLORE_PRIV_H
#define MVMM_TESTS_MODEL_EXPLORE_PRIV_H

#include <setjmp.h>
#include <ucontext.h>

#include "tests/model/explore.h"

#define MAX_LOCATIONS 96
#define MAX_THREADS   4
#define MAX_EVENTS    8
#define FIRST_FD      1000

/* How much of each word's list of stores somebody has seen. */
struct view {
	uint8_t ts[MAX_LOCATIONS];
};

struct model_thread {
	const char *name;
	void (*fn)(void *arg);
	void *fn_arg;
	bool must_end;

	bool begun, ended;
	bool (*ready)(void *arg); /* waits for this to hold; NULL: may go on */
	void *arg;
	bool blind;	    /* in a look that will find nothing */
	bool blind_wait;    /* in one that will */
	unsigned looked_at; /* then: stores there were */
	bool futex_wait;
	bool slept;	  /* in epoll_wait(), and has not read the clock since */
	bool visible;	  /* did something that others could see since they could run */
	uint64_t history; /* all that it has seen */

	struct view now;      /* what it must see by now */
	struct view later;    /* and after its next fence: what relaxed loads found */
	struct view released; /* what its relaxed stores carry: its view at its last fence */

	uint8_t image[8 * MAX_LOCATIONS]; /* what plain loads find */
	uint8_t *stack;
	ucontext_t start;
	jmp_buf context;
};

/* An eventfd. */
struct event {
	bool rung; /* its counter is not 0 */
	bool edge; /* it was written since somebody was told so */
	bool watched;
	uint32_t data;
	struct view view; /* of those who wrote it */
};

extern struct model_thread threads[MAX_THREADS], *me; /* me: who runs */
extern unsigned nthreads;
extern struct event events[MAX_EVENTS];
extern unsigned nevents;

/* ---- explore.c ------------------------------------------------------------------------------- */

void model_die(const char *what) __attribute__((noreturn));
uint64_t hash_mix(uint64_t hash, uint64_t value);

/* Lets others run; comes back when this thread is chosen and, if it waits, may go on. */
void thread_pause(bool (*ready)(void *), void *arg);

/* What decides how the thread goes on, and what people may want to read; `loc` -1: of no word. */
void thread_noticed(uint64_t what);
void thread_traces(const char *what, int loc, uint64_t value, const struct site *site);

/* A run that is longer than there is room for: perhaps it only sees what is old for ever. */
void run_give_up(void) __attribute__((noreturn));
void model_begin_anew(void);
int site_order(struct site *site);

/* ---- memory.c -------------------------------------------------------------------------------- */

void memory_forget(void);
void memory_take_initial(void);
void memory_begin_run(void);
void memory_show_to(const struct model_thread *t);
void memory_name(unsigned loc, char *name, size_t size);

/* Stores of plain code since the last step: whatever differs from what the thread found. */
void memory_collect_plain(void);

/* The oldest store of each word that somebody may still see. */
void memory_oldest(struct view *oldest);
uint64_t view_hash(uint64_t hash, const struct view *view, const struct view *oldest);
uint64_t memory_hash(uint64_t hash, const struct view *oldest);
void thread_learns(struct model_thread *t, const struct view *view);

/* ---- kernel.c -------------------------------------------------------------------------------- */

struct event *event_of(int fd);
void events_reset(void);
const struct view *model_wakers(void); /* of futexes: what they had seen */

#endif
