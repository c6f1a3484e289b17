/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a shell cannot do, for tests/sandbox/run:
 *
 *	poke signal PID NAME SIGNAL	to the thread of PID that has the name
 *	poke nonblock COMMAND ...	runs it with a pipe for standard output that takes a page
 *					and does not block
 */
#include <err.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tests/sandbox/threads.h"

int main(int argc, char **argv)
{
	if (argc == 5 && !strcmp(argv[1], "signal")) {
		if (syscall(SYS_tgkill, atoi(argv[2]), find(argv[2], argv[3]), atoi(argv[4])))
			err(1, "tgkill");
		return 0;
	}
	if (argc > 2 && !strcmp(argv[1], "nonblock")) {
		if (fcntl(STDOUT_FILENO, F_SETFL, O_WRONLY | O_NONBLOCK) ||
		    fcntl(STDOUT_FILENO, F_SETPIPE_SZ, 4096) < 0)
			err(1, "fcntl");
		execv(argv[2], argv + 2);
		err(1, "%s", argv[2]);
	}
	errx(2, "usage: poke signal PID NAME SIGNAL | poke nonblock COMMAND ...");
}
