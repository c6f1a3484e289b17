/* SPDX-License-Identifier: Apache-2.0 */
/* Jobs that come, complete and are cancelled under a storm of all other commands, those of a guest that
 * writes as fast as it can and those of main. */
#include "tests/dataplane/job_rig.h"

#define STORMS 3

struct storm {
	struct rig *rig;
	unsigned n;
	struct job *job[3 * STORMS + 1]; /* until the disk's thread has ended, which rings them */
	unsigned njobs;
};

static struct job *start(struct storm *s, enum blk_copy_mode mode, uint64_t speed)
{
	return s->job[s->njobs++] = job_start(s->rig, mode, speed);
}

static void send(struct rig *rig, struct blk_command cmd)
{
	assert_int_equal(blk_dataplane_send(rig->dp, &cmd, -1, RIG_WAIT_MS), 0);
}

/* Each once; the pause covers a moment that is another one each time. */
static void blow(struct storm *s)
{
	const struct blk_command resize = { .type = BLK_CMD_RESIZE, .size = RIG_SIZE };
	struct blk_command limits = { .type = BLK_CMD_THROTTLE };
	const unsigned i = s->n++;

	limits.throttle.of[THROTTLE_IOPS].rate = i % 3 ? 0 : 50000;
	send(s->rig, limits);
	send(s->rig, (struct blk_command){ .type = BLK_CMD_SET_ON_ERROR, .on_error = i % 3 });
	send(s->rig, (struct blk_command){ .type = BLK_CMD_SET_WCE, .writeback = i % 4 });
	/* As large as it is; not beside a job. */
	blk_dataplane_send(s->rig->dp, &resize, -1, RIG_WAIT_MS);
	send(s->rig, (struct blk_command){ .type = BLK_CMD_PAUSE });
	usleep(i % 7 * 30);
	send(s->rig, (struct blk_command){ .type = BLK_CMD_RESUME });
	usleep(i % 5 * 200);
}

static void blow_until(struct storm *s, struct job *j, enum blk_job_state state)
{
	for (unsigned ms = 0; blk_job_state(j->job) < state; ms++) {
		assert_true(ms < RIG_WAIT_MS);
		blow(s);
	}
}

/* The disk stays what it is. A backup may be done before: what the guest overwrites is copied first. */
static void job_that_is_cancelled(struct storm *s, enum blk_copy_mode mode)
{
	struct job *j = start(s, mode, 1);
	int late = 0;

	for (unsigned i = 0; i < 5; i++) {
		blow(s);
		late |= job_speed(j, 1 + i);
	}
	late |= rig_send(s->rig, BLK_CMD_JOB_CANCEL);
	if (late)
		assert_int_equal(mode, BLK_COPY_BACKUP);
	blow_until(s, j, BLK_JOB_DONE);
	if (mode == BLK_COPY_MIRROR)
		assert_int_equal(blk_job_state(j->job), BLK_JOB_CANCELLED);
}

static void backup_that_is_done(struct storm *s)
{
	struct job *j = start(s, BLK_COPY_BACKUP, 0);

	blow_until(s, j, BLK_JOB_DONE);
	assert_int_equal(blk_job_state(j->job), BLK_JOB_DONE);
}

static struct job *mirror_that_becomes_the_disk(struct storm *s)
{
	struct job *j = start(s, BLK_COPY_MIRROR, 0);

	blow(s); /* not until it is READY: the guest may be the faster one */
	send(s->rig, (struct blk_command){ .type = BLK_CMD_JOB_COMPLETE });
	blow_until(s, j, BLK_JOB_HELD);
	assert_int_equal(blk_job_state(j->job), BLK_JOB_HELD);
	send(s->rig, (struct blk_command){ .type = BLK_CMD_JOB_PIVOT });
	blow_until(s, j, BLK_JOB_DONE);
	assert_int_equal(blk_job_state(j->job), BLK_JOB_DONE);
	return j;
}

static void storm(struct rig_config config)
{
	struct storm s = { .rig = rig_new(config) };
	struct busy *b = busy_new(s.rig, 32);
	struct job *j;

	for (unsigned i = 0; i < STORMS; i++) {
		job_that_is_cancelled(&s, BLK_COPY_MIRROR);
		backup_that_is_done(&s);
		job_that_is_cancelled(&s, BLK_COPY_BACKUP);
	}
	j = mirror_that_becomes_the_disk(&s);
	busy_rounds(b, 5);
	busy_end(b);
	assert_same_image(image_of(j->path), busy_image(b));
	busy_free(b);
	rig_free(s.rig);
	while (s.njobs)
		job_free(s.job[--s.njobs]);
}

static void nothing_is_lost_in_a_storm_of_commands_and_jobs(void **state)
{
	storm((struct rig_config){ .features = F_EVENT });
	storm((struct rig_config){ .no_look = true, .aio = DISK_AIO_THREADS });
}

/* Whose base stays what it was. */
static void nor_of_a_disk_with_an_overlay(void **state)
{
	struct storm s = { .rig = rig_new((struct rig_config){ .overlay = true }) };
	uint8_t *base = image_of(s.rig->path);
	struct busy *b = busy_new(s.rig, 32);

	for (unsigned i = 0; i < STORMS; i++) {
		backup_that_is_done(&s);
		job_that_is_cancelled(&s, BLK_COPY_BACKUP);
	}
	busy_rounds(b, 5);
	busy_end(b);
	send(s.rig, (struct blk_command){ .type = BLK_CMD_PAUSE });
	assert_same_image(image_now(s.rig), busy_image(b));
	assert_same_image(image_of(s.rig->path), base);
	busy_free(b);
	rig_free(s.rig);
	while (s.njobs)
		job_free(s.job[--s.njobs]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_is_lost_in_a_storm_of_commands_and_jobs),
		cmocka_unit_test(nor_of_a_disk_with_an_overlay),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
