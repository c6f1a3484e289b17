/* SPDX-License-Identifier: Apache-2.0 */
/* The transport-neutral device: status machine, features, queue registers, configuration bytes.
 * H numbers are the cases of the hostile-guest list. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <poll.h>
#include <pthread.h>
#include <unistd.h>

#include "tests/unit/fake_driver.h"
#include "virtio/virtio_dev.h"

#define ACK	    VIRTIO_CONFIG_S_ACKNOWLEDGE
#define DRIVER	    VIRTIO_CONFIG_S_DRIVER
#define DRIVER_OK   VIRTIO_CONFIG_S_DRIVER_OK
#define FEATURES_OK VIRTIO_CONFIG_S_FEATURES_OK
#define NEEDS_RESET VIRTIO_CONFIG_S_NEEDS_RESET
#define FAILED	    VIRTIO_CONFIG_S_FAILED

#define VERSION_1 (1ULL << VIRTIO_F_VERSION_1)
#define OFFERED	  (VERSION_1 | 1ULL << VIRTIO_RING_F_EVENT_IDX | 1ULL << 9)

/* A device that counts what is asked of it. */
struct rig {
	struct virtio_dev dev;
	struct fake_guest guest;
	struct fake_queue drv[2];
	unsigned starts, resets;
	int start_error;
	uint8_t status_in_reset;
	unsigned write_off, write_len;
	_Atomic uint32_t line_status;
	int pipe[2]; /* holds a byte while a slow reset runs */
};

static int rig_start(struct virtio_dev *dev)
{
	struct rig *rig = dev->opaque;

	rig->starts++;
	return rig->start_error;
}

static void rig_reset(struct virtio_dev *dev)
{
	struct rig *rig = dev->opaque;

	rig->resets++;
	rig->status_in_reset = (uint8_t)atomic_load(dev->status);
}

/* Byte 4 is writable, the rest is not. */
static void rig_config_write(struct virtio_dev *dev, unsigned off, const void *data, unsigned len)
{
	struct rig *rig = dev->opaque;

	rig->write_off = off;
	rig->write_len = len;
	if (off <= 4 && off + len > 4)
		dev->config[4] = ((const uint8_t *)data)[4 - off];
}

static const struct virtio_dev_ops rig_ops = { rig_start, rig_reset, rig_config_write };
static const struct virtio_dev_ops rig_readonly_ops = { rig_start, rig_reset, NULL };

static struct irq_line rig_line(void *transport)
{
	struct rig *rig = transport;

	return (struct irq_line){ .fd = -1, .status = &rig->line_status, .bits = 2 };
}

static const struct virtio_transport_ops rig_transport = { .config_line = rig_line };

static struct rig *rig_new(void)
{
	struct rig *rig = calloc(1, sizeof(*rig));

	assert_non_null(rig);
	fake_guest_init(&rig->guest, 0, 1 << 20);
	assert_int_equal(virtio_dev_init(&rig->dev, 2, 2, 256, &rig->guest.mem, NULL), 0);
	rig->dev.features = OFFERED;
	rig->dev.ops = &rig_ops;
	rig->dev.opaque = rig;
	rig->dev.transport_ops = &rig_transport;
	rig->dev.transport = rig;
	rig->dev.config_len = 12;
	for (unsigned i = 0; i < 12; i++)
		rig->dev.config[i] = 0x10 + i;
	strcpy(rig->dev.name, "test");
	for (unsigned q = 0; q < 2; q++)
		fake_queue_init(&rig->drv[q], &rig->guest, 64, OFFERED);
	return rig;
}

static void rig_free(struct rig *rig)
{
	virtio_dev_destroy(&rig->dev);
	fake_guest_free(&rig->guest);
	free(rig);
}

static void set_features(struct rig *rig, uint64_t features)
{
	virtio_dev_set_driver_features(&rig->dev, 0, (uint32_t)features);
	virtio_dev_set_driver_features(&rig->dev, 1, features >> 32);
}

static uint8_t write_status(struct rig *rig, uint8_t status)
{
	virtio_dev_set_status(&rig->dev, status);
	return virtio_dev_get_status(&rig->dev);
}

