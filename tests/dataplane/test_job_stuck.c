/* SPDX-License-Identifier: Apache-2.0 */
/* A job beside a target or a disk that hangs, or beside a guest that discards: what the guest does not
 * have to wait for, or not for ever. */
#include "tests/dataplane/job_rig.h"

#define DEPTH 16
#define WRITES                                                                                     \
	(DEPTH + BLK_JOB_RESERVE) /* more than the pool has, and each of a chunk of its own */

static void queue(struct rig *rig, struct rig_req *r, uint32_t type, unsigned chunk,
		  unsigned cookie)
{
	*r = rig_req(rig, BLOCK);
	assert_true(rig_queue(rig, 0, r, type, chunk * (CHUNK / 512), BLOCK, cookie) >= 0);
}

/* How many have ended well, of `n` that are waited for. */
static void wait_done(struct rig *rig, const struct rig_req *r, unsigned n)
{
	struct fake_done done;

	for (unsigned i = 0; i < n; i++) {
		assert_true(rig_wait(rig, 0, &done));
		assert_int_equal(rig_status(rig, &r[done.cookie]), VIRTIO_BLK_S_OK);
	}
}

/* The writes that wait for it have every request of the pool. */
static void a_backup_whose_target_hangs_does_not_stop_reads_for_good(void **state)
{
	struct rig *rig = rig_new((struct rig_config){ .depth = DEPTH });
	struct job *j = job_new(rig, BLK_COPY_BACKUP, 0);
	struct rig_req r[WRITES + 1];

	j->job->hold_max_ns = 100000000;
	host.fd = j->be.fd;
	host.hang = true;
	job_begin(j);
	for (unsigned i = 0; i < WRITES; i++)
		queue(rig, &r[i], VIRTIO_BLK_T_OUT, RIG_SIZE / CHUNK - 1 - i, i);
	queue(rig, &r[WRITES], VIRTIO_BLK_T_IN, 0, WRITES);
	rig_kick(rig, 0);
	wait_done(rig, r, WRITES + 1);
	assert_int_equal(job_error(j), ETIMEDOUT);
	assert_false(blk_job_progress(j->job)->source);
	host.hang = false;
	assert_int_equal(job_wait(j, BLK_JOB_DONE), BLK_JOB_FAILED);
	end_idle(j);
}

/* ---- a disk that hangs ------------------------------------------------------------------------- */

/* One write of the guest's is with the disk, and stays there. */
static void hang_disk(struct rig *rig, struct rig_req *r)
{
	host.fd = rig->be.fd;
	host.hang = true;
	queue(rig, r, VIRTIO_BLK_T_OUT, 0, 0);
	rig_kick(rig, 0);
	wait_submitted(rig);
}

static void read_passes(struct rig *rig, struct rig_req *r)
{
	struct fake_done done;

	queue(rig, r, VIRTIO_BLK_T_IN, 1, 1);
	rig_kick(rig, 0);
	assert_true(rig_wait(rig, 0, &done));
	assert_int_equal(done.cookie, 1);
}

/* Its moment is when nothing is in flight. */
static void a_backup_of_a_disk_that_hangs_does_not_hold_the_guest_for_good(void **state)
{
	struct rig *rig = rig_new((struct rig_config){ .aio = DISK_AIO_THREADS });
	struct job *j = job_new(rig, BLK_COPY_BACKUP, 0);
	struct rig_req r[2];

	j->job->hold_max_ns = 100000000;
	hang_disk(rig, &r[0]);
	job_begin(j);
	read_passes(rig, &r[1]);
	assert_int_equal(job_wait(j, BLK_JOB_DONE), BLK_JOB_FAILED);
	assert_int_equal(job_error(j), ETIMEDOUT);
	assert_true(blk_job_progress(j->job)->source);
	assert_true(blk_job_progress(j->job)->hold_ns >= 100000000);
	host.hang = false;
	wait_done(rig, r, 1);
	end_idle(j);
}

