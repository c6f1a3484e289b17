/* SPDX-License-Identifier: Apache-2.0 */
/* A sync that fails: a guest is never again told that its data is durable. F numbers are the cases
 * of the host-fault list. */
#include "tests/dataplane/sync_rig.h"

static void a_sync_that_fails_at_the_end_is_told_of(void **state)
{
	struct rig *rig = rig_new(buffered);
	struct rig_req w = rig_req(rig, 4096);

	assert_int_equal(rig_do(rig, &w, OUT, 0, 4096), VIRTIO_BLK_S_OK);
	storage.fail = 1;
	assert_int_equal(blk_dataplane_stop(rig->dp, RIG_WAIT_MS), 0);
	assert_int_equal(atomic_load(&blk_dataplane_stats(rig->dp)->sync_errno), EIO);
	rig_free(rig);
}

/* F3: in each mode, and whatever the guest does. */
static void stays_failed(const struct rig_config *config)
{
	struct rig *rig = rig_new(*config);
	struct rig_req r = rig_req(rig, 4096);

	assert_int_equal(rig_do(rig, &r, FLUSH, 0, 0), VIRTIO_BLK_S_OK);
	storage.fail = 1;
	assert_int_equal(rig_do(rig, &r, FLUSH, 0, 0), VIRTIO_BLK_S_IOERR);
	assert_int_equal(storage.fail, 0);
	assert_int_equal(rig_do(rig, &r, FLUSH, 0, 0), VIRTIO_BLK_S_IOERR);
	/* The disk can be read, and written by who does not expect too much of it. */
	assert_int_equal(rig_do(rig, &r, OUT, 0, 4096), VIRTIO_BLK_S_OK);
	assert_int_equal(rig_do(rig, &r, VIRTIO_BLK_T_IN, 0, 4096), VIRTIO_BLK_S_OK);
	guest_reset(rig);
	assert_int_equal(rig_do(rig, &r, FLUSH, 0, 0), VIRTIO_BLK_S_IOERR);
	set_wce(rig, false);
	assert_int_equal(rig_do(rig, &r, OUT, 0, 4096), VIRTIO_BLK_S_IOERR);
	assert_int_equal(rig_do(rig, &r, VIRTIO_BLK_T_IN, 0, 4096), VIRTIO_BLK_S_OK);
	set_wce(rig, true);
	assert_int_equal(rig_do(rig, &r, OUT, 0, 4096), VIRTIO_BLK_S_OK);
	assert_int_equal(rig_do(rig, &r, FLUSH, 0, 0), VIRTIO_BLK_S_IOERR);
	assert_int_not_equal(atomic_load(&blk_dataplane_stats(rig->dp)->sync_errno), 0);
	rig_free(rig);
}

static void a_failed_flush_stays_failed_over_resets(void **state)
{
	for (unsigned i = 0; i < 3; i++) {
		reset_storage(NULL);
		stays_failed(every[i]);
	}
}

/* The storage told the FLUSH of a loss, and nobody else. Through the page cache one waits for the
 * other. */
static void a_durable_write_beside_a_failed_flush_fails_too(void **state)
{
	for (unsigned i = 0; i < 2; i++) {
		struct rig *rig = rig_new(through(every[i]));
		struct rig_req w = rig_req(rig, 4096), f = rig_req(rig, 0);
		struct fake_done done;

		reset_storage(NULL);
		storage.hold_writes = true;
		rig_queue(rig, 0, &w, OUT, 0, 4096, 1);
		rig_kick(rig, 0);
		wait_held(1);
		storage.fail = 1;
		assert_int_equal(rig_do(rig, &f, FLUSH, 0, 0), VIRTIO_BLK_S_IOERR);
		release();
		assert_true(rig_wait(rig, 0, &done));
		assert_int_equal(rig_status(rig, &w), VIRTIO_BLK_S_IOERR);
		rig_free(rig);
	}
}

static void an_image_opened_again_can_be_flushed_again(void **state)
{
	struct rig *rig = rig_new(native);
	struct rig_req r = rig_req(rig, 0);
	struct error err;

	storage.fail = 1;
	assert_int_equal(rig_do(rig, &r, FLUSH, 0, 0), VIRTIO_BLK_S_IOERR);
	assert_int_equal(blk_dataplane_stop(rig->dp, RIG_WAIT_MS), 0);
	blk_dataplane_destroy(rig->dp);
	block_backend_close(&rig->be);
	assert_int_equal(block_backend_open(&rig->be, &rig->disk, &err), 0);
	assert_int_equal(rig_create_dataplane(rig, &err), 0);
	fake_queue_reset(&rig->drv[0]);
	assert_int_equal(rig_start(rig), 0);
	assert_int_equal(rig_do(rig, &r, FLUSH, 0, 0), VIRTIO_BLK_S_OK);
	rig_free(rig);
}

/* Where the host did not even try, nothing is lost. */
static void a_sync_the_host_does_not_take_is_no_loss(void **state)
{
	struct rig *rig = rig_new(native);
	struct rig_req r = rig_req(rig, 0);

	storage.refuse = 1;
	assert_int_equal(rig_do(rig, &r, FLUSH, 0, 0), VIRTIO_BLK_S_IOERR);
	assert_int_equal(rig_do(rig, &r, FLUSH, 0, 0), VIRTIO_BLK_S_OK);
	rig_free(rig);
}

/* Nor of those that would have shared it: each is asked for again, until one is taken. */
static void a_sync_the_host_does_not_take_fails_its_own_flush_only(void **state)
{
	struct rig *rig = rig_new(native);
	unsigned failed = 0, ok = 0;
	struct fake_done done;
	struct rig_req r[6];

	begin_flushes(rig, r, 6);
	storage.refuse = 2; /* of the five that wait */
	release();
	for (unsigned i = 0; i < 6; i++) {
		assert_true(rig_wait(rig, 0, &done));
		failed += rig_status(rig, &r[done.cookie]) == VIRTIO_BLK_S_IOERR;
		ok += rig_status(rig, &r[done.cookie]) == VIRTIO_BLK_S_OK;
	}
	assert_int_equal(failed, 2);
	assert_int_equal(ok, 4);
	assert_int_equal(storage.fdsyncs, 4);
	rig_free(rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_sync_that_fails_at_the_end_is_told_of),
		T(a_failed_flush_stays_failed_over_resets),
		T(a_durable_write_beside_a_failed_flush_fails_too),
		T(an_image_opened_again_can_be_flushed_again),
		T(a_sync_the_host_does_not_take_is_no_loss),
		T(a_sync_the_host_does_not_take_fails_its_own_flush_only),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
