/* SPDX-License-Identifier: Apache-2.0 */
/* A disk's mirror under random verified I/O: equal at the pivot, the disk afterwards; and whatever
 * happens to it, the guest does not notice. */
#include "tests/dataplane/job_rig.h"
#include "virtio/blk/dataplane_priv.h"

/* ---- to the end ------------------------------------------------------------------------------ */

static void pivots(struct rig_config config, uint64_t speed)
{
	struct rig *rig = rig_new(config);
	struct busy *b = busy_new(rig, 32);
	struct job *j;
	uint64_t from;
	uint8_t *then;

	busy_rounds(b, 1);
	j = job_start(rig, BLK_COPY_MIRROR, speed);
	host.watched = j->be.fd;
	busy_rounds(b, 2);
	from = dataplane_now();
	assert_int_equal(rig_send(rig, BLK_CMD_JOB_COMPLETE), 0);
	assert_int_equal(job_wait(j, BLK_JOB_HELD), BLK_JOB_HELD);
	assert_int_equal(host.unsynced, 0);
	then = image_of(rig->path);
	assert_same_image(image_of(rig->path), image_of(j->path));
	assert_int_equal(rig_send(rig, BLK_CMD_JOB_PIVOT), 0);
	assert_int_equal(job_wait(j, BLK_JOB_DONE), BLK_JOB_DONE);
	assert_in_range(blk_job_progress(j->job)->hold_ns, 1, dataplane_now() - from);
	busy_rounds(b, 3);
	busy_end(b);
	assert_same_image(image_of(j->path), busy_image(b));
	assert_same_image(image_of(rig->path), then);
	print_message("held for %lu us, %lu writes waited\n",
		      (unsigned long)(blk_job_progress(j->job)->hold_ns / 1000),
		      (unsigned long)blk_job_progress(j->job)->waits);
	busy_free(b);
	end_idle(j);
}

static void a_mirror_is_equal_at_the_pivot_and_is_the_disk_then(void **state)
{
	pivots((struct rig_config){ 0 }, 0);
}

static void at_every_speed(void **state)
{
	pivots((struct rig_config){ 0 }, 64 * MB);
	pivots((struct rig_config){ 0 }, 4 * MB);
}

static void with_every_engine(void **state)
{
	pivots((struct rig_config){ .aio = DISK_AIO_THREADS }, 0);
	pivots((struct rig_config){ .cache = DISK_CACHE_WRITEBACK, .aio = DISK_AIO_THREADS }, 0);
	pivots((struct rig_config){ .cache = DISK_CACHE_UNSAFE, .aio = DISK_AIO_THREADS }, 0);
}

static void with_a_driver_that_knows_no_flush(void **state)
{
	pivots((struct rig_config){ .writethrough = true }, 0);
}

/* Nothing is limited but the job, and it gets there all the same. */
static void a_guest_that_writes_faster_than_the_job_is_slowed_down(void **state)
{
	struct rig *rig = rig_new((struct rig_config){ 0 });
	struct busy *b = busy_new(rig, 32);
	struct job *j = job_start(rig, BLK_COPY_MIRROR, 1);

	busy_rounds(b, 5);
	assert_int_equal(blk_job_state(j->job), BLK_JOB_COPYING);
	assert_int_equal(rig_send(rig, BLK_CMD_JOB_COMPLETE), 0);
	assert_int_equal(job_wait(j, BLK_JOB_HELD), BLK_JOB_HELD);
	assert_true(blk_job_progress(j->job)->waits > 0);
	assert_true(blk_job_progress(j->job)->wait_ns > 0);
	assert_int_equal(rig_send(rig, BLK_CMD_JOB_PIVOT), 0);
	job_wait(j, BLK_JOB_DONE);
	end_busy(b, j, j->path);
}

static uint64_t copied(const struct job *j)
{
	return rig_stat(&blk_job_progress(j->job)->copied);
}

/* Of the rate's credit, and of two chunks that count when they begin. */
static void assert_within(uint64_t copied, uint64_t rate, uint64_t ns)
{
	assert_true((double)copied <=
		    (double)rate * (double)(ns + THROTTLE_CREDIT_NS) / 1e9 + 2 * CHUNK);
}

