/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the host changes while the guest works: limits, sizes, what becomes of errors. Lines `# ask
 * WISH.` say what the guest wants next, and a line of the host's says that it is so; see ../live.sh.
 */
#include <linux/virtio_mmio.h>

#include "guest/io.h"
#include "guest/irq.h"
#include "guest/lib.h"
#include "tests.h"

#define COM1	      0x3f8
#define COM1_LSR      0x3fd
#define LSR_DR	      1
#define FASTEST	      5000 /* I/Os per second that a limit allows, where the machine does far more */
#define SLOWEST	      5
#define LONGEST	      FASTEST /* completions that are looked at at once */
#define CREDIT_US     10000   /* what a guest that comes late is let make up for */
#define LATE_US	      100000  /* and a disk's thread */
#define TIMES_WRONG   4
#define TIMES_TO_LOOK 20

static bool host_has_said(void)
{
	if (!(inb(COM1_LSR) & LSR_DR))
		return false;
	inb(COM1);
	return true;
}

/* The load goes on until `n` more requests are done, and stays in flight. */
static bool go_on(struct workload *w, uint64_t n)
{
	w->leave = w->done + n;
	return workload_run(w);
}

static bool come_to_end(struct workload *w)
{
	w->leave = w->done = 0; /* `when` begins anew, too */
	w->total = w->in_flight;
	return workload_run(w);
}

static struct workload load(enum waiting waiting, unsigned depth, unsigned sectors)
{
	return (struct workload){
		.queue = disk(0)->queue,
		.nqueues = 1,
		.shadow = disk_shadow(),
		.unit = sectors,
		.waiting = waiting,
		.depth = depth,
		.max_sectors = sectors,
		.write_percent = 50,
		.total = UINT64_MAX,
		.seed = 1,
	};
}

/* ---- limits */

static uint64_t bytes_per_io; /* 0: limits are in I/Os */

/* At the next `n` completions, from which `when` begins anew. */
static bool look(struct workload *w, uint64_t n)
{
	w->done = 0;
	return go_on(w, n);
}

/* From the host's answer on; the load goes on meanwhile, for more completions than `when` has room for. */
static bool ask_limit(struct workload *w, uint64_t iops)
{
	if (bytes_per_io)
		note("ask limit bps=%lu.", iops * bytes_per_io);
	else
		note("ask limit iops=%lu.", iops);
	while (!host_has_said())
		if (!look(w, 1))
			return false;
	return true;
}

static uint64_t free_rate(struct workload *w)
{
	if (!look(w, 2 * w->depth + 100))
		return 0;
	return w->done * 1000000 / (w->when[w->done - 1] - w->when[0] + 1);
}

/*
 * A limit is a schedule: whoever comes late makes up for it, and nobody is early. So the completion
 * that is the least late of some is on time, however busy the host, and two of these say the rate.
 */
static uint64_t on_time(const uint64_t *when, uint64_t from, uint64_t to, uint64_t iops)
{
	uint64_t best = from;

	for (uint64_t i = from; i < to; i++)
		if ((int64_t)(when[i] - when[best]) < (int64_t)((i - best) * 1000000 / iops))
			best = i;
	return best;
}

/* After a gap longer than what is made up for the schedule begins anew: the longest part of `n`
 * completions without one. */
static uint64_t longest_part(const struct workload *w, uint64_t n, uint64_t iops, uint64_t *first)
{
	uint64_t late = CREDIT_US + (w->depth - 1) * 1000000 / iops, begin = 0, best = 0;

	if (late > LATE_US)
		late = LATE_US;
	for (uint64_t i = 1; i <= n; i++) {
		if (i < n && w->when[i] - w->when[i - 1] <= 1000000 / iops + late)
			continue;
		if (i - begin > best) {
			best = i - begin;
			*first = begin;
		}
		begin = i;
	}
	return best;
}

/* In tenths of a percent of the limit; 0: not known. */
static uint64_t measure(struct workload *w, uint64_t iops)
{
	uint64_t n = iops < 100 ? 100 : iops, from = 0, first, last;

	/* What had begun before the limit, and is not held to it. */
	if (!look(w, w->depth + iops / 8) || !look(w, n))
		return 0;
	n = longest_part(w, n, iops, &from);
	if (n < 24)
		return 0;
	first = on_time(w->when, from, from + n / 3, iops);
	last = on_time(w->when, from + n - n / 3, from + n, iops);
	return (last - first) * 1000000000 / iops / (w->when[last] - w->when[first]);
}

/* The limit that is held: a host may become too slow for one, then it does half of it, which a limit
 * that is not held would not. 0: none is. */
static uint64_t expect(struct workload *w, const char *what, uint64_t iops)
{
	uint64_t got = 0;
	unsigned wrong = 0;

	for (unsigned i = 0; i < TIMES_TO_LOOK && wrong < TIMES_WRONG; i++) {
		if (i == 0 && !ask_limit(w, iops))
			break;
		got = measure(w, iops);
		if (got >= 980 && got <= 1020)
			break;
		note("%s: of %lu per second, %lu tenths of a percent", what, iops, got);
		if (!got)
			continue;
		wrong++;
		iops = iops >= 2 * SLOWEST ? iops / 2 : iops;
		if (!ask_limit(w, iops))
			break;
	}
	return ok(got >= 980 && got <= 1020, "%s: of %lu per second, %lu tenths of a percent", what,
		  iops, got)
		       ? iops
		       : 0;
}

