/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rules of virtio/blk/copy.h in all orders that guest, host and copier can bring about: every
 * state is looked at, with writes that are half done, that fail half-way and that span chunks, and
 * with copies that read half of them. Then one rule after the other is taken away, and some order
 * must go wrong.
 *
 * A disk of two chunks of two cells each. What a cell holds is who wrote it last; 0 is zeroes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "virtio/blk/copy.h"

#define CHUNKS	  2
#define CELLS	  (2 * CHUNKS)
#define WRITES	  3
#define COPIES	  2
#define CELL_SIZE (1ULL << (BLK_CHUNK_MIN_SHIFT - 1))

enum rule {
	NONE,
	MARK_AT_BEGIN,
	MARK_AT_END,
	UNMARK_BEFORE_READ,
	ONE_COPY_OF_A_CHUNK,
	NO_WRITE_UNDER_WAY, /* when the two are taken for equal */
	NO_COPY_UNDER_WAY,
	ZEROES_OVER_DATA,
	WAIT_FOR_MARKED, /* BACKUP */
	WAIT_FOR_READ,
	BEGIN_WITHOUT_WRITES,
};

struct range {
	uint8_t cell, n, value;
};

struct scenario {
	enum blk_copy_mode mode;
	bool junk;  /* the target held something */
	bool early; /* the first write is under way when the copy begins */
	struct range write[WRITES];
};

/* A write: not begun, `done` cells of it, with no more to come, ended. A copy: free, reading, ...
 * and the same. */
enum { NEW, UNDER_WAY, UNREAPED, ENDED };
enum { FREE, READING, READ, WRITING, WRITTEN };

struct world {		      /* of whole words, for hash_of() */
	struct blk_copy copy; /* its pointers are the two maps below, while it is at work */
	uint64_t clean, filled;
	uint8_t source[CELLS], target[CELLS], before[CELLS];
	struct {
		uint8_t state, done, met; /* met: chunks that a copy of began meanwhile, bits */
	} write[WRITES];
	struct {
		uint8_t state, done, chunk, buffer[2];
	} slot[COPIES];
};
_Static_assert(sizeof(struct world) % 8 == 0, "hash_of() takes words");

static struct {
	struct scenario s;
	enum rule without;
	bool figures;	/* look for wrong figures, not for lost data */
	uint64_t *seen; /* hashes; 0: free */
	size_t nseen, room;
	const char *wrong;
} search;

/* ---- the states seen ------------------------------------------------------------------------- */

static uint64_t hash_of(const struct world *w)
{
	uint64_t word, hash = sizeof(*w);

	for (size_t i = 0; i < sizeof(*w); i += sizeof(word)) {
		memcpy(&word, (const uint8_t *)w + i, sizeof(word));
		hash = (hash ^ word) * 0x9e3779b97f4a7c15;
		hash ^= hash >> 32;
	}
	return hash ? hash : 1;
}

static void grow(void)
{
	uint64_t *old = search.seen;
	const size_t n = search.room;

	search.room = n ? 2 * n : 1 << 16;
	search.seen = calloc(search.room, sizeof(*old));
	assert_non_null(search.seen);
	for (size_t i = 0; i < n; i++) {
		size_t at = old[i] % search.room;

		while (old[i] && search.seen[at])
			at = (at + 1) % search.room;
		if (old[i])
			search.seen[at] = old[i];
	}
	free(old);
}

/* False: was there before. */
static bool remember(const struct world *w)
{
	const uint64_t hash = hash_of(w);
	size_t at;

	if (2 * search.nseen >= search.room)
		grow();
	for (at = hash % search.room; search.seen[at]; at = (at + 1) % search.room)
		if (search.seen[at] == hash)
			return false;
	search.seen[at] = hash;
	search.nseen++;
	return true;
}

/* ---- what must hold -------------------------------------------------------------------------- */

static bool touches(unsigned i, unsigned chunk)
{
	const struct range *r = &search.s.write[i];

	return r->cell / 2 <= chunk && (r->cell + r->n - 1) / 2 >= (int)chunk;
}

static bool under_way(const struct world *w)
{
	for (unsigned i = 0; i < WRITES; i++)
		if (w->write[i].state == UNDER_WAY || w->write[i].state == UNREAPED)
			return true;
	return false;
}

