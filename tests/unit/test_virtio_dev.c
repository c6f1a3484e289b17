/* SPDX-License-Identifier: Apache-2.0 */
/* The transport-neutral device: status machine and features. H numbers are the cases of the
 * hostile-guest list. */
#include "tests/unit/virtio_dev_rig.h"

#include <poll.h>
#include <pthread.h>
#include <unistd.h>

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
static int slow_reset(struct virtio_dev *dev)
{
	struct rig *rig = dev->opaque;
	char c;

	assert_int_equal(write(rig->pipe[1], "r", 1), 1);
	while (!atomic_load(&rig->seen))
		usleep(1000);
	usleep(20000);
	assert_int_equal(read(rig->pipe[0], &c, 1), 1);
	return 0;
}

static const struct virtio_dev_ops slow_ops = { rig_start, slow_reset, NULL, NULL };

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
	atomic_store(&rig->seen, true);
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
		cmocka_unit_test(init_refuses_what_no_device_has),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
