/* SPDX-License-Identifier: Apache-2.0 */
/* Which of an overlay's two files holds what, held to an array with a byte per sector. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#include "tests/unit/entries.h"
#include "virtio/blk/overlay.h"
#include "virtio/blk/request.h"

#define SECTOR	  BLK_OVERLAY_SECTOR
#define PER_CHUNK (BLK_OVERLAY_CHUNK / SECTOR)
#define MIB	  (1ULL << 20)

/* Of a file system without O_TMPFILE; ours, which the linker prefers to the library's. */
static bool only_names;

int openat(int dir, const char *path, int flags, ...)
{
	va_list args;
	unsigned mode;

	va_start(args, flags);
	mode = va_arg(args, unsigned);
	va_end(args);
	if (only_names && (flags & O_TMPFILE) == O_TMPFILE) {
		errno = EOPNOTSUPP;
		return -1;
	}
	return (int)syscall(SYS_openat, dir, path, flags, mode);
}

static struct blk_overlay *overlay(uint64_t size)
{
	struct blk_overlay *ov;

	assert_int_equal(blk_overlay_create(&ov, open("/dev/null", O_RDONLY | O_CLOEXEC), size), 0);
	return ov;
}

/* Of `n` sectors at `first`: how many lie in one file, negative ones in the base. */
static int64_t run(const struct blk_overlay *ov, uint64_t first, uint64_t n)
{
	bool from_base;
	const uint64_t len = blk_overlay_run(ov, first * SECTOR, n * SECTOR, &from_base);

	assert_int_equal(len % SECTOR, 0);
	return from_base ? -(int64_t)(len / SECTOR) : (int64_t)(len / SECTOR);
}

static void cover(struct blk_overlay *ov, uint64_t first, uint64_t n)
{
	blk_overlay_cover(ov, first * SECTOR, n * SECTOR);
}

static void all_is_the_bases_at_first(void **state)
{
	struct blk_overlay *ov = overlay(5 * MIB + SECTOR);

	assert_int_equal(run(ov, 0, 5 * PER_CHUNK + 1), -(int64_t)(5 * PER_CHUNK + 1));
	assert_int_equal(run(ov, 5 * PER_CHUNK, 1), -1);
	blk_overlay_destroy(ov);
}

static void runs_end_where_the_file_changes(void **state)
{
	struct blk_overlay *ov = overlay(4 * MIB);

	cover(ov, 63, 2); /* across a word of the map */
	assert_int_equal(run(ov, 0, 200), -63);
	assert_int_equal(run(ov, 62, 1), -1);
	assert_int_equal(run(ov, 63, 200), 2);
	assert_int_equal(run(ov, 63, 1), 1);
	assert_int_equal(run(ov, 64, 1), 1);
	assert_int_equal(run(ov, 65, 135), -135);
	cover(ov, PER_CHUNK - 1, 2); /* across chunks */
	assert_int_equal(run(ov, PER_CHUNK - 1, 8), 2);
	cover(ov, 2 * PER_CHUNK, PER_CHUNK); /* a whole one */
	assert_int_equal(run(ov, 2 * PER_CHUNK - 1, 8), -1);
	assert_int_equal(run(ov, 2 * PER_CHUNK, 2 * PER_CHUNK), PER_CHUNK);
	assert_int_equal(run(ov, 3 * PER_CHUNK, PER_CHUNK), -(int64_t)PER_CHUNK);
	cover(ov, 0, 4 * PER_CHUNK);
	assert_int_equal(run(ov, 0, 4 * PER_CHUNK), 4 * PER_CHUNK);
	blk_overlay_destroy(ov);
}

static void the_last_sector_of_the_disk_is_like_others(void **state)
{
	struct blk_overlay *ov = overlay(MIB + 3 * SECTOR);

	cover(ov, PER_CHUNK + 2, 1);
	assert_int_equal(run(ov, PER_CHUNK + 2, 1), 1);
	assert_int_equal(run(ov, PER_CHUNK, 3), -2);
	cover(ov, 0, PER_CHUNK + 3);
	assert_int_equal(run(ov, 0, PER_CHUNK + 3), PER_CHUNK + 3);
	blk_overlay_destroy(ov);
}

/* The rest of a short transfer may begin anywhere. */
static void a_run_may_begin_within_a_sector(void **state)
{
	struct blk_overlay *ov = overlay(MIB);
	bool from_base;

	cover(ov, 2, 1);
	assert_int_equal(blk_overlay_run(ov, 700, 4096 - 700, &from_base), 1024 - 700);
	assert_true(from_base);
	assert_int_equal(blk_overlay_run(ov, 1100, 4096 - 1100, &from_base), 1536 - 1100);
	assert_false(from_base);
	assert_int_equal(blk_overlay_run(ov, 1600, 10, &from_base), 10);
	assert_true(from_base);
	blk_overlay_destroy(ov);
}

