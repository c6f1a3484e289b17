/* SPDX-License-Identifier: Apache-2.0 */
/* The disk as a virtio device: what it offers, what its configuration space says, and its life from
 * DRIVER_OK to the end of the VM, with a transport of two eventfds. */
#include <sys/mman.h>

#include "tests/dataplane/rig.h"
#include "tests/dataplane/slow.h"
#include "virtio/blk/throttle_group.h"
#include "virtio/blk/virtio_blk.h"

static _Atomic int setup_errno;

int io_setup(int n, io_context_t *ctx)
{
	if (setup_errno)
		return -setup_errno;
	return syscall(SYS_io_setup, n, ctx) ? -errno : 0;
}

struct disk {
	struct rig rig; /* guest, driver, files; no dataplane of its own */
	struct virtio_blk blk;
	struct throttle_groups groups;
	struct throttle_group *group;
	int stop_fd;
	_Atomic bool cut_off; /* the transport has lost its way to memory */
};

static struct irq_line queue_line(void *transport, unsigned q)
{
	struct rig *rig = transport;

	return (struct irq_line){ .fd = rig->irq_fd[q] };
}

static struct irq_line config_line(void *transport)
{
	struct rig *rig = transport;

	return (struct irq_line){ .fd = rig->config_fd };
}

static bool may_run(void *transport)
{
	return !((struct disk *)transport)->cut_off;
}

static const struct virtio_transport_ops transport_ops = {
	.queue_line = queue_line,
	.config_line = config_line,
	.may_run = may_run,
};

static const struct disk_config defaults = {
	.cache = DISK_AUTO,
	.aio = DISK_AUTO,
	.queue_size = 128,
	.aio_depth = 64,
	.block_size = 512,
	.cpu = -1,
	.serial = "WD-1234",
};

/* The defaults, or with one field changed: OPTIONS(.queues = 2). */
#define OPTIONS(...)                                                                               \
	({                                                                                         \
		struct disk_config o = defaults;                                                   \
		(void)(o __VA_ARGS__);                                                             \
		o;                                                                                 \
	})

static int disk_init(struct disk *disk, struct disk_config options, unsigned index, unsigned nvcpus,
		     struct error *err)
{
	struct rig *rig = &disk->rig;
	struct virtio_blk_place place = { .index = index,
					  .nvcpus = nvcpus,
					  .mem = &rig->guest.mem };

	memset(disk, 0, sizeof(*disk));
	rig->config = (struct rig_config){ .nqueues = 4, .queue_size = 128 };
	snprintf(rig->path, sizeof(rig->path), "/var/tmp/mvmm-test-XXXXXX");
	assert_int_equal(rig_file(rig), 0);
	rig_guest(rig);
	disk->stop_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	options.path = rig->path;
	assert_int_equal(throttle_group_join(&disk->groups, options.group, &options.limits,
					     &disk->group, err),
			 0);
	place.stop_fd = disk->stop_fd;
	place.event_fd = -1;
	place.group = disk->group;
	return virtio_blk_init(&disk->blk, &options, &place, err);
}

static struct disk *disk_new(struct disk_config options)
{
	struct disk *disk = malloc(sizeof(*disk));
	struct error err;

	assert_non_null(disk);
	if (disk_init(disk, options, 0, 1, &err))
		fail_msg("%s", err.text);
	disk->blk.dev.transport_ops = &transport_ops;
	disk->blk.dev.transport = &disk->rig;
	return disk;
}

static void disk_free_files(struct disk *disk)
{
	for (unsigned q = 0; q < RIG_QUEUES; q++) {
		close(disk->rig.kick_fd[q]);
		close(disk->rig.irq_fd[q]);
	}
	close(disk->rig.config_fd);
	close(disk->stop_fd);
	throttle_group_leave(&disk->groups, disk->group);
	fake_guest_free(&disk->rig.guest);
	unlink(disk->rig.path);
	free(disk);
}

static void disk_free(struct disk *disk)
{
	assert_int_equal(virtio_blk_shutdown(&disk->blk, RIG_WAIT_MS), 0);
	virtio_blk_destroy(&disk->blk);
	disk_free_files(disk);
}

