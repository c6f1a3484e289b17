/* SPDX-License-Identifier: Apache-2.0 */
/* FLUSHes that come together: one sync at a time, and what it covers. F numbers are the cases of
 * the host-fault list. */
#include "tests/dataplane/sync_rig.h"

/* The storage tells of a loss once: were two under way, it might tell one of them, and the other one
 * might be back before it, and well. */
static void no_flush_is_answered_while_an_earlier_one_may_fail(void **state)
{
	for (unsigned i = 0; i < 3; i++) {
		struct rig *rig = rig_new(*every[i]);
		struct rig_req r[2];

		reset_storage(NULL);
		begin_flushes(rig, r, 1);
		r[1] = rig_req(rig, 0);
		rig_queue(rig, 0, &r[1], FLUSH, 0, 0, 1);
		rig_kick(rig, 0);
		expect_untold(rig, &r[1]);
		assert_int_equal(held(), 1);
		storage.fail = 1;
		end_flushes(rig, r, 2, VIRTIO_BLK_S_IOERR);
		/* No host was asked once more for what is lost. */
		assert_int_equal(storage.fdsyncs + storage.syncs, 1);
		rig_free(rig);
	}
}

static void all_that_wait_for_a_flush_that_fails_fail_too(void **state)
{
	for (unsigned i = 0; i < 3; i++) {
		struct rig *rig = rig_new(*every[i]);
		struct rig_req r[4];

		reset_storage(NULL);
		begin_flushes(rig, r, 4);
		storage.fail = 1;
		end_flushes(rig, r, 4, VIRTIO_BLK_S_IOERR);
		rig_free(rig);
	}
}

/* Of flushes that wait while another sync runs, all are done by the next one; none by the running
 * one, which may have begun before their writes were done. */
static void flushes_that_wait_share_one_sync(void **state)
{
	for (unsigned i = 0; i < 3; i++) {
		struct rig *rig = rig_new(*every[i]);
		struct rig_req r[8];

		reset_storage(NULL);
		begin_flushes(rig, r, 8);
		end_flushes(rig, r, 8, VIRTIO_BLK_S_OK);
		assert_int_equal(storage.fdsyncs + storage.syncs, 2);
		assert_int_equal(rig_do(rig, &r[0], FLUSH, 0, 0), VIRTIO_BLK_S_OK);
		assert_int_equal(storage.fdsyncs + storage.syncs, 3);
		rig_free(rig);
	}
}

/* A reset and the end have to wait for all of them. */
static void flushes_that_wait_are_drained(void **state)
{
	for (unsigned i = 0; i < 3; i++) {
		struct rig *rig = rig_new(*every[i]);
		struct rig_req r[8];

		reset_storage(NULL);
		begin_flushes(rig, r, 8);
		assert_int_equal(blk_dataplane_stop(rig->dp, 30), -ETIMEDOUT);
		release();
		assert_int_equal(blk_dataplane_stop(rig->dp, RIG_WAIT_MS), 0);
		for (unsigned n = 0; n < 8; n++)
			assert_int_equal(rig_status(rig, &r[n]), VIRTIO_BLK_S_OK);
		rig_free(rig);
	}
}

/* It waits for its limit while the cache is switched off, and nobody waits for it. */
static void a_write_that_waited_meanwhile_is_durable(void **state)
{
	const struct throttle_limits slow = limit(THROTTLE_BPS_WR, 1), none = { 0 };

	for (unsigned i = 0; i < 3; i++) {
		struct rig_config config = *every[i];
		struct fake_done done;
		struct rig_req r;
		struct rig *rig;

		config.limits = slow;
		rig = rig_new(config);
		r = rig_req(rig, 4096);
		assert_int_equal(rig_do(rig, &r, VIRTIO_BLK_T_OUT, 0, 4096), VIRTIO_BLK_S_OK);
		assert_true(rig_queue(rig, 0, &r, VIRTIO_BLK_T_OUT, 8, 4096, 7) >= 0);
		rig_kick(rig, 0);
		while (!rig_stat(&blk_dataplane_stats(rig->dp)->throttled))
			usleep(1000);
		set_wce(rig, false);
		storage.durable = 0;
		assert_int_equal(set_limits(rig, &none), 0);
		assert_true(rig_wait(rig, 0, &done));
		assert_int_equal(done.cookie, 7);
		assert_int_equal(storage.durable, 1);
		rig_free(rig);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_write_that_waited_meanwhile_is_durable),
		T(no_flush_is_answered_while_an_earlier_one_may_fail),
		T(all_that_wait_for_a_flush_that_fails_fail_too),
		T(flushes_that_wait_share_one_sync),
		T(flushes_that_wait_are_drained),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