static void to_features_ok(struct rig *rig)
{
	write_status(rig, ACK);
	write_status(rig, ACK | DRIVER);
	set_features(rig, OFFERED);
	assert_int_equal(write_status(rig, ACK | DRIVER | FEATURES_OK), ACK | DRIVER | FEATURES_OK);
}

static void set_queue(struct rig *rig, uint32_t q, const struct virtq_config *config)
{
	struct virtio_dev *dev = &rig->dev;

	virtio_dev_set_queue(dev, q, VIRTQ_SIZE, config->size);
	virtio_dev_set_queue(dev, q, VIRTQ_DESC_LO, (uint32_t)config->desc);
	virtio_dev_set_queue(dev, q, VIRTQ_DESC_HI, config->desc >> 32);
	virtio_dev_set_queue(dev, q, VIRTQ_AVAIL_LO, (uint32_t)config->avail);
	virtio_dev_set_queue(dev, q, VIRTQ_AVAIL_HI, config->avail >> 32);
	virtio_dev_set_queue(dev, q, VIRTQ_USED_LO, (uint32_t)config->used);
	virtio_dev_set_queue(dev, q, VIRTQ_USED_HI, config->used >> 32);
}

static uint32_t enable_queue(struct rig *rig, uint32_t q, const struct virtq_config *config)
{
	set_queue(rig, q, config);
	virtio_dev_set_queue(&rig->dev, q, VIRTQ_READY, 1);
	return virtio_dev_get_queue(&rig->dev, q, VIRTQ_READY);
}

static void to_driver_ok(struct rig *rig)
{
	to_features_ok(rig);
	assert_int_equal(enable_queue(rig, 0, &rig->drv[0].config), 1);
	write_status(rig, ACK | DRIVER | FEATURES_OK | DRIVER_OK);
}

/* ---- status ---------------------------------------------------------------------------------- */

static void the_regular_way_up_starts_the_device(void **state)
{
	struct rig *rig = rig_new();

	assert_int_equal(virtio_dev_get_status(&rig->dev), 0);
	assert_int_equal(write_status(rig, ACK), ACK);
	assert_int_equal(write_status(rig, ACK | DRIVER), ACK | DRIVER);
	set_features(rig, OFFERED);
	assert_int_equal(write_status(rig, ACK | DRIVER | FEATURES_OK), ACK | DRIVER | FEATURES_OK);
	assert_int_equal(enable_queue(rig, 0, &rig->drv[0].config), 1);
	assert_int_equal(enable_queue(rig, 1, &rig->drv[1].config), 1);
	assert_int_equal(rig->starts, 0);
	assert_int_equal(write_status(rig, ACK | DRIVER | FEATURES_OK | DRIVER_OK),
			 ACK | DRIVER | FEATURES_OK | DRIVER_OK);
	assert_int_equal(rig->starts, 1);
	assert_true(rig->dev.started);
	rig_free(rig);
}

static void a_device_starts_without_queues(void **state)
{
	struct rig *rig = rig_new();

	to_features_ok(rig);
	write_status(rig, DRIVER_OK);
	assert_int_equal(rig->starts, 1);
	rig_free(rig);
}

static void reset_stops_the_device_and_forgets_everything(void **state)
{
	struct rig *rig = rig_new();

	to_driver_ok(rig);
	atomic_store(&rig->dev.isr, 3);
	assert_int_equal(write_status(rig, 0), 0);
	assert_int_equal(rig->resets, 1);
	/* Until it has stopped nobody may see that it has. */
	assert_int_equal(rig->status_in_reset, ACK | DRIVER | FEATURES_OK | DRIVER_OK);
	assert_false(rig->dev.started);
	assert_int_equal(virtio_dev_get_queue(&rig->dev, 0, VIRTQ_READY), 0);
	assert_int_equal(virtio_dev_get_queue(&rig->dev, 0, VIRTQ_DESC_LO), 0);
	assert_int_equal(virtio_dev_get_queue(&rig->dev, 0, VIRTQ_SIZE), 256);
	assert_int_equal(virtio_dev_get_driver_features(&rig->dev, 0), 0);
	assert_int_equal(atomic_load(&rig->dev.isr), 0);
	to_driver_ok(rig);
	assert_int_equal(rig->starts, 2);
	rig_free(rig);
}

