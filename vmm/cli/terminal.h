/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The user's terminal: raw while the guest has it, and given back as it was in every case but
 * SIGKILL.
 */
#ifndef MVMM_CLI_TERMINAL_H
#define MVMM_CLI_TERMINAL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <termios.h>

struct terminal {
	int fd;			 /* borrowed; -1: not a terminal */
	_Atomic bool held;	 /* `saved` is what the user had, and has to come back */
	_Atomic bool given;	 /* back, for good: nobody makes it raw again */
	_Atomic unsigned taking; /* threads that make it raw at this moment */
	struct termios saved;	 /* as the user had it */
	struct termios raw;	 /* as the guest wants it */
};

/*
 * Puts the terminal behind `fd` in raw mode (Ctrl-C goes to the guest; output processing stays on).
 * What is no terminal is left alone, as is one whose foreground another process group has: that one
 * becomes raw when terminal_resume() finds us in the foreground. 0 or -errno.
 *
 * From here to terminal_close(), every fatal signal that still has its default action restores the
 * terminal first, and SIGCONT makes it raw again. One terminal per process at a time; `term` must
 * stay where it is. Main, before threads start.
 */
int terminal_open(struct terminal *term, int fd);

/* For signal handlers that end the process, on any thread: as it was before. Async-signal-safe. */
void terminal_give_back(void);

/* Main: as it was before, if we are in the foreground. May be called twice. */
void terminal_close(struct terminal *term);

/*
 * Main: raw again after somebody else may have set the terminal. Call it when SIGCONT is taken from
 * a signalfd (the handler does not run then) and now and then from a timer: a shell's `fg` of a job
 * that never stopped sends no signal.
 */
void terminal_resume(struct terminal *term);

/* False: reading now would stop the process with SIGTTIN; do not poll for input either. */
bool terminal_readable(const struct terminal *term);

#endif
