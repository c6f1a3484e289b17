/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writes records that are told of when they are durable, and looks later whether they are there:
 *
 *	records write PATH MIB SEED TAG [through]	for ever, or until something fails
 *	records check PATH MIB SEED LAST		all up to record LAST were told of
 *
 * Record N is a block of 4 KiB that follows from SEED and N alone, so that finding it proves that
 * just this one was written, whole. From MIB on, odd ones go each to a place of its own, spread over
 * 16 MiB: where the file is sparse, the host has to remember new metadata to find them again. Even
 * ones overwrite one of 64 places in turn: only the data matters there.
 *
 * `write` writes one to four, calls fdatasync(), prints TAG and the number of the last, and so on;
 * `through` leaves fdatasync() out, for disks that promise the same for each write. It runs in a
 * guest, `check` on the host, both linked statically.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BLOCK	 4096
#define REUSED	 64   /* places of even records, in front */
#define OWN	 4096 /* places of odd records, behind */
#define MAX_LAST (2 * OWN)

static _Alignas(BLOCK) uint64_t block[BLOCK / 8], found[BLOCK / 8];

static void die(const char *what)
{
	fprintf(stderr, "records: %s: %s\n", what, strerror(errno));
	exit(1);
}

static uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

/* The record's number and seed are legible, the rest follows from them. */
static void fill(uint64_t *data, uint64_t seed, uint64_t n)
{
	uint64_t state = (seed << 32 ^ n) * 0x9e3779b97f4a7c15 + 1;

	data[0] = n;
	data[1] = seed;
	for (unsigned i = 2; i < BLOCK / 8; i++)
		data[i] = next_random(&state);
}

static off_t offset_of(off_t base, uint64_t n)
{
	/* An odd factor: each place once, neighbours far apart. */
	const uint64_t place = n % 2 ? REUSED + n / 2 * 1307 % OWN : n / 2 % REUSED;

	return base + (off_t)place * BLOCK;
}

/* ---- writing --------------------------------------------------------------------------------- */

static int open_to_write(const char *path)
{
	struct stat st;
	int fd;

	/* A disk without the guest's own page cache, a file through it. */
	if (!stat(path, &st) && S_ISBLK(st.st_mode))
		fd = open(path, O_RDWR | O_DIRECT | O_CLOEXEC);
	else
		fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
	if (fd < 0)
		die(path);
	return fd;
}

static void put(int fd, off_t base, uint64_t seed, uint64_t n)
{
	fill(block, seed, n);
	if (pwrite(fd, block, BLOCK, offset_of(base, n)) != BLOCK)
		die("pwrite");
}

/* One system call, so that lines of several processes do not mix. */
static void tell(const char *tag, uint64_t n)
{
	char line[32];
	const int len = snprintf(line, sizeof(line), "%s%llu\n", tag, (unsigned long long)n);

	if (write(STDOUT_FILENO, line, len) != len)
		die("cannot tell");
}

static void write_records(const char *path, off_t base, uint64_t seed, const char *tag, int through)
{
	const int fd = open_to_write(path);
	uint64_t state = seed + 1, n = 0;

	while (n + 4 <= MAX_LAST) {
		for (unsigned left = 1 + next_random(&state) % 4; left; left--)
			put(fd, base, seed, ++n);
		if (!through && fdatasync(fd))
			die("fdatasync");
		tell(tag, n);
	}
	pause();
}

/* ---- checking -------------------------------------------------------------------------------- */

static int is_record(uint64_t seed, uint64_t n)
{
	fill(block, seed, n);
	return !memcmp(block, found, BLOCK);
}

/* The place of an even record may hold a later one of the same place, told of or not. */
static int is_there(uint64_t seed, uint64_t n)
{
	if (is_record(seed, n))
		return 1;
	return n % 2 == 0 && found[0] > n && (found[0] - n) % (2 * REUSED) == 0 &&
	       is_record(seed, found[0]);
}

static const char *what_is_there(uint64_t seed)
{
	if (is_record(seed, found[0]))
		return "an older record";
	for (unsigned i = 0; i < BLOCK / 8; i++)
		if (found[i])
			return "neither a record nor zeroes";
	return "zeroes";
}

static void read_block(int fd, off_t off)
{
	const ssize_t ret = pread(fd, found, BLOCK, off);

	if (ret < 0)
		die("pread");
	memset((char *)found + ret, 0, BLOCK - ret); /* behind the end of a file */
}

static int check_records(const char *path, off_t base, uint64_t seed, uint64_t last)
{
	const int fd = open(path, O_RDONLY | O_CLOEXEC);
	uint64_t lost = 0;

	if (fd < 0)
		die(path);
	if (last > MAX_LAST)
		die("there are no so many records");
	for (uint64_t n = 1; n <= last; n++) {
		read_block(fd, offset_of(base, n));
		if (is_there(seed, n))
			continue;
		if (++lost <= 3)
			printf("record %llu of %llu: %s\n", (unsigned long long)n,
			       (unsigned long long)last, what_is_there(seed));
	}
	printf("lost %llu of %llu\n", (unsigned long long)lost, (unsigned long long)last);
	return lost != 0;
}

int main(int argc, char **argv)
{
	off_t base;
	uint64_t seed;

	if (argc >= 6) {
		base = strtoll(argv[3], NULL, 0) << 20;
		seed = strtoull(argv[4], NULL, 0);
		if (!strcmp(argv[1], "write"))
			write_records(argv[2], base, seed, argv[5], argc > 6);
		else if (!strcmp(argv[1], "check"))
			return check_records(argv[2], base, seed, strtoull(argv[5], NULL, 0));
	}
	fprintf(stderr, "usage: records write PATH MIB SEED TAG [through]\n"
			"       records check PATH MIB SEED LAST\n");
	return 2;
}
