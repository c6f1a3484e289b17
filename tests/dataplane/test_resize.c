/* SPDX-License-Identifier: Apache-2.0 */
/* A disk that becomes larger or smaller while the driver uses it. */
#include "tests/dataplane/rig.h"
#include "tests/dataplane/slow.h"

#define HALF (RIG_SIZE / 2)

static int resize(struct rig *rig, uint64_t size)
{
	const struct blk_command cmd = { .type = BLK_CMD_RESIZE, .size = size };

	return blk_dataplane_send(rig->dp, &cmd, -1, RIG_WAIT_MS);
}

static uint8_t read_at(struct rig *rig, uint64_t off)
{
	struct rig_req r = rig_req(rig, 4096);

	return rig_do(rig, &r, VIRTIO_BLK_T_IN, off / 512, 4096);
}

static void beyond_the_end_of_now_is_an_error(void **state)
{
	struct rig *rig = rig_new((struct rig_config){ .features = F_EVENT });

	assert_int_equal(read_at(rig, HALF), VIRTIO_BLK_S_OK);
	assert_int_equal(resize(rig, HALF), 0);
	assert_int_equal(read_at(rig, HALF - 4096), VIRTIO_BLK_S_OK);
	assert_int_equal(read_at(rig, HALF - 512), VIRTIO_BLK_S_IOERR);
	assert_int_equal(read_at(rig, HALF), VIRTIO_BLK_S_IOERR);
	assert_int_equal(resize(rig, RIG_SIZE), 0);
	assert_int_equal(read_at(rig, HALF), VIRTIO_BLK_S_OK);
	assert_int_equal(read_at(rig, RIG_SIZE), VIRTIO_BLK_S_IOERR);
	rig_free(rig);
}

/* The file grew first: the guest may use what is new as soon as it is told. */
static void what_was_added_can_be_used(void **state)
{
	struct rig *rig = rig_new((struct rig_config){ .features = F_EVENT });
	struct rig_req w = rig_req(rig, 4096);
	uint8_t page[4096];

	assert_int_equal(truncate(rig->path, 2 * RIG_SIZE), 0);
	assert_int_equal(resize(rig, 2 * RIG_SIZE), 0);
	memset(rig_ptr(rig, w.data), 0x42, 4096);
	assert_int_equal(rig_do(rig, &w, VIRTIO_BLK_T_OUT, 2 * RIG_SECTORS - 8, 4096),
			 VIRTIO_BLK_S_OK);
	rig_peek(rig, 2 * RIG_SIZE - 4096, page, sizeof(page));
	assert_int_equal(page[0], 0x42);
	rig_free(rig);
}

static void a_size_outlasts_a_reset(void **state)
{
	struct rig *rig = rig_new((struct rig_config){ 0 });

	assert_int_equal(resize(rig, HALF), 0);
	assert_int_equal(rig_send(rig, BLK_CMD_RESET), 0);
	fake_queue_reset(&rig->drv[0]);
	assert_int_equal(rig_start(rig), 0);
	assert_int_equal(read_at(rig, HALF), VIRTIO_BLK_S_IOERR);
	assert_int_equal(rig_send(rig, BLK_CMD_RESET), 0);
	assert_int_equal(resize(rig, RIG_SIZE), 0);
	fake_queue_reset(&rig->drv[0]);
	assert_int_equal(rig_start(rig), 0);
	assert_int_equal(read_at(rig, HALF), VIRTIO_BLK_S_OK);
	rig_free(rig);
}