static void reset_of_a_device_not_started_asks_nothing_of_it(void **state)
{
	struct rig *rig = rig_new();

	write_status(rig, 0);
	to_features_ok(rig);
	assert_int_equal(write_status(rig, 0), 0);
	assert_int_equal(rig->resets, 0);
	rig_free(rig);
}

static void a_failed_start_needs_a_reset_and_says_so(void **state)
{
	struct rig *rig = rig_new();

	rig->start_error = -EIO;
	to_driver_ok(rig);
	assert_int_equal(virtio_dev_get_status(&rig->dev),
			 ACK | DRIVER | FEATURES_OK | DRIVER_OK | NEEDS_RESET);
	assert_int_equal(atomic_load(&rig->line_status), 2);
	rig->start_error = 0;
	write_status(rig, ACK | DRIVER | FEATURES_OK | DRIVER_OK);
	assert_int_equal(rig->starts, 1); /* not before the reset */
	assert_int_equal(write_status(rig, 0), 0);
	assert_int_equal(rig->resets, 0); /* it never ran */
	to_driver_ok(rig);
	assert_int_equal(rig->starts, 2);
	assert_false(virtio_dev_get_status(&rig->dev) & NEEDS_RESET);
	rig_free(rig);
}

static void a_broken_ring_shows_as_needs_reset_until_the_reset(void **state)
{
	struct rig *rig = rig_new();

	to_driver_ok(rig);
	atomic_fetch_or(rig->dev.status, VIRTIO_CONFIG_S_NEEDS_RESET); /* the device's own thread */
	assert_true(virtio_dev_get_status(&rig->dev) & NEEDS_RESET);
	assert_int_equal(write_status(rig, 0), 0);
	rig_free(rig);
}

static void H21_driver_ok_needs_features_ok(void **state)
{
	struct rig *rig = rig_new();

	assert_int_equal(write_status(rig, DRIVER_OK), 0);
	assert_int_equal(write_status(rig, ACK | DRIVER | DRIVER_OK), ACK | DRIVER);
	assert_int_equal(rig->starts, 0);
	rig_free(rig);
}

static void H21_features_ok_needs_a_driver(void **state)
{
	struct rig *rig = rig_new();

	set_features(rig, OFFERED);
	assert_int_equal(write_status(rig, FEATURES_OK), 0);
	assert_int_equal(write_status(rig, ACK | FEATURES_OK), ACK);
	rig_free(rig);
}

static void H21_bits_are_never_cleared(void **state)
{
	struct rig *rig = rig_new();

	to_driver_ok(rig);
	assert_int_equal(write_status(rig, ACK), ACK | DRIVER | FEATURES_OK | DRIVER_OK);
	assert_int_equal(write_status(rig, DRIVER_OK), ACK | DRIVER | FEATURES_OK | DRIVER_OK);
	assert_int_equal(rig->starts, 1);
	assert_int_equal(rig->resets, 0);
	rig_free(rig);
}

static void H21_all_ones_starts_nothing(void **state)
{
	struct rig *rig = rig_new();

	assert_int_equal(write_status(rig, 0xff), ACK | DRIVER | FAILED);
	set_features(rig, OFFERED);
	assert_int_equal(write_status(rig, 0xff), ACK | DRIVER | FAILED | FEATURES_OK);
	assert_int_equal(rig->starts, 0);
	rig_free(rig);
}

static void H21_a_driver_cannot_set_needs_reset(void **state)
{
	struct rig *rig = rig_new();

	assert_int_equal(write_status(rig, NEEDS_RESET), 0);
	assert_int_equal(write_status(rig, NEEDS_RESET | ACK | 0x30), ACK);
	rig_free(rig);
}

static void H21_failed_does_not_stop_a_running_device(void **state)
{
	struct rig *rig = rig_new();

	to_driver_ok(rig);
	assert_true(write_status(rig, FAILED) & FAILED);
	assert_true(rig->dev.started);
	write_status(rig, 0);
	assert_int_equal(rig->resets, 1);
	rig_free(rig);
}