static uint64_t offered(struct disk *disk)
{
	return virtio_dev_get_features(&disk->blk.dev, 0) |
	       (uint64_t)virtio_dev_get_features(&disk->blk.dev, 1) << 32;
}

static bool offers(struct disk *disk, unsigned bit)
{
	return offered(disk) & (1ULL << bit);
}

static struct virtio_blk_config read_config(struct disk *disk)
{
	struct virtio_blk_config c;

	virtio_dev_read_config(&disk->blk.dev, 0, &c, sizeof(c));
	return c;
}

/* A driver's way to DRIVER_OK with one queue (3.1.1). */
static void drive(struct disk *disk, uint64_t features)
{
	struct virtio_dev *dev = &disk->blk.dev;
	const struct virtq_config *c = &disk->rig.drv[0].config;

	virtio_dev_set_status(dev, VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER);
	features |= 1ULL << VIRTIO_F_VERSION_1;
	virtio_dev_set_driver_features(dev, 0, features);
	virtio_dev_set_driver_features(dev, 1, features >> 32);
	virtio_dev_set_status(dev, virtio_dev_get_status(dev) | VIRTIO_CONFIG_S_FEATURES_OK);
	assert_true(virtio_dev_get_status(dev) & VIRTIO_CONFIG_S_FEATURES_OK);
	virtio_dev_set_queue(dev, 0, VIRTQ_SIZE, c->size);
	virtio_dev_set_queue(dev, 0, VIRTQ_DESC_LO, c->desc);
	virtio_dev_set_queue(dev, 0, VIRTQ_AVAIL_LO, c->avail);
	virtio_dev_set_queue(dev, 0, VIRTQ_USED_LO, c->used);
	virtio_dev_set_queue(dev, 0, VIRTQ_READY, 1);
	virtio_dev_set_status(dev, virtio_dev_get_status(dev) | VIRTIO_CONFIG_S_DRIVER_OK);
	assert_int_equal(virtio_dev_get_status(dev),
			 VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER |
				 VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_DRIVER_OK);
	/* The doorbells are the device's. */
	for (unsigned q = 0; q < dev->nqueues; q++)
		dup2(dev->kick_fd[q], disk->rig.kick_fd[q]);
}

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

static void break_and_reset(struct disk *disk)
{
	struct pollfd pfd = { .fd = disk->rig.config_fd, .events = POLLIN };
	uint64_t count;

	drive(disk, 0);
	fake_queue_set_avail_idx(&disk->rig.drv[0], 999);
	virtio_dev_kick(&disk->blk.dev, 0);
	assert_int_equal(poll(&pfd, 1, RIG_WAIT_MS), 1);
	assert_true(read(pfd.fd, &count, sizeof(count)) > 0);
	virtio_dev_set_status(&disk->blk.dev, 0);
	fake_queue_reset(&disk->rig.drv[0]);
}

/* What main says in its look once a second; by write(2), so no buffer of stdio is in the way. */
static unsigned lines_of_watch(struct disk *disk, const char *want)
{
	const int file = memfd_create("stderr", MFD_CLOEXEC), saved = dup(STDERR_FILENO);
	char text[4096];
	unsigned n = 0;

	dup2(file, STDERR_FILENO);
	virtio_blk_watch(&disk->blk);
	dup2(saved, STDERR_FILENO);
	close(saved);
	for (ssize_t i = pread(file, text, sizeof(text), 0); i > 0; i--)
		n += text[i - 1] == '\n';
	if (n)
		assert_non_null(strstr(text, want));
	close(file);
	return n;
}

static void broken_rings_are_told_once_a_look_and_not_without_end(void **state)
{
	static const char broke[] = "vda: the driver broke a ring";
	struct disk *disk = disk_new(OPTIONS());
	unsigned lines = 0;

	assert_int_equal(lines_of_watch(disk, broke), 0);
	for (unsigned i = 0; i < 50; i++)
		break_and_reset(disk);
	assert_int_equal(lines_of_watch(disk, broke), 1);
	assert_int_equal(lines_of_watch(disk, broke), 0);
	for (unsigned i = 0; i < 50; i++) {
		break_and_reset(disk);
		lines += lines_of_watch(disk, broke);
	}
	assert_in_range(lines, 1, 2 * LOG_GUEST_BURST); /* a new window may begin meanwhile */
	disk_free(disk);
}