static void the_limit_holds(void **state)
{
	struct rig *rig = rig_new((struct rig_config){ 0 });
	const uint64_t from = dataplane_now();
	struct job *j = job_start(rig, BLK_COPY_MIRROR, 8 * MB);
	uint64_t n;

	while (blk_job_state(j->job) < BLK_JOB_READY) {
		n = copied(j);
		assert_within(n, 8 * MB, dataplane_now() - from);
		usleep(1000);
	}
	assert_true(dataplane_now() - from >= 250000000); /* RIG_SIZE, but for the last few */
	assert_int_equal(rig_send(rig, BLK_CMD_JOB_CANCEL), 0);
	job_wait(j, BLK_JOB_DONE);
	end_idle(j);
}

/* What is under way goes on when it is slowed down to days, and one more has the credit of a new
 * limit. */
static void another_speed_holds_at_once(void **state)
{
	struct rig *rig = rig_new((struct rig_config){ 0 });
	struct job *j = job_start(rig, BLK_COPY_MIRROR, 1);
	uint64_t before;
	int begun;

	assert_int_equal(job_speed(j, MB), 0);
	before = copied(j);
	for (unsigned ms = 0; copied(j) < before + 4 * CHUNK; ms++) {
		assert_true(ms < RIG_WAIT_MS);
		usleep(1000);
	}
	assert_int_equal(job_speed(j, 1), 0);
	begun = host.begun;
	usleep(500000);
	assert_true(host.begun <= begun + 1);
	assert_int_equal(job_speed(j, 0), 0);
	assert_int_equal(job_wait(j, BLK_JOB_READY), BLK_JOB_READY);
	assert_int_equal(rig_send(rig, BLK_CMD_JOB_CANCEL), 0);
	job_wait(j, BLK_JOB_DONE);
	assert_int_equal(job_speed(j, 1), -ENOENT);
	end_idle(j);
}

#define LARGE (64ULL << 30)

/* Nothing but a hole. */
static void make_large(char *path)
{
	const int fd = mkostemp(path, O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, LARGE), 0);
	close(fd);
}

/* Its search takes many a step, between which nothing wakes the disk's thread. */
static void the_last_chunk_of_a_large_disk_is_found(void **state)
{
	char image[] = "/var/tmp/mvmm-test-XXXXXX", target[] = "/var/tmp/mvmm-test-XXXXXX";
	struct blk_chunks *c;
	struct rig *rig;
	struct job *j;

	make_large(image);
	make_large(target);
	rig = rig_new((struct rig_config){ .image = image, .no_look = true });
	j = job_new_to(rig, BLK_COPY_MIRROR, 0, target);
	c = &j->job->copy.chunks;
	memset(c->clean, 0xff, blk_chunks_words(LARGE, c->shift) * sizeof(*c->clean));
	c->left = 0;
	blk_chunks_mark(c, LARGE - 1, 1);
	job_begin(j);
	job_wait_copied(j);
	assert_int_equal(rig_send(rig, BLK_CMD_JOB_CANCEL), 0);
	job_wait(j, BLK_JOB_DONE);
	end_idle(j);
	unlink(image);
	unlink(target);
}

/* A mirror of a mirror: the target of the first is the source of the second. */
static void a_disk_may_move_twice(void **state)
{
	struct rig *rig = rig_new((struct rig_config){ 0 });
	struct busy *b = busy_new(rig, 16);
	const struct block_backend first = rig->be;
	struct job *j[2];

	for (unsigned i = 0; i < 2; i++) {
		j[i] = job_start(rig, BLK_COPY_MIRROR, 0);
		assert_int_equal(rig_send(rig, BLK_CMD_JOB_COMPLETE), 0);
		assert_int_equal(job_wait(j[i], BLK_JOB_HELD), BLK_JOB_HELD);
		assert_int_equal(rig_send(rig, BLK_CMD_JOB_PIVOT), 0);
		job_wait(j[i], BLK_JOB_DONE);
		rig->be = j[i]->be; /* what job_new() takes for the source */
		busy_rounds(b, 2);
	}
	busy_end(b);
	assert_same_image(image_of(j[1]->path), busy_image(b));
	busy_free(b);
	rig->be = first;
	rig_free(rig);
	job_free(j[0]);
	job_free(j[1]);
}

