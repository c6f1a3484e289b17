/* SPDX-License-Identifier: Apache-2.0 */
/* What is in flight when a mirror holds the guest for the last of its chunks. */
#include "tests/dataplane/job_rig.h"
#include "virtio/blk/dataplane_priv.h"
#include "virtio/blk/job_priv.h"

#define WRITES (BLK_JOB_FEW + 4) /* each of a chunk of its own */

/* The thread's own, looked at without a word from it. */
static __attribute__((no_sanitize_thread)) bool is_held(const struct rig *rig)
{
	return *(const volatile bool *)&rig->dp->held;
}

static void wait_held(const struct rig *rig, bool held)
{
	for (unsigned ms = 0; is_held(rig) != held; ms++) {
		assert_true(ms < RIG_WAIT_MS);
		usleep(1000);
	}
}

static void queue_writes(struct rig *rig, struct rig_req *r)
{
	for (unsigned i = 0; i < WRITES; i++) {
		r[i] = rig_req(rig, BLOCK);
		memset(rig_ptr(rig, r[i].data), 0xee, BLOCK);
		assert_true(rig_queue(rig, 0, &r[i], VIRTIO_BLK_T_OUT, i * (CHUNK / 512), BLOCK,
				      i) >= 0);
	}
	rig_kick(rig, 0);
	while (rig_stat(&blk_dataplane_stats(rig->dp)->submits) == 0)
		usleep(1000);
}

/* Their chunks are copied while they are under way, and again when they have ended: too many for the
 * guest to wait for, with a target that takes its time. */
static void what_many_writes_have_marked_is_copied_beside_the_guest(void **state)
{
	struct rig *rig = rig_new((struct rig_config){ .aio = DISK_AIO_THREADS });
	struct job *j = job_start(rig, BLK_COPY_MIRROR, 0);
	struct rig_req r[WRITES];
	struct fake_done done;

	job_wait(j, BLK_JOB_READY);
	host.fd = rig->be.fd;
	host.hang = true;
	queue_writes(rig, r);
	job_wait_copied(j);
	assert_int_equal(rig_send(rig, BLK_CMD_JOB_COMPLETE), 0);
	wait_held(rig, true);
	host.fd = j->be.fd;
	wait_held(rig, false);
	for (unsigned i = 0; i < WRITES; i++)
		assert_true(rig_wait(rig, 0, &done));
	assert_int_equal(blk_job_state(j->job), BLK_JOB_COMPLETING);
	host.hang = false;
	assert_int_equal(job_wait(j, BLK_JOB_HELD), BLK_JOB_HELD);
	assert_same_image(image_of(rig->path), image_of(j->path));
	assert_int_equal(rig_send(rig, BLK_CMD_JOB_PIVOT), 0);
	job_wait(j, BLK_JOB_DONE);
	end_idle(j);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_many_writes_have_marked_is_copied_beside_the_guest),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
