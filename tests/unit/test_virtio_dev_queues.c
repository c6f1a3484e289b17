/* SPDX-License-Identifier: Apache-2.0 */
/* The transport-neutral device: queue registers. H numbers are the cases of the hostile-guest
 * list. */
#include "tests/unit/virtio_dev_rig.h"

#include <poll.h>

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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(queue_registers_read_back),
		cmocka_unit_test(H17_bad_sizes_are_refused_at_ready),
		cmocka_unit_test(H17_bad_areas_are_refused_at_ready),
		cmocka_unit_test(H17_ready_needs_features_ok),
		cmocka_unit_test(a_queue_can_be_made_unready_before_driver_ok),
		cmocka_unit_test(H18_a_ready_queue_is_frozen),
		cmocka_unit_test(H18_everything_is_frozen_after_driver_ok),
		cmocka_unit_test(H19_queues_that_do_not_exist_read_0_and_ignore_writes),
		cmocka_unit_test(a_kick_rings_the_doorbell_and_never_blocks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
