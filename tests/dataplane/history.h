/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every kind of request on a disk against a reference in memory, many in flight, kept apart or
 * overlapping each other.
 *
 * Every sector has a history of generations: 0 is what the image holds, each WRITE, DISCARD and
 * WRITE ZEROES makes the next. A word of data names its sector and its generation. While requests
 * overlap, a read may find any generation from the oldest that can still be there (`floor`) to the
 * last one issued; without overlap these are the same one. It may never find anything else.
 */
#ifndef MVMM_TESTS_HISTORY_H
#define MVMM_TESTS_HISTORY_H

#include "tests/dataplane/rig.h"

#define SECTORS	   RIG_SECTORS
#define MAX_GENS   512
#define DEPTH	   32
#define MAX_LEN	   (96 * 512)
#define MIB	   (1U << 20)
#define PER_CHUNK  (MIB / 512)
#define WORDS	   (512 / 8)
#define LONG_RANGE (3 * PER_CHUNK)

struct job {
	bool active;
	uint32_t type;
	uint64_t sector, n;
	struct rig_req req;
	uint32_t *gen; /* one per sector: of a writer its own, of a reader the oldest it may find */
	uint32_t *oldest; /* writer: the oldest that was under way when it was issued */
};

struct history {
	struct rig *rig;
	bool overlap;
	unsigned seed;
	uint32_t issued[SECTORS];
	uint32_t floor[SECTORS];
	uint8_t zeroes[MAX_GENS][SECTORS]; /* this generation reads as zeroes */
	struct job job[DEPTH];
};

static inline uint64_t word(uint64_t sector, uint32_t gen, unsigned i)
{
	return sector << 40 | (uint64_t)gen << 16 | 1 << 8 | i;
}

static inline void fill_sector(void *data, uint64_t sector, uint32_t gen)
{
	for (unsigned i = 0; i < WORDS; i++)
		((uint64_t *)data)[i] = word(sector, gen, i);
}

/* All of the image as it is made. */
static inline const uint8_t *base_data(void)
{
	static uint8_t data[RIG_SIZE];

	if (!data[1]) /* where every sector has its mark */
		for (uint64_t s = 0; s < SECTORS; s++)
			fill_sector(data + s * 512, s, 0);
	return data;
}

/* While no dataplane uses it. */
static inline void make_base(struct rig *rig)
{
	const int fd = open(rig->path, O_WRONLY | O_CLOEXEC);

	assert_int_equal(pwrite(fd, base_data(), RIG_SIZE, 0), RIG_SIZE);
	close(fd);
}

static inline void check_base(struct rig *rig)
{
	uint8_t *got = malloc(RIG_SIZE);

	assert_non_null(got);
	rig_peek(rig, 0, got, RIG_SIZE);
	assert_true(!memcmp(base_data(), got, RIG_SIZE));
	free(got);
}

static inline struct history *history_new(struct rig_config config, bool overlap, unsigned seed)
{
	struct history *h = calloc(1, sizeof(*h));

	assert_non_null(h);
	config.overlay = true;
	config.features |= F_RANGES;
	h->rig = rig_new_stopped(config);
	h->overlap = overlap;
	h->seed = seed;
	if (!config.image)
		make_base(h->rig);
	assert_int_equal(rig_start(h->rig), 0);
	for (unsigned i = 0; i < DEPTH; i++) {
		h->job[i].req = rig_req(h->rig, MAX_LEN);
		h->job[i].gen = calloc(LONG_RANGE, sizeof(uint32_t));
		h->job[i].oldest = calloc(LONG_RANGE, sizeof(uint32_t));
	}
	return h;
}

static inline void history_free(struct history *h)
{
	if (!h->rig->config.image) /* else its owner looks */
		check_base(h->rig);
	for (unsigned i = 0; i < DEPTH; i++) {
		free(h->job[i].gen);
		free(h->job[i].oldest);
	}
	rig_free(h->rig);
	free(h);
}

static inline bool writes(const struct job *job)
{
	return job->type != VIRTIO_BLK_T_IN;
}