/* A write that reached the file after it was cut would make it long again. */
static void a_smaller_size_waits_for_what_is_in_flight(void **state)
{
	const struct blk_command smaller = { .type = BLK_CMD_RESIZE, .size = HALF };
	struct rig *rig = rig_new((struct rig_config){ 0 });
	struct pollfd pfd = { .fd = blk_dataplane_answer_fd(rig->dp), .events = POLLIN };
	struct rig_req w = rig_req(rig, 4096);
	struct fake_done done;
	int result;

	hold_io(true);
	rig_queue(rig, 0, &w, VIRTIO_BLK_T_OUT, HALF / 512, 4096, 1);
	rig_kick(rig, 0);
	wait_held(1);
	assert_int_equal(blk_dataplane_post(rig->dp, &smaller), 0);
	usleep(20000);
	assert_int_equal(blk_dataplane_answer(rig->dp, &result), -EAGAIN);
	release_held();
	assert_true(poll(&pfd, 1, RIG_WAIT_MS) == 1);
	assert_int_equal(blk_dataplane_answer(rig->dp, &result), 0);
	assert_int_equal(result, 0);
	assert_true(fake_queue_poll(&rig->drv[0], &done));
	assert_int_equal(rig_status(rig, &w), VIRTIO_BLK_S_OK);
	rig_free(rig);
}

static void a_larger_size_waits_for_nothing(void **state)
{
	struct rig *rig = rig_new((struct rig_config){ 0 });
	struct rig_req r = rig_req(rig, 4096);
	struct fake_done done;

	hold_io(true);
	rig_queue(rig, 0, &r, VIRTIO_BLK_T_IN, 0, 4096, 1);
	rig_kick(rig, 0);
	wait_held(1);
	assert_int_equal(resize(rig, 2 * RIG_SIZE), 0);
	release_held();
	assert_true(rig_wait(rig, 0, &done));
	rig_free(rig);
}

/* What waits for a limit meanwhile is not in flight on the host, and the cut does not wait for it. */
static void parked_requests_meet_the_size_of_when_they_go(void **state)
{
	const struct blk_command no_limits = { .type = BLK_CMD_THROTTLE };
	struct rig *rig = rig_new((struct rig_config){
		.features = F_RANGES,
		.limits = { .of[THROTTLE_IOPS_WR] = { .rate = 1 } },
	});
	struct virtio_blk_discard_write_zeroes *seg;
	struct rig_req r[4];
	struct fake_done done;

	for (unsigned i = 0; i < 4; i++) {
		r[i] = rig_req(rig, 4096);
		memset(rig_ptr(rig, r[i].data), 0x66, 4096);
	}
	rig_queue(rig, 0, &r[0], VIRTIO_BLK_T_OUT, 0, 4096, 0);
	rig_queue(rig, 0, &r[1], VIRTIO_BLK_T_OUT, HALF / 512 - 1, 4096, 1);
	seg = rig_ptr(rig, r[2].data);
	seg[0] = (struct virtio_blk_discard_write_zeroes){ .sector = 0, .num_sectors = 8 };
	seg[1] = (struct virtio_blk_discard_write_zeroes){ .sector = HALF / 512, .num_sectors = 8 };
	rig_queue(rig, 0, &r[2], VIRTIO_BLK_T_WRITE_ZEROES, 0, 32, 2);
	rig_queue(rig, 0, &r[3], VIRTIO_BLK_T_OUT, HALF / 512 - 8, 4096, 3);
	rig_kick(rig, 0);
	assert_true(rig_wait(rig, 0, &done)); /* the first one goes at once */
	assert_int_equal(done.cookie, 0);
	assert_int_equal(resize(rig, HALF), 0);
	assert_int_equal(truncate(rig->path, HALF), 0);
	assert_int_equal(blk_dataplane_send(rig->dp, &no_limits, -1, RIG_WAIT_MS), 0);
	for (unsigned i = 1; i < 4; i++)
		assert_true(rig_wait(rig, 0, &done));
	assert_int_equal(rig_status(rig, &r[1]), VIRTIO_BLK_S_IOERR);
	assert_int_equal(rig_status(rig, &r[2]), VIRTIO_BLK_S_IOERR);
	assert_int_equal(rig_status(rig, &r[3]), VIRTIO_BLK_S_OK);
	rig_free(rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(beyond_the_end_of_now_is_an_error),
		cmocka_unit_test(what_was_added_can_be_used),
		cmocka_unit_test(a_size_outlasts_a_reset),
		cmocka_unit_test(a_smaller_size_waits_for_what_is_in_flight),
		cmocka_unit_test(a_larger_size_waits_for_nothing),
		cmocka_unit_test(parked_requests_meet_the_size_of_when_they_go),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
