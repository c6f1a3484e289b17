/* SPDX-License-Identifier: Apache-2.0 */
/* A disk's backup under random verified I/O: what it was when the job began, to the byte; and
 * whatever happens to it, the guest does not notice. */
#include "tests/dataplane/job_rig.h"
#include "virtio/blk/job_priv.h"

static void backs_up(struct rig_config config, uint64_t speed)
{
	struct rig *rig = rig_new(config);
	struct busy *b = busy_new(rig, 32);
	struct job *j;
	uint8_t *then;

	busy_rounds(b, 3);
	j = start_paused(rig, speed, &then);
	host.watched = j->be.fd;
	assert_int_equal(job_wait(j, BLK_JOB_DONE), BLK_JOB_DONE);
	assert_int_equal(host.unsynced, 0);
	assert_same_image(then, image_of(j->path));
	assert_int_equal(blk_job_progress(j->job)->left, 0);
	assert_int_equal(blk_job_progress(j->job)->copied, RIG_SIZE);
	print_message("%lu writes waited, the longest for %lu us\n",
		      (unsigned long)blk_job_progress(j->job)->waits,
		      (unsigned long)(blk_job_progress(j->job)->wait_ns / 1000));
	end_busy(b, j, rig->path);
}

static void a_backup_is_the_disk_of_the_moment_it_began(void **state)
{
	for (unsigned i = 0; i < 5; i++)
		backs_up((struct rig_config){ 0 }, 0);
}

static void at_every_speed(void **state)
{
	backs_up((struct rig_config){ 0 }, 64 * MB);
	backs_up((struct rig_config){ 0 }, 4 * MB);
}

static void with_every_engine(void **state)
{
	backs_up((struct rig_config){ .aio = DISK_AIO_THREADS }, 0);
	backs_up((struct rig_config){ .cache = DISK_CACHE_WRITEBACK, .aio = DISK_AIO_THREADS }, 0);
	backs_up((struct rig_config){ .writethrough = true }, 0);
}

/* Also without a pause: what was acknowledged before is in it, what was sent after is not. */
static void what_is_under_way_ends_before_it_begins(void **state)
{
	struct rig *rig = rig_new((struct rig_config){ 0 });
	struct rig_req r = rig_req(rig, 16 * BLOCK);
	struct fake_done done;
	struct job *j;
	uint8_t *copy;

	memset(rig_ptr(rig, r.data), 0x77, 16 * BLOCK);
	assert_true(rig_queue(rig, 0, &r, VIRTIO_BLK_T_OUT, 0, 16 * BLOCK, 1) >= 0);
	rig_kick(rig, 0);
	wait_submitted(rig);
	j = job_start(rig, BLK_COPY_BACKUP, 0);
	assert_true(rig_wait(rig, 0, &done));
	memset(rig_ptr(rig, r.data), 0x88, 16 * BLOCK);
	assert_int_equal(rig_do(rig, &r, VIRTIO_BLK_T_OUT, 0, 16 * BLOCK), VIRTIO_BLK_S_OK);
	assert_int_equal(job_wait(j, BLK_JOB_DONE), BLK_JOB_DONE);
	copy = image_of(j->path);
	assert_int_equal(copy[0], 0x77);
	assert_int_equal(copy[16 * BLOCK - 1], 0x77);
	free(copy);
	end_idle(j);
}

/* The disk's thread has heard of it, and says no word about that. */
static __attribute__((no_sanitize_thread)) bool is_awaited(const struct job *j)
{
	return *(const volatile uint64_t *)&j->job->held_at;
}

/* All that comes meanwhile waits in the ring. */
static void the_wait_for_its_moment_is_measured(void **state)
{
	struct rig *rig = rig_new((struct rig_config){ .aio = DISK_AIO_THREADS });
	struct rig_req r = rig_req(rig, BLOCK);
	struct job *j = job_new(rig, BLK_COPY_BACKUP, 0);
	struct fake_done done;

	host.fd = rig->be.fd;
	host.hang = true;
	assert_true(rig_queue(rig, 0, &r, VIRTIO_BLK_T_OUT, 0, BLOCK, 1) >= 0);
	rig_kick(rig, 0);
	wait_submitted(rig);
	assert_int_equal(blk_dataplane_start_job(rig->dp, j->job), 0);
	while (!is_awaited(j))
		usleep(1000);
	usleep(50000);
	host.hang = false;
	assert_int_equal(job_answer(rig), 0);
	assert_true(rig_wait(rig, 0, &done));
	assert_int_equal(job_wait(j, BLK_JOB_DONE), BLK_JOB_DONE);
	assert_true(blk_job_progress(j->job)->hold_ns >= 50000000);
	end_idle(j);
}

