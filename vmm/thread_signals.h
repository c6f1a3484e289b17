/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What every thread but main blocks: signals are main's business. What a thread does to itself cannot
 * be put off and is left: blocked, a fault or a forbidden system call would kill without its handler,
 * which is what gives the terminal back.
 */
#ifndef MVMM_THREAD_SIGNALS_H
#define MVMM_THREAD_SIGNALS_H

#include <signal.h>

static inline void thread_signals(sigset_t *set)
{
	static const int own[] = { SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGTRAP, SIGSYS };

	sigfillset(set);
	for (unsigned i = 0; i < sizeof(own) / sizeof(own[0]); i++)
		sigdelset(set, own[i]);
}

#endif