/* Both files must take every run: a discard of parts of their blocks covers whole ones only. */
static void parts_of_blocks_are_not_covered(void **state)
{
	struct blk_overlay *ov = overlay(MIB);

	ov->align = 4096;
	cover(ov, 1, 6);
	cover(ov, 15, 2);
	assert_int_equal(run(ov, 0, 32), -32);
	cover(ov, 1, 15);
	assert_int_equal(run(ov, 0, 32), -8);
	assert_int_equal(run(ov, 8, 24), 8);
	blk_overlay_destroy(ov);
}

#define MODEL_SECTORS (5 * PER_CHUNK + 17)

static void check_model(const struct blk_overlay *ov, const uint8_t *held, uint64_t first,
			uint64_t n)
{
	uint64_t same = 1;

	while (same < n && held[first + same] == held[first])
		same++;
	assert_int_equal(run(ov, first, n), held[first] ? (int64_t)same : -(int64_t)same);
}

static uint64_t some_length(uint64_t max)
{
	static const uint64_t sizes[] = { 1, 8, 70, PER_CHUNK, 3 * PER_CHUNK };
	const uint64_t n = 1 + rand() % sizes[rand() % 5];

	return n < max ? n : max;
}

static void random_marks_agree_with_the_model(void **state)
{
	static uint8_t held[MODEL_SECTORS];

	for (unsigned round = 0; round < 30; round++) {
		struct blk_overlay *ov = overlay(MODEL_SECTORS * SECTOR);

		srand(round);
		memset(held, 0, sizeof(held));
		for (unsigned i = 0; i < 300; i++) {
			const uint64_t first = rand() % MODEL_SECTORS;
			const uint64_t n = some_length(MODEL_SECTORS - first);

			if (rand() % 4 == 0) {
				cover(ov, first, n);
				memset(held + first, 1, n);
			}
			check_model(ov, held, first, n);
		}
		for (uint64_t s = 0; s < MODEL_SECTORS; s++)
			check_model(ov, held, s, MODEL_SECTORS - s);
		blk_overlay_destroy(ov);
	}
}

static uint64_t resident_bytes(void)
{
	unsigned long size, resident = 0;
	FILE *f = fopen("/proc/self/statm", "r");

	assert_non_null(f);
	assert_int_equal(fscanf(f, "%lu %lu", &size, &resident), 2);
	fclose(f);
	return resident * 4096;
}

/* A discard of everything, as mkfs does, costs a bit per chunk. */
static void a_large_disk_costs_what_is_touched(void **state)
{
	const uint64_t before = resident_bytes(), size = 1ULL << 40;
	struct blk_overlay *ov = overlay(size);

	assert_int_equal(run(ov, size / SECTOR - 1, 1), -1);
	blk_overlay_cover(ov, 0, size);
	assert_int_equal(run(ov, 0, 1ULL << 22), 1ULL << 22);
	assert_int_equal(run(ov, size / SECTOR - 1, 1), 1);
	assert_true(resident_bytes() - before < 4 * MIB);
	blk_overlay_destroy(ov);
}

/* Of the mapping that begins at `start`: VmFlags of /proc/self/smaps. */
static void flags_of(const void *start, char *flags, int size)
{
	FILE *f = fopen("/proc/self/smaps", "r");
	bool inside = false, found = false;
	unsigned long from;

	assert_non_null(f);
	while (!found && fgets(flags, size, f)) {
		if (sscanf(flags, "%lx-", &from) == 1 && strchr(flags, '-'))
			inside = from == (uintptr_t)start;
		found = inside && !strncmp(flags, "VmFlags:", 8);
	}
	fclose(f);
	assert_true(found);
}

/* Where the host makes huge pages of all that is large, a bit in each 8 GiB would cost 2 MiB; now it is
 * a page. */
static void scattered_writes_cost_pages(void **state)
{
	const uint64_t size = 1ULL << 40, before = resident_bytes();
	struct blk_overlay *ov = overlay(size);
	char flags[200];

	for (uint64_t at = 0; at < size; at += size / 128)
		blk_overlay_cover(ov, at, SECTOR);
	assert_true(resident_bytes() - before < 4 * MIB);
	flags_of(ov->sector, flags, sizeof(flags));
	blk_overlay_destroy(ov);
	if (access("/sys/kernel/mm/transparent_hugepage", F_OK))
		skip();
	assert_non_null(strstr(flags, " nh"));
}

/* ---- requests -------------------------------------------------------------------------------- */

