/* SPDX-License-Identifier: Apache-2.0 */
/* The disk as a virtio device: what it offers, what its configuration space says, and its life from
 * DRIVER_OK to the end of the VM. */
#include "tests/dataplane/disk_rig.h"

#include <sched.h>

#include "virtio/blk/dataplane_priv.h"

static void a_disk_offers_what_it_can(void **state)
{
	static const unsigned bits[] = {
		VIRTIO_F_VERSION_1,	   VIRTIO_RING_F_INDIRECT_DESC, VIRTIO_RING_F_EVENT_IDX,
		VIRTIO_BLK_F_SEG_MAX,	   VIRTIO_BLK_F_BLK_SIZE,	VIRTIO_BLK_F_FLUSH,
		VIRTIO_BLK_F_TOPOLOGY,	   VIRTIO_BLK_F_CONFIG_WCE,	VIRTIO_BLK_F_DISCARD,
		VIRTIO_BLK_F_WRITE_ZEROES,
	};
	struct disk *disk = disk_new(OPTIONS());
	uint64_t all = 0;

	for (unsigned i = 0; i < sizeof(bits) / sizeof(bits[0]); i++)
		all |= 1ULL << bits[i];
	assert_true(offered(disk) == all);
	disk_free(disk);
}

static void the_configuration_space_describes_the_disk(void **state)
{
	struct disk *disk = disk_new(OPTIONS());
	struct virtio_blk_config c = read_config(disk);

	assert_int_equal(c.capacity, RIG_SECTORS);
	assert_int_equal(c.seg_max, 126);
	assert_int_equal(c.blk_size, 512);
	assert_int_equal(c.physical_block_exp, 3);
	assert_int_equal(c.min_io_size, 8);
	assert_int_equal(c.wce, 1);
	assert_int_equal(c.num_queues, 1);
	assert_true(c.max_discard_sectors && c.max_discard_seg && c.discard_sector_alignment);
	assert_true(c.max_write_zeroes_sectors && c.max_write_zeroes_seg);
	assert_int_equal(c.write_zeroes_may_unmap, 1);
	disk_free(disk);
}

static void small_queues_bound_the_segments(void **state)
{
	struct disk *disk = disk_new(OPTIONS(.queue_size = 16));

	assert_int_equal(read_config(disk).seg_max, 14);
	disk_free(disk);
}

static void a_readonly_disk_says_so_and_offers_no_change(void **state)
{
	struct disk *disk = disk_new(OPTIONS(.readonly = true));

	assert_true(offers(disk, VIRTIO_BLK_F_RO));
	assert_false(offers(disk, VIRTIO_BLK_F_DISCARD));
	assert_false(offers(disk, VIRTIO_BLK_F_WRITE_ZEROES));
	assert_int_equal(read_config(disk).max_write_zeroes_sectors, 0);
	disk_free(disk);
}

static void queues_follow_the_vcpus_up_to_four(void **state)
{
	static const unsigned want[][3] = { { 1, 0, 1 }, { 2, 0, 2 }, { 64, 0, 4 }, { 1, 3, 3 } };
	struct error err;

	for (unsigned i = 0; i < 4; i++) {
		struct disk *disk = malloc(sizeof(*disk));

		assert_int_equal(disk_init(disk, OPTIONS(.queues = want[i][1]), 0, want[i][0],
					   &err),
				 0);
		assert_int_equal(read_config(disk).num_queues, want[i][2]);
		assert_int_equal(offers(disk, VIRTIO_BLK_F_MQ), want[i][2] > 1);
		disk_free(disk);
	}
}

static void disks_are_named_as_linux_names_them(void **state)
{
	static const struct {
		unsigned index;
		const char *name;
	} names[] = {
		{ 0, "vda" }, { 25, "vdz" }, { 26, "vdaa" }, { 701, "vdzz" }, { 702, "vdaaa" }
	};
	struct error err;

	for (unsigned i = 0; i < 5; i++) {
		struct disk *disk = malloc(sizeof(*disk));

		assert_int_equal(disk_init(disk, OPTIONS(), names[i].index, 1, &err), 0);
		assert_string_equal(disk->blk.dev.name, names[i].name);
		disk_free(disk);
	}
}