static inline bool busy(const struct history *h, uint64_t sector, uint64_t n)
{
	for (unsigned i = 0; i < DEPTH; i++) {
		const struct job *job = &h->job[i];

		if (job->active && sector < job->sector + job->n && job->sector < sector + n)
			return true;
	}
	return false;
}

/* The oldest generation that a writer still under way may put there. */
static inline uint32_t oldest_under_way(const struct history *h, uint64_t sector, uint32_t own)
{
	uint32_t oldest = own;

	for (unsigned i = 0; i < DEPTH; i++) {
		const struct job *job = &h->job[i];

		if (job->active && writes(job) && sector - job->sector < job->n &&
		    job->gen[sector - job->sector] < oldest)
			oldest = job->gen[sector - job->sector];
	}
	return oldest;
}

static inline void note_issue(struct history *h, struct job *job)
{
	for (uint64_t i = 0; i < job->n; i++) {
		const uint64_t s = job->sector + i;

		if (!writes(job)) {
			job->gen[i] = h->floor[s];
			continue;
		}
		job->gen[i] = ++h->issued[s];
		assert_true(h->issued[s] < MAX_GENS);
		h->zeroes[job->gen[i]][s] = job->type != VIRTIO_BLK_T_OUT;
		job->oldest[i] = oldest_under_way(h, s, job->gen[i]);
	}
	job->active = true;
}

static inline void note_done(struct history *h, struct job *job)
{
	job->active = false;
	for (uint64_t i = 0; i < job->n && writes(job); i++)
		if (h->floor[job->sector + i] < job->oldest[i])
			h->floor[job->sector + i] = job->oldest[i];
}

static inline bool acceptable(const struct history *h, uint64_t sector, uint32_t floor, unsigned i,
			      uint64_t got)
{
	const uint32_t gen = got >> 16 & 0xffffff;

	if (got)
		return gen >= floor && gen <= h->issued[sector] && got == word(sector, gen, i) &&
		       !h->zeroes[gen][sector];
	for (uint32_t g = floor; g <= h->issued[sector]; g++)
		if (h->zeroes[g][sector])
			return true;
	return false;
}

/* Nearly always a sector is of one generation. False: look at each word. */
static inline bool plainly_right(const struct history *h, uint64_t sector, uint32_t floor,
				 const uint64_t *data)
{
	uint64_t want[WORDS];

	if (!acceptable(h, sector, floor, 0, data[0]))
		return false;
	memset(want, 0, sizeof(want));
	if (data[0])
		fill_sector(want, sector, data[0] >> 16 & 0xffffff);
	return !memcmp(want, data, sizeof(want));
}

static inline void check_words(const struct history *h, uint64_t sector, uint32_t floor,
			       const uint64_t *data)
{
	for (unsigned w = 0; w < WORDS; w++)
		if (!acceptable(h, sector, floor, w, data[w]))
			fail_msg("sector %lu word %u: %#lx, generations %u to %u", sector, w,
				 data[w], floor, h->issued[sector]);
}

static inline void check_read(const struct history *h, const struct job *job)
{
	const uint64_t *data = rig_ptr(h->rig, job->req.data);

	for (uint64_t i = 0; i < job->n; i++)
		if (!plainly_right(h, job->sector + i, job->gen[i], data + i * WORDS))
			check_words(h, job->sector + i, job->gen[i], data + i * WORDS);
}

static inline uint32_t some(struct history *h, uint32_t n)
{
	return (uint32_t)rand_r(&h->seed) % n;
}

