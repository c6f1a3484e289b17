/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a shell cannot do, for tests/sandbox/run:
 *
 *	poke signal PID NAME SIGNAL	to the thread of PID that has the name
 *	poke nonblock COMMAND ...	runs it with a pipe for standard output that takes a page
 *					and does not block
 */
#include <dirent.h>
#include <err.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static int is_named(const char *pid, const char *tid, const char *wanted)
{
	char path[512], name[32] = "";
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%s/task/%s/comm", pid, tid);
	f = fopen(path, "r");
	if (!f)
		return 0;
	if (!fgets(name, sizeof(name), f))
		name[0] = '\0';
	fclose(f);
	name[strcspn(name, "\n")] = '\0';
	return !strcmp(name, wanted);
}

static int find(const char *pid, const char *name)
{
	char path[64];
	const struct dirent *entry;
	int tid = 0;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%s/task", pid);
	dir = opendir(path);
	if (!dir)
		err(1, "%s", path);
	while (!tid && (entry = readdir(dir)))
		if (entry->d_name[0] != '.' && is_named(pid, entry->d_name, name))
			tid = atoi(entry->d_name);
	closedir(dir);
	if (!tid)
		errx(1, "process %s has no thread '%s'", pid, name);
	return tid;
}

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
