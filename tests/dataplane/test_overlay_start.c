/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What it costs to begin with an overlay depends neither on how large the image is nor on how many
 * share it: the same system calls, the same memory touched, no block of the overlay's file.
 *
 * This program starts itself, under strace, for one disk: `test_overlay_start IMAGE`.
 */
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "tests/dataplane/rig.h"
#include "virtio/blk/overlay.h"

#define TIB    (1ULL << 40)
#define OTHERS 20
#define CALLS  512 /* more than a start takes */

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED true /* whose own calls and memory would be counted */
#else
#define SANITIZED false
#endif

/* How often each call was made, by number of line; waiting apart, which is a matter of who is first. */
struct calls {
	unsigned n;
	char name[CALLS][24];
};

struct costs {
	long faults;
	unsigned long blocks; /* of the overlay, 512 bytes */
	struct calls calls;
};

/* ---- one disk ---- */

static int begin_and_end(const char *image)
{
	struct rusage before, after;
	struct stat st;
	struct rig *rig;

	getrusage(RUSAGE_SELF, &before);
	rig = rig_new((struct rig_config){ .image = image, .overlay = true });
	getrusage(RUSAGE_SELF, &after);
	assert_int_equal(fstat(rig->be.fd, &st), 0);
	printf("%ld %lu\n", after.ru_minflt - before.ru_minflt, (unsigned long)st.st_blocks);
	rig_free(rig);
	return 0;
}

/* ---- and what it costs ---- */

static bool is_waiting(const char *name)
{
	return !strcmp(name, "futex") || !strcmp(name, "poll") || !strcmp(name, "ppoll") ||
	       !strcmp(name, "read");
}

static int by_name(const void *a, const void *b)
{
	return strcmp(a, b);
}

static void read_calls(struct calls *calls, const char *log)
{
	FILE *f = fopen(log, "r");
	char line[1000], *end;

	assert_non_null(f);
	while (fgets(line, sizeof(line), f)) {
		end = strchr(line, '(');
		if (!end)
			continue;
		*end = '\0';
		if (is_waiting(line))
			continue;
		assert_true(calls->n < CALLS);
		snprintf(calls->name[calls->n++], sizeof(calls->name[0]), "%.23s", line);
	}
	fclose(f);
	qsort(calls->name, calls->n, sizeof(calls->name[0]), by_name);
}

static bool run_under_strace(const char *image, const char *log, char *said, size_t size)
{
	char command[400];
	FILE *f;

	snprintf(command, sizeof(command), "exec strace -qq -o %s /proc/%d/exe %s", log, getpid(),
		 image);
	f = popen(command, "r");
	assert_non_null(f);
	if (!fgets(said, (int)size, f))
		said[0] = '\0';
	return pclose(f) == 0;
}

static struct costs *costs_of(const char *image)
{
	struct costs *costs = calloc(1, sizeof(*costs));
	char log[] = "/tmp/mvmm-test-XXXXXX", said[100];
	const int fd = mkstemp(log);

	assert_non_null(costs);
	assert_true(fd >= 0);
	close(fd);
	assert_true(run_under_strace(image, log, said, sizeof(said)));
	assert_int_equal(sscanf(said, "%ld %lu", &costs->faults, &costs->blocks), 2);
	read_calls(&costs->calls, log);
	unlink(log);
	assert_true(costs->calls.n > 20);
	return costs;
}

static void same(const struct costs *a, const struct costs *b)
{
	for (unsigned i = 0; i < a->calls.n && i < b->calls.n; i++)
		if (strcmp(a->calls.name[i], b->calls.name[i]))
			fail_msg("%s or %s more", a->calls.name[i], b->calls.name[i]);
	assert_int_equal(a->calls.n, b->calls.n);
	/* Where the loader puts things may decide on a page or two. */
	if (labs(a->faults - b->faults) > 8)
		fail_msg("%ld and %ld page faults", a->faults, b->faults);
	assert_int_equal(a->blocks, 0);
	assert_int_equal(b->blocks, 0);
}

static void make_image(char *path, uint64_t size)
{
	const int fd = mkstemp(path);

	assert_true(fd >= 0);
	if (ftruncate(fd, size))
		assert_int_equal(ftruncate(fd, size / 8), 0);
	close(fd);
}

static void the_size_of_the_image_costs_nothing(void **state)
{
	char small[] = "/var/tmp/mvmm-test-XXXXXX", large[] = "/var/tmp/mvmm-test-XXXXXX";
	struct costs *of_small, *of_large;

	make_image(small, 1 << 20);
	make_image(large, 8 * TIB);
	of_small = costs_of(small);
	of_large = costs_of(large);
	unlink(small);
	unlink(large);
	same(of_small, of_large);
	free(of_small);
	free(of_large);
}

static void others_on_the_image_cost_nothing(void **state)
{
	char image[] = "/var/tmp/mvmm-test-XXXXXX";
	const struct rig_config config = { .image = image, .overlay = true };
	struct rig *other[OTHERS];
	struct costs *alone, *among;

	make_image(image, TIB);
	alone = costs_of(image);
	for (unsigned i = 0; i < OTHERS; i++)
		other[i] = rig_new(config);
	among = costs_of(image);
	for (unsigned i = 0; i < OTHERS; i++)
		rig_free(other[i]);
	unlink(image);
	same(alone, among);
	free(alone);
	free(among);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_size_of_the_image_costs_nothing),
		cmocka_unit_test(others_on_the_image_cost_nothing),
	};

	if (argc == 2)
		return begin_and_end(argv[1]);
	if (SANITIZED || system("strace -o /dev/null true 2>/dev/null")) {
		puts("needs strace, and a build without sanitizers");
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
