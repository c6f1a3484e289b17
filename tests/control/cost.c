/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What one build of a program costs more than another, from exec to exit:
 *
 *	cost [-p LIBRARY] KIB MS A B ARGUMENT ...
 *
 * Runs both with the same arguments, in turns, and prints the least proportional share of memory
 * (PSS) that each had at its end, and how far apart their CPU times are. Status 1: A has more than KIB
 * above B, or surely more than MS. -p: A has a library more, to see that it would be noticed.
 *
 * A busy host makes a run of a millisecond take any time, but it does not know which of the two it is.
 * So were A no more than MS above B, then what a pair of runs is apart, less MS, would as soon be above
 * zero as below it, by as much; and Wilcoxon's signed-rank statistic of many pairs would come five
 * deviations above zero once in three million tries, whatever the noise. Noise only makes it take more
 * pairs to see what is there, and at last more than are made.
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define SIZE_RUNS 10
#define PAIRS	  50 /* before each look at the result */
#define MAX_PAIRS 600
#define SURELY	  (5.0 * 5.0)

struct program {
	const char *path;
	const char *preload;
	long kib;
};

static pid_t start_traced(const struct program *p, char **argv)
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
	ptrace(PTRACE_TRACEME, 0, 0, 0);
	execv(p->path, argv);
	_exit(127);
}

/* Without the pages that a fork copies: as little as can be had besides the program's own time. */
static pid_t start_timed(const struct program *p, char **argv)
{
	posix_spawn_file_actions_t actions;
	pid_t pid;

	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDWR, 0);
	posix_spawn_file_actions_adddup2(&actions, 0, 1);
	posix_spawn_file_actions_adddup2(&actions, 0, 2);
	if (p->preload)
		setenv("LD_PRELOAD", p->preload, 1);
	errno = posix_spawn(&pid, p->path, &actions, NULL, argv, environ);
	if (errno)
		err(2, "%s", p->path);
	unsetenv("LD_PRELOAD");
	posix_spawn_file_actions_destroy(&actions);
	return pid;
}

static double milliseconds(const struct timeval *tv)
{
	return (double)tv->tv_sec * 1e3 + (double)tv->tv_usec / 1e3;
}

/* CPU time: what a busy host does meanwhile does not count, as far as that can be had. */
static double run_timed(const struct program *p, char **argv)
{
	const pid_t pid = start_timed(p, argv);
	struct rusage used;
	int status;

	if (wait4(pid, &status, 0, &used) < 0 || !WIFEXITED(status))
		errx(2, "%s: does not run", p->path);
	return milliseconds(&used.ru_utime) + milliseconds(&used.ru_stime);
}

/* How much more A takes; it is not always the first, whatever that may be good for. */
static double run_pair(const struct program *a, const struct program *b, char **argv, int n)
{
	const double first = run_timed(n % 2 ? b : a, argv);
	const double second = run_timed(n % 2 ? a : b, argv);

	return n % 2 ? second - first : first - second;
}

static int by_size(const void *a, const void *b)
{
	const double x = fabs(*(const double *)a), y = fabs(*(const double *)b);

	return (x > y) - (x < y);
}

/* Wilcoxon's signed-rank statistic: its square by its variance, with its sign. */
static double signed_rank(double *d, int n)
{
	double sum = 0;

	qsort(d, n, sizeof(*d), by_size);
	for (int i = 0; i < n; i++)
		sum += d[i] > 0 ? i + 1 : -(i + 1);
	return sum * fabs(sum) / (n * (n + 1.0) * (2 * n + 1) / 6);
}

/* Until it is seen that A is more than `ms` above B, or is likely not to be. */
static int takes_longer(const struct program *a, const struct program *b, char **argv, double ms)
{
	double apart[MAX_PAIRS], rank = 0;
	int n = 0;

	while (n < MAX_PAIRS && rank > -1 && rank < SURELY) {
		for (int i = 0; i < PAIRS; i++, n++)
			apart[n] = run_pair(a, b, argv, n) - ms;
		rank = signed_rank(apart, n);
	}
	printf("%d pairs: rank %.1f against %.3f ms\n", n, rank, ms);
	return rank >= SURELY;
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
	const pid_t pid = start_traced(p, argv);
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
	int longer;
	long kib;

	if (argc - skip < 5)
		errx(2, "usage: cost [-p LIBRARY] KIB MS A B ARGUMENT ...");
	a.preload = skip ? argv[2] : NULL;
	kib = atol(args[1]);
	a.path = args[3];
	b.path = args[4];
	for (int i = 0; i < SIZE_RUNS; i++) {
		run_sized(&a, args + 4);
		run_sized(&b, args + 4);
	}
	longer = takes_longer(&a, &b, args + 4, atof(args[2]));
	printf("%s: %ld KiB\n%s: %ld KiB\n", a.path, a.kib, b.path, b.kib);
	return a.kib - b.kib > kib || longer;
}
