/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a test does with a disk, in one process, because starting one takes an emulated machine longer
 * than the I/O:
 *
 *	diskio FILE STEP ...
 *
 *	await		FILE can be opened, now or within a minute: a node comes before its disk
 *	gone		it is not there, now or within a minute
 *	put=AT,SEED	writes 256 KiB that SEED makes, at the AT-th 256 KiB
 *	check=AT,SEED	and these are there
 *	pace=COUNT	verified I/O of 4 KiB from MiB 8 on, with a rest after each, until it is killed;
 *			COUNT is a file that holds, as text, how often
 *
 * The rest makes the pace one of waiting, not of who gets the CPU: it sinks with all that makes the disk
 * answer later. Ends with 1, saying why, at the first step that fails. Static, for guests with a busybox.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PATIENCE 60000000 /* us */
#define LOOK	 10000
#define REST	 25000
#define BLOCK	 4096
#define PIECE	 (256 << 10)
#define FROM	 (8 << 20)
#define PLACES	 1024

static uint8_t out[PIECE] __attribute__((aligned(BLOCK)));
static uint8_t in[PIECE] __attribute__((aligned(BLOCK)));

static int await(const char *file)
{
	int fd = open(file, O_RDONLY);

	for (unsigned us = 0; fd < 0 && us < PATIENCE; us += LOOK) {
		usleep(LOOK);
		fd = open(file, O_RDONLY);
	}
	return fd >= 0 && !close(fd);
}

static int gone(const char *file)
{
	for (unsigned us = 0; us < PATIENCE; us += LOOK) {
		if (access(file, F_OK))
			return 1;
		usleep(LOOK);
	}
	return 0;
}

static void fill(size_t len, uint64_t seed)
{
	uint64_t *word = (uint64_t *)out;

	for (size_t i = 0; i < len / sizeof(*word); i++) {
		seed = seed * 6364136223846793005u + 1442695040888963407u;
		word[i] = seed ^ seed >> 29;
	}
}

static int put(int disk, off_t at, size_t len, uint64_t seed)
{
	fill(len, seed);
	return pwrite(disk, out, len, at) == (ssize_t)len;
}

static int check(int disk, off_t at, size_t len, uint64_t seed)
{
	fill(len, seed);
	memset(in, 0, len);
	return pread(disk, in, len, at) == (ssize_t)len && !memcmp(in, out, len);
}

static int count(int file, uint64_t n)
{
	char text[24];
	const int len = snprintf(text, sizeof(text), "%llu\n", (unsigned long long)n);

	return pwrite(file, text, len, 0) == len;
}

static int pace(int disk, const char *path)
{
	const int file = open(path, O_WRONLY | O_CREAT, 0644);
	uint64_t n = 1;
	off_t at;

	do {
		usleep(REST);
		at = FROM + (off_t)(random() % PLACES) * BLOCK;
	} while (put(disk, at, BLOCK, n) && check(disk, at, BLOCK, n) && count(file, n++));
	return 0;
}

static int step(const char *file, const char *what)
{
	unsigned long long at, seed;
	int disk, done = 0;

	if (!strcmp(what, "await"))
		return await(file);
	if (!strcmp(what, "gone"))
		return gone(file);
	disk = open(file, O_RDWR | O_DIRECT);
	if (disk < 0)
		return 0;
	if (sscanf(what, "put=%llu,%llu", &at, &seed) == 2)
		done = put(disk, at * PIECE, PIECE, seed) && !fsync(disk);
	else if (sscanf(what, "check=%llu,%llu", &at, &seed) == 2)
		done = check(disk, at * PIECE, PIECE, seed);
	else if (!strncmp(what, "pace=", 5))
		done = pace(disk, what + 5);
	close(disk);
	return done;
}

int main(int argc, char **argv)
{
	for (int i = 2; i < argc; i++) {
		errno = 0;
		if (step(argv[1], argv[i]))
			continue;
		printf("not ok - %s: %s: %s\n", argv[1], argv[i], strerror(errno));
		return 1;
	}
	return 0;
}
