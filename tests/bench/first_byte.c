/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Times several commands from fork to their first byte of output, in turn (A B C A B C ...), so
 * that drift of the machine hits all alike, and prints medians, ranges and ratios to the first.
 * With -m it also prints the process's PSS without its guest RAM (mappings of at least -r KiB).
 *
 *	first_byte [-n RUNS] [-m] [-r KIB] NAME COMMAND [NAME COMMAND ...]
 *
 * A command is one string, split at spaces. Each is killed after its byte.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MAX_COMMANDS 8
#define MAX_ARGS     128
#define MAX_RUNS     1000
#define LIMIT_MS     20000

struct command {
	const char *name;
	char *argv[MAX_ARGS];
	double ms[MAX_RUNS];
	long pss_kib[MAX_RUNS];
};

static double now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1e3 + ts.tv_nsec / 1e6;
}

static int by_double(const void *a, const void *b)
{
	double d = *(const double *)a - *(const double *)b;

	return d < 0 ? -1 : d > 0;
}

static int by_long(const void *a, const void *b)
{
	long d = *(const long *)a - *(const long *)b;

	return d < 0 ? -1 : d > 0;
}

static void split(char *text, char **argv)
{
	unsigned n = 0;

	for (char *word = strtok(text, " "); word && n < MAX_ARGS - 1; word = strtok(NULL, " "))
		argv[n++] = word;
	argv[n] = NULL;
}

/* PSS of every mapping smaller than the guest's RAM. */
static long pss_without_ram(pid_t pid, long ram_kib)
{
	char path[64], line[512];
	long size = 0, pss, sum = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/smaps", (int)pid);
	f = fopen(path, "r");
	if (!f)
		return -1;
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "Size: %ld kB", &size) == 1)
			continue;
		if (sscanf(line, "Pss: %ld kB", &pss) == 1 && size < ram_kib)
			sum += pss;
	}
	fclose(f);
	return sum;
}

static int run_once(struct command *cmd, unsigned run, bool memory, long ram_kib)
{
	int out[2], ok = -1;
	struct pollfd pfd;
	double start;
	char byte;
	pid_t pid;

	if (pipe2(out, O_CLOEXEC) < 0)
		return -1;
	start = now_ms();
	pid = fork();
	if (pid == 0) {
		int null = open("/dev/null", O_RDWR);

		dup2(null, 0);
		dup2(out[1], 1);
		if (!getenv("FIRST_BYTE_STDERR"))
			dup2(null, 2);
		execvp(cmd->argv[0], cmd->argv);
		_exit(127);
	}
	close(out[1]);
	pfd = (struct pollfd){ .fd = out[0], .events = POLLIN };
	if (pid > 0 && poll(&pfd, 1, LIMIT_MS) == 1 && read(out[0], &byte, 1) == 1) {
		cmd->ms[run] = now_ms() - start;
		ok = 0;
		if (memory) {
			usleep(200000); /* let the start settle */
			cmd->pss_kib[run] = pss_without_ram(pid, ram_kib);
		}
	}
	if (pid > 0) {
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
	}
	close(out[0]);
	return ok;
}

static void report(struct command *cmd, unsigned ncmd, unsigned runs, bool memory)
{
	for (unsigned i = 0; i < ncmd; i++)
		qsort(cmd[i].ms, runs, sizeof(double), by_double);
	printf("%-24s %10s %10s %10s %8s%s\n", "to the first byte, ms", "median", "min", "max",
	       "ratio", memory ? "   PSS-RAM KiB" : "");
	for (unsigned i = 0; i < ncmd; i++) {
		printf("%-24s %10.2f %10.2f %10.2f %8.3f", cmd[i].name, cmd[i].ms[runs / 2],
		       cmd[i].ms[0], cmd[i].ms[runs - 1],
		       cmd[i].ms[runs / 2] / cmd[0].ms[runs / 2]);
		if (memory) {
			qsort(cmd[i].pss_kib, runs, sizeof(long), by_long);
			printf(" %13ld", cmd[i].pss_kib[runs / 2]);
		}
		printf("\n");
	}
}

int main(int argc, char **argv)
{
	static struct command cmd[MAX_COMMANDS];
	unsigned runs = 11, ncmd = 0;
	long ram_kib = 64 * 1024;
	bool memory = false;
	int c;

	while ((c = getopt(argc, argv, "n:mr:")) != -1) {
		if (c == 'n')
			runs = strtoul(optarg, NULL, 10);
		else if (c == 'm')
			memory = true;
		else if (c == 'r')
			ram_kib = strtol(optarg, NULL, 10);
		else
			return 2;
	}
	for (; optind + 1 < argc && ncmd < MAX_COMMANDS; optind += 2, ncmd++) {
		cmd[ncmd].name = argv[optind];
		split(argv[optind + 1], cmd[ncmd].argv);
	}
	if (!ncmd || !runs || runs > MAX_RUNS) {
		fprintf(stderr, "usage: first_byte [-n RUNS] [-m] [-r KIB] NAME COMMAND ...\n");
		return 2;
	}
	for (unsigned run = 0; run < runs + 1; run++) /* run 0 warms up and is overwritten */
		for (unsigned i = 0; i < ncmd; i++)
			if (run_once(&cmd[i], run ? run - 1 : 0, memory, ram_kib) < 0) {
				fprintf(stderr, "first_byte: %s: no output\n", cmd[i].name);
				return 1;
			}
	report(cmd, ncmd, runs, memory);
	return 0;
}
