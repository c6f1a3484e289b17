/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Disks on a host that fails: requests may end with IOERR and nothing else, a read that ends well
 * holds what it must, and what failed has been done wholly or not at all, sector by sector. How many
 * failed is the host's test to judge: the counts are said.
 */
#include "guest/io.h"
#include "guest/lib.h"
#include "tests.h"

#define CHUNK	    64 /* sectors of a request */
#define MAX_FLUSHES 64
#define REPORT_US   50000

struct failing {
	struct blk *blk;
	struct shadow shadow;
	uint8_t *data;
	unsigned written, not_written, read, not_read, flushed, not_flushed;
	unsigned odd, wrong; /* statuses; sectors */
};

/* True for OK. */
static bool count(struct failing *f, uint8_t status, unsigned *good, unsigned *bad)
{
	if (status == VIRTIO_BLK_S_OK)
		(*good)++;
	else if (status == VIRTIO_BLK_S_IOERR)
		(*bad)++;
	else
		f->odd++;
	return status == VIRTIO_BLK_S_OK;
}

static void write_chunk(struct failing *f, uint64_t sector)
{
	for (unsigned i = 0; i < CHUNK; i++) {
		f->shadow.generation[sector + i]++;
		shadow_fill(&f->shadow, sector + i, (uint64_t *)(f->data + i * SECTOR));
	}
	count(f, blk_write(f->blk, sector, f->data, CHUNK), &f->written, &f->not_written);
}

/* What a failed write has left becomes what is expected: the new, or what was there before. */
static void check_sector(struct failing *f, uint64_t sector, bool may_be_old, const uint8_t *data)
{
	if (shadow_check(&f->shadow, sector, (const uint64_t *)data))
		return;
	f->shadow.generation[sector]--;
	if (!may_be_old || !shadow_check(&f->shadow, sector, (const uint64_t *)data))
		f->wrong++;
}

static void read_chunk(struct failing *f, uint64_t sector, bool may_be_old)
{
	memset(f->data, 0x5a, CHUNK * SECTOR);
	if (!count(f, blk_read(f->blk, sector, f->data, CHUNK), &f->read, &f->not_read))
		return;
	for (unsigned i = 0; i < CHUNK; i++)
		check_sector(f, sector + i, may_be_old, f->data + i * SECTOR);
}

static void report(const struct failing *f)
{
	note("written: %u, not: %u", f->written, f->not_written);
	note("read: %u, not: %u", f->read, f->not_read);
	note("flushed: %u, not: %u", f->flushed, f->not_flushed);
}

/*
 * The disk once from its beginning to its end, which must be whole chunks; what has been written would
 * be read from a host's page cache, and so `writes=no` leaves that out.
 */
static void failing(void)
{
	struct failing *f = alloc_pages(sizeof(*f));
	const bool writes = !option_is("writes", "no");

	f->blk = disk(0);
	f->data = alloc_pages(CHUNK * SECTOR);
	if (!ok(blk_start(f->blk, BLK_FEATURES, 1, VQ_MAX_SIZE), "the device starts"))
		return;
	shadow_init(&f->shadow, f->blk->capacity);
	for (uint64_t s = 0; s + CHUNK <= f->blk->capacity; s += CHUNK) {
		const unsigned before = f->not_written;

		if (writes) {
			write_chunk(f, s);
			count(f, blk_flush(f->blk), &f->flushed, &f->not_flushed);
		}
		read_chunk(f, s, f->not_written != before);
	}
	ok(!f->odd, "every request ends with OK or IOERR (%u do not)", f->odd);
	ok(!f->wrong, "every sector that can be read is right (%u are not)", f->wrong);
	report(f);
}

/* Writes and flushes in turn: what each flush says, in one word. */
static void flushes(void)
{
	const unsigned n = option_u64("ios", 5);
	char said[MAX_FLUSHES + 1] = "";
	uint8_t *data = alloc_pages(SECTOR);

	if (!ok(blk_start(disk(0), BLK_FEATURES, 1, VQ_MAX_SIZE), "the device starts"))
		return;
	for (unsigned i = 0; i < n && i < MAX_FLUSHES; i++) {
		if (option_is("writes", "no") || blk_write(disk(0), i, data, 1) == VIRTIO_BLK_S_OK)
			said[i] = blk_flush(disk(0)) == VIRTIO_BLK_S_OK ? 'O' : 'I';
		else
			said[i] = 'w';
	}
	note("flushes: %s", said);
}

/* ---- a disk beside another ------------------------------------------------------------------- */

struct slow {
	struct blk *blk;
	struct blk_req *req;
	bool in_flight;
	unsigned done, bad;
};

/* One read after the other, never waited for. */
static void slow_step(struct slow *s)
{
	struct virtq *vq = &s->blk->queue[0];
	uint32_t len;

	if (s->in_flight && virtq_get(vq, &len)) {
		s->in_flight = false;
		s->done++;
		s->bad += s->req->status != VIRTIO_BLK_S_OK || len != SECTOR + 1;
	}
	if (s->in_flight)
		return;
	s->req->sector = s->done % s->blk->capacity;
	s->req->nsectors = 1;
	blk_add(vq, s->req, VIRTIO_BLK_T_IN, 1);
	virtq_kick(vq);
	s->in_flight = true;
}

/* A write and a read that must find it; how many of them were wrong. */
static unsigned quick_step(struct blk *blk, uint64_t *data, uint64_t n)
{
	data[0] = n;
	if (blk_write(blk, n % blk->capacity, data, 1) != VIRTIO_BLK_S_OK)
		return 1;
	data[0] = 0;
	return blk_read(blk, n % blk->capacity, data, 1) != VIRTIO_BLK_S_OK || data[0] != n;
}

/*
 * Disk 0 may be slow or stop for a while; disk 1 and the console must not notice. Says how far both
 * are, over and over, until disk 0 has done its number and then for `ms` more.
 */
static void beside(void)
{
	const uint64_t total = option_u64("ios", 1000), ms = option_u64("ms", 0);
	struct slow slow = { .blk = disk(0), .req = alloc_pages(sizeof(*slow.req)) };
	uint64_t *data = alloc_pages(SECTOR), quick = 0, next = 0, end = 0;
	unsigned bad = 0;

	slow.req->data = alloc_pages(SECTOR);
	ok(blk_start(disk(0), BLK_FEATURES, 1, VQ_MAX_SIZE), "disk 0 starts");
	ok(blk_start(disk(1), BLK_FEATURES, 1, VQ_MAX_SIZE), "disk 1 starts");
	while (!end || time_us() < end) {
		slow_step(&slow);
		bad += quick_step(disk(1), data, ++quick);
		if (time_us() > next) {
			note("disk 0: %u disk 1: %lu", slow.done, quick);
			next = time_us() + REPORT_US;
		}
		if (!end && slow.done >= total)
			end = time_us() + ms * 1000 + 1;
	}
	ok(!slow.bad, "disk 0 was read (%u times badly)", slow.bad);
	ok(!bad, "disk 1 holds what was written (%u times not)", bad);
}

const struct test failing_tests[] = {
	{ "failing", failing },
	{ "flushes", flushes },
	{ "beside", beside },
	{ NULL, NULL },
};