static void a_driver_starts_it_uses_it_resets_it_and_starts_again(void **state)
{
	struct disk *disk = disk_new(OPTIONS());

	for (unsigned i = 0; i < 3; i++) {
		struct rig_req r = rig_req(&disk->rig, 4096);

		drive(disk, 0);
		assert_int_equal(rig_do(&disk->rig, &r, VIRTIO_BLK_T_IN, 8, 4096), VIRTIO_BLK_S_OK);
		assert_int_equal(*(uint8_t *)rig_ptr(&disk->rig, r.data), 1);
		assert_int_equal(rig_do(&disk->rig, &r, VIRTIO_BLK_T_GET_ID, 0, 20),
				 VIRTIO_BLK_S_OK);
		assert_string_equal(rig_ptr(&disk->rig, r.data), "WD-1234");
		virtio_dev_set_status(&disk->blk.dev, 0);
		assert_int_equal(virtio_dev_get_status(&disk->blk.dev), 0);
		fake_queue_reset(&disk->rig.drv[0]);
	}
	disk_free(disk);
}

static void a_broken_ring_shows_needs_reset_until_reset(void **state)
{
	struct disk *disk = disk_new(OPTIONS());
	struct pollfd pfd = { .fd = disk->rig.config_fd, .events = POLLIN };

	drive(disk, 0);
	fake_queue_set_avail_idx(&disk->rig.drv[0], 999);
	virtio_dev_kick(&disk->blk.dev, 0);
	assert_int_equal(poll(&pfd, 1, RIG_WAIT_MS), 1);
	assert_true(virtio_dev_get_status(&disk->blk.dev) & VIRTIO_CONFIG_S_NEEDS_RESET);
	virtio_dev_set_status(&disk->blk.dev, 0);
	assert_int_equal(virtio_dev_get_status(&disk->blk.dev), 0);
	disk_free(disk);
}

/* The number of durable writes among: one as negotiated, one after writeback = 0, one after = 1. */
static void expect_durable(uint64_t features, unsigned first, unsigned off, unsigned on)
{
	const unsigned wce = offsetof(struct virtio_blk_config, wce);
	struct disk *disk = disk_new(OPTIONS());
	struct rig_req r = rig_req(&disk->rig, 512);
	uint8_t byte = 0;

	drive(disk, features);
	take_durable();
	rig_do(&disk->rig, &r, VIRTIO_BLK_T_OUT, 0, 512);
	assert_int_equal(take_durable(), first);
	virtio_dev_write_config(&disk->blk.dev, wce, &byte, 1);
	rig_do(&disk->rig, &r, VIRTIO_BLK_T_OUT, 0, 512);
	assert_int_equal(take_durable(), off);
	byte = 1;
	virtio_dev_write_config(&disk->blk.dev, wce, &byte, 1);
	rig_do(&disk->rig, &r, VIRTIO_BLK_T_OUT, 0, 512);
	assert_int_equal(take_durable(), on);
	disk_free(disk);
}

/* virtio 1.2, 5.2.5.1 */
static void writes_are_as_durable_as_the_driver_negotiated(void **state)
{
	const uint64_t flush = 1ULL << VIRTIO_BLK_F_FLUSH, wce = 1ULL << VIRTIO_BLK_F_CONFIG_WCE;

	expect_durable(0, 1, 1, 1);
	expect_durable(flush, 0, 0, 0);
	expect_durable(flush | wce, 0, 1, 0);
	expect_durable(wce, 1, 1, 1);
}