/* The job's limit is no limit of the guest's: what it waits for is copied at once. */
static void a_slow_backup_does_not_slow_the_guest_down(void **state)
{
	struct rig *rig = rig_new((struct rig_config){ 0 });
	struct rig_req r = rig_req(rig, BLOCK);
	struct job *j = job_start(rig, BLK_COPY_BACKUP, 1);

	for (unsigned i = 0; i < RIG_SIZE / CHUNK; i++) /* otherwise it would take days */
		assert_int_equal(rig_do(rig, &r, VIRTIO_BLK_T_OUT, i * (CHUNK / 512), BLOCK),
				 VIRTIO_BLK_S_OK);
	assert_int_equal(job_wait(j, BLK_JOB_DONE), BLK_JOB_DONE);
	end_idle(j);
}

static void discards_and_zeroes_wait_as_well(void **state)
{
	struct rig *rig = rig_new((struct rig_config){ .features = F_RANGES });
	struct rig_req r = rig_req(rig, BLOCK);
	uint8_t *then = image_of(rig->path);
	struct job *j = job_start(rig, BLK_COPY_BACKUP, 1);

	do_range(rig, &r, VIRTIO_BLK_T_WRITE_ZEROES, 8, 2000);
	do_range(rig, &r, VIRTIO_BLK_T_DISCARD, 2048, RIG_SECTORS - 2048);
	assert_int_equal(job_wait(j, BLK_JOB_DONE), BLK_JOB_DONE);
	assert_same_image(then, image_of(j->path));
	end_idle(j);
}

/* ---- it fails -------------------------------------------------------------------------------- */

static void a_target_that_is_full_or_broken_fails_the_job_alone(void **state)
{
	for (unsigned aio = 0; aio < 2; aio++) {
		struct rig *rig = rig_new((struct rig_config){ .aio = aio });
		struct busy *b = busy_new(rig, 32);
		struct job *j = job_new(rig, BLK_COPY_BACKUP, 8 * MB);

		host.fd = j->be.fd;
		host.writes = ENOSPC; /* before: the guest's writes may have all copied at once */
		job_begin(j);
		assert_int_equal(job_wait(j, BLK_JOB_DONE), BLK_JOB_FAILED);
		assert_int_equal(job_error(j), ENOSPC);
		end_busy(b, j, rig->path);
	}
}

static void a_source_that_cannot_be_read_fails_the_job(void **state)
{
	struct rig *rig = rig_new((struct rig_config){ 0 });
	struct busy *b = busy_new(rig, 32);
	struct job *j = job_new(rig, BLK_COPY_BACKUP, 0);

	host.fd = rig->be.fd;
	host.reads = EIO;
	job_begin(j);
	assert_int_equal(job_wait(j, BLK_JOB_DONE), BLK_JOB_FAILED);
	assert_int_equal(job_error(j), EIO);
	assert_true(blk_job_progress(j->job)->source);
	end_busy(b, j, rig->path);
}

static void a_sync_that_fails_fails_the_job(void **state)
{
	struct rig *rig = rig_new((struct rig_config){ 0 });
	struct job *j = job_new(rig, BLK_COPY_BACKUP, 0);

	host.fd = j->be.fd;
	host.syncs = EIO;
	job_begin(j);
	assert_int_equal(job_wait(j, BLK_JOB_DONE), BLK_JOB_FAILED);
	end_idle(j);
}

/* ---- with a target that does not answer, so that writes wait ----------------------------------- */

#define STUCK 20

struct stuck {
	struct rig *rig;
	struct job *j;
	struct rig_req r[STUCK];
	unsigned done; /* writes */
};

static void wait_done(struct stuck *s, unsigned n)
{
	struct fake_done done;

	for (unsigned i = 0; i < n; i++) {
		assert_true(rig_wait(s->rig, 0, &done));
		assert_int_equal(rig_status(s->rig, &s->r[done.cookie]), VIRTIO_BLK_S_OK);
	}
}

static bool any_done(struct stuck *s)
{
	struct fake_done done;

	usleep(50000);
	return fake_queue_poll(&s->rig->drv[0], &done);
}

