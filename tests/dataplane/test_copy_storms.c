/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writes, discards and zeroes of all lengths, many at once and over each other, from before a disk's
 * copy begins until it ends, with resets in the midst of them. Nobody can say what the disk holds
 * then; but a mirror holds the same at its pivot, and a backup what the disk held at its moment.
 */
#include "tests/dataplane/job_rig.h"

#define DEPTH	32
#define MAX_LEN (2 * CHUNK)
#define ROUNDS	6

struct storm {
	struct rig *rig;
	struct rig_req req[DEPTH];
	unsigned seed;
	unsigned under_way;
	bool resets;
};

static struct storm *storm_new(struct rig_config config, unsigned seed)
{
	struct storm *s = calloc(1, sizeof(*s));

	assert_non_null(s);
	config.features = F_RANGES;
	s->rig = rig_new(config);
	s->seed = seed;
	for (unsigned i = 0; i < DEPTH; i++)
		s->req[i] = rig_req(s->rig, MAX_LEN);
	return s;
}

static uint32_t some(struct storm *s, uint32_t n)
{
	return (uint32_t)rand_r(&s->seed) % n;
}

/* Around the border of two chunks half of the time, so that they meet. */
static void issue(struct storm *s, unsigned i)
{
	static const uint32_t types[] = { VIRTIO_BLK_T_OUT, VIRTIO_BLK_T_OUT, VIRTIO_BLK_T_OUT,
					  VIRTIO_BLK_T_DISCARD, VIRTIO_BLK_T_WRITE_ZEROES };
	const uint32_t type = types[some(s, 5)];
	const uint64_t sector =
		some(s, 2) ? CHUNK / 512 - 16 + some(s, 32) : some(s, RIG_SECTORS - MAX_LEN / 512);
	const uint32_t sectors = 1 + some(s, some(s, 2) ? 16 : MAX_LEN / 512);
	void *data = rig_ptr(s->rig, s->req[i].data);
	uint32_t len = sectors * 512;

	if (type == VIRTIO_BLK_T_OUT) {
		memset(data, 1 + (int)some(s, 255), len);
	} else {
		*(struct virtio_blk_discard_write_zeroes *)data =
			(struct virtio_blk_discard_write_zeroes){ sector, sectors, 0 };
		len = 16;
	}
	assert_true(rig_queue(s->rig, 0, &s->req[i], type, len == 16 ? 0 : sector, len, i) >= 0);
	s->under_way++;
}

static void blow(struct storm *s)
{
	for (unsigned i = 0; i < DEPTH; i++)
		issue(s, i);
	rig_kick(s->rig, 0);
}

static void reset(struct storm *s)
{
	assert_int_equal(rig_send(s->rig, BLK_CMD_RESET), 0);
	fake_queue_reset(&s->rig->drv[0]);
	assert_int_equal(rig_start(s->rig), 0);
	s->under_way = 0;
}

/* One time in four they are not waited for: the driver resets the device. */
static void calm(struct storm *s)
{
	struct fake_done done = { 0 };

	if (s->resets && !some(s, 4)) {
		usleep(some(s, 3000));
		reset(s);
	}
	for (; s->under_way; s->under_way--) {
		assert_true(rig_wait(s->rig, 0, &done));
		assert_int_equal(rig_status(s->rig, &s->req[done.cookie]), VIRTIO_BLK_S_OK);
	}
}

static void storm_free(struct storm *s, struct job *j)
{
	blow(s);
	calm(s);
	end_idle(j);
	free(s);
}

static void mirrors(struct rig_config config, unsigned seed, uint64_t speed)
{
	struct storm *s = storm_new(config, seed);
	struct job *j;

	blow(s);
	j = job_start(s->rig, BLK_COPY_MIRROR, speed);
	s->resets = true;
	for (unsigned i = 0; i < 8; i++) {
		calm(s);
		blow(s);
	}
	assert_int_equal(rig_send(s->rig, BLK_CMD_JOB_COMPLETE), 0);
	assert_int_equal(job_wait(j, BLK_JOB_HELD), BLK_JOB_HELD);
	assert_same_image(image_of(s->rig->path), image_of(j->path));
	assert_int_equal(rig_send(s->rig, BLK_CMD_JOB_PIVOT), 0);
	job_wait(j, BLK_JOB_DONE);
	calm(s);
	storm_free(s, j);
}

static const struct rig_config engines[] = {
	{ 0 },
	{ .aio = DISK_AIO_THREADS },
	{ .cache = DISK_CACHE_WRITEBACK, .aio = DISK_AIO_THREADS },
};

static void a_mirror_is_the_disk_at_its_pivot(void **state)
{
	for (unsigned i = 0; i < ROUNDS; i++)
		mirrors(engines[i % 3], i + 1, 0);
	mirrors(engines[0], 7, 16 * MB);
}

/* It begins in the midst of them: some are under way and end before its moment. */
static void begin_backup(struct storm *s, struct job *j)
{
	const _Atomic uint64_t *submits = &blk_dataplane_stats(s->rig->dp)->submits;
	const uint64_t before = rig_stat(submits);

	moment.of = j;
	blow(s);
	while (rig_stat(submits) == before)
		sched_yield();
	job_begin(j);
}

/* One half of a group of neighbours waits while the other goes. */
static void backs_up(struct rig_config config, unsigned seed, uint64_t speed)
{
	struct storm *s = storm_new(config, seed);
	struct job *j = job_new(s->rig, BLK_COPY_BACKUP, speed);

	begin_backup(s, j);
	s->resets = true;
	while (blk_job_state(j->job) < BLK_JOB_DONE) {
		calm(s);
		blow(s);
	}
	calm(s);
	assert_int_equal(job_wait(j, BLK_JOB_DONE), BLK_JOB_DONE);
	assert_same_image(take_moment(), image_of(j->path));
	storm_free(s, j);
}

static void a_backup_is_the_disk_of_its_moment(void **state)
{
	for (unsigned i = 0; i < ROUNDS; i++)
		backs_up(engines[i % 3], i + 1, 0);
	backs_up(engines[0], 7, 16 * MB);
}

/* Pieces come and go in both files while the copy is read from both. */
static void so_is_one_of_base_and_overlay(void **state)
{
	for (unsigned i = 0; i < ROUNDS; i++) {
		struct rig_config config = engines[i % 3];

		config.overlay = true;
		backs_up(config, i + 11, i < 5 ? 0 : 16 * MB);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_mirror_is_the_disk_at_its_pivot),
		cmocka_unit_test(a_backup_is_the_disk_of_its_moment),
		cmocka_unit_test(so_is_one_of_base_and_overlay),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