static void H21_many_resets_leave_nothing_behind(void **state)
{
	struct rig *rig = rig_new();

	for (unsigned i = 0; i < 1000; i++) {
		to_driver_ok(rig);
		assert_int_equal(write_status(rig, 0), 0);
	}
	for (unsigned i = 0; i < 100000; i++)
		assert_int_equal(write_status(rig, 0), 0);
	assert_int_equal(rig->starts, 1000);
	assert_int_equal(rig->resets, 1000);
	rig_free(rig);
}

/* A vCPU that reads the status while another one resets waits, or sees the old one: never 0. */
static void slow_reset(struct virtio_dev *dev)
{
	struct rig *rig = dev->opaque;
	char c;

	assert_int_equal(write(rig->pipe[1], "r", 1), 1);
	usleep(20000);
	assert_int_equal(read(rig->pipe[0], &c, 1), 1);
}

static const struct virtio_dev_ops slow_ops = { rig_start, slow_reset, NULL };

static void *reset_thread(void *arg)
{
	virtio_dev_set_status(arg, 0);
	return NULL;
}

static void H22_nobody_sees_status_0_before_the_drain(void **state)
{
	struct rig *rig = rig_new();
	struct pollfd pfd;
	pthread_t thread;

	rig->dev.ops = &slow_ops;
	to_driver_ok(rig);
	assert_int_equal(pipe(rig->pipe), 0);
	assert_int_equal(pthread_create(&thread, NULL, reset_thread, &rig->dev), 0);
	pfd = (struct pollfd){ .fd = rig->pipe[0], .events = POLLIN };
	assert_int_equal(poll(&pfd, 1, 5000), 1); /* inside the reset */
	assert_int_equal(virtio_dev_get_status(&rig->dev), 0);
	assert_int_equal(poll(&pfd, 1, 0), 0); /* the reset had ended by then */
	pthread_join(thread, NULL);
	close(rig->pipe[0]);
	close(rig->pipe[1]);
	rig_free(rig);
}

/* ---- features -------------------------------------------------------------------------------- */

static void features_are_read_in_two_words(void **state)
{
	struct rig *rig = rig_new();

	assert_int_equal(virtio_dev_get_features(&rig->dev, 0), (uint32_t)OFFERED);
	assert_int_equal(virtio_dev_get_features(&rig->dev, 1), OFFERED >> 32);
	assert_int_equal(virtio_dev_get_features(&rig->dev, 2), 0);
	assert_int_equal(virtio_dev_get_features(&rig->dev, 32), 0);
	assert_int_equal(virtio_dev_get_features(&rig->dev, 0xffffffff), 0);
	rig_free(rig);
}

static void driver_features_read_back(void **state)
{
	struct rig *rig = rig_new();

	virtio_dev_set_driver_features(&rig->dev, 1, 0x12345678);
	virtio_dev_set_driver_features(&rig->dev, 0, 0x9abcdef0);
	virtio_dev_set_driver_features(&rig->dev, 2, 0xffffffff);
	virtio_dev_set_driver_features(&rig->dev, 0xffffffff, 0xffffffff);
	assert_true(rig->dev.driver_features == 0x123456789abcdef0ULL);
	assert_int_equal(virtio_dev_get_driver_features(&rig->dev, 0), 0x9abcdef0);
	assert_int_equal(virtio_dev_get_driver_features(&rig->dev, 1), 0x12345678);
	assert_int_equal(virtio_dev_get_driver_features(&rig->dev, 2), 0);
	rig_free(rig);
}

static void H24_features_not_offered_are_refused(void **state)
{
	static const uint64_t bad[] = { VERSION_1 | 1, VERSION_1 | 1ULL << 63, ~0ULL,
					VERSION_1 | 1ULL << VIRTIO_F_ACCESS_PLATFORM };
	struct rig *rig = rig_new();

	for (unsigned i = 0; i < 4; i++) {
		set_features(rig, bad[i]);
		assert_int_equal(write_status(rig, ACK | DRIVER | FEATURES_OK), ACK | DRIVER);
		assert_int_equal(write_status(rig, DRIVER_OK), ACK | DRIVER);
	}
	set_features(rig, VERSION_1); /* a driver may think again */
	assert_int_equal(write_status(rig, FEATURES_OK), ACK | DRIVER | FEATURES_OK);
	rig_free(rig);
}

