/* SPDX-License-Identifier: Apache-2.0 */
/* Block devices as images: a loop device with blocks larger than the guest's. Needs root. */
#include "tests/dataplane/rig.h"

#include <sys/mman.h>

#include "tests/dataplane/loop_device.h"
#include "virtio/blk/blocking.h"

#define DEV_SIZE  (1U << 20)
#define DEV_BLOCK 4096

struct dev {
	struct loop_device loop;
	struct block_backend be;
	void *bounce;
};

/* A device full of 0xee. */
static int setup(void **state)
{
	static struct dev dev;
	char image[] = "/var/tmp/mvmm-test-XXXXXX";
	const int file = mkostemp(image, O_CLOEXEC);
	uint8_t page[DEV_BLOCK];

	*state = NULL;
	if (file < 0)
		return -1;
	unlink(image);
	memset(page, 0xee, sizeof(page));
	for (unsigned off = 0; off < DEV_SIZE; off += sizeof(page))
		if (pwrite(file, page, sizeof(page), off) != sizeof(page))
			return -1;
	if (!loop_device_attach(&dev.loop, file, DEV_BLOCK))
		*state = &dev;
	close(file);
	dev.bounce = mmap(NULL, BLK_BOUNCE_SIZE, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	return dev.bounce == MAP_FAILED ? -1 : 0;
}

static int teardown(void **state)
{
	struct dev *dev = *state;

	if (dev) {
		munmap(dev->bounce, BLK_BOUNCE_SIZE);
		close(dev->loop.fd);
	}
	return 0;
}

static struct dev *open_device(void **state, int cache)
{
	struct dev *dev = *state;
	struct error err;

	if (!dev)
		skip();
	const struct disk_config config = {
		.path = dev->loop.path, .cache = cache, .aio = DISK_AUTO, .block_size = 512
	};

	if (block_backend_open(&dev->be, &config, &err))
		fail_msg("%s", err.text);
	assert_true(dev->be.block_device);
	return dev;
}

static int do_range(struct dev *dev, enum blk_op op, uint64_t sector, uint32_t sectors, bool unmap)
{
	struct blk_range range = { sector * 512, sectors, unmap };
	struct blk_request req = { .op = op, .nseg = 1, .range = &range };

	return blk_blocking_execute(&req, &dev->be, dev->bounce);
}

/* Bytes [first, last) of the device are zero, the sectors around them are not. */
static void expect_zeroes(struct dev *dev, uint64_t first, uint64_t last)
{
	uint8_t data[DEV_SIZE / 8];

	assert_int_equal(pread(dev->be.fd, data, sizeof(data), 0), sizeof(data));
	for (uint64_t i = 0; i < sizeof(data); i++)
		assert_int_equal(data[i], i >= first && i < last ? 0 : 0xee);
}

static void a_guest_with_smaller_blocks_falls_back_to_the_page_cache(void **state)
{
	struct dev *dev = open_device(state, DISK_AUTO);

	assert_false(dev->be.direct);
	assert_int_equal(dev->be.aio, DISK_AIO_THREADS);
	assert_int_equal(dev->be.physical_block_size, DEV_BLOCK);
	block_backend_close(&dev->be);
}

/* mkfs.ext4 in the guest clears tables in blocks of 1024. */
static void zeroes_may_begin_and_end_inside_the_hosts_blocks(void **state)
{
	struct dev *dev = open_device(state, DISK_AUTO);

	assert_int_equal(do_range(dev, BLK_OP_WRITE_ZEROES, 3, 20, false), 0);
	expect_zeroes(dev, 3 * 512, 23 * 512);
	assert_int_equal(do_range(dev, BLK_OP_WRITE_ZEROES, 1, 30, true), 0);
	expect_zeroes(dev, 512, 31 * 512);
	block_backend_close(&dev->be);
}

/* A discard promises nothing: what is less than a block of the host stays. */
static void a_discard_may_begin_and_end_inside_the_hosts_blocks(void **state)
{
	struct dev *dev = open_device(state, DISK_AUTO);

	if (!dev->be.can_discard)
		skip();
	assert_int_equal(do_range(dev, BLK_OP_DISCARD, 9, 3, false), 0);
	expect_zeroes(dev, 0, 0);
	assert_int_equal(do_range(dev, BLK_OP_DISCARD, 7, 18, false), 0);
	expect_zeroes(dev, DEV_BLOCK, 3 * DEV_BLOCK);
	block_backend_close(&dev->be);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_guest_with_smaller_blocks_falls_back_to_the_page_cache),
		T(zeroes_may_begin_and_end_inside_the_hosts_blocks),
		T(a_discard_may_begin_and_end_inside_the_hosts_blocks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
