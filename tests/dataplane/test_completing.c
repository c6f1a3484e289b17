/* SPDX-License-Identifier: Apache-2.0 */
/* A mirror that is to become the disk gets there however the guest writes; and a target that hangs
 * meanwhile stops no write. */
#include "tests/dataplane/job_rig.h"

static void pivot(struct rig *rig, struct job *j)
{
	assert_int_equal(job_wait(j, BLK_JOB_HELD), BLK_JOB_HELD);
	assert_same_image(image_of(rig->path), image_of(j->path));
	assert_int_equal(rig_send(rig, BLK_CMD_JOB_PIVOT), 0);
	assert_int_equal(job_wait(j, BLK_JOB_DONE), BLK_JOB_DONE);
}

/* ---- a target that hangs --------------------------------------------------------------------- */

/* Nearly all is left, so the guest is not held; but what its writes mark has to wait for chunks, and
 * none is copied. After a moment they go on, and when the target does, so does the mirror. */
static void writes_pass_a_target_that_hangs(void **state)
{
	for (unsigned aio = 0; aio < 2; aio++) {
		struct rig *rig = rig_new((struct rig_config){ .aio = aio });
		struct busy *b = busy_new(rig, 32);
		struct job *j = job_new(rig, BLK_COPY_MIRROR, 1);

		host.fd = j->be.fd;
		host.hang = true;
		job_begin(j);
		assert_int_equal(rig_send(rig, BLK_CMD_JOB_COMPLETE), 0);
		busy_rounds(b, 5);
		assert_int_equal(blk_job_state(j->job), BLK_JOB_COMPLETING);
		assert_true(rig_stat(&blk_job_progress(j->job)->wait_ns) > 0);
		host.hang = false;
		pivot(rig, j);
		end_busy(b, j, j->path);
	}
}

/* All is copied, but cannot be made durable. What passes is not made up for: a target that is back at
 * last is not to stop the guest with what it owes. */
static void and_owe_it_nothing(void **state)
{
	struct rig *rig = rig_new((struct rig_config){ 0 });
	struct job *j = job_start(rig, BLK_COPY_MIRROR, 0);
	struct busy *b;

	job_wait_copied(j);
	host.fd = j->be.fd;
	host.hang = host.hang_syncs = true;
	assert_int_equal(rig_send(rig, BLK_CMD_JOB_COMPLETE), 0);
	b = busy_new(rig, 32);
	busy_rounds(b, 5);
	busy_end(b);
	assert_int_equal(rig_send(rig, BLK_CMD_PAUSE),
			 0); /* and the thread's fields are to be seen */
	assert_in_range(-j->job->credit, 1, 4);
	assert_int_equal(rig_send(rig, BLK_CMD_RESUME), 0);
	host.hang = host.hang_syncs = false;
	pivot(rig, j);
	assert_same_image(image_of(j->path), busy_image(b));
	busy_free(b);
	end_idle(j);
}

/* Each chunk that it marks is copied, which is all that it waits for. */
static void a_sync_that_hangs_stops_no_write(void **state)
{
	struct rig *rig = rig_new((struct rig_config){ 0 });
	struct job *j = job_new(rig, BLK_COPY_MIRROR, 0);
	struct rig_req r = rig_req(rig, BLOCK);

	j->job->patience_ns = HOUR_NS;
	job_begin(j);
	job_wait_copied(j);
	host.fd = j->be.fd;
	host.hang_syncs = true;
	assert_int_equal(rig_send(rig, BLK_CMD_JOB_COMPLETE), 0);
	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(rig_do(rig, &r, VIRTIO_BLK_T_OUT, 8 * i, BLOCK), VIRTIO_BLK_S_OK);
	assert_int_equal(blk_job_state(j->job), BLK_JOB_COMPLETING);
	host.hang_syncs = false;
	pivot(rig, j);
	end_idle(j);
}

/* ---- a guest that is everywhere ---------------------------------------------------------------- */

#define HOT   48
#define DEPTH 128

/* Slot and block have the same number, in one of the hot chunks. */
static void write_again(struct rig *rig, struct rig_req *req, unsigned i)
{
	const uint64_t chunk = i % HOT, block = i / HOT;

	assert_true(rig_queue(rig, 0, &req[i], VIRTIO_BLK_T_OUT,
			      (chunk * CHUNK + block * BLOCK) / 512, BLOCK, i) >= 0);
}

/* Two or three writes are under way in each chunk whenever it is copied, so that their ends have it
 * copied again. */
static void a_guest_with_writes_under_way_in_every_chunk_is_slowed_down(void **state)
{
	struct rig *rig = rig_new((struct rig_config){
		.aio = DISK_AIO_THREADS, .depth = DEPTH, .queue_size = 4 * DEPTH });
	struct job *j = job_new(rig, BLK_COPY_MIRROR, 0);
	struct rig_req req[DEPTH];
	struct fake_done done;

	for (unsigned i = 0; i < DEPTH; i++) {
		req[i] = rig_req(rig, BLOCK);
		write_again(rig, req, i);
	}
	host.fd = j->be.fd;
	host.pace_us = 5000;
	j->job->patience_ns = HOUR_NS;
	rig_kick(rig, 0);
	job_begin(j);
	assert_int_equal(rig_send(rig, BLK_CMD_JOB_COMPLETE), 0);
	for (unsigned ms = 0; blk_job_state(j->job) < BLK_JOB_HELD; ms++) {
		assert_true(ms < RIG_WAIT_MS);
		while (fake_queue_poll(&rig->drv[0], &done))
			write_again(rig, req, done.cookie);
		rig_kick(rig, 0);
		usleep(1000);
	}
	host.pace_us = 0;
	pivot(rig, j);
	end_idle(j);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(writes_pass_a_target_that_hangs),
		cmocka_unit_test(and_owe_it_nothing),
		cmocka_unit_test(a_sync_that_hangs_stops_no_write),
		cmocka_unit_test(a_guest_with_writes_under_way_in_every_chunk_is_slowed_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
