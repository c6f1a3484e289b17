/* SPDX-License-Identifier: Apache-2.0 */
/* The transport-neutral device: configuration bytes, written by the driver or by the device. H
 * numbers are the cases of the hostile-guest list. */
#include "tests/unit/virtio_dev_rig.h"

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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(H25_config_reads_of_every_size_and_place),
		cmocka_unit_test(H25_config_offsets_that_wrap_read_0),
		cmocka_unit_test(H25_a_full_config_space_reads_to_its_end),
		cmocka_unit_test(config_writes_reach_the_device),
		cmocka_unit_test(H25_read_only_config_ignores_writes),
		cmocka_unit_test(H25_generation_changes_with_the_bytes_only),
		cmocka_unit_test(a_change_of_the_device_is_told_to_the_driver),
		cmocka_unit_test(a_change_waits_for_no_vcpu),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