static bool is_done(const struct world *w)
{
	return search.without == NO_COPY_UNDER_WAY ? !w->copy.chunks.left
						   : blk_copy_is_done(&w->copy);
}

static bool is_busy(const struct world *w, unsigned chunk)
{
	return blk_chunks_is_busy(&w->copy.chunks, 2 * chunk * CELL_SIZE, 1);
}

/* A chunk that counts as equal is, but for a write that was under way when it was copied, and still
 * is. */
static bool is_counted(const struct world *w, unsigned chunk)
{
	if (!(w->clean >> chunk & 1) || is_busy(w, chunk))
		return true;
	if (!memcmp(w->source + 2 * chunk, w->target + 2 * chunk, 2))
		return true;
	for (unsigned i = 0; i < WRITES; i++)
		if (w->write[i].met >> chunk & 1 &&
		    (w->write[i].state == UNDER_WAY || w->write[i].state == UNREAPED))
			return true;
	return false;
}

static void check_mirror(const struct world *w)
{
	const bool pivots = is_done(w) && (search.without == NO_WRITE_UNDER_WAY || !under_way(w));

	if (pivots && memcmp(w->source, w->target, CELLS))
		search.wrong = "source and target differ at the pivot";
	for (unsigned chunk = 0; chunk < CHUNKS && search.figures; chunk++)
		if (!is_counted(w, chunk))
			search.wrong = "a chunk counts as equal that is not";
}

static void check(const struct world *w)
{
	if (search.s.mode == BLK_COPY_MIRROR)
		check_mirror(w);
	else if (is_done(w) && memcmp(w->target, w->before, CELLS))
		search.wrong = "the backup is not the disk of that moment";
}

/* ---- steps: each takes a copy of the world, changes it, and looks on from there ---------------- */

static void explore(const struct world *w);

/* The maps move with the world; in which order copies began does not matter. */
static struct blk_copy *copy_of(struct world *w)
{
	w->copy.chunks.clean = &w->clean;
	w->copy.filled = &w->filled;
	return &w->copy;
}

static void go_on(struct world *w)
{
	w->copy.chunks.clean = w->copy.filled = NULL;
	for (unsigned i = w->copy.chunks.nbusy; i < COPIES; i++)
		w->copy.chunks.busy[i] = 0;
	if (w->copy.chunks.nbusy == 2 && w->copy.chunks.busy[0] > w->copy.chunks.busy[1]) {
		w->copy.chunks.busy[0]--;
		w->copy.chunks.busy[1]++;
	}
	explore(w);
}

static bool must_wait(struct world *w, uint64_t offset, uint64_t len)
{
	struct blk_copy *copy = copy_of(w);

	if (search.without == WAIT_FOR_MARKED)
		return false;
	if (search.without == WAIT_FOR_READ)
		return copy->mode == BLK_COPY_BACKUP &&
		       blk_chunks_first(&copy->chunks, offset, len) != BLK_CHUNK_NONE;
	return blk_copy_must_wait(copy, offset, len);
}

static void write_begins(struct world w, unsigned i)
{
	const struct range *r = &search.s.write[i];

	if (must_wait(&w, r->cell * CELL_SIZE, r->n * CELL_SIZE))
		return;
	if (search.without != MARK_AT_BEGIN)
		blk_copy_write_begins(copy_of(&w), r->cell * CELL_SIZE, r->n * CELL_SIZE);
	w.write[i].state = UNDER_WAY;
	go_on(&w);
}

static void write_cell(struct world w, unsigned i)
{
	const struct range *r = &search.s.write[i];

	w.source[r->cell + w.write[i].done++] = r->value;
	if (w.write[i].done == r->n)
		w.write[i].state = UNREAPED;
	go_on(&w);
}

static void write_fails(struct world w, unsigned i)
{
	w.write[i].state = UNREAPED;
	go_on(&w);
}

static void write_ends(struct world w, unsigned i)
{
	const struct range *r = &search.s.write[i];

	if (search.without != MARK_AT_END)
		blk_copy_write_ended(copy_of(&w), r->cell * CELL_SIZE, r->n * CELL_SIZE);
	w.write[i].state = ENDED;
	w.write[i].met = w.write[i].done = 0;
	go_on(&w);
}