static struct blk_request request(enum blk_op op, struct iovec *iov, unsigned n, uint64_t sector)
{
	struct blk_request req = { .op = op, .iov = iov, .nseg = n, .offset = sector * SECTOR };

	for (unsigned i = 0; i < n; i++)
		req.len += iov[i].iov_len;
	req.total = req.len;
	return req;
}

/* Sectors 1, 2 and 5 in the overlay; buffers that end elsewhere than runs. */
static void a_read_is_done_in_parts(void **state)
{
	static const struct {
		uint32_t len;
		bool base;
	} want[] = {
		{ 512, true }, { 1024, false }, { 1024, true }, { 512, false }, { 1024, true }
	};
	struct iovec iov[] = {
		{ NULL, 100 }, { NULL, 924 }, { NULL, 512 }, { NULL, 1560 }, { NULL, 1000 }
	};
	struct blk_overlay *ov = overlay(MIB);
	struct blk_request req;
	uint8_t data[4096], *at = data;

	for (unsigned i = 0; i < 5; at += iov[i++].iov_len)
		iov[i].iov_base = at;
	at = data;
	cover(ov, 1, 2);
	cover(ov, 5, 1);
	req = request(BLK_OP_READ, iov, 5, 0);
	for (unsigned i = 0; i < 5; i++) {
		uint32_t sum = 0;

		blk_overlay_place(ov, &req);
		assert_int_equal(req.len, want[i].len);
		assert_int_equal(req.from_base, want[i].base);
		for (unsigned j = 0; j < req.nseg; j++) {
			assert_ptr_equal(req.iov[j].iov_base, at);
			at += req.iov[j].iov_len;
			sum += req.iov[j].iov_len;
		}
		assert_int_equal(sum, req.len);
		/* In two goes, as after a short transfer. */
		blk_request_advance(&req, 300);
		blk_request_advance(&req, req.len);
		assert_int_equal(blk_request_next_part(&req), i < 4);
	}
	assert_ptr_equal(at, data + 4096);
	assert_int_equal(req.written, 4096);
	assert_int_equal(req.offset, 4096);
	blk_overlay_destroy(ov);
}

/* The file changes while a part is under way: the part goes on where it was. */
static void a_part_stays_with_its_file(void **state)
{
	struct blk_overlay *ov = overlay(MIB);
	uint8_t data[4096];
	struct iovec iov = { data, sizeof(data) };
	struct blk_request req = request(BLK_OP_READ, &iov, 1, 0);

	cover(ov, 6, 1);
	blk_overlay_place(ov, &req);
	assert_int_equal(req.len, 6 * 512);
	blk_request_advance(&req, 512);
	cover(ov, 2, 2);
	blk_overlay_place(ov, &req);
	assert_int_equal(req.len, 5 * 512);
	assert_true(req.from_base);
	blk_request_advance(&req, req.len);
	assert_true(blk_request_next_part(&req));
	blk_overlay_place(ov, &req);
	assert_int_equal(req.len, 512);
	assert_false(req.from_base);
	blk_overlay_destroy(ov);
}

static void what_writes_goes_to_the_overlay(void **state)
{
	struct blk_range range[2] = { { .offset = 3 * 512, .sectors = 2 },
				      { .offset = MIB, .sectors = 1 } };
	struct blk_overlay *ov = overlay(2 * MIB);
	struct iovec iov = { NULL, 1024 };
	struct blk_request req = request(BLK_OP_WRITE, &iov, 1, 0);

	req.from_base = true; /* of the slot's last request */
	blk_overlay_place(ov, &req);
	assert_false(req.from_base);
	assert_int_equal(run(ov, 0, 1), -1);
	blk_request_advance(&req, 1024);
	blk_overlay_landed(ov, &req);
	assert_int_equal(run(ov, 0, 8), 2);
	req = (struct blk_request){
		.op = BLK_OP_DISCARD, .range = range, .nseg = 2, .from_base = true
	};
	blk_overlay_place(ov, &req);
	assert_false(req.from_base);
	blk_overlay_landed(ov, &req);
	assert_int_equal(run(ov, 3, 8), 2);
	assert_int_equal(run(ov, 2048, 8), 1);
	assert_int_equal(run(ov, 2, 1), -1);
	blk_overlay_destroy(ov);
}

static void reads_leave_no_mark(void **state)
{
	struct blk_overlay *ov = overlay(MIB);
	struct iovec iov = { NULL, 1024 };
	struct blk_request req = request(BLK_OP_READ, &iov, 1, 0);

	blk_overlay_landed(ov, &req);
	assert_int_equal(run(ov, 0, 4), -4);
	blk_overlay_destroy(ov);
}