/* ---- what is written ------------------------------------------------------------------------- */

static uint64_t allocated(const char *path)
{
	struct stat st;

	assert_int_equal(stat(path, &st), 0);
	return st.st_blocks * 512ULL;
}

/* Zeroes of the source, holes or not, need none of the target's room; but they are written over what
 * it was given before. */
static void holes_stay_holes(void **state)
{
	struct rig *rig = rig_new((struct rig_config){ 0 });
	struct rig_req r = rig_req(rig, 2 * CHUNK);
	struct job *j;

	memset(rig_ptr(rig, r.data), 0, 2 * CHUNK);
	for (unsigned i = 4; i < RIG_SIZE / CHUNK; i += 2)
		assert_int_equal(rig_do(rig, &r, VIRTIO_BLK_T_OUT, i * (CHUNK / 512), 2 * CHUNK),
				 VIRTIO_BLK_S_OK);
	j = job_start(rig, BLK_COPY_MIRROR, 0);
	job_wait(j, BLK_JOB_READY);
	assert_int_equal(rig_do(rig, &r, VIRTIO_BLK_T_OUT, CHUNK / 512, CHUNK), VIRTIO_BLK_S_OK);
	assert_int_equal(rig_send(rig, BLK_CMD_JOB_COMPLETE), 0);
	job_wait(j, BLK_JOB_HELD);
	assert_same_image(image_of(rig->path), image_of(j->path));
	assert_true(allocated(j->path) <= 8ULL * CHUNK);
	assert_true(blk_job_progress(j->job)->written >= 4ULL * CHUNK);
	assert_int_equal(rig_send(rig, BLK_CMD_JOB_PIVOT), 0);
	job_wait(j, BLK_JOB_DONE);
	end_idle(j);
}

static void discards_and_zeroes_are_copied(void **state)
{
	struct rig *rig = rig_new((struct rig_config){ .features = F_RANGES });
	struct rig_req r = rig_req(rig, 4096);
	struct job *j = job_start(rig, BLK_COPY_MIRROR, 0);
	const struct virtio_blk_discard_write_zeroes seg[] = { { 64, 200, 0 }, { 864, 200, 0 } };

	job_wait(j, BLK_JOB_READY);
	job_wait_copied(j); /* all, and it must be again */
	do_ranges(rig, &r, VIRTIO_BLK_T_WRITE_ZEROES, seg, 2);
	do_range(rig, &r, VIRTIO_BLK_T_DISCARD, 2048, 256);
	assert_int_equal(rig_send(rig, BLK_CMD_JOB_COMPLETE), 0);
	job_wait(j, BLK_JOB_HELD);
	assert_same_image(image_of(rig->path), image_of(j->path));
	assert_int_equal(rig_send(rig, BLK_CMD_JOB_CANCEL), 0);
	job_wait(j, BLK_JOB_DONE);
	end_idle(j);
}

/* ---- it fails -------------------------------------------------------------------------------- */

/* Under load, with what was set of `host`. */
static void fails(struct rig *rig, struct busy *b, struct job *j, int code, bool source)
{
	assert_int_equal(job_wait(j, BLK_JOB_DONE), BLK_JOB_FAILED);
	assert_int_equal(job_error(j), code);
	assert_int_equal(blk_job_progress(j->job)->source, source);
	assert_int_equal(rig_stat(&blk_dataplane_stats(rig->dp)->errors), 0);
	end_busy(b, j, rig->path);
}

static void a_target_that_is_full_or_broken_fails_the_job_alone(void **state)
{
	const int codes[] = { ENOSPC, EIO, EFBIG };

	for (unsigned i = 0; i < 6; i++) {
		struct rig *rig = rig_new((struct rig_config){ .aio = i % 2 });
		struct busy *b = busy_new(rig, 32);
		struct job *j = job_new(rig, BLK_COPY_MIRROR, 8 * MB);

		host.fd = j->be.fd;
		job_begin(j);
		busy_rounds(b, 2);
		host.writes = codes[i / 2];
		fails(rig, b, j, codes[i / 2], false);
	}
}

