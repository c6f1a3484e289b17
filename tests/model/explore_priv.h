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

struct event *event_of(int fd);
struct event *event_list(unsigned *n);
void events_reset(struct event *events, unsigned n);

const struct view *model_wakers(void); /* of futexes: what they had seen */

struct model_thread *thread_now(void);
struct model_thread *thread_list(unsigned *n);
void thread_learns(struct model_thread *t, const struct view *view);
void thread_noticed(uint64_t what);
void thread_pause(bool (*ready)(void *), void *arg);
void thread_traces(const char *what, uint64_t value);

#endif