/* Twice of what the limit was: it did four times as much before. */
static void expect_more(struct workload *w, uint64_t iops)
{
	const uint64_t end = time_us() + PATIENCE_US;
	uint64_t got = 0;

	ask_limit(w, 0);
	while (got < 2 * iops && time_us() < end)
		got = free_rate(w);
	ok(got >= 2 * iops, "lifted: %lu per second instead of %lu", got, iops);
}

static void limits(void)
{
	const unsigned sectors = option_u64("sectors", 8);
	struct workload w;
	uint64_t iops;

	bytes_per_io = option_is("limit", "bps") ? sectors * SECTOR : 0;
	if (!ok(blk_start(disk(0), BLK_FEATURES, 1, VQ_MAX_SIZE), "the device starts"))
		return;
	w = load(WAIT_HALT, option_u64("depth", 1), sectors);
	w.when = alloc_pages((LONGEST + WORKLOAD_MAX_DEPTH) * sizeof(*w.when));
	workload_init(&w);
	iops = free_rate(&w) / 4;
	note("without a limit: %lu per second", iops * 4);
	iops = iops < SLOWEST ? SLOWEST : iops > FASTEST ? FASTEST : iops;
	iops = expect(&w, "a limit", iops);
	iops = iops ? expect(&w, "half of it", iops / 2) : 0;
	iops = iops ? expect(&w, "that again", iops) : 0;
	if (iops) {
		expect_more(&w, iops);
		expect(&w, "limited again", iops);
	}
	ok(ask_limit(&w, 0) && come_to_end(&w), "and all of it is verified");
	workload_report(&w);
}

/* ---- sizes */

static bool config_changed(struct virtio *dev, uint32_t before)
{
	if (dev->base)
		return dev->ops->ack(dev) & VIRTIO_MMIO_INT_CONFIG;
	return irq_seen(&dev->config_vector, 1) != before;
}

static bool reads(uint64_t sector, uint8_t status)
{
	static uint8_t *data;

	if (!data)
		data = alloc_pages(SECTOR);
	return blk_read(disk(0), sector, data, 1) == status;
}

static uint64_t capacity_now(void)
{
	return blk_config32(disk(0), 0) | (uint64_t)blk_config32(disk(0), 4) << 32;
}

static void one_size(struct workload *w, uint64_t want)
{
	struct virtio *dev = disk(0)->dev;
	const uint32_t before = irq_seen(&dev->config_vector, 1);
	bool changed;

	note("ask size %lu.", want * SECTOR);
	do {
		changed = config_changed(dev, before);
	} while (!changed && go_on(w, 1));
	ok(changed, "%lu sectors: an interrupt for the configuration", want);
	ok(capacity_now() == want, "%lu sectors: that is the capacity", want);
	/* The requests of the load are the queue's. */
	ok(come_to_end(w), "%lu sectors: what was verified meanwhile", want);
	w->total = UINT64_MAX;
	ok(reads(want - 1, VIRTIO_BLK_S_OK), "%lu sectors: the last one is there", want);
	ok(reads(want, VIRTIO_BLK_S_IOERR), "%lu sectors: the one after it is not", want);
	while (!host_has_said())
		cpu_relax();
}

/* The load stays where there is a disk all the time. */
static void sizes(void)
{
	struct workload w;
	uint64_t capacity;

	if (!ok(blk_start(disk(0), BLK_FEATURES, 1, VQ_MAX_SIZE), "the device starts"))
		return;
	capacity = disk(0)->capacity;
	w = load(WAIT_POLL, 8, 8);
	w.sectors = capacity / 2;
	workload_init(&w);
	one_size(&w, capacity * 3);
	one_size(&w, capacity / 2);
	one_size(&w, capacity);
	workload_report(&w);
}

/* ---- errors */

/*
 * The image ends in the middle of the disk, where the host finds nothing to read: that stops the VM.
 * It is resumed once in vain, and once with the image whole again. We may find that it took long.
 */
static void stopped(void)
{
	struct workload w;
	unsigned waits = 0;

	if (!ok(blk_start(disk(0), BLK_FEATURES, 1, VQ_MAX_SIZE), "the device starts"))
		return;
	w = load(WAIT_HALT, 4, 8);
	w.first = w.sectors = disk(0)->capacity / 2;
	w.write_percent = 0;
	w.total = 200;
	workload_init(&w);
	note("ask for less of the image");
	while (!host_has_said())
		cpu_relax();
	do {
		w.stalled = false;
	} while (!workload_run(&w) && w.stalled && waits++ < 10);
	workload_report(&w);
	ok(w.done == w.total && !w.bad_status && !w.bad_data && !w.bad_length,
	   "%lu reads, and no error", w.done);
}

const struct test live_tests[] = {
	{ "limits", limits },
	{ "sizes", sizes },
	{ "stopped", stopped },
	{ NULL, NULL },
};
