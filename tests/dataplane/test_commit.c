/* SPDX-License-Identifier: Apache-2.0 */
/* A backup of a disk with an overlay: base and overlay together, as they were at one moment. The
 * guest's writes go on, and the base is read and no more. */
#include "tests/dataplane/job_rig.h"

static const struct rig_config engines[] = {
	{ .overlay = true },
	{ .overlay = true, .aio = DISK_AIO_THREADS },
	{ .overlay = true, .cache = DISK_CACHE_WRITEBACK, .aio = DISK_AIO_THREADS },
};

#define ENGINES (sizeof(engines) / sizeof(engines[0]))

/* The guest's data, which it reads again and again, are still what it wrote; the base is what it was. */
static void end_all(struct busy *b, struct job *j, uint8_t *base)
{
	struct rig *rig = j->rig;

	if (b) {
		busy_rounds(b, 2);
		busy_end(b);
		assert_int_equal(rig_send(rig, BLK_CMD_PAUSE), 0);
		assert_same_image(image_now(rig), busy_image(b));
		busy_free(b);
	}
	assert_same_image(image_of(rig->path), base);
	end_idle(j);
}

static void commits(struct rig_config config, uint64_t speed)
{
	struct rig *rig = rig_new(config);
	uint8_t *base = image_of(rig->path), *then;
	struct busy *b = busy_new(rig, 32);
	struct job *j;

	busy_rounds(b, 1);
	j = start_paused(rig, speed, &then);
	assert_int_equal(job_wait(j, BLK_JOB_DONE), BLK_JOB_DONE);
	assert_same_image(then, image_of(j->path));
	end_all(b, j, base);
}

static void a_commit_is_base_and_overlay_of_the_moment_it_began(void **state)
{
	for (unsigned i = 0; i < ENGINES; i++) {
		commits(engines[i], 0);
		commits(engines[i], 8 * MB);
	}
}

/* Every other sector, so that a chunk lies in 128 pieces; zeroes and discards, which hide the base
 * though the overlay has nothing there; and a chunk that only the base has. */
static void a_chunk_is_read_from_both_files_piece_by_piece(void **state)
{
	for (unsigned i = 0; i < ENGINES; i++) {
		struct rig_config config = engines[i];
		struct rig *rig;
		struct rig_req r;
		uint8_t *base, *then;
		struct job *j;

		config.features = F_RANGES;
		rig = rig_new(config);
		r = rig_req(rig, 512);
		base = image_of(rig->path);
		memset(rig_ptr(rig, r.data), 0xc3, 512);
		for (uint64_t s = 0; s < 2 * CHUNK / 512; s += 2)
			assert_int_equal(rig_do(rig, &r, VIRTIO_BLK_T_OUT, s, 512),
					 VIRTIO_BLK_S_OK);
		do_range(rig, &r, VIRTIO_BLK_T_DISCARD, 2048 + 7, 100);
		do_range(rig, &r, VIRTIO_BLK_T_WRITE_ZEROES, 2048 + 1000, 300);
		j = start_paused(rig, 0, &then);
		assert_int_equal(job_wait(j, BLK_JOB_DONE), BLK_JOB_DONE);
		assert_int_equal(then[0], 0xc3);
		assert_int_equal(then[512], base[512]);
		assert_same_image(then, image_of(j->path));
		end_all(NULL, j, base);
	}
}

/* Its pieces are in the buffer as they are in the chunk, which direct I/O need not like. */
static void a_piece_whose_memory_is_not_aligned_is_a_workers(void **state)
{
	struct rig *rig = rig_new_stopped((struct rig_config){ .overlay = true });
	struct rig_req r = rig_req(rig, 512);
	uint8_t *base = image_of(rig->path), *then;
	struct job *j;

	rig->be.mem_align = 4096;
	assert_int_equal(rig_start(rig), 0);
	memset(rig_ptr(rig, r.data), 0xc3, 512);
	for (uint64_t s = 0; s < 64; s += 4)
		assert_int_equal(rig_do(rig, &r, VIRTIO_BLK_T_OUT, s, 512), VIRTIO_BLK_S_OK);
	host.align = 4096;
	j = start_paused(rig, 0, &then);
	assert_int_equal(job_wait(j, BLK_JOB_DONE), BLK_JOB_DONE);
	assert_int_equal(host.refused, 0);
	assert_same_image(then, image_of(j->path));
	end_all(NULL, j, base);
}

