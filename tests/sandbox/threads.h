/* SPDX-License-Identifier: Apache-2.0 */
/* A thread of a running process by its name. */
#ifndef TESTS_SANDBOX_THREADS_H
#define TESTS_SANDBOX_THREADS_H

#include <dirent.h>
#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

static inline int is_named(const char *pid, const char *tid, const char *wanted)
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

/* Its number; ends the program where there is none. */
static inline pid_t find(const char *pid, const char *name)
{
	const struct dirent *entry;
	char path[64];
	pid_t tid = 0;
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

#endif