/* ---- the file -------------------------------------------------------------------------------- */

static void its_file_has_no_name(void **state)
{
	char dir[] = "/var/tmp/mvmm-test-XXXXXX", path[64], to[64];
	struct error err;
	struct stat st;
	int fd;

	assert_non_null(mkdtemp(dir));
	fd = blk_overlay_file(dir, 64 * MIB, NULL, &err);
	assert_true(fd >= 0);
	assert_int_equal(entries(dir), 2);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_nlink, 0);
	assert_int_equal(st.st_size, 64 * MIB);
	assert_true(st.st_blocks < 16);
	assert_int_equal(st.st_mode & 0077, 0);
	/* Nor can it be given one. */
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	snprintf(to, sizeof(to), "%s/name", dir);
	assert_int_equal(linkat(AT_FDCWD, path, AT_FDCWD, to, AT_SYMLINK_FOLLOW), -1);
	close(fd);
	assert_int_equal(rmdir(dir), 0);
}

static void it_is_made_where_tmpdir_says(void **state)
{
	char dir[] = "/dev/shm/mvmm-test-XXXXXX";
	struct stat a, b;
	struct error err;
	int fd;

	assert_non_null(mkdtemp(dir));
	setenv("TMPDIR", dir, 1);
	fd = blk_overlay_file(NULL, MIB, NULL, &err);
	unsetenv("TMPDIR");
	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, &a), 0);
	assert_int_equal(stat(dir, &b), 0);
	assert_int_equal(a.st_dev, b.st_dev);
	close(fd);
	assert_int_equal(rmdir(dir), 0);
}

static void a_place_that_cannot_hold_it_is_named(void **state)
{
	const struct rlimit small = { MIB, MIB };
	struct rlimit before;
	struct error err;

	assert_int_equal(blk_overlay_file("/var/tmp/not/there", MIB, NULL, &err), -ENOENT);
	assert_non_null(strstr(err.text, "'/var/tmp/not/there'"));
	assert_int_equal(blk_overlay_file("/proc", MIB, NULL, &err), -ENOENT);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
	assert_int_equal(setrlimit(RLIMIT_FSIZE,
				   &(struct rlimit){ small.rlim_cur, before.rlim_max }),
			 0);
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(blk_overlay_file("/var/tmp", 2 * MIB, NULL, &err), -EFBIG);
	assert_non_null(strstr(err.text, "as large as the disk"));
	setrlimit(RLIMIT_FSIZE, &before);
}

static int open_beneath(void *opaque, const char *path, int flags, mode_t *kind)
{
	return blk_open_at(AT_FDCWD, path, 0, flags, kind);
}

/* A process in its sandbox makes no names: it is told where there is none. */
static void a_file_system_with_names_only_is_used_or_named(void **state)
{
	const struct blk_opener by = { open_beneath, NULL };
	char dir[] = "/var/tmp/mvmm-test-XXXXXX";
	struct error err;
	unsigned before;
	int fd;

	assert_non_null(mkdtemp(dir));
	before = entries(dir);
	only_names = true;
	fd = blk_overlay_file(dir, MIB, NULL, &err);
	assert_true(fd >= 0);
	assert_int_equal(lseek(fd, 0, SEEK_END), MIB);
	assert_int_equal(entries(dir), before);
	close(fd);
	assert_int_equal(blk_overlay_file(dir, MIB, &by, &err), -EOPNOTSUPP);
	assert_non_null(strstr(err.text, dir));
	assert_non_null(strstr(err.text, "O_TMPFILE"));
	only_names = false;
	fd = blk_overlay_file(dir, MIB, &by, &err);
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(rmdir(dir), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_is_the_bases_at_first),
		cmocka_unit_test(runs_end_where_the_file_changes),
		cmocka_unit_test(the_last_sector_of_the_disk_is_like_others),
		cmocka_unit_test(a_run_may_begin_within_a_sector),
		cmocka_unit_test(parts_of_blocks_are_not_covered),
		cmocka_unit_test(random_marks_agree_with_the_model),
		cmocka_unit_test(a_large_disk_costs_what_is_touched),
		cmocka_unit_test(scattered_writes_cost_pages),
		cmocka_unit_test(a_read_is_done_in_parts),
		cmocka_unit_test(a_part_stays_with_its_file),
		cmocka_unit_test(what_writes_goes_to_the_overlay),
		cmocka_unit_test(reads_leave_no_mark),
		cmocka_unit_test(its_file_has_no_name),
		cmocka_unit_test(it_is_made_where_tmpdir_says),
		cmocka_unit_test(a_place_that_cannot_hold_it_is_named),
		cmocka_unit_test(a_file_system_with_names_only_is_used_or_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
