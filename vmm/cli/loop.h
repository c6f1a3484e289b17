/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Main's poll loop: descriptors and deadlines, and what is called when one is ready or has come.
 *
 * Watches and timers belong to the caller, who keeps them where they are until they are removed;
 * nothing is allocated. Main only, from anywhere in main, callbacks included: a callback may add,
 * change or remove any watch or timer, its own too. A watch that was removed is not called any more,
 * not even when it was ready in the same lap.
 */
#ifndef MVMM_CLI_LOOP_H
#define MVMM_CLI_LOOP_H

#include <stdbool.h>
#include <stdint.h>

/* A few of main's own, 25 of the control socket, and several of each of 31 disks. */
#define LOOP_MAX_WATCHES 192

struct loop_watch {
	int fd;	      /* -1: nothing to look at just now; may be changed at any time */
	short events; /* of poll(2); may be changed at any time */
	/* `revents` as poll(2) has them: POLLERR, POLLHUP and POLLNVAL come unasked. */
	void (*ready)(void *opaque, short revents);
	void *opaque;
	unsigned at; /* loop.c's: 1 + the place in the loop; 0: not in it */
};

struct loop_timer {
	void (*expired)(void *opaque);
	void *opaque;
	uint64_t when; /* clock_ms() */
	bool armed;
	struct loop_timer *next; /* loop.c's: by time */
};

/* Zero-initialised. */
struct loop {
	struct loop_watch *watch[LOOP_MAX_WATCHES];
	unsigned nwatches;
	bool holes; /* some were removed during this lap */
	struct loop_timer *timers;
	uint64_t now; /* clock_ms() of this lap */
};

/* 0, or -ENOSPC where LOOP_MAX_WATCHES are there already. One that is in the loop stays: 0. */
int loop_add(struct loop *loop, struct loop_watch *watch);

/* Nothing happens where it is not in the loop. */
void loop_remove(struct loop *loop, struct loop_watch *watch);

/*
 * Arms the timer for `when` in clock_ms(), or moves it there. It is called once, in the first lap at
 * or after that time; one set to a time that has passed, in the next lap. CLOCK_NEVER: cancels it.
 */
void loop_timer_set(struct loop *loop, struct loop_timer *timer, uint64_t when);
void loop_timer_cancel(struct loop *loop, struct loop_timer *timer);

/* One lap: sleeps until something is ready or due, and calls who asked for it. */
void loop_once(struct loop *loop);

#endif