static void bring_to(struct disk *disk, uint8_t status, uint64_t features)
{
	virtio_dev_set_status(&disk->blk.dev, 3);
	for (unsigned word = 0; word < 2; word++)
		virtio_dev_set_driver_features(&disk->blk.dev, word,
					       (uint32_t)(features >> 32 * word));
	virtio_dev_set_status(&disk->blk.dev, status);
}

static void a_reset_makes_the_cache_writeback_again(void **state)
{
	const uint64_t wce = 1ULL << VIRTIO_F_VERSION_1 | 1ULL << VIRTIO_BLK_F_FLUSH |
			     1ULL << VIRTIO_BLK_F_CONFIG_WCE;
	static const uint8_t reached[] = { 3, 11, 15 }; /* before DRIVER_OK, and with it */
	struct disk *disk = disk_new(OPTIONS());
	const uint8_t off = 0;

	for (unsigned i = 0; i < sizeof(reached); i++) {
		bring_to(disk, reached[i], wce);
		virtio_dev_write_config(&disk->blk.dev, offsetof(struct virtio_blk_config, wce),
					&off, 1);
		assert_int_equal(read_config(disk).wce, 0);
		virtio_dev_set_status(&disk->blk.dev, 0);
		assert_int_equal(read_config(disk).wce, 1);
	}
	disk_free(disk);
}

static void only_the_writeback_byte_can_be_written(void **state)
{
	struct disk *disk = disk_new(OPTIONS());
	struct virtio_blk_config before = read_config(disk), after;
	uint8_t junk[sizeof(before)];
	const uint32_t generation = atomic_load(&disk->blk.dev.generation);

	memset(junk, 0, sizeof(junk));
	drive(disk, 1ULL << VIRTIO_BLK_F_FLUSH | 1ULL << VIRTIO_BLK_F_CONFIG_WCE);
	virtio_dev_write_config(&disk->blk.dev, 0, junk, sizeof(junk));
	after = read_config(disk);
	assert_int_equal(after.wce, 0);
	assert_int_not_equal(atomic_load(&disk->blk.dev.generation), generation);
	after.wce = before.wce;
	assert_memory_equal(&before, &after, sizeof(before));
	disk_free(disk);
}

static void a_reset_waits_and_the_end_of_the_vm_does_not(void **state)
{
	struct disk *disk = disk_new(OPTIONS());
	struct rig_req r = rig_req(&disk->rig, 512);

	drive(disk, 0);
	hold_io(true);
	rig_queue(&disk->rig, 0, &r, VIRTIO_BLK_T_IN, 0, 512, 0);
	rig_kick(&disk->rig, 0);
	wait_held(1);
	rig_ring(disk->stop_fd);
	virtio_dev_set_status(&disk->blk.dev, 0); /* would hang without stop_fd */
	/* Another vCPU that has not stopped yet must not take its buffers for its own. */
	assert_int_not_equal(virtio_dev_get_status(&disk->blk.dev), 0);
	assert_int_equal(virtio_blk_shutdown(&disk->blk, 20), -ETIMEDOUT);
	release_held();
	disk_free(disk);
}

static void *stop_run(void *arg)
{
	struct disk *disk = arg;

	virtio_dev_stop(&disk->blk.dev);
	rig_ring(disk->stop_fd);
	return NULL;
}

/* PCI bus mastering taken from a disk at work: as in a reset, the driver's memory is its own again
 * when the register write returns. */
