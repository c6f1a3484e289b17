/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which sectors of a disk the overlay holds; see overlay.h.
 *
 * Main creates, the disk's thread looks and marks. Knows two maps and what a request is about, not
 * who reads and writes the files.
 *
 * The coarse map is there for ranges: a guest that discards a terabyte marks a million chunks, 128
 * KiB, where sectors would take 256 MiB.
 */
#include "virtio/blk/overlay.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "virtio/blk/request.h"

#define DEFAULT_DIR "/var/tmp"
#define PER_CHUNK   (BLK_OVERLAY_CHUNK / BLK_OVERLAY_SECTOR)

static size_t words(uint64_t bits)
{
	return (bits + 63) / 64;
}

int blk_overlay_create(struct blk_overlay **out, int base_fd, uint64_t size)
{
	const uint64_t chunks = (size + BLK_OVERLAY_CHUNK - 1) / BLK_OVERLAY_CHUNK;
	const size_t fine = words(chunks * PER_CHUNK);
	struct blk_overlay *ov = calloc(1, sizeof(*ov));

	if (!ov)
		return -ENOMEM;
	ov->base_fd = base_fd;
	ov->align = BLK_OVERLAY_SECTOR;
	ov->size = size;
	ov->mapped = (fine + 2 * words(chunks)) * sizeof(uint64_t);
	ov->sector = mmap(NULL, ov->mapped, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (ov->sector == MAP_FAILED) {
		free(ov);
		return -ENOMEM;
	}
	/* In huge pages a bit would cost 2 MiB. Kernels without them refuse the call. */
	madvise(ov->sector, ov->mapped, MADV_NOHUGEPAGE);
	ov->whole = ov->sector + fine;
	ov->space = (_Atomic uint64_t *)(ov->whole + words(chunks));
	*out = ov;
	return 0;
}

void blk_overlay_destroy(struct blk_overlay *ov)
{
	close(ov->base_fd);
	munmap(ov->sector, ov->mapped);
	free(ov);
}

/* For file systems without O_TMPFILE. Between the two calls it has a name; a crash there leaves an
 * empty file. */
static int make_and_unlink(const char *dir)
{
	char *path;
	int fd;

	if (asprintf(&path, "%s/mvmm-overlay-XXXXXX", dir) < 0)
		return -ENOMEM;
	fd = mkostemp(path, O_CLOEXEC);
	if (fd < 0)
		fd = -errno;
	else
		unlink(path);
	free(path);
	return fd;
}

static int make_nameless(const char *dir, const struct blk_opener *by)
{
	const int flags = O_TMPFILE | O_RDWR;
	mode_t kind;
	int fd;

	if (by)
		return by->open(by->opaque, dir, flags, &kind);
	fd = blk_open_at(AT_FDCWD, dir, 0, flags, &kind);
	/* EISDIR and EINVAL: kernels and file systems that do not know the flag. */
	if (fd == -EOPNOTSUPP || fd == -EISDIR || fd == -EINVAL)
		return make_and_unlink(dir);
	return fd;
}

int blk_overlay_file(const char *dir, uint64_t size, const struct blk_opener *by, struct error *err)
{
	int fd, ret;

	if (!dir)
		dir = getenv("TMPDIR");
	if (!dir || !dir[0])
		dir = DEFAULT_DIR;
	fd = make_nameless(dir, by);
	if (fd == -EXDEV)
		return error_setx(err, EXDEV,
				  "an overlay in '%s': not in a folder that may be opened", dir);
	if (fd == -EOPNOTSUPP)
		return error_setx(err, EOPNOTSUPP,
				  "cannot create an overlay in '%s': that file system has no files "
				  "without a name (O_TMPFILE); name another folder",
				  dir);
	if (fd < 0)
		return error_set(err, -fd, "cannot create an overlay in '%s'", dir);
	if (ftruncate(fd, size)) {
		ret = error_set(err, errno, "cannot make the overlay in '%s' as large as the disk",
				dir);
		close(fd);
		return ret;
	}
	return fd;
}

bool blk_overlay_fd_reserves(int fd)
{
	struct statfs fs;

	return !fstatfs(fd, &fs) && fs.f_type != TMPFS_MAGIC && fs.f_type != RAMFS_MAGIC;
}

static bool is_set(const uint64_t *map, uint64_t bit)
{
	return map[bit / 64] >> bit % 64 & 1;
}

/* The first bit of [from, end) that is not `value`, or `end`. */
static uint64_t find_other(const uint64_t *map, uint64_t from, uint64_t end, bool value)
{
	const uint64_t flip = value ? ~0ULL : 0;
	uint64_t word;

	while (from < end) {
		word = (map[from / 64] ^ flip) >> from % 64;
		if (word) {
			from += __builtin_ctzll(word);
			return from < end ? from : end;
		}
		from = (from | 63) + 1;
	}
	return end;
}

static void set_bits(uint64_t *map, uint64_t from, uint64_t end)
{
	uint64_t n, ones;

	for (; from < end; from += n) {
		n = 64 - from % 64;
		if (n > end - from)
			n = end - from;
		ones = ~0ULL >> (64 - n);
		map[from / 64] |= ones << from % 64;
	}
}

/* The end of the run that begins with sector `at`, at most `end`. */
static uint64_t run_end(const struct blk_overlay *ov, uint64_t at, uint64_t end, bool held)
{
	uint64_t border, next;

	for (; at < end; at = border) {
		border = (at | (PER_CHUNK - 1)) + 1;
		if (border > end)
			border = end;
		if (is_set(ov->whole, at / PER_CHUNK)) {
			if (!held)
				return at;
			continue;
		}
		next = find_other(ov->sector, at, border, held);
		if (next < border)
			return next;
	}
	return end;
}

/* At a glance, for nearly all there are: what lies within one word of the map. False: perhaps. */
static bool is_one_run(const struct blk_overlay *ov, uint64_t first, uint64_t end, bool whole,
		       bool held)
{
	const uint64_t at = first % 64, n = end - first;
	const uint64_t others = (ov->sector[first / 64] ^ (held ? ~0ULL : 0)) >> at;

	return n && n <= 64 - at && (whole || !(others << (64 - n)));
}

uint64_t blk_overlay_run(const struct blk_overlay *ov, uint64_t offset, uint64_t len,
			 bool *from_base)
{
	const uint64_t first = offset / BLK_OVERLAY_SECTOR;
	/* After a short transfer the rest may begin within a sector. */
	const uint64_t end = (offset + len + BLK_OVERLAY_SECTOR - 1) / BLK_OVERLAY_SECTOR;
	const bool whole = is_set(ov->whole, first / PER_CHUNK);
	const bool held = whole || is_set(ov->sector, first);
	uint64_t n;

	*from_base = !held;
	if (is_one_run(ov, first, end, whole, held))
		return len;
	n = run_end(ov, first, end, held) * BLK_OVERLAY_SECTOR - offset;
	return n < len ? n : len;
}

static void hold_more(struct blk_overlay *ov, uint64_t first, uint64_t end)
{
	const uint64_t chunk = (first + PER_CHUNK - 1) / PER_CHUNK, chunk_end = end / PER_CHUNK;

	if (chunk >= chunk_end) {
		set_bits(ov->sector, first, end);
		return;
	}
	set_bits(ov->sector, first, chunk * PER_CHUNK);
	set_bits(ov->whole, chunk, chunk_end);
	set_bits(ov->sector, chunk_end * PER_CHUNK, end);
}

/* The overlay holds the sectors [first, end), of which there are some; nearly always in one word. */
static inline void hold(struct blk_overlay *ov, uint64_t first, uint64_t end)
{
	if (first / 64 == (end - 1) / 64)
		ov->sector[first / 64] |= ~0ULL >> (64 - (end - first)) << first % 64;
	else
		hold_more(ov, first, end);
}

void blk_overlay_cover(struct blk_overlay *ov, uint64_t offset, uint64_t len)
{
	const uint64_t mask = ov->align - 1;
	const uint64_t first = ((offset + mask) & ~mask) / BLK_OVERLAY_SECTOR;
	const uint64_t end = ((offset + len) & ~mask) / BLK_OVERLAY_SECTOR;

	if (first < end)
		hold(ov, first, end);
}

void blk_overlay_place(const struct blk_overlay *ov, struct blk_request *req)
{
	uint64_t n;

	if (req->op != BLK_OP_READ) {
		req->from_base = false;
		req->make_space = ov->reserves && req->op == BLK_OP_WRITE &&
				  !blk_overlay_has_space(ov, req->offset, req->len);
		return;
	}
	if (req->later_len)
		return;
	n = blk_overlay_run(ov, req->offset, req->len, &req->from_base);
	if (n < req->len) {
		blk_request_cut(req, n);
		req->alone = true;
	}
}

static void ranges_landed(struct blk_overlay *ov, const struct blk_request *req)
{
	for (unsigned i = 0; i < req->nseg; i++)
		blk_overlay_cover(ov, req->range[i].offset,
				  (uint64_t)req->range[i].sectors * BLK_OVERLAY_SECTOR);
}

/*
 * A discard is covered like a write: it made a hole, so that the sectors read as zeroes, where those
 * of the base would come back if their bits were not set. Only a write was held to whole blocks
 * before it went.
 */
void blk_overlay_landed(struct blk_overlay *ov, const struct blk_request *req)
{
	if (req->op == BLK_OP_WRITE)
		hold(ov, (req->offset - req->total) / BLK_OVERLAY_SECTOR,
		     req->offset / BLK_OVERLAY_SECTOR);
	else if (req->op == BLK_OP_DISCARD || req->op == BLK_OP_WRITE_ZEROES)
		ranges_landed(ov, req);
}
