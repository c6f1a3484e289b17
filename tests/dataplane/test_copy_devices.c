/* SPDX-License-Identifier: Apache-2.0 */
/* A disk copied to a block device: one that is larger and full of something else, one that is too
 * small, and one that breaks. */
#include "tests/dataplane/job_rig.h"
#include "tests/dataplane/loop_device.h"

#define BEHIND MB

struct device {
	struct loop_device loop;
	int file; /* all of it 0xee */
};

/* NULL: there is none to be had. */
static struct device *device_new(uint64_t size)
{
	struct device *dev = calloc(1, sizeof(*dev));
	char path[] = "/var/tmp/mvmm-test-XXXXXX";
	uint8_t page[BLOCK];

	assert_non_null(dev);
	dev->file = mkostemp(path, O_CLOEXEC);
	assert_true(dev->file >= 0);
	unlink(path);
	memset(page, 0xee, sizeof(page));
	for (uint64_t off = 0; off < size; off += BLOCK)
		assert_int_equal(pwrite(dev->file, page, BLOCK, off), BLOCK);
	if (!loop_device_attach(&dev->loop, dev->file, 512))
		return dev;
	close(dev->file);
	free(dev);
	print_message("no loop device to be had\n");
	return NULL;
}

static void device_free(struct device *dev)
{
	close(dev->loop.fd);
	close(dev->file);
	free(dev);
}

/* What is behind the disk's end is none of its business. */
static void assert_behind(const struct device *dev)
{
	uint8_t page[BLOCK];

	for (uint64_t off = RIG_SIZE; off < RIG_SIZE + BEHIND; off += BLOCK) {
		assert_int_equal(pread(dev->loop.fd, page, BLOCK, off), BLOCK);
		assert_int_equal(page[0], 0xee);
		assert_true(!memcmp(page, page + 1, BLOCK - 1));
	}
}

/* The disk's zeroes, too, which a new file would not be given. */
static void make_zeroes(struct rig *rig)
{
	struct rig_req r = rig_req(rig, 8 * CHUNK);

	memset(rig_ptr(rig, r.data), 0, 8 * CHUNK);
	assert_int_equal(rig_do(rig, &r, VIRTIO_BLK_T_OUT, 0, 8 * CHUNK), VIRTIO_BLK_S_OK);
}

static void moves_to(struct device *dev, struct rig_config config)
{
	struct rig *rig = rig_new(config);
	struct job *j;
	uint8_t *then;

	make_zeroes(rig);
	then = image_of(rig->path);
	j = job_new_to(rig, BLK_COPY_MIRROR, 0, dev->loop.path);
	assert_false(j->zero);
	assert_true(j->be.block_device);
	job_begin(j);
	assert_int_equal(rig_send(rig, BLK_CMD_JOB_COMPLETE), 0);
	assert_int_equal(job_wait(j, BLK_JOB_HELD), BLK_JOB_HELD);
	assert_same_image(then, image_of(dev->loop.path));
	assert_int_equal(rig_send(rig, BLK_CMD_JOB_PIVOT), 0);
	assert_int_equal(job_wait(j, BLK_JOB_DONE), BLK_JOB_DONE);
	make_zeroes(rig);
	assert_behind(dev);
	end_idle(j);
}

static void a_disk_moves_to_a_larger_device_whatever_that_holds(void **state)
{
	const struct rig_config engines[] = {
		{ 0 },
		{ .aio = DISK_AIO_THREADS },
		{ .cache = DISK_CACHE_WRITEBACK, .aio = DISK_AIO_THREADS },
	};

	for (unsigned i = 0; i < 3; i++) {
		struct device *dev = device_new(RIG_SIZE + BEHIND);

		if (!dev)
			skip();
		moves_to(dev, engines[i]);
		device_free(dev);
	}
}

static void a_guest_that_writes_goes_on_with_the_device(void **state)
{
	struct device *dev = device_new(RIG_SIZE + BEHIND);
	struct rig *rig;
	struct busy *b;
	struct job *j;

	if (!dev)
		skip();
	rig = rig_new((struct rig_config){ 0 });
	b = busy_new(rig, 32);
	j = job_new_to(rig, BLK_COPY_MIRROR, 0, dev->loop.path);
	job_begin(j);
	busy_rounds(b, 2);
	assert_int_equal(rig_send(rig, BLK_CMD_JOB_COMPLETE), 0);
	assert_int_equal(job_wait(j, BLK_JOB_HELD), BLK_JOB_HELD);
	assert_same_image(image_of(rig->path), image_of(dev->loop.path));
	assert_int_equal(rig_send(rig, BLK_CMD_JOB_PIVOT), 0);
	assert_int_equal(job_wait(j, BLK_JOB_DONE), BLK_JOB_DONE);
	end_busy(b, j, dev->loop.path);
	assert_behind(dev);
	device_free(dev);
}

static void a_device_that_is_too_small_is_refused_and_left_alone(void **state)
{
	struct device *dev = device_new(RIG_SIZE - BLOCK);
	struct block_backend be;
	struct error err;
	struct rig *rig;
	uint8_t page[BLOCK];
	bool zero;

	if (!dev)
		skip();
	rig = rig_new((struct rig_config){ 0 });
	assert_int_equal(blk_target_open(&be, dev->loop.path, &rig->be, NULL, &zero, &err),
			 -ENOSPC);
	assert_non_null(strstr(err.text, "bytes are too few for a disk of"));
	assert_int_equal(pread(dev->file, page, BLOCK, 0), BLOCK);
	assert_int_equal(page[0], 0xee);
	rig_free(rig);
	device_free(dev);
}

/* As one that was pulled: it has no blocks any more. */
static void lose_blocks(const struct device *dev)
{
	assert_int_equal(ftruncate(dev->file, 0), 0);
	assert_int_equal(ioctl(dev->loop.fd, LOOP_SET_CAPACITY), 0);
}

static void a_device_that_is_lost_fails_the_job_alone(void **state)
{
	for (enum blk_copy_mode mode = BLK_COPY_MIRROR; mode <= BLK_COPY_BACKUP; mode++) {
		struct device *dev = device_new(RIG_SIZE);
		struct rig *rig;
		struct busy *b;
		struct job *j;

		if (!dev)
			skip();
		rig = rig_new((struct rig_config){ 0 });
		b = busy_new(rig, 32);
		j = job_new_to(rig, mode, MB, dev->loop.path);
		lose_blocks(dev); /* before: the guest's writes may have a backup made at once */
		job_begin(j);
		assert_int_equal(job_wait(j, BLK_JOB_DONE), BLK_JOB_FAILED);
		assert_int_not_equal(job_error(j), 0);
		assert_false(blk_job_progress(j->job)->source);
		end_busy(b, j, rig->path);
		device_free(dev);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_disk_moves_to_a_larger_device_whatever_that_holds),
		cmocka_unit_test(a_guest_that_writes_goes_on_with_the_device),
		cmocka_unit_test(a_device_that_is_too_small_is_refused_and_left_alone),
		cmocka_unit_test(a_device_that_is_lost_fails_the_job_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