static void H22_a_disk_cut_off_drains_and_stays_stopped(void **state)
{
	struct disk *disk = disk_new(OPTIONS());
	struct rig_req r = rig_req(&disk->rig, 4096);
	struct pollfd pfd = { .fd = disk->stop_fd, .events = POLLIN };
	struct fake_done done;
	uint64_t count;
	pthread_t thread;

	drive(disk, 0);
	virtio_dev_stop(&disk->blk.dev); /* nobody is cut off */
	hold_io(true);
	rig_queue(&disk->rig, 0, &r, VIRTIO_BLK_T_IN, 8, 4096, 0);
	rig_kick(&disk->rig, 0);
	wait_held(1);
	disk->cut_off = true;
	assert_int_equal(pthread_create(&thread, NULL, stop_run, disk), 0);
	assert_int_equal(poll(&pfd, 1, 30), 0);
	release_held();
	pthread_join(thread, NULL);
	assert_true(read(disk->stop_fd, &count, sizeof(count)) > 0);
	assert_true(fake_queue_poll(&disk->rig.drv[0], &done)); /* before, not after */
	assert_int_equal(virtio_dev_get_status(&disk->blk.dev), 0x4f);
	/* The way is back, the rings' memory is not: nothing is taken from them. */
	disk->cut_off = false;
	rig_queue(&disk->rig, 0, &r, VIRTIO_BLK_T_IN, 8, 4096, 0);
	fake_queue_publish(&disk->rig.drv[0]);
	virtio_dev_kick(&disk->blk.dev, 0);
	usleep(20000);
	assert_false(fake_queue_poll(&disk->rig.drv[0], &done));
	virtio_dev_set_status(&disk->blk.dev, 0);
	fake_queue_reset(&disk->rig.drv[0]);
	drive(disk, 0);
	assert_int_equal(rig_do(&disk->rig, &r, VIRTIO_BLK_T_IN, 8, 4096), VIRTIO_BLK_S_OK);
	disk_free(disk);
}

static void a_cpu_that_does_not_exist_is_refused(void **state)
{
	struct disk *disk = malloc(sizeof(*disk));
	struct error err;

	assert_true(disk_init(disk, OPTIONS(.cpu = 1000), 0, 1, &err) < 0);
	assert_non_null(strstr(err.text, "CPU 1000"));
	disk_free_files(disk);
}

/* The last one that we have ourselves: where there are several, not all that a thread would get. */
static void a_disk_runs_on_its_cpu(void **state)
{
	cpu_set_t set;
	struct disk *disk;
	int cpu = CPU_SETSIZE - 1;

	assert_int_equal(sched_getaffinity(0, sizeof(set), &set), 0);
	while (!CPU_ISSET(cpu, &set))
		cpu--;
	disk = disk_new(OPTIONS(.cpu = cpu));
	drive(disk, 0);
	assert_int_equal(pthread_getaffinity_np(disk->blk.dataplane->thread.id, sizeof(set), &set),
			 0);
	assert_int_equal(CPU_COUNT(&set), 1);
	assert_true(CPU_ISSET(cpu, &set));
	disk_free(disk);
}

static void a_disk_may_be_destroyed_before_it_ran(void **state)
{
	struct disk *disk = disk_new(OPTIONS());

	virtio_blk_destroy(&disk->blk);
	disk_free_files(disk);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_disk_offers_what_it_can),
		cmocka_unit_test(the_configuration_space_describes_the_disk),
		cmocka_unit_test(small_queues_bound_the_segments),
		cmocka_unit_test(a_readonly_disk_says_so_and_offers_no_change),
		cmocka_unit_test(queues_follow_the_vcpus_up_to_four),
		cmocka_unit_test(disks_are_named_as_linux_names_them),
		cmocka_unit_test(a_driver_starts_it_uses_it_resets_it_and_starts_again),
		cmocka_unit_test(a_broken_ring_shows_needs_reset_until_reset),
		cmocka_unit_test(writes_are_as_durable_as_the_driver_negotiated),
		cmocka_unit_test(a_reset_makes_the_cache_writeback_again),
		cmocka_unit_test(only_the_writeback_byte_can_be_written),
		cmocka_unit_test(a_reset_waits_and_the_end_of_the_vm_does_not),
		cmocka_unit_test(H22_a_disk_cut_off_drains_and_stays_stopped),
		cmocka_unit_test(a_cpu_that_does_not_exist_is_refused),
		cmocka_unit_test(a_disk_runs_on_its_cpu),
		cmocka_unit_test(a_disk_may_be_destroyed_before_it_ran),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
