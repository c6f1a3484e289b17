/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What one build of a program costs more than another, from exec to exit:
 *
 *	cost [-p LIBRARY] KIB MS A B ARGUMENT ...
 *
 * Runs both with the same arguments, in turns, and prints the least proportional share of memory
 * (PSS) that each had at its end, and the least CPU time. Status 1: A has more than KIB or MS above B.
 * -p: A has a library more, to see that it would be noticed.
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define SIZE_RUNS 10
#define TIME_RUNS 50
#define ROUNDS	  5 /* on a busy host it takes more runs to find the least */

struct program {
	const char *path;
	const char *preload;
	double ms;
	long kib;
};

static pid_t start(const struct program *p, char **argv, int traced)
{
	const pid_t pid = fork();
	int null;

	if (pid)
		return pid;
	null = open("/dev/null", O_RDWR);
	dup2(null, 0);
	dup2(null, 1);
	dup2(null, 2);
	if (p->preload)
		setenv("LD_PRELOAD", p->preload, 1);
	if (traced)
		ptrace(PTRACE_TRACEME, 0, 0, 0);
	execv(p->path, argv);
	_exit(127);
}

static double milliseconds(const struct timeval *tv)
{
	return (double)tv->tv_sec * 1e3 + (double)tv->tv_usec / 1e3;
}

/* CPU time: what a busy host does meanwhile does not count, as far as that can be had. */
static void run_timed(struct program *p, char **argv)
{
	const pid_t pid = start(p, argv, 0);
	struct rusage used;
	int status;
	double ms;

	if (wait4(pid, &status, 0, &used) < 0 || !WIFEXITED(status) || WEXITSTATUS(status) == 127)
		errx(2, "%s: does not run", p->path);
	ms = milliseconds(&used.ru_utime) + milliseconds(&used.ru_stime);
	if (!p->ms || ms < p->ms)
		p->ms = ms;
}

static long pss(pid_t pid)
{
	char path[64], line[128];
	long kib = -1;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", pid);
	f = fopen(path, "r");
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "Pss: %ld", &kib) == 1)
			break;
	if (f)
		fclose(f);
	return kib;
}

/* Its memory is still there when it stops at its exit. Signals are passed on. */
static void run_sized(struct program *p, char **argv)
{
	const pid_t pid = start(p, argv, 1);
	int status, sig = 0, first = 1;
	long kib;

	while (waitpid(pid, &status, 0) == pid && WIFSTOPPED(status)) {
		sig = WSTOPSIG(status);
		if (first && ptrace(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_TRACEEXIT))
			err(2, "ptrace");
		if (status >> 8 == (SIGTRAP | PTRACE_EVENT_EXIT << 8)) {
			kib = pss(pid);
			if (kib >= 0 && (!p->kib || kib < p->kib))
				p->kib = kib;
		}
		if (first || sig == SIGTRAP)
			sig = 0;
		first = 0;
		ptrace(PTRACE_CONT, pid, 0, sig);
	}
	if (!p->kib)
		errx(2, "%s: has no size", p->path);
}

int main(int argc, char **argv)
{
	struct program a = { 0 }, b = { 0 };
	const int skip = argc > 2 && !strcmp(argv[1], "-p") ? 2 : 0;
	char **args = argv + skip;
	double kib, ms;

	if (argc - skip < 5)
		errx(2, "usage: cost [-p LIBRARY] KIB MS A B ARGUMENT ...");
	a.preload = skip ? argv[2] : NULL;
	kib = atof(args[1]);
	ms = atof(args[2]);
	a.path = args[3];
	b.path = args[4];
	for (int i = 0; i < SIZE_RUNS; i++) {
		run_sized(&a, args + 4);
		run_sized(&b, args + 4);
	}
	for (int round = 0; round < ROUNDS && (!round || a.ms - b.ms > ms); round++) {
		for (int i = 0; i < TIME_RUNS; i++) {
			run_timed(&a, args + 4);
			run_timed(&b, args + 4);
		}
	}
	printf("%s: %ld KiB, %.3f ms\n%s: %ld KiB, %.3f ms\n", a.path, a.kib, a.ms, b.path, b.kib,
	       b.ms);
	return (double)(a.kib - b.kib) > kib || a.ms - b.ms > ms;
}
