/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An explorer of interleavings: runs a few threads, made of the monitor's real functions, through
 * all orders in which their steps can happen and all values that the C11 memory model lets their
 * loads see, and tells whether one of them ends badly.
 *
 * Threads are coroutines. A step is an atomic access or a fence (hooks.h) or a system call (below),
 * with whatever plain code follows it. Memory works as in the operational form of C11's relaxed,
 * acquire, release and seq_cst ("view machine", Kang et al., POPL 2017, without promises): a word is
 * the list of all its stores, a thread has a view of how much of each list it must have seen, and a
 * load takes any store from there on. So stores are seen late and in any order unless something
 * orders them, which is more than x86's store buffers do and what arm64 does, but for loads that are
 * overtaken by later stores of the same thread: that is not modelled.
 *
 * Plain accesses to shared words see the oldest value that the thread's view allows, so that data
 * read without order is stale as soon as it can be.
 *
 * Two runs that reach the same state, that is the same memory, views and things seen by each thread,
 * go on the same way: the second one ends there.
 */
#ifndef MVMM_TESTS_MODEL_EXPLORE_H
#define MVMM_TESTS_MODEL_EXPLORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tests/model/hooks.h"

/* ---- what a scenario's setup calls ----------------------------------------------------------- */

/* Words that threads share: `len` bytes in words of `unit` (1, 2, 4, 8). `users`: bit n is the nth
 * model_thread(). Everything else belongs to one thread. The value at the end of setup is the initial
 * one. */
void model_shared(const char *name, volatile void *p, size_t len, unsigned unit, unsigned users);

/* Memory that a run changes and the next one wants back as it was: a thread's own. */
void model_private(void *p, size_t len);

/* Memory that threads share outside of the memory model: it is part of the state. */
void model_known_to_all(const void *p, size_t len);

/* A thread. `must_end`: a run in which all wait and this one has not ended is a failure. Returns its
 * number. */
unsigned model_thread(const char *name, void (*fn)(void *arg), void *arg, bool must_end);

#define MODEL_ALL (~0u) /* users: all threads */

/* An eventfd that wakes who waits for it in model_wait_event() or, as `data`, in epoll_wait(). */
int model_eventfd(void);
void model_watch(int fd, uint32_t data);

/* ---- what threads call ----------------------------------------------------------------------- */

void model_fail(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

/* One of 0 .. n - 1: all of them are explored. */
unsigned model_choose(unsigned n);

/* The time, in ns; where it goes by, kernel.c says. */
uint64_t *model_clock(void);

/* Waits for a thread's end. */
void model_join(unsigned thread);

/* Waits for an event that edges bring: an interrupt, a kick. */
void model_wait_event(int fd);
void model_signal(int fd);

/* Waits until `ready(arg)` holds, which looks at shared words by model_newest() only, and so does
 * what the kernel does. */
void model_wait(bool (*ready)(void *arg), void *arg);
uint64_t model_newest(const volatile void *p, unsigned size);
void model_acquire(const volatile void *p); /* from the one who stored the newest value */
bool model_epoll_ready(void);

/* All that this thread will ever do from here on follows from these bytes and from what it shares:
 * what it saw before is forgotten, so that more states are the same. */
void model_forget(const void *p, size_t len);
uint64_t model_hash(uint64_t seed, const void *p, size_t len);

/* Calls `by`, which may call model_forget(), whenever `function` loads from `p`. */
void model_forget_at(const volatile void *p, const char *function, void (*by)(void));

/* ---- what a test calls ----------------------------------------------------------------------- */

enum model_result { MODEL_HOLDS, MODEL_FAILS, MODEL_TOO_BIG };

/* Explores one scenario. `weak`: the site that lacks its order, or NULL. `mark`: a bit to be set in
 * each site it reaches. `show`: prints the steps of a failure. */
enum model_result model_explore(void (*setup)(void), struct site *weak, uint64_t mark, bool show);

/* An exploration gives up at so many states: at most what it starts with. */
extern uint64_t model_limit;

/* Of the last exploration. */
extern uint64_t model_states, model_runs;
extern char model_failure[256];

/* Places that explorations came by, newest first. */
extern struct site *model_sites;

#endif