static void step_write(const struct world *w, unsigned i)
{
	if (w->write[i].state == NEW)
		write_begins(*w, i);
	if (w->write[i].state == UNDER_WAY) {
		write_cell(*w, i);
		if (w->write[i].done)
			write_fails(*w, i);
	}
	if (w->write[i].state == UNREAPED)
		write_ends(*w, i);
}

static void copy_begins(struct world w, unsigned i, unsigned chunk)
{
	blk_copy_begin(copy_of(&w), chunk);
	if (search.without == UNMARK_BEFORE_READ)
		blk_chunks_mark(&copy_of(&w)->chunks, 2 * chunk * CELL_SIZE, 1);
	for (unsigned n = 0; n < WRITES; n++)
		if (touches(n, chunk) && w.write[n].state != NEW)
			w.write[n].met |= w.write[n].state != ENDED ? 1 << chunk : 0;
	w.slot[i].state = READING;
	w.slot[i].chunk = chunk;
	go_on(&w);
}

static void copy_reads(struct world w, unsigned i)
{
	w.slot[i].buffer[w.slot[i].done] = w.source[2 * w.slot[i].chunk + w.slot[i].done];
	if (++w.slot[i].done == 2)
		w.slot[i].state = READ;
	go_on(&w);
}

static void slot_free(struct world *w, unsigned i)
{
	memset(&w->slot[i], 0, sizeof(w->slot[i]));
}

static void copy_was_read(struct world w, unsigned i)
{
	const bool zeroes = !w.slot[i].buffer[0] && !w.slot[i].buffer[1];
	struct blk_copy *copy = copy_of(&w);

	if (search.without == UNMARK_BEFORE_READ && !(w.clean >> w.slot[i].chunk & 1)) {
		w.clean |= 1ULL << w.slot[i].chunk;
		copy->chunks.left--;
	}
	if (search.without == ZEROES_OVER_DATA)
		w.filled = copy->junk = 0;
	w.slot[i].state = WRITING;
	w.slot[i].done = 0;
	if (!blk_copy_was_read(copy, w.slot[i].chunk, zeroes))
		slot_free(&w, i);
	go_on(&w);
}

static void copy_writes(struct world w, unsigned i)
{
	w.target[2 * w.slot[i].chunk + w.slot[i].done] = w.slot[i].buffer[w.slot[i].done];
	if (++w.slot[i].done == 2)
		w.slot[i].state = WRITTEN;
	go_on(&w);
}

static void copy_was_written(struct world w, unsigned i)
{
	blk_copy_was_written(copy_of(&w), w.slot[i].chunk);
	slot_free(&w, i);
	go_on(&w);
}

static void step_free(const struct world *w, unsigned i)
{
	if (i && w->slot[i - 1].state == FREE)
		return; /* it makes no difference which */
	for (unsigned chunk = 0; chunk < CHUNKS; chunk++)
		if (!(w->clean >> chunk & 1) &&
		    (search.without == ONE_COPY_OF_A_CHUNK || !is_busy(w, chunk)))
			copy_begins(*w, i, chunk);
}

static void step_copy(const struct world *w, unsigned i)
{
	switch (w->slot[i].state) {
	case FREE:
		step_free(w, i);
		break;
	case READING:
		copy_reads(*w, i);
		break;
	case READ:
		copy_was_read(*w, i);
		break;
	case WRITING:
		copy_writes(*w, i);
		break;
	default:
		copy_was_written(*w, i);
	}
}

static bool at_its_end(const struct world *w)
{
	for (unsigned i = 0; i < WRITES; i++)
		if (w->write[i].state != ENDED)
			return false;
	return !w->copy.chunks.left && !w->copy.pending;
}

/* A state from which no step leads on is an end, or somebody waits for ever. */
static void explore(const struct world *w)
{
	static size_t steps;
	const size_t before = ++steps;

	if (search.wrong || !remember(w))
		return;
	check(w);
	for (unsigned i = 0; i < WRITES; i++)
		step_write(w, i);
	for (unsigned i = 0; i < COPIES; i++)
		step_copy(w, i);
	if (steps == before && !search.wrong && !at_its_end(w))
		search.wrong = "somebody waits for ever";
}

/* ---- scenarios ------------------------------------------------------------------------------- */

