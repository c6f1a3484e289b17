/* SPDX-License-Identifier: Apache-2.0 */
/* Notifications that nobody needs: storms of them, of odd widths and values, at the wrong time, and
 * a driver that keeps changing its mind about interrupts. */
#include <linux/virtio_mmio.h>

#include "guest/io.h"
#include "guest/irq.h"
#include "guest/lib.h"
#include "guest/smp.h"
#include "tests.h"

#define DOORBELLS 64 /* room for so many on PCI */

static struct virtq *start(uint64_t features)
{
	struct blk *blk = disk(0);

	if (!blk_start(blk, features, 1, VQ_MAX_SIZE))
		ok(false, "the device starts");
	return &blk->queue[0];
}

static void notify_storm(void)
{
	struct virtq *vq;
	unsigned n = option_u64("storm", 20000);
	uint64_t begin;

	vq = start(BLK_FEATURES);
	begin = time_us();
	for (unsigned i = 0; i < n; i++)
		virtq_notify(vq);
	ok(!virtio_needs_reset(vq->dev), "%u notifications for nothing", n);
	note("%lu us", time_us() - begin);
	ok(disk_works(), "the disk still works");
}

/* Widths and values that match no doorbell, and queues that do not exist. */
static void ring_all(struct virtio *dev)
{
	uintptr_t bell = disk(0)->queue[0].doorbell;

	write8(bell, 0);
	write16(bell, 0xffff);
	write16(bell, 1);
	write32(bell, 0);
	write32(bell, 0x80000000);
	write32(bell, 0xffffffff);
	write64(bell, 0);
	write64(bell, ~0ull);
	for (unsigned i = 1; i < DOORBELLS; i++) {
		if (dev->base)
			write32(bell, i);
		else
			write16(bell + 4 * i, i);
	}
	for (unsigned i = 1; i < 4; i++) {
		write8(bell + i, i);
		write16(bell + i, i);
	}
}

/* Queue 1 was never made ready, and the device not always. */
static void odd_notifies(void)
{
	struct virtq *vq = start(BLK_FEATURES);
	struct virtio *dev = vq->dev;

	ring_all(dev);
	ok(!virtio_needs_reset(dev), "doorbells of every width and value");
	ok(disk_works(), "the disk still works");
	virtio_reset(dev);
	ring_all(dev);
	ok(disk_works(), "and after notifications of a device that was reset");
	virtio_negotiate(dev, BLK_FEATURES);
	ring_all(dev);
	ok(!virtio_needs_reset(dev), "of one that has features");
	ok(disk_works(), "the disk works");
	run_disturbed("all doorbells are rung", ring_all);
}

/* A request made available and notified before DRIVER_OK: served after it, without a word. */
static void early_notify(void)
{
	static struct virtio_blk_outhdr hdr;
	static volatile uint8_t status;
	struct blk *blk = disk(0);
	struct virtq *vq = &blk->queue[0];
	const struct sg sg[] = {
		{ &hdr, sizeof(hdr), false },
		{ alloc_pages(SECTOR), SECTOR, true },
		{ (void *)&status, 1, true },
	};

	ok(disk_works(), "the disk works");
	hdr = (struct virtio_blk_outhdr){ .type = VIRTIO_BLK_T_IN };
	status = BLK_NO_STATUS;
	ok(virtio_negotiate(blk->dev, BLK_FEATURES) && virtq_setup(vq, blk->dev, 0, VQ_MAX_SIZE),
	   "a queue is ready");
	virtq_add(vq, sg, ARRAY_SIZE(sg), &hdr);
	virtq_kick(vq);
	virtq_notify(vq);
	delay_us(10000);
	ok(!virtq_has_used(vq) && status == BLK_NO_STATUS, "nothing is done before DRIVER_OK");
	virtio_driver_ok(blk->dev);
	ok(blk_wait(vq, NULL) == &hdr && status == VIRTIO_BLK_S_OK, "it is done after that");
	ok(disk_works(), "the disk works");
}

/* The last words of the rings, at random: interrupts come or not, requests must. */
static void change_mind(struct virtio *dev)
{
	struct virtq *vq = &disk(0)->queue[0];
	const uint64_t value = chance();

	*(volatile uint16_t *)&vq->avail->ring[vq->size] = value;
	*(volatile uint16_t *)&vq->avail->flags = value >> 16;
	for (unsigned i = value >> 32 & 15; i; i--)
		virtq_notify(vq);
}

static void verified(const char *what, uint64_t features)
{
	struct workload w = {
		.queue = disk(0)->queue,
		.nqueues = 1,
		.shadow = disk_shadow(),
		.waiting = WAIT_POLL,
		.depth = 16,
		.max_sectors = 8,
		.write_percent = 50,
		.total = option_u64("ios", 2000),
		.seed = 1,
		.disturb = change_mind,
	};

	start(features);
	workload_init(&w);
	ok(workload_run(&w), "%lu verified requests, %s", w.total, what);
	workload_report(&w);
}

static void event_storm(void)
{
	ok(disk_works(), "the disk works");
	verified("used_event at random", BLK_FEATURES);
	verified("flags at random", BLK_FEATURES & ~VIRTIO_BIT(VIRTIO_RING_F_EVENT_IDX));
	ok(disk_works(), "the disk works");
}

struct toggler {
	bool stop;
	uint64_t n;
};

static void toggle(void *arg)
{
	struct toggler *t = arg;

	for (; !__atomic_load_n(&t->stop, __ATOMIC_RELAXED); t->n++)
		change_mind(disk(0)->dev);
}

/* The same by another CPU, without a pause. */
static void event_race(void)
{
	static struct toggler t;
	const unsigned cpu = option_u64("cpus", 2) - 1;

	if (!start_all_cpus() || !ok(disk_works(), "the disk works"))
		return;
	smp_run(cpu, toggle, &t);
	verified("used_event and flags by another CPU", BLK_FEATURES);
	__atomic_store_n(&t.stop, true, __ATOMIC_RELAXED);
	smp_wait(cpu);
	note("%lu changes", t.n);
	ok(disk_works(), "the disk works");
}

const struct test notify_tests[] = {
	{ "notify-storm", notify_storm }, { "odd-notifies", odd_notifies },
	{ "early-notify", early_notify }, { "event-storm", event_storm },
	{ "event-race", event_race },	  { NULL, NULL },
};