/* All buffers are with the target, of which at least four have what writes waited for. The other
 * writes wait for one. */
static struct stuck get_stuck(void)
{
	struct stuck s = { .rig = rig_new((struct rig_config){ 0 }) };

	s.j = job_new(s.rig, BLK_COPY_BACKUP, 0);
	host.fd = s.j->be.fd;
	host.hang = true;
	job_begin(s.j);
	for (unsigned i = 0; i < STUCK; i++) {
		s.r[i] = rig_req(s.rig, BLOCK);
		memset(rig_ptr(s.rig, s.r[i].data), 0xee, BLOCK);
		assert_true(rig_queue(s.rig, 0, &s.r[i], VIRTIO_BLK_T_OUT, (30 + i) * (CHUNK / 512),
				      BLOCK, i) >= 0);
	}
	rig_kick(s.rig, 0);
	wait_done(&s, 4);
	for (s.done = 4; any_done(&s); s.done++)
		;
	assert_true(s.done <= BLK_CHUNKS_BUSY);
	assert_int_equal(blk_job_progress(s.j->job)->waits, STUCK);
	return s;
}

static void a_write_waits_until_the_old_data_is_safe_and_no_longer(void **state)
{
	struct stuck s = get_stuck();

	usleep(300000);
	host.hang = false;
	wait_done(&s, STUCK - s.done);
	assert_int_equal(job_wait(s.j, BLK_JOB_DONE), BLK_JOB_DONE);
	assert_int_equal(blk_job_progress(s.j->job)->waits, STUCK);
	assert_true(blk_job_progress(s.j->job)->wait_ns >= 300000000);
	end_idle(s.j);
}

static void writes_that_wait_are_let_go_when_the_job_fails_or_is_cancelled(void **state)
{
	for (unsigned cancel = 0; cancel < 2; cancel++) {
		struct stuck s = get_stuck();

		if (cancel) /* the target does not answer yet */
			assert_int_equal(rig_send(s.rig, BLK_CMD_JOB_CANCEL), 0);
		host.writes = ENOSPC;
		host.hang = cancel;
		wait_done(&s, STUCK - s.done);
		host.hang = false;
		assert_int_equal(job_wait(s.j, BLK_JOB_DONE),
				 cancel ? BLK_JOB_CANCELLED : BLK_JOB_FAILED);
		end_idle(s.j);
	}
}

/* Answered while they wait, and they go on waiting until the disk is resumed. */
static void a_pause_keeps_writes_that_wait(void **state)
{
	struct stuck s = get_stuck();

	assert_int_equal(rig_send(s.rig, BLK_CMD_PAUSE), 0);
	host.hang = false;
	assert_false(any_done(&s));
	assert_int_equal(rig_send(s.rig, BLK_CMD_RESUME), 0);
	wait_done(&s, STUCK - s.done);
	assert_int_equal(job_wait(s.j, BLK_JOB_DONE), BLK_JOB_DONE);
	end_idle(s.j);
}

/* They need no job to go on, nor does its end need them to. */
static void a_job_ends_in_a_pause_that_keeps_writes_which_waited(void **state)
{
	for (unsigned cancel = 0; cancel < 2; cancel++) {
		struct stuck s = get_stuck();

		assert_int_equal(rig_send(s.rig, BLK_CMD_PAUSE), 0);
		if (cancel)
			assert_int_equal(rig_send(s.rig, BLK_CMD_JOB_CANCEL), 0);
		host.hang = false;
		assert_int_equal(job_wait(s.j, BLK_JOB_DONE),
				 cancel ? BLK_JOB_CANCELLED : BLK_JOB_DONE);
		assert_false(any_done(&s));
		assert_int_equal(rig_send(s.rig, BLK_CMD_RESUME), 0);
		wait_done(&s, STUCK - s.done);
		end_idle(s.j);
	}
}

static bool has_ee(struct rig *rig, unsigned chunk)
{
	uint8_t byte;

	rig_peek(rig, (uint64_t)chunk * CHUNK, &byte, 1);
	return byte == 0xee;
}