static void a_backup_that_waits_for_its_moment_is_cancelled_at_once(void **state)
{
	struct rig *rig = rig_new((struct rig_config){ .aio = DISK_AIO_THREADS });
	struct job *j = job_new(rig, BLK_COPY_BACKUP, 0);
	struct rig_req r[2];

	hang_disk(rig, &r[0]);
	job_begin(j);
	assert_int_equal(rig_send(rig, BLK_CMD_JOB_CANCEL), 0);
	assert_int_equal(job_wait(j, BLK_JOB_DONE), BLK_JOB_CANCELLED);
	read_passes(rig, &r[1]);
	host.hang = false;
	wait_done(rig, r, 1);
	end_idle(j);
}

static void a_disk_that_hangs_at_the_pivot_is_not_blamed_on_the_target(void **state)
{
	struct rig *rig = rig_new((struct rig_config){ .aio = DISK_AIO_THREADS });
	struct job *j = job_new(rig, BLK_COPY_MIRROR, 0);
	struct rig_req r[1];

	j->job->hold_max_ns = 100000000;
	job_begin(j);
	job_wait(j, BLK_JOB_READY);
	hang_disk(rig, r);
	assert_int_equal(rig_send(rig, BLK_CMD_JOB_COMPLETE), 0);
	assert_int_equal(job_wait(j, BLK_JOB_DONE), BLK_JOB_FAILED);
	assert_int_equal(job_error(j), ETIMEDOUT);
	assert_true(blk_job_progress(j->job)->source);
	host.hang = false;
	wait_done(rig, r, 1);
	end_idle(j);
}

/* ---- a guest that discards --------------------------------------------------------------------- */

/* All of the disk is to be copied again, for which the next write is not to wait. */
static void a_large_discard_while_a_mirror_completes_stops_no_write_for_all_of_it(void **state)
{
	struct rig *rig =
		rig_new((struct rig_config){ .aio = DISK_AIO_THREADS, .features = F_RANGES });
	struct job *j = job_new(rig, BLK_COPY_MIRROR, 0);
	struct rig_req r = rig_req(rig, BLOCK);

	j->job->patience_ns = HOUR_NS;
	job_begin(j);
	job_wait_copied(j);
	host.fd = j->be.fd;
	host.hang = host.hang_syncs = true;
	assert_int_equal(rig_send(rig, BLK_CMD_JOB_COMPLETE), 0);
	do_range(rig, &r, VIRTIO_BLK_T_DISCARD, 0, RIG_SECTORS);
	assert_int_equal(rig_send(rig, BLK_CMD_PAUSE),
			 0); /* and the thread's fields are to be seen */
	assert_in_range(-j->job->credit, 1, 2 * BLK_JOB_FEW);
	assert_int_equal(rig_send(rig, BLK_CMD_RESUME), 0);
	host.hang = host.hang_syncs = false;
	assert_int_equal(rig_do(rig, &r, VIRTIO_BLK_T_OUT, 0, BLOCK), VIRTIO_BLK_S_OK);
	assert_int_equal(job_wait(j, BLK_JOB_HELD), BLK_JOB_HELD);
	assert_same_image(image_of(rig->path), image_of(j->path));
	assert_int_equal(rig_send(rig, BLK_CMD_JOB_PIVOT), 0);
	job_wait(j, BLK_JOB_DONE);
	end_idle(j);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_backup_whose_target_hangs_does_not_stop_reads_for_good),
		cmocka_unit_test(a_backup_of_a_disk_that_hangs_does_not_hold_the_guest_for_good),
		cmocka_unit_test(a_backup_that_waits_for_its_moment_is_cancelled_at_once),
		cmocka_unit_test(a_disk_that_hangs_at_the_pivot_is_not_blamed_on_the_target),
		cmocka_unit_test(
			a_large_discard_while_a_mirror_completes_stops_no_write_for_all_of_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
