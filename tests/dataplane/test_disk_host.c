/* SPDX-License-Identifier: Apache-2.0 */
/* What is told of a disk whose driver breaks rings or whose host fails, and the engine it gets
 * without Linux AIO. */
#include "tests/dataplane/disk_rig.h"

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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(broken_rings_are_told_once_a_look_and_not_without_end),
		cmocka_unit_test(requests_the_host_fails_are_told_while_the_vm_runs),
		cmocka_unit_test(without_aio_contexts_workers_do_it),
		cmocka_unit_test(without_aio_workers_do_it),
		cmocka_unit_test(aio_native_by_name_is_not_replaced),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
