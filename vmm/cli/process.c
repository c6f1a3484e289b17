/* SPDX-License-Identifier: Apache-2.0 */
/* Signals and limits of the process. Main; knows no machine. */
#include "vmm/cli/process.h"

#include <errno.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/signalfd.h>

#include "vmm/cli/signals.h"

/* A write to a closed pipe or past RLIMIT_FSIZE is an error of that write, not a death. */
int process_take_signals(struct error *err)
{
	sigset_t set;
	int fd;

	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);
	signals_that_end(&set);
	fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return fd < 0 ? error_set(err, errno, "signalfd") : fd;
}

void process_hold_signals(void)
{
	sigset_t set;

	signals_that_end(&set);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
}

void process_raise_fd_limit(void)
{
	struct rlimit lim;

	if (getrlimit(RLIMIT_NOFILE, &lim) || lim.rlim_cur >= lim.rlim_max)
		return;
	lim.rlim_cur = lim.rlim_max;
	setrlimit(RLIMIT_NOFILE, &lim);
}