static void H24_features_without_version_1_are_refused(void **state)
{
	struct rig *rig = rig_new();

	set_features(rig, OFFERED & ~VERSION_1);
	assert_int_equal(write_status(rig, ACK | DRIVER | FEATURES_OK), ACK | DRIVER);
	set_features(rig, 0);
	assert_int_equal(write_status(rig, ACK | DRIVER | FEATURES_OK), ACK | DRIVER);
	rig_free(rig);
}

static void H24_features_are_final_after_features_ok(void **state)
{
	struct rig *rig = rig_new();

	to_features_ok(rig);
	set_features(rig, ~0ULL);
	assert_true(rig->dev.driver_features == OFFERED);
	rig_free(rig);
}

/* ---- queues ---------------------------------------------------------------------------------- */

static void queue_registers_read_back(void **state)
{
	const struct virtq_config config = { 32, false, 0x1122334455667780, 0x99aabbccddeeff00,
					     0x0123456789abcde0 };
	struct rig *rig = rig_new();
	const struct virtq_config *queue = &rig->dev.queue[1];

	set_queue(rig, 1, &config);
	assert_true(queue->desc == config.desc);
	assert_true(queue->avail == config.avail);
	assert_true(queue->used == config.used);
	assert_int_equal(virtio_dev_get_queue(&rig->dev, 1, VIRTQ_SIZE), 32);
	assert_int_equal(virtio_dev_get_queue(&rig->dev, 1, VIRTQ_DESC_LO), 0x55667780);
	assert_int_equal(virtio_dev_get_queue(&rig->dev, 1, VIRTQ_DESC_HI), 0x11223344);
	assert_int_equal(virtio_dev_get_queue(&rig->dev, 1, VIRTQ_AVAIL_LO), 0xddeeff00);
	assert_int_equal(virtio_dev_get_queue(&rig->dev, 1, VIRTQ_AVAIL_HI), 0x99aabbcc);
	assert_int_equal(virtio_dev_get_queue(&rig->dev, 1, VIRTQ_USED_LO), 0x89abcde0);
	assert_int_equal(virtio_dev_get_queue(&rig->dev, 1, VIRTQ_USED_HI), 0x01234567);
	assert_int_equal(virtio_dev_get_queue(&rig->dev, 0, VIRTQ_DESC_LO), 0);
	rig_free(rig);
}

static void H17_bad_sizes_are_refused_at_ready(void **state)
{
	static const uint32_t bad[] = { 0, 3, 100, 257, 512, 32768, 65536, 65536 + 64, 0xffffffff };
	struct rig *rig = rig_new();
	struct virtq_config config = rig->drv[0].config;

	to_features_ok(rig);
	for (unsigned i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		set_queue(rig, 0, &config);
		virtio_dev_set_queue(&rig->dev, 0, VIRTQ_SIZE, bad[i]);
		virtio_dev_set_queue(&rig->dev, 0, VIRTQ_READY, 1);
		assert_int_equal(virtio_dev_get_queue(&rig->dev, 0, VIRTQ_READY), 0);
	}
	config.size = 1;
	assert_int_equal(enable_queue(rig, 0, &config), 1);
	rig_free(rig);
}

