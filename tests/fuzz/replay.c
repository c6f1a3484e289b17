/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs a fuzz target without a fuzzer: over the files named, or over its corpus. One test, which
 * says how many inputs passed; the last name on stderr is the one that did not.
 */
#include <dirent.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/fuzz/target.h"

#define REPLAY_MAX (1 << 20)

static int run_file(const char *path)
{
	FILE *f = fopen(path, "rb");
	uint8_t *data = malloc(REPLAY_MAX), *exact;
	size_t n;

	if (!f || !data) {
		perror(path);
		exit(1);
	}
	n = fread(data, 1, REPLAY_MAX, f);
	fclose(f);
	/* No longer than the input, so that a sanitizer sees a look behind its end. */
	exact = malloc(n ? n : 1);
	memcpy(exact, data, n);
	free(data);
	fprintf(stderr, "%s\n", path);
	LLVMFuzzerTestOneInput(exact, n);
	free(exact);
	return 1;
}

static int is_input(const struct dirent *entry)
{
	return entry->d_name[0] != '.';
}

static int run_corpus(const char *dir)
{
	struct dirent **entry;
	char path[512];
	const int n = scandir(dir, &entry, is_input, alphasort);

	if (n < 0) {
		perror(dir);
		exit(1);
	}
	for (int i = 0; i < n; i++) {
		snprintf(path, sizeof(path), "%s/%s", dir, entry[i]->d_name);
		run_file(path);
		free(entry[i]);
	}
	free(entry);
	return n;
}

int main(int argc, char **argv)
{
	char dir[256];
	int n = 0;

	printf("1..1\n");
	fflush(stdout);
	snprintf(dir, sizeof(dir), "tests/fuzz/corpus/%s", fuzz_target);
	if (argc == 1)
		n = run_corpus(dir);
	for (int i = 1; i < argc; i++)
		n += run_file(argv[i]);
	printf("%sok 1 - %s: %d inputs\n", n ? "" : "not ", fuzz_target, n);
	return !n;
}