static void set_up(struct world *w)
{
	static const uint8_t image[CELLS] = { 0, 0, 9, 9 };

	memset(w, 0, sizeof(*w));
	memcpy(w->source, image, CELLS);
	memcpy(w->before, image, CELLS);
	memset(w->target, search.s.junk ? 7 : 0, CELLS);
	blk_copy_init(&w->copy, search.s.mode, CELLS * CELL_SIZE, search.s.junk, &w->clean,
		      &w->filled);
	for (unsigned i = 0; i < WRITES; i++)
		w->write[i].state = search.s.write[i].n ? NEW : ENDED;
	if (!search.s.early)
		return;
	w->write[0].state = UNDER_WAY;
	w->write[0].met = 1; /* by the copy's beginning */
}

static const char *run(const struct scenario *s, enum rule without, bool figures)
{
	struct world w;

	memset(&search, 0, sizeof(search));
	search.s = *s;
	search.without = without;
	search.figures = figures;
	set_up(&w);
	go_on(&w);
	print_message("%zu states%s%s\n", search.nseen, search.wrong ? ": " : "",
		      search.wrong ? search.wrong : "");
	free(search.seen);
	return search.wrong;
}

/* One chunk whole, and across both; on one chunk three times, the last time zeroes. */
#define ACROSS                                                                                     \
	{                                                                                          \
		{ 0, 2, 1 },                                                                       \
		{                                                                                  \
			1, 2, 2                                                                    \
		}                                                                                  \
	}
#define SAME                                                                                       \
	{                                                                                          \
		{ 0, 2, 1 }, { 1, 1, 2 },                                                          \
		{                                                                                  \
			0, 2, 0                                                                    \
		}                                                                                  \
	}

static const struct scenario mirrors[] = {
	{ BLK_COPY_MIRROR, false, false, ACROSS },
	{ BLK_COPY_MIRROR, false, false, SAME },
	{ BLK_COPY_MIRROR, true, false, SAME },
	{ BLK_COPY_MIRROR, false, true, ACROSS },
};

static const struct scenario backups[] = {
	{ BLK_COPY_BACKUP, false, false, ACROSS },
	{ BLK_COPY_BACKUP, true, false, ACROSS },
	{ BLK_COPY_BACKUP, false, false, SAME },
};

static void test_a_mirror_is_equal_whatever_comes_in_between(void **state)
{
	for (unsigned i = 0; i < 4; i++)
		assert_null(run(&mirrors[i], NONE, true));
}

static void test_a_backup_is_of_one_moment(void **state)
{
	for (unsigned i = 0; i < 3; i++)
		assert_null(run(&backups[i], NONE, false));
}

static void loses(const struct scenario *s, enum rule without)
{
	const char *wrong = run(s, without, false);

	assert_non_null(wrong);
	assert_string_not_equal(wrong, "somebody waits for ever");
}

static void test_a_mirror_needs_each_of_its_rules(void **state)
{
	loses(&mirrors[0], MARK_AT_END);
	loses(&mirrors[0], UNMARK_BEFORE_READ);
	loses(&mirrors[1], ONE_COPY_OF_A_CHUNK);
	loses(&mirrors[0], NO_WRITE_UNDER_WAY);
	loses(&mirrors[0], NO_COPY_UNDER_WAY);
	loses(&mirrors[1], ZEROES_OVER_DATA);
	loses(&mirrors[2], ZEROES_OVER_DATA);
}

/* Both halves of what copy.h says about it. */
static void test_the_mark_at_the_beginning_is_for_the_figures(void **state)
{
	assert_non_null(run(&mirrors[0], MARK_AT_BEGIN, true));
	assert_null(run(&mirrors[0], MARK_AT_BEGIN, false));
}

static void test_a_backup_needs_each_of_its_rules(void **state)
{
	const struct scenario early = { BLK_COPY_BACKUP, false, true, ACROSS };

	loses(&backups[0], WAIT_FOR_MARKED);
	loses(&backups[0], WAIT_FOR_READ);
	loses(&backups[1], ZEROES_OVER_DATA);
	loses(&early, BEGIN_WITHOUT_WRITES);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_mirror_is_equal_whatever_comes_in_between),
		cmocka_unit_test(test_a_backup_is_of_one_moment),
		cmocka_unit_test(test_a_mirror_needs_each_of_its_rules),
		cmocka_unit_test(test_the_mark_at_the_beginning_is_for_the_figures),
		cmocka_unit_test(test_a_backup_needs_each_of_its_rules),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