/* Never acknowledged, so never done; and the memory is the guest's again. */
static void forgets_writes_that_wait(bool ended)
{
	struct stuck s = get_stuck();
	unsigned written = 0;
	uint8_t *then;

	if (ended) {
		assert_int_equal(rig_send(s.rig, BLK_CMD_PAUSE), 0);
		host.hang = false;
		assert_int_equal(job_wait(s.j, BLK_JOB_DONE), BLK_JOB_DONE);
	}
	assert_int_equal(rig_send(s.rig, BLK_CMD_RESET), 0);
	fake_queue_reset(&s.rig->drv[0]);
	assert_int_equal(rig_start(s.rig), 0);
	if (ended)
		assert_int_equal(rig_send(s.rig, BLK_CMD_RESUME), 0);
	host.hang = false;
	assert_int_equal(job_wait(s.j, BLK_JOB_DONE), BLK_JOB_DONE);
	for (unsigned i = 0; i < STUCK; i++)
		written += has_ee(s.rig, 30 + i);
	assert_int_equal(written, s.done);
	then = image_of(s.j->path);
	for (unsigned i = 0; i < STUCK; i++)
		assert_int_not_equal(then[(30 + i) * CHUNK], 0xee);
	free(then);
	for (unsigned i = 0; i < 100; i++) /* all requests of the pool are there */
		assert_int_equal(rig_do(s.rig, &s.r[0], VIRTIO_BLK_T_IN, 0, BLOCK),
				 VIRTIO_BLK_S_OK);
	end_idle(s.j);
}

static void a_reset_forgets_writes_that_wait(void **state)
{
	forgets_writes_that_wait(false);
}

static void a_reset_forgets_writes_that_waited_for_a_job_which_has_ended(void **state)
{
	forgets_writes_that_wait(true);
}

static void the_end_of_the_disk_forgets_them_and_waits_for_the_target(void **state)
{
	struct stuck s = get_stuck();

	host.watched = s.rig->be.fd;
	host.unsynced = s.done;
	assert_int_equal(blk_dataplane_stop(s.rig->dp, 300), -ETIMEDOUT);
	for (unsigned ms = 0; host.unsynced; ms++) { /* the disk itself is durable meanwhile */
		assert_true(ms < RIG_WAIT_MS);
		usleep(1000);
	}
	host.hang = false;
	assert_int_equal(blk_dataplane_stop(s.rig->dp, RIG_WAIT_MS), 0);
	assert_int_equal(blk_job_state(s.j->job), BLK_JOB_CANCELLED);
	end_idle(s.j);
}

static void a_backup_becomes_no_disk(void **state)
{
	struct rig *rig = rig_new((struct rig_config){ 0 });
	struct job *j = job_start(rig, BLK_COPY_BACKUP, 1);

	assert_int_equal(rig_send(rig, BLK_CMD_JOB_COMPLETE), -EINVAL);
	assert_int_equal(rig_send(rig, BLK_CMD_JOB_PIVOT), -EINVAL);
	assert_int_equal(rig_send(rig, BLK_CMD_JOB_CANCEL), 0);
	assert_int_equal(job_wait(j, BLK_JOB_DONE), BLK_JOB_CANCELLED);
	end_idle(j);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_backup_is_the_disk_of_the_moment_it_began),
		cmocka_unit_test(at_every_speed),
		cmocka_unit_test(with_every_engine),
		cmocka_unit_test(what_is_under_way_ends_before_it_begins),
		cmocka_unit_test(the_wait_for_its_moment_is_measured),
		cmocka_unit_test(a_slow_backup_does_not_slow_the_guest_down),
		cmocka_unit_test(discards_and_zeroes_wait_as_well),
		cmocka_unit_test(a_target_that_is_full_or_broken_fails_the_job_alone),
		cmocka_unit_test(a_source_that_cannot_be_read_fails_the_job),
		cmocka_unit_test(a_sync_that_fails_fails_the_job),
		cmocka_unit_test(a_write_waits_until_the_old_data_is_safe_and_no_longer),
		cmocka_unit_test(writes_that_wait_are_let_go_when_the_job_fails_or_is_cancelled),
		cmocka_unit_test(a_pause_keeps_writes_that_wait),
		cmocka_unit_test(a_job_ends_in_a_pause_that_keeps_writes_which_waited),
		cmocka_unit_test(a_reset_forgets_writes_that_wait),
		cmocka_unit_test(a_reset_forgets_writes_that_waited_for_a_job_which_has_ended),
		cmocka_unit_test(the_end_of_the_disk_forgets_them_and_waits_for_the_target),
		cmocka_unit_test(a_backup_becomes_no_disk),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