/* Mostly around the border of two chunks, so that requests meet; some ranges are longer than one. */
static inline void choose(struct history *h, struct job *job)
{
	static const uint32_t types[] = { VIRTIO_BLK_T_IN,	VIRTIO_BLK_T_IN,
					  VIRTIO_BLK_T_IN,	VIRTIO_BLK_T_OUT,
					  VIRTIO_BLK_T_OUT,	VIRTIO_BLK_T_OUT,
					  VIRTIO_BLK_T_DISCARD, VIRTIO_BLK_T_WRITE_ZEROES };
	const uint64_t room = some(h, 4) ? 512 : SECTORS;
	const uint64_t base = room == SECTORS ? 0 : PER_CHUNK - 256;

	job->type = types[some(h, 8)];
	job->n = 1 + some(h, some(h, 2) ? 8 : MAX_LEN / 512);
	job->sector = base + some(h, room);
	if (job->type != VIRTIO_BLK_T_IN && job->type != VIRTIO_BLK_T_OUT && !some(h, 64)) {
		job->n = LONG_RANGE - some(h, 64);
		job->sector = some(h, SECTORS);
	}
	if (some(h, 2)) {
		job->n = (job->n + 7) & ~7ULL;
		job->sector &= ~7ULL;
	}
	if (job->n > SECTORS - job->sector)
		job->n = SECTORS - job->sector;
}

static inline void put_data(struct history *h, struct job *job)
{
	struct virtio_blk_discard_write_zeroes *seg = rig_ptr(h->rig, job->req.data);
	uint8_t *data = rig_ptr(h->rig, job->req.data);

	if (job->type == VIRTIO_BLK_T_IN)
		memset(data, 0x5a, job->n * 512);
	else if (job->type == VIRTIO_BLK_T_OUT)
		for (uint64_t i = 0; i < job->n; i++)
			fill_sector(data + i * 512, job->sector + i, job->gen[i]);
	else
		*seg = (struct virtio_blk_discard_write_zeroes){
			job->sector, job->n, job->type == VIRTIO_BLK_T_WRITE_ZEROES ? some(h, 2) : 0
		};
}

static inline void queue_job(struct history *h, unsigned slot)
{
	struct job *job = &h->job[slot];
	const bool range = job->type != VIRTIO_BLK_T_IN && job->type != VIRTIO_BLK_T_OUT;

	note_issue(h, job);
	put_data(h, job);
	assert_true(rig_queue(h->rig, 0, &job->req, job->type, range ? 0 : job->sector,
			      range ? 16 : job->n * 512, slot) >= 0);
}

static inline void issue(struct history *h, unsigned slot)
{
	struct job *job = &h->job[slot];

	do {
		choose(h, job);
	} while (!h->overlap && busy(h, job->sector, job->n));
	queue_job(h, slot);
}

static inline void collect(struct history *h, const struct fake_done *done)
{
	struct job *job = &h->job[done->cookie];

	assert_true(done->cookie < DEPTH && job->active);
	assert_int_equal(rig_status(h->rig, &job->req), VIRTIO_BLK_S_OK);
	assert_int_equal(done->len, writes(job) ? 1 : job->n * 512 + 1);
	note_done(h, job);
	if (!writes(job))
		check_read(h, job);
}

/* Takes all that is complete, so that requests come in batches and neighbours may meet. */
static inline unsigned turn_over(struct history *h, unsigned more)
{
	struct fake_done done;
	unsigned n = 0;

	assert_true(rig_wait(h->rig, 0, &done));
	do {
		collect(h, &done);
		if (n < more)
			issue(h, done.cookie);
		n++;
	} while (fake_queue_poll(&h->rig->drv[0], &done));
	rig_kick(h->rig, 0);
	return n;
}

static inline void run(struct history *h, unsigned requests)
{
	unsigned left = requests - DEPTH;

	for (unsigned slot = 0; slot < DEPTH; slot++)
		issue(h, slot);
	rig_kick(h->rig, 0);
	for (unsigned done = 0, n; done < requests; done += n) {
		n = turn_over(h, left);
		left -= n < left ? n : left;
	}
}

/* Whatever happened: all of the disk, once more. */
static inline void read_all(struct history *h)
{
	const uint64_t n = 64;
	unsigned queued = 0;

	for (uint64_t s = 0; s < SECTORS; s += n) {
		struct job *job = &h->job[queued];

		job->type = VIRTIO_BLK_T_IN;
		job->sector = s;
		job->n = n;
		queue_job(h, queued++);
		if (queued < DEPTH && s + n < SECTORS)
			continue;
		rig_kick(h->rig, 0);
		while (queued)
			queued -= turn_over(h, 0);
	}
}

#endif