static void a_target_that_fails_when_all_is_copied_fails_the_job_alone(void **state)
{
	struct rig *rig = rig_new((struct rig_config){ 0 });
	struct busy *b = busy_new(rig, 32);
	struct job *j = job_start(rig, BLK_COPY_MIRROR, 0);

	busy_rounds(b, 2);
	host.fd = j->be.fd;
	host.syncs = EIO;
	assert_int_equal(rig_send(rig, BLK_CMD_JOB_COMPLETE), 0);
	fails(rig, b, j, EIO, false);
}

static void a_source_that_cannot_be_read_fails_the_job(void **state)
{
	for (unsigned aio = 0; aio < 2; aio++) {
		struct rig *rig = rig_new((struct rig_config){ .aio = aio });
		struct busy *b = busy_new(rig, 32);
		struct job *j = job_new(rig, BLK_COPY_MIRROR, 0);

		host.fd = rig->be.fd;
		host.reads = EIO;
		job_begin(j);
		fails(rig, b, j, EIO, true);
	}
}

/* For as long as is promised, and no longer; what hangs is waited for by nobody but the job. */
static void a_target_that_hangs_while_the_guest_is_held_lets_it_go(void **state)
{
	struct rig *rig = rig_new((struct rig_config){ 0 });
	struct busy *b = busy_new(rig, 8);
	struct job *j = job_new(rig, BLK_COPY_MIRROR, 0);
	struct rig_req r;

	busy_end(b);
	j->job->hold_max_ns = BLK_JOB_HOLD_MAX_NS;
	job_begin(j);
	job_wait_copied(j); /* or what hangs had all workers, and there were none for a sync */
	host.fd = j->be.fd;
	host.hang = true;
	r = rig_req(rig, BLOCK);
	fill(rig_ptr(rig, r.data), 7, ++b->d->gen[7]);
	assert_int_equal(rig_do(rig, &r, VIRTIO_BLK_T_OUT, 7 * 8, BLOCK), VIRTIO_BLK_S_OK);
	assert_int_equal(rig_send(rig, BLK_CMD_JOB_COMPLETE), 0);
	b->stop = false;
	assert_int_equal(pthread_create(&b->thread, NULL, stay_busy, b), 0);
	for (unsigned ms = 0; !job_error(j) && ms < 2 * RIG_WAIT_MS; ms++)
		usleep(1000);
	assert_int_equal(job_error(j), ETIMEDOUT);
	busy_rounds(b, 2);
	assert_int_equal(blk_job_state(j->job), BLK_JOB_COMPLETING);
	assert_true(rig_stat(&blk_job_progress(j->job)->hold_ns) > BLK_JOB_HOLD_MAX_NS);
	host.hang = false;
	fails(rig, b, j, ETIMEDOUT, false);
}

/* ---- it is cancelled, or the disk is ----------------------------------------------------------- */

static enum blk_job_state reach(struct rig *rig, struct job *j, enum blk_job_state state)
{
	if (state == BLK_JOB_READY)
		return job_wait(j, state);
	if (state >= BLK_JOB_COMPLETING)
		assert_int_equal(rig_send(rig, BLK_CMD_JOB_COMPLETE), 0);
	return state == BLK_JOB_HELD ? job_wait(j, state) : state;
}

/* A guest may write faster than is copied, and nothing slows it down before READY. */
static void cancelled_in(enum blk_job_state state)
{
	const bool early = state != BLK_JOB_READY;
	struct rig *rig = rig_new((struct rig_config){ 0 });
	struct busy *b = early ? busy_new(rig, 32) : NULL;
	struct job *j = job_start(rig, BLK_COPY_MIRROR, state == BLK_JOB_COPYING ? 1 : 0);

	reach(rig, j, state);
	if (!early)
		b = busy_new(rig, 32);
	assert_int_equal(rig_send(rig, BLK_CMD_JOB_CANCEL), 0);
	assert_int_equal(job_wait(j, BLK_JOB_DONE), BLK_JOB_CANCELLED);
	end_busy(b, j, rig->path);
}

static void a_mirror_may_be_cancelled_at_any_time(void **state)
{
	for (enum blk_job_state s = BLK_JOB_COPYING; s <= BLK_JOB_HELD; s++)
		cancelled_in(s);
}

