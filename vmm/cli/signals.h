/* SPDX-License-Identifier: Apache-2.0 */
/* The signals that end a VM. */
#ifndef MVMM_CLI_SIGNALS_H
#define MVMM_CLI_SIGNALS_H

#include <signal.h>

/*
 * SIGINT, SIGTERM and SIGHUP. SIGHUP only where it is not ignored: nohup(1) has asked for that, and
 * a blocked signal would come all the same.
 */
static inline void signals_that_end(sigset_t *set)
{
	struct sigaction hup;

	sigemptyset(set);
	sigaddset(set, SIGINT);
	sigaddset(set, SIGTERM);
	if (!sigaction(SIGHUP, NULL, &hup) && hup.sa_handler != SIG_IGN)
		sigaddset(set, SIGHUP);
}

#endif
