/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reset with requests in flight. When the status reads 0 the device is done with guest memory:
 * nothing is written to buffers or rings any more, no interrupt comes, and each sector of a write
 * that was in flight holds what was there before or what was to be written.
 */
#include "guest/io.h"
#include "guest/irq.h"
#include "guest/lib.h"
#include "flight.h"
#include "tests.h"

#define IN_FLIGHT   32
#define REQ_SECTORS 64
#define SETTLE_US   100

static void reset_in_flight(void)
{
	struct blk *blk = disk(0);
	struct virtio *dev = blk->dev;
	unsigned rounds = option_u64("rounds", 20), quiet = 0, silent = 0, whole = 0, started = 0;
	struct flight *f = flight_new(IN_FLIGHT, REQ_SECTORS);

	for (unsigned r = 0; r < rounds; r++) {
		uint32_t irqs;

		started += blk_start(blk, BLK_FEATURES, 1, VQ_MAX_SIZE);
		virtq_enable_irq(&blk->queue[0], 0);
		flight_take_off(f, blk, r);
		delay_us(r * 10);
		virtio_reset(dev);
		delay_us(SETTLE_US);
		irqs = irq_seen(dev->queue_vector, dev->nvectors);
		quiet += flight_memory_is_quiet(f);
		silent += flight_irqs_are_quiet(dev, irqs);
		started += blk_start(blk, BLK_FEATURES, 1, VQ_MAX_SIZE);
		whole += flight_settle(f, blk);
	}
	ok(started == 2 * rounds, "the device starts again after %u resets", rounds);
	ok(quiet == rounds, "after a reset it writes to no memory (%u of %u)", quiet, rounds);
	ok(silent == rounds, "and sends no interrupt (%u of %u)", silent, rounds);
	ok(whole == rounds, "sectors hold the old or the new (%u of %u)", whole, rounds);
}

static void reset_often(void)
{
	struct virtio *dev = disk(0)->dev;
	unsigned n = option_u64("resets", 300);

	for (unsigned i = 0; i < n; i++)
		virtio_reset(dev);
	ok(disk_works(), "the disk works after %u resets of an idle device", n);
	for (unsigned i = 0; i < 20; i++)
		blk_start(disk(0), BLK_FEATURES, 1, VQ_MAX_SIZE);
	ok(disk_works(), "and after 20 of a started one");
}

static uint8_t status_after(struct virtio *dev, uint8_t wanted)
{
	dev->ops->set_status(dev, wanted);
	return dev->ops->status(dev);
}

/* The steps of 3.1.1 out of turn: what may not be set stays clear, what is set stays set. */
static void status_abuse(void)
{
	const uint8_t found = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER;
	struct virtio *dev = disk(0)->dev;

	virtio_reset(dev);
	ok(!(status_after(dev, found | VIRTIO_CONFIG_S_DRIVER_OK) & VIRTIO_CONFIG_S_DRIVER_OK),
	   "no DRIVER_OK without FEATURES_OK");
	ok(status_after(dev, VIRTIO_CONFIG_S_ACKNOWLEDGE) == found, "no bit is cleared but by 0");
	ok(!(status_after(dev, found | VIRTIO_CONFIG_S_NEEDS_RESET) & VIRTIO_CONFIG_S_NEEDS_RESET),
	   "NEEDS_RESET is not the driver's");
	status_after(dev, 0xff);
	ok(!virtio_needs_reset(dev), "all bits at once");
	ok(status_after(dev, 0) == 0, "and 0 clears them");
	status_after(dev, found | VIRTIO_CONFIG_S_FAILED);
	ok(!(status_after(dev, 0x7f) & VIRTIO_CONFIG_S_DRIVER_OK), "FAILED stays until a reset");
	ok(disk_works(), "the disk works");
	ok(status_after(dev, VIRTIO_CONFIG_S_FAILED) & VIRTIO_CONFIG_S_FAILED,
	   "FAILED of a running device");
	ok(disk_works(), "the disk works after a reset");
	/* Without a queue there is nothing to do, and nothing wrong. */
	virtio_negotiate(dev, BLK_FEATURES);
	virtio_driver_ok(dev);
	ok(!virtio_needs_reset(dev), "DRIVER_OK without a queue");
	ok(disk_works(), "the disk works after that");
}

const struct test reset_tests[] = {
	{ "reset", reset_in_flight },
	{ "reset-often", reset_often },
	{ "status-abuse", status_abuse },
	{ NULL, NULL },
};
