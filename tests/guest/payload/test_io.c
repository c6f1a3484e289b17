/* SPDX-License-Identifier: Apache-2.0 */
/* Verified reads and writes: by polling and by interrupts, one queue and many, one disk and many.
 */
#include "guest/io.h"
#include "guest/irq.h"
#include "guest/lib.h"
#include "tests.h"

#define DEFAULT_IOS   2000
#define DEFAULT_DEPTH 32
#define COM1_LSR      0x3fd
#define LSR_DR	      1
#define PIECE	      WORKLOAD_MAX_SECTORS /* of a disk that is looked at whole */

static struct workload workload(enum waiting waiting)
{
	return (struct workload){
		.queue = disk(0)->queue,
		.nqueues = disk(0)->nqueues,
		.unit = disk_block(),
		.shadow = disk_shadow(),
		.waiting = waiting,
		.depth = option_u64("depth", DEFAULT_DEPTH),
		.max_sectors = option_u64("sectors", 16),
		.write_percent = option_u64("writes", 50),
		.total = option_u64("ios", DEFAULT_IOS),
		.seed = option_u64("seed", 1),
	};
}

static void run(const char *what, uint64_t features, unsigned queues, enum waiting waiting)
{
	struct workload w;

	if (!ok(blk_start(disk(0), features, queues, VQ_MAX_SIZE), "%s: the device starts", what))
		return;
	w = workload(waiting);
	workload_init(&w);
	ok(workload_run(&w), "%s: %lu verified requests, %u in flight", what, w.total, w.depth);
	workload_report(&w);
	if (waiting == WAIT_POLL)
		/* Suppression is a hint (virtio 1.2, 2.7.7), but ours and QEMU's devices keep it;
		 * a few may cross the moment it is asked for. */
		ok(w.interrupts <= 4, "%s: no interrupts when none are asked for", what);
	else
		ok(w.interrupts > 0 && w.interrupts <= w.total,
		   "%s: interrupts came, at most one per request", what);
}

static void poll(void)
{
	run("poll", BLK_FEATURES, 1, WAIT_POLL);
}

static void irq(void)
{
	run("irq", BLK_FEATURES, 1, WAIT_IRQ);
}

static void halt(void)
{
	run("halt", BLK_FEATURES, 1, WAIT_HALT);
}

/* Verified requests for as long as the host likes, which says a line when it has seen enough. */
static void until_told(void)
{
	struct workload w;
	bool good;

	if (!ok(blk_start(disk(0), BLK_FEATURES, 1, VQ_MAX_SIZE), "the device starts"))
		return;
	w = workload(WAIT_IRQ);
	w.total = 0;
	workload_init(&w);
	note("at work");
	do {
		w.total += 200;
		good = workload_run(&w);
	} while (good && !(inb(COM1_LSR) & LSR_DR));
	ok(good, "verified requests until the host had seen enough");
	workload_report(&w);
}

/* The host may take its time: nothing is in flight, and nothing is late. */
static void told(void)
{
	note("waiting to be told");
	while (!(inb(COM1_LSR) & LSR_DR))
		;
}

/* As little as can be done with a disk of any size. */
static void begun(void)
{
	struct blk *blk = disk(0);
	uint8_t *data = alloc_pages(SECTOR);

	if (!ok(blk_start(blk, BLK_FEATURES, 1, VQ_MAX_SIZE), "the device starts"))
		return;
	ok(blk->capacity == option_u64("capacity", 0), "capacity is %lu sectors", blk->capacity);
	ok(blk_read(blk, 0, data, 1) == VIRTIO_BLK_S_OK, "the first sector is read");
	ok(blk_read(blk, blk->capacity - 1, data, 1) == VIRTIO_BLK_S_OK, "so is the last one");
}

/* A look at all of the disk, a piece at a time. */
static bool for_each_piece(bool (*look)(struct shadow *shadow, uint64_t sector, uint8_t *data))
{
	uint8_t *data = alloc_pages(PIECE * SECTOR);
	struct shadow *shadow;
	bool good = true;

	if (!ok(blk_start(disk(0), BLK_FEATURES, 1, VQ_MAX_SIZE), "the device starts"))
		return false;
	shadow = disk_shadow();
	for (uint64_t s = 0; s < shadow->sectors && good; s += PIECE)
		good = s + PIECE <= shadow->sectors && look(shadow, s, data);
	return good;
}

