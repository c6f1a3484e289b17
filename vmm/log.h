/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages on stderr, one write(2) per line, each starting with "mvmm: ".
 *
 * Any thread but a disk's may log: the dataplane counts and lets others speak. What a guest can
 * trigger goes through log_guest(), which a hostile guest cannot turn into a flood. What stderr does
 * not take within a tenth of a second per KiB is lost: nobody waits for a reader that has stopped.
 */
#ifndef MVMM_LOG_H
#define MVMM_LOG_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Set once, before any thread starts. log_verbose() is silent without it. */
void log_set_verbose(bool on);

void log_error(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void log_warn(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void log_info(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void log_verbose(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/*
 * A boot that follows many others: from here on errors only, as the others have said the rest, until
 * log_go_on(). What log_guest() and log_host() limit is held back until the next 10 seconds begin: each
 * process has budgets of its own. Before threads.
 */
void log_hold_back(void);
void log_go_on(void);

/* `text` as it is, newlines included. */
void log_raw(const char *text, size_t len);

/* A budget of LOG_GUEST_BURST lines per 10 seconds for one source; zero-initialised. */
#define LOG_GUEST_BURST 5
struct log_limit {
	_Atomic uint64_t window; /* CLOCK_MONOTONIC seconds / 10 */
	_Atomic uint32_t lines;	 /* written in this window */
};

/* Takes one line from the budget of `window`: how many were left, this one included; 0: be silent. */
unsigned log_limit_take(struct log_limit *limit, uint64_t window);
/* The same from that of now. */
unsigned log_limit_now(struct log_limit *limit);

void log_guest(struct log_limit *limit, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The same of what the host does, again and again. */
void log_host(struct log_limit *limit, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