/* Not even of what is thrown away. */
static void what_the_guest_changes_afterwards_is_not_in_it(void **state)
{
	struct rig *rig = rig_new((struct rig_config){ .overlay = true, .features = F_RANGES });
	struct rig_req r = rig_req(rig, CHUNK);
	uint8_t *base = image_of(rig->path), *then;
	struct job *j;

	memset(rig_ptr(rig, r.data), 0x5e, CHUNK);
	for (uint64_t s = 64; s < RIG_SECTORS; s += 4 * CHUNK / 512)
		assert_int_equal(rig_do(rig, &r, VIRTIO_BLK_T_OUT, s, CHUNK), VIRTIO_BLK_S_OK);
	j = start_paused(rig, 1, &then);
	do_range(rig, &r, VIRTIO_BLK_T_DISCARD, 0, RIG_SECTORS / 2);
	do_range(rig, &r, VIRTIO_BLK_T_WRITE_ZEROES, RIG_SECTORS / 2, RIG_SECTORS / 2);
	assert_int_equal(job_wait(j, BLK_JOB_DONE), BLK_JOB_DONE);
	assert_same_image(then, image_of(j->path));
	end_all(NULL, j, base);
}

/* Somebody cuts the image short; the guest has all of its own. */
static void a_base_that_cannot_be_read_fails_the_job(void **state)
{
	for (unsigned i = 0; i < ENGINES; i++) {
		struct rig *rig = rig_new(engines[i]);
		struct rig_req r = rig_req(rig, BLOCK);
		struct job *j;

		memset(rig_ptr(rig, r.data), 0x42, BLOCK);
		assert_int_equal(rig_do(rig, &r, VIRTIO_BLK_T_OUT, 0, BLOCK), VIRTIO_BLK_S_OK);
		assert_int_equal(truncate(rig->path, BLOCK), 0);
		j = job_start(rig, BLK_COPY_BACKUP, 0);
		assert_int_equal(job_wait(j, BLK_JOB_DONE), BLK_JOB_FAILED);
		assert_int_equal(job_error(j), EIO);
		assert_true(blk_job_progress(j->job)->source);
		assert_int_equal(rig_do(rig, &r, VIRTIO_BLK_T_IN, 0, BLOCK), VIRTIO_BLK_S_OK);
		end_idle(j);
	}
}

static uint64_t blocks_of(const char *path)
{
	struct stat st;

	assert_int_equal(stat(path, &st), 0);
	return st.st_blocks;
}

/* The base a hole, the overlay one written block. */
static void what_neither_file_holds_is_a_hole_in_the_copy(void **state)
{
	struct rig *rig = rig_new((struct rig_config){ .overlay = true });
	struct rig_req r = rig_req(rig, BLOCK);
	struct job *j;

	assert_int_equal(truncate(rig->path, 0), 0);
	assert_int_equal(truncate(rig->path, RIG_SIZE), 0);
	memset(rig_ptr(rig, r.data), 0x42, BLOCK);
	assert_int_equal(rig_do(rig, &r, VIRTIO_BLK_T_OUT, 4096, BLOCK), VIRTIO_BLK_S_OK);
	j = job_start(rig, BLK_COPY_BACKUP, 0);
	assert_int_equal(job_wait(j, BLK_JOB_DONE), BLK_JOB_DONE);
	assert_true(blocks_of(j->path) <= CHUNK / 512);
	assert_int_equal(blk_job_progress(j->job)->written, CHUNK);
	end_idle(j);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_commit_is_base_and_overlay_of_the_moment_it_began),
		cmocka_unit_test(a_chunk_is_read_from_both_files_piece_by_piece),
		cmocka_unit_test(a_piece_whose_memory_is_not_aligned_is_a_workers),
		cmocka_unit_test(what_the_guest_changes_afterwards_is_not_in_it),
		cmocka_unit_test(a_base_that_cannot_be_read_fails_the_job),
		cmocka_unit_test(what_neither_file_holds_is_a_hole_in_the_copy),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