static bool fill_piece(struct shadow *shadow, uint64_t sector, uint8_t *data)
{
	for (uint32_t i = 0; i < PIECE; i++) {
		shadow->generation[sector + i]++;
		shadow_fill(shadow, sector + i, (uint64_t *)(data + i * SECTOR));
	}
	return blk_write(disk(0), sector, data, PIECE) == VIRTIO_BLK_S_OK;
}

/* Another generation for every sector. */
static void fill(void)
{
	ok(for_each_piece(fill_piece), "every sector is written");
}

static bool verify_piece(struct shadow *shadow, uint64_t sector, uint8_t *data)
{
	if (blk_read(disk(0), sector, data, PIECE) != VIRTIO_BLK_S_OK)
		return false;
	for (uint32_t i = 0; i < PIECE; i++)
		if (!shadow_check(shadow, sector + i, (uint64_t *)(data + i * SECTOR)))
			return false;
	return true;
}

static void verify(void)
{
	ok(for_each_piece(verify_piece), "every sector is what it must be");
}

/* The ring as a driver without EVENT_IDX and INDIRECT uses it: flags, and chains of descriptors. */
static void plain(void)
{
	const uint64_t ring =
		VIRTIO_BIT(VIRTIO_RING_F_EVENT_IDX) | VIRTIO_BIT(VIRTIO_RING_F_INDIRECT_DESC);

	run("plain ring, poll", BLK_FEATURES & ~ring, 1, WAIT_POLL);
	run("plain ring, irq", BLK_FEATURES & ~ring, 1, WAIT_IRQ);
}

static void small_ring(void)
{
	struct workload w;

	if (!ok(blk_start(disk(0), BLK_FEATURES, 1, 4), "a queue of 4 starts"))
		return;
	w = workload(WAIT_IRQ);
	workload_init(&w);
	ok(workload_run(&w), "queue of 4: %lu verified requests", w.total);
	workload_report(&w);
}

static void multi_queue(void)
{
	unsigned want = option_u64("queues", 1);
	struct blk *blk = disk(0);

	run("mq", BLK_FEATURES, VIRTIO_MAX_QUEUES, WAIT_IRQ);
	ok(blk->nqueues == want, "the disk has %u of %u queues", blk->nqueues, want);
	for (unsigned q = 0; q < blk->nqueues; q++)
		ok(blk->queue[q].kicks > 0, "queue %u was used", q);
	for (unsigned i = 0; i < blk->dev->nvectors && i < blk->nqueues; i++)
		ok(irq_seen(&blk->dev->queue_vector[i], 1) > 0, "vector %u fired", i);
}

/* Every disk gets its number and gives it back when all have been written. */
static void many_disks(void)
{
	unsigned n = disk_count(), good = 0;
	uint64_t *data = alloc_pages(SECTOR);

	ok(n == option_u64("disks", 1), "%u disks found", n);
	for (unsigned i = 0; i < n; i++) {
		if (!blk_start(disk(i), BLK_FEATURES, 1, VQ_MAX_SIZE))
			continue;
		data[0] = 0x1000 + i;
		good += blk_write(disk(i), 7, data, 1) == VIRTIO_BLK_S_OK;
	}
	ok(good == n, "all of them take a write");
	good = 0;
	for (unsigned i = 0; i < n; i++) {
		memset(data, 0, SECTOR);
		blk_read(disk(i), 7, data, 1);
		good += data[0] == 0x1000 + i && blk_flush(disk(i)) == VIRTIO_BLK_S_OK;
	}
	ok(good == n, "and give back their own");
}

const struct test io_tests[] = {
	{ "poll", poll },      { "irq", irq },
	{ "halt", halt },      { "until-told", until_told },
	{ "plain", plain },    { "small-ring", small_ring },
	{ "mq", multi_queue }, { "disks", many_disks },
	{ "fill", fill },      { "verify", verify },
	{ "begun", begun },    { "told", told },
	{ NULL, NULL },
};