static void the_end_of_the_disk_cancels_it(void **state)
{
	for (enum blk_job_state s = BLK_JOB_COPYING; s <= BLK_JOB_HELD; s++) {
		struct rig *rig = rig_new((struct rig_config){ 0 });
		struct job *j = job_start(rig, BLK_COPY_MIRROR, s == BLK_JOB_COPYING ? 1 : 0);

		reach(rig, j, s);
		assert_int_equal(blk_dataplane_stop(rig->dp, RIG_WAIT_MS), 0);
		assert_int_equal(blk_job_state(j->job), BLK_JOB_CANCELLED);
		end_idle(j);
	}
}

/* The guest resets its device as it boots, and its new driver finds the disk that there is. */
static void resets_do_not_stop_it(void **state)
{
	struct rig *rig = rig_new((struct rig_config){ 0 });
	struct rig_req r = rig_req(rig, BLOCK);
	struct job *j = job_start(rig, BLK_COPY_MIRROR, 32 * MB);

	for (unsigned i = 0; i < 20; i++) {
		memset(rig_ptr(rig, r.data), 0xa0 + i, BLOCK);
		assert_int_equal(rig_do(rig, &r, VIRTIO_BLK_T_OUT, 8 * i, BLOCK), VIRTIO_BLK_S_OK);
		if (i == 15)
			reach(rig, j, BLK_JOB_HELD);
		assert_int_equal(rig_send(rig, BLK_CMD_RESET), 0);
		fake_queue_reset(&rig->drv[0]);
		assert_int_equal(rig_start(rig), 0);
		if (i == 15) {
			assert_same_image(image_of(rig->path), image_of(j->path));
			assert_int_equal(rig_send(rig, BLK_CMD_JOB_PIVOT), 0);
			job_wait(j, BLK_JOB_DONE);
		}
	}
	for (unsigned i = 0; i < 20; i++) {
		rig_do(rig, &r, VIRTIO_BLK_T_IN, 8 * i, BLOCK);
		assert_int_equal(((uint8_t *)rig_ptr(rig, r.data))[BLOCK - 1], 0xa0 + i);
	}
	end_idle(j);
}

/* It goes on while the guest's I/O is paused, and to its pivot; which resumes nothing. */
static void a_pause_outlasts_the_pivot(void **state)
{
	struct rig *rig = rig_new((struct rig_config){ 0 });
	struct rig_req r = rig_req(rig, BLOCK);
	struct job *j = job_start(rig, BLK_COPY_MIRROR, 0);
	struct fake_done done;

	assert_int_equal(rig_send(rig, BLK_CMD_PAUSE), 0);
	memset(rig_ptr(rig, r.data), 0x77, BLOCK);
	assert_true(rig_queue(rig, 0, &r, VIRTIO_BLK_T_OUT, 0, BLOCK, 1) >= 0);
	rig_kick(rig, 0);
	reach(rig, j, BLK_JOB_HELD);
	assert_int_equal(rig_send(rig, BLK_CMD_JOB_PIVOT), 0);
	job_wait(j, BLK_JOB_DONE);
	usleep(20000);
	assert_int_equal(rig_status(rig, &r), 0xff);
	assert_int_equal(rig_send(rig, BLK_CMD_RESUME), 0);
	assert_true(rig_wait(rig, 0, &done));
	assert_int_equal(rig_status(rig, &r), VIRTIO_BLK_S_OK);
	end_idle(j);
}

static void pauses_under_load_do_not_stop_it(void **state)
{
	struct rig *rig = rig_new((struct rig_config){ 0 });
	struct busy *b = busy_new(rig, 32);
	struct job *j = job_start(rig, BLK_COPY_MIRROR, 0);

	for (unsigned i = 0; i < 100; i++) {
		if (i == 50)
			assert_int_equal(rig_send(rig, BLK_CMD_JOB_COMPLETE), 0);
		assert_int_equal(rig_send(rig, BLK_CMD_PAUSE), 0);
		usleep(i * 10);
		assert_int_equal(rig_send(rig, BLK_CMD_RESUME), 0);
	}
	job_wait(j, BLK_JOB_HELD);
	assert_same_image(image_of(rig->path), image_of(j->path));
	assert_int_equal(rig_send(rig, BLK_CMD_JOB_PIVOT), 0);
	job_wait(j, BLK_JOB_DONE);
	end_busy(b, j, j->path);
}