static void H17_bad_areas_are_refused_at_ready(void **state)
{
	struct rig *rig = rig_new();
	const struct virtq_config good = rig->drv[0].config;
	const struct virtq_config bad[] = {
		{ 64, false, 0, 0, 0 },
		{ 64, false, 0, good.avail, good.used },
		{ 64, false, good.desc + 1, good.avail, good.used },
		{ 64, false, good.desc, good.avail + 1, good.used },
		{ 64, false, good.desc, good.avail, good.used + 2 },
		{ 64, false, good.desc, good.desc, good.used },
		{ 64, false, 1 << 20, good.avail, good.used },
		{ 64, false, good.desc, (1 << 20) - 4, good.used },
		{ 64, false, good.desc, good.avail, 0xd0000000 },
		{ 64, false, good.desc | 1ULL << 32, good.avail, good.used },
	};

	to_features_ok(rig);
	for (unsigned i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		assert_int_equal(enable_queue(rig, 0, &bad[i]), 0);
	assert_int_equal(enable_queue(rig, 0, &good), 1);
	rig_free(rig);
}

static void H17_ready_needs_features_ok(void **state)
{
	struct rig *rig = rig_new();

	assert_int_equal(enable_queue(rig, 0, &rig->drv[0].config), 0);
	to_features_ok(rig);
	assert_int_equal(enable_queue(rig, 0, &rig->drv[0].config), 1);
	rig_free(rig);
}

static void a_queue_can_be_made_unready_before_driver_ok(void **state)
{
	struct rig *rig = rig_new();

	to_features_ok(rig);
	assert_int_equal(enable_queue(rig, 0, &rig->drv[0].config), 1);
	virtio_dev_set_queue(&rig->dev, 0, VIRTQ_READY, 0);
	assert_int_equal(virtio_dev_get_queue(&rig->dev, 0, VIRTQ_READY), 0);
	assert_int_equal(enable_queue(rig, 0, &rig->drv[1].config), 1);
	rig_free(rig);
}

static void expect_frozen(struct rig *rig)
{
	const struct virtq_config before = rig->dev.queue[0];
	const struct virtq_config other = { 128, false, 0x10000, 0x20000, 0x30000 };

	set_queue(rig, 0, &other);
	assert_memory_equal(&rig->dev.queue[0], &before, sizeof(before));
}

static void H18_a_ready_queue_is_frozen(void **state)
{
	struct rig *rig = rig_new();

	to_features_ok(rig);
	assert_int_equal(enable_queue(rig, 0, &rig->drv[0].config), 1);
	expect_frozen(rig);
	rig_free(rig);
}

static void H18_everything_is_frozen_after_driver_ok(void **state)
{
	struct rig *rig = rig_new();

	to_driver_ok(rig);
	expect_frozen(rig);
	virtio_dev_set_queue(&rig->dev, 0, VIRTQ_READY, 0);
	assert_int_equal(virtio_dev_get_queue(&rig->dev, 0, VIRTQ_READY), 1);
	assert_int_equal(enable_queue(rig, 1, &rig->drv[1].config), 0);
	assert_int_equal(rig->dev.queue[1].size, 256);
	rig_free(rig);
}

static void H19_queues_that_do_not_exist_read_0_and_ignore_writes(void **state)
{
	static const uint32_t bad[] = { 2, 63, 64, 65, 0xffff, 0x10000, 0x80000000, 0xffffffff };
	struct rig *rig = rig_new();
	struct virtq_config before[VIRTIO_MAX_QUEUES];

	to_features_ok(rig);
	memcpy(before, rig->dev.queue, sizeof(before));
	for (unsigned i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		assert_int_equal(enable_queue(rig, bad[i], &rig->drv[0].config), 0);
		for (unsigned field = VIRTQ_SIZE; field <= VIRTQ_READY; field++)
			assert_int_equal(virtio_dev_get_queue(&rig->dev, bad[i], field), 0);
		virtio_dev_kick(&rig->dev, bad[i]);
	}
	assert_memory_equal(before, rig->dev.queue, sizeof(before));
	rig_free(rig);
}

static void a_kick_rings_the_doorbell_and_never_blocks(void **state)
{
	struct rig *rig = rig_new();
	uint64_t n = UINT64_MAX - 1;

	virtio_dev_kick(&rig->dev, 1);
	virtio_dev_kick(&rig->dev, 1);
	assert_int_equal(read(rig->dev.kick_fd[1], &n, sizeof(n)), sizeof(n));
	assert_int_equal(n, 2);
	assert_int_equal(read(rig->dev.kick_fd[0], &n, sizeof(n)), -1);
	assert_int_equal(errno, EAGAIN);
	n = UINT64_MAX - 1;
	assert_int_equal(write(rig->dev.kick_fd[0], &n, sizeof(n)), sizeof(n));
	virtio_dev_kick(&rig->dev, 0); /* the counter is full */
	rig_free(rig);
}

/* ---- configuration bytes --------------------------------------------------------------------- */

static void H25_config_reads_of_every_size_and_place(void **state)
{
	struct rig *rig = rig_new();

	for (unsigned len = 1; len <= 8; len++) {
		for (uint64_t off = 0; off < 0x200; off++) {
			uint8_t data[9], want;

			memset(data, 0xcc, sizeof(data));
			virtio_dev_read_config(&rig->dev, off, data, len);
			for (unsigned i = 0; i < len; i++) {
				want = off + i < 12 ? 0x10 + off + i : 0;
				assert_int_equal(data[i], want);
			}
			assert_int_equal(data[len], 0xcc);
		}
	}
	rig_free(rig);
}

static void H25_config_offsets_that_wrap_read_0(void **state)
{
	static const uint64_t bad[] = { 12, 255, 256, 0xffffffff, 0x100000000, ~0ULL, ~0ULL - 3 };
	struct rig *rig = rig_new();
	uint32_t value;

	for (unsigned i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		value = 0xffffffff;
		virtio_dev_read_config(&rig->dev, bad[i], &value, 4);
		assert_int_equal(value, 0);
		rig->write_len = 0;
		virtio_dev_write_config(&rig->dev, bad[i], &value, 4);
		assert_int_equal(rig->write_len, 0);
	}
	rig_free(rig);
}

static void H25_a_full_config_space_reads_to_its_end(void **state)
{
	struct rig *rig = rig_new();
	uint64_t value;

	rig->dev.config_len = VIRTIO_CONFIG_MAX;
	rig->dev.config[VIRTIO_CONFIG_MAX - 1] = 0xee;
	virtio_dev_read_config(&rig->dev, VIRTIO_CONFIG_MAX - 1, &value, 8);
	assert_int_equal(value, 0xee);
	rig_free(rig);
}

static void config_writes_reach_the_device(void **state)
{
	struct rig *rig = rig_new();
	uint8_t byte;

	virtio_dev_write_config(&rig->dev, 4, "\x99", 1);
	assert_int_equal(rig->write_off, 4);
	assert_int_equal(rig->write_len, 1);
	virtio_dev_read_config(&rig->dev, 4, &byte, 1);
	assert_int_equal(byte, 0x99);
	virtio_dev_write_config(&rig->dev, 11, "\x1\x2", 2); /* beyond the end: dropped whole */
	assert_int_equal(rig->write_off, 4);
	rig_free(rig);
}

static void H25_read_only_config_ignores_writes(void **state)
{
	struct rig *rig = rig_new();
	uint8_t byte;

	rig->dev.ops = &rig_readonly_ops;
	virtio_dev_write_config(&rig->dev, 4, "\x99", 1);
	virtio_dev_read_config(&rig->dev, 4, &byte, 1);
	assert_int_equal(byte, 0x14);
	rig_free(rig);
}

static void H25_generation_changes_with_the_bytes_only(void **state)
{
	struct rig *rig = rig_new();
	const uint32_t before = atomic_load(&rig->dev.generation);

	virtio_dev_write_config(&rig->dev, 0, "\x99", 1); /* not writable */
	virtio_dev_write_config(&rig->dev, 4, "\x14", 1); /* as it was */
	assert_int_equal(atomic_load(&rig->dev.generation), before);
	virtio_dev_write_config(&rig->dev, 4, "\x15", 1);
	assert_int_not_equal(atomic_load(&rig->dev.generation), before);
	rig_free(rig);
}

/* From the device's side: 2.5.1, and what 4.1.5.4 tells the driver by. */
static void a_change_of_the_device_is_told_to_the_driver(void **state)
{
	struct rig *rig = rig_new();
	uint32_t before = atomic_load(&rig->dev.generation);
	uint8_t now[12];

	assert_int_equal(virtio_dev_try_change_config(&rig->dev, 8, "\x77\x78", 2), 0);
	assert_int_not_equal(atomic_load(&rig->dev.generation), before);
	assert_int_equal(rig->line_status, 0); /* no driver is there yet */
	to_features_ok(rig);
	before = atomic_load(&rig->dev.generation);
	assert_int_equal(virtio_dev_try_change_config(&rig->dev, 7, "\x99", 1), 0);
	assert_int_not_equal(atomic_load(&rig->dev.generation), before);
	assert_int_equal(rig->line_status, 2);
	virtio_dev_read_config(&rig->dev, 0, now, sizeof(now));
	assert_memory_equal(now + 6, "\x16\x99\x77\x78\x1a", 5);
	rig_free(rig);
}

/* It may be a vCPU that waits for storage, and main must not. */
static void a_change_waits_for_no_vcpu(void **state)
{
	struct rig *rig = rig_new();
	const uint32_t before = atomic_load(&rig->dev.generation);

	to_features_ok(rig);
	pthread_mutex_lock(&rig->dev.lock);
	assert_int_equal(virtio_dev_try_change_config(&rig->dev, 0, "\x99", 1), -EBUSY);
	pthread_mutex_unlock(&rig->dev.lock);
	assert_int_equal(rig->dev.config[0], 0x10);
	assert_int_equal(atomic_load(&rig->dev.generation), before);
	assert_int_equal(rig->line_status, 0);
	rig_free(rig);
}

/* ---- init ------------------------------------------------------------------------------------ */

static void init_refuses_what_no_device_has(void **state)
{
	static struct virtio_dev dev;
	struct error err;

	assert_int_equal(virtio_dev_init(&dev, 2, 0, 256, NULL, &err), -EINVAL);
	assert_int_equal(virtio_dev_init(&dev, 2, VIRTIO_MAX_QUEUES + 1, 256, NULL, &err), -EINVAL);
	assert_int_equal(virtio_dev_init(&dev, 2, 1, 0, NULL, &err), -EINVAL);
	assert_int_equal(virtio_dev_init(&dev, 2, 1, 100, NULL, &err), -EINVAL);
	assert_int_equal(virtio_dev_init(&dev, 2, 1, 2 * VIRTQ_MAX_SIZE, NULL, &err), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_regular_way_up_starts_the_device),
		cmocka_unit_test(a_device_starts_without_queues),
		cmocka_unit_test(reset_stops_the_device_and_forgets_everything),
		cmocka_unit_test(reset_of_a_device_not_started_asks_nothing_of_it),
		cmocka_unit_test(a_failed_start_needs_a_reset_and_says_so),
		cmocka_unit_test(a_broken_ring_shows_as_needs_reset_until_the_reset),
		cmocka_unit_test(H21_driver_ok_needs_features_ok),
		cmocka_unit_test(H21_features_ok_needs_a_driver),
		cmocka_unit_test(H21_bits_are_never_cleared),
		cmocka_unit_test(H21_all_ones_starts_nothing),
		cmocka_unit_test(H21_a_driver_cannot_set_needs_reset),
		cmocka_unit_test(H21_failed_does_not_stop_a_running_device),
		cmocka_unit_test(H21_many_resets_leave_nothing_behind),
		cmocka_unit_test(H22_nobody_sees_status_0_before_the_drain),
		cmocka_unit_test(features_are_read_in_two_words),
		cmocka_unit_test(driver_features_read_back),
		cmocka_unit_test(H24_features_not_offered_are_refused),
		cmocka_unit_test(H24_features_without_version_1_are_refused),
		cmocka_unit_test(H24_features_are_final_after_features_ok),
		cmocka_unit_test(queue_registers_read_back),
		cmocka_unit_test(H17_bad_sizes_are_refused_at_ready),
		cmocka_unit_test(H17_bad_areas_are_refused_at_ready),
		cmocka_unit_test(H17_ready_needs_features_ok),
		cmocka_unit_test(a_queue_can_be_made_unready_before_driver_ok),
		cmocka_unit_test(H18_a_ready_queue_is_frozen),
		cmocka_unit_test(H18_everything_is_frozen_after_driver_ok),
		cmocka_unit_test(H19_queues_that_do_not_exist_read_0_and_ignore_writes),
		cmocka_unit_test(a_kick_rings_the_doorbell_and_never_blocks),
		cmocka_unit_test(H25_config_reads_of_every_size_and_place),
		cmocka_unit_test(H25_config_offsets_that_wrap_read_0),
		cmocka_unit_test(H25_a_full_config_space_reads_to_its_end),
		cmocka_unit_test(config_writes_reach_the_device),
		cmocka_unit_test(H25_read_only_config_ignores_writes),
		cmocka_unit_test(H25_generation_changes_with_the_bytes_only),
		cmocka_unit_test(a_change_of_the_device_is_told_to_the_driver),
		cmocka_unit_test(a_change_waits_for_no_vcpu),
		cmocka_unit_test(init_refuses_what_no_device_has),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