static void requests_the_host_fails_are_told_while_the_vm_runs(void **state)
{
	static const char failed[] = "warning: disk vda: the host failed requests of the guest, "
				     "last with: Input/output error";
	struct disk *disk = disk_new(OPTIONS());
	struct rig_req r = rig_req(&disk->rig, 512);
	const time_t begun = time(NULL);
	unsigned lines = 0;

	drive(disk, 0);
	assert_int_equal(rig_do(&disk->rig, &r, VIRTIO_BLK_T_IN, UINT32_MAX, 512),
			 VIRTIO_BLK_S_IOERR);
	assert_int_equal(lines_of_watch(disk, failed), 0); /* the guest's own mistake */
	assert_int_equal(truncate(disk->rig.path, 0), 0);
	for (unsigned i = 0; i < 50; i++) {
		assert_int_equal(rig_do(&disk->rig, &r, VIRTIO_BLK_T_IN, 0, 512),
				 VIRTIO_BLK_S_IOERR);
		lines += lines_of_watch(disk, failed);
		assert_int_equal(lines_of_watch(disk, failed), 0);
	}
	/* As above; how many windows begin while a slow machine is at it, its clock says. */
	assert_in_range(lines, 1, LOG_GUEST_BURST * (2 + (time(NULL) - begun) / 10));
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

static void workers_instead_of_aio(int why)
{
	struct disk *disk;
	struct rig_req r;

	setup_errno = why;
	disk = disk_new(OPTIONS());
	setup_errno = 0;
	assert_int_equal(disk->blk.backend.aio, DISK_AIO_THREADS);
	assert_true(disk->blk.backend.direct);
	drive(disk, 0);
	r = rig_req(&disk->rig, 4096);
	assert_int_equal(rig_do(&disk->rig, &r, VIRTIO_BLK_T_IN, 8, 4096), VIRTIO_BLK_S_OK);
	disk_free(disk);
}

static void without_aio_contexts_workers_do_it(void **state)
{
	workers_instead_of_aio(EAGAIN);
}

/* A kernel built without it; a container that forbids it. */
static void without_aio_workers_do_it(void **state)
{
	workers_instead_of_aio(ENOSYS);
	workers_instead_of_aio(EPERM);
}

static void aio_native_by_name_is_not_replaced(void **state)
{
	struct disk *disk = malloc(sizeof(*disk));
	struct error err;

	setup_errno = EAGAIN;
	assert_int_equal(disk_init(disk, OPTIONS(.aio = DISK_AIO_NATIVE), 0, 1, &err), -EOPNOTSUPP);
	setup_errno = 0;
	assert_non_null(strstr(err.text, "fs.aio-max-nr"));
	assert_non_null(strstr(err.text, disk->rig.path));
	disk_free_files(disk);
}

static void a_cpu_that_does_not_exist_is_refused(void **state)
{
	struct disk *disk = malloc(sizeof(*disk));
	struct error err;

	assert_true(disk_init(disk, OPTIONS(.cpu = 1000), 0, 1, &err) < 0);
	assert_non_null(strstr(err.text, "CPU 1000"));
	disk_free_files(disk);
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
		cmocka_unit_test(broken_rings_are_told_once_a_look_and_not_without_end),
		cmocka_unit_test(requests_the_host_fails_are_told_while_the_vm_runs),
		cmocka_unit_test(writes_are_as_durable_as_the_driver_negotiated),
		cmocka_unit_test(only_the_writeback_byte_can_be_written),
		cmocka_unit_test(a_reset_waits_and_the_end_of_the_vm_does_not),
		cmocka_unit_test(H22_a_disk_cut_off_drains_and_stays_stopped),
		cmocka_unit_test(without_aio_contexts_workers_do_it),
		cmocka_unit_test(without_aio_workers_do_it),
		cmocka_unit_test(aio_native_by_name_is_not_replaced),
		cmocka_unit_test(a_cpu_that_does_not_exist_is_refused),
		cmocka_unit_test(a_disk_may_be_destroyed_before_it_ran),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