static void commands_out_of_place_are_refused(void **state)
{
	struct rig *rig = rig_new((struct rig_config){ 0 });
	struct job *j, *second = job_new(rig, BLK_COPY_MIRROR, 0);

	assert_int_equal(rig_send(rig, BLK_CMD_JOB_COMPLETE), -ENOENT);
	assert_int_equal(rig_send(rig, BLK_CMD_JOB_PIVOT), -ENOENT);
	assert_int_equal(rig_send(rig, BLK_CMD_JOB_CANCEL), -ENOENT);
	j = job_start(rig, BLK_COPY_MIRROR, 0);
	assert_int_equal(blk_dataplane_start_job(rig->dp, second->job), 0);
	assert_int_equal(job_answer(rig), -EBUSY);
	job_free(second);
	assert_int_equal(rig_send(rig, BLK_CMD_JOB_PIVOT), -EINVAL);
	reach(rig, j, BLK_JOB_HELD);
	assert_int_equal(rig_send(rig, BLK_CMD_JOB_COMPLETE), 0);
	assert_int_equal(rig_send(rig, BLK_CMD_JOB_PIVOT), 0);
	job_wait(j, BLK_JOB_DONE);
	assert_int_equal(rig_send(rig, BLK_CMD_JOB_PIVOT), -ENOENT);
	end_idle(j);
}

static int resize(struct rig *rig, uint64_t size)
{
	const struct blk_command cmd = { .type = BLK_CMD_RESIZE, .size = size };

	return blk_dataplane_send(rig->dp, &cmd, -1, RIG_WAIT_MS);
}

/* The target is as large as the disk was when it was made. */
static void a_disk_keeps_its_size_while_it_is_copied(void **state)
{
	struct rig *rig = rig_new((struct rig_config){ 0 });
	struct job *j = job_start(rig, BLK_COPY_MIRROR, 1);

	assert_int_equal(resize(rig, RIG_SIZE / 2), -EBUSY);
	assert_int_equal(resize(rig, 2 * RIG_SIZE), -EBUSY);
	assert_int_equal(rig_send(rig, BLK_CMD_JOB_CANCEL), 0);
	job_wait(j, BLK_JOB_DONE);
	job_free(j);
	j = job_new(rig, BLK_COPY_MIRROR, 0);
	assert_int_equal(resize(rig, RIG_SIZE / 2), 0);
	assert_int_equal(blk_dataplane_start_job(rig->dp, j->job), 0);
	assert_int_equal(job_answer(rig), -EAGAIN);
	end_idle(j);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_mirror_is_equal_at_the_pivot_and_is_the_disk_then),
		cmocka_unit_test(at_every_speed),
		cmocka_unit_test(with_every_engine),
		cmocka_unit_test(with_a_driver_that_knows_no_flush),
		cmocka_unit_test(a_guest_that_writes_faster_than_the_job_is_slowed_down),
		cmocka_unit_test(the_limit_holds),
		cmocka_unit_test(another_speed_holds_at_once),
		cmocka_unit_test(the_last_chunk_of_a_large_disk_is_found),
		cmocka_unit_test(a_disk_may_move_twice),
		cmocka_unit_test(holes_stay_holes),
		cmocka_unit_test(discards_and_zeroes_are_copied),
		cmocka_unit_test(a_target_that_is_full_or_broken_fails_the_job_alone),
		cmocka_unit_test(a_target_that_fails_when_all_is_copied_fails_the_job_alone),
		cmocka_unit_test(a_source_that_cannot_be_read_fails_the_job),
		cmocka_unit_test(a_target_that_hangs_while_the_guest_is_held_lets_it_go),
		cmocka_unit_test(a_mirror_may_be_cancelled_at_any_time),
		cmocka_unit_test(the_end_of_the_disk_cancels_it),
		cmocka_unit_test(resets_do_not_stop_it),
		cmocka_unit_test(a_pause_outlasts_the_pivot),
		cmocka_unit_test(pauses_under_load_do_not_stop_it),
		cmocka_unit_test(commands_out_of_place_are_refused),
		cmocka_unit_test(a_disk_keeps_its_size_while_it_is_copied),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
