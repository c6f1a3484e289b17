/* SPDX-License-Identifier: Apache-2.0 */
/* When a guest may be told that its data is durable: not before the host has said so. F numbers are
 * the cases of the host-fault list. */
#include "tests/dataplane/sync_rig.h"

/* ---- nothing is told before it is so --------------------------------------------------------- */

/* F24 */
static void flush_waits_for_sync(const struct rig_config *config)
{
	struct rig *rig = rig_new(*config);
	struct rig_req w = rig_req(rig, 4096), f = rig_req(rig, 0);
	uint8_t page[4096];

	memset(rig_ptr(rig, w.data), 0xab, 4096);
	assert_int_equal(rig_do(rig, &w, OUT, 8, 4096), VIRTIO_BLK_S_OK);
	storage.hold = true;
	rig_queue(rig, 0, &f, FLUSH, 0, 0, 2);
	rig_kick(rig, 0);
	wait_held(1);
	/* When the sync begins, all is written that it has to cover. */
	rig_peek(rig, 8 * 512, page, sizeof(page));
	assert_int_equal(page[0], 0xab);
	assert_int_equal(page[4095], 0xab);
	expect_untold(rig, &f);
	release();
	expect_told(rig, &f);
	assert_int_equal(storage.fdsyncs + storage.syncs, 1);
	rig_free(rig);
}

static void a_flush_is_ok_only_after_its_sync_completed(void **state)
{
	for (unsigned i = 0; i < 3; i++) {
		reset_storage(NULL);
		flush_waits_for_sync(every[i]);
	}
}

static void other_requests_go_on_while_a_sync_takes_long(void **state)
{
	for (unsigned i = 0; i < 3; i++) {
		struct rig *rig = rig_new(*every[i]);
		struct rig_req r = rig_req(rig, 4096), f = rig_req(rig, 0);
		struct fake_done done;

		storage.hold = true;
		rig_queue(rig, 0, &f, FLUSH, 0, 0, 2);
		rig_kick(rig, 0);
		wait_held(1);
		assert_int_equal(rig_do(rig, &r, OUT, 0, 4096), VIRTIO_BLK_S_OK);
		assert_int_equal(rig_do(rig, &r, VIRTIO_BLK_T_IN, 0, 4096), VIRTIO_BLK_S_OK);
		release();
		assert_true(rig_wait(rig, 0, &done));
		assert_int_equal(done.cookie, 2);
		rig_free(rig);
	}
}

/* F25: `len` bytes from `skip` bytes into the buffer. */
static void write_is_durable(const struct rig_config *config, uint32_t skip, uint32_t len)
{
	struct rig *rig = rig_new(through(config));
	struct rig_req w = rig_req(rig, 8192);

	w.data += skip;
	storage.hold = true;
	rig_queue(rig, 0, &w, OUT, 16, len, 1);
	rig_kick(rig, 0);
	wait_held(1);
	expect_untold(rig, &w);
	release();
	expect_told(rig, &w);
	assert_int_equal(storage.durable, 1);
	rig_free(rig);
}

static void without_flushes_every_write_waits_until_it_is_durable(void **state)
{
	for (unsigned i = 0; i < 3; i++) {
		reset_storage(NULL);
		write_is_durable(every[i], 0, 4096);
		reset_storage(NULL);
		write_is_durable(every[i], 1, 512); /* through an aligned buffer */
	}
}

static void without_flushes_zeroes_are_durable_too(void **state)
{
	for (unsigned i = 0; i < 3; i++) {
		struct rig_config config = through(every[i]);
		struct virtio_blk_discard_write_zeroes *seg;
		struct rig_req r;
		struct rig *rig;

		config.features = F_RANGES;
		rig = rig_new(config);
		r = rig_req(rig, 16);
		seg = rig_ptr(rig, r.data);
		*seg = (struct virtio_blk_discard_write_zeroes){ 8, 8, 0 };
		storage.hold = true;
		rig_queue(rig, 0, &r, VIRTIO_BLK_T_WRITE_ZEROES, 0, 16, 1);
		rig_kick(rig, 0);
		wait_held(1);
		expect_untold(rig, &r);
		release();
		expect_told(rig, &r);
		rig_free(rig);
	}
}

/* A driver that switches the cache off sends no flush for what it wrote before. */
static void switching_the_cache_off_makes_durable_what_was_written(void **state)
{
	for (unsigned i = 0; i < 3; i++) {
		struct rig *rig = rig_new(*every[i]);
		struct rig_req w = rig_req(rig, 4096);

		reset_storage(NULL);
		set_wce(rig, false); /* nothing was written */
		set_wce(rig, true);
		assert_int_equal(storage.syncs, 0);
		assert_int_equal(rig_do(rig, &w, OUT, 0, 4096), VIRTIO_BLK_S_OK);
		set_wce(rig, false);
		assert_int_equal(storage.syncs, 1);
		set_wce(rig, false);
		assert_int_equal(storage.syncs, 1);
		assert_int_equal(storage.durable, 0);
		assert_int_equal(rig_do(rig, &w, OUT, 0, 4096), VIRTIO_BLK_S_OK);
		assert_int_equal(storage.durable, 1);
		rig_free(rig);
	}
}

static void *switch_cache_on(void *rig)
{
	set_wce(rig, true);
	return NULL;
}

/* False: the later write has overtaken the command, whose sender a busy host had held up. */
static bool switches_cache_on(const struct rig_config *config, useconds_t ahead)
{
	struct rig *rig = rig_new(through(config));
	struct rig_req w = rig_req(rig, 4096), later = rig_req(rig, 4096);
	pthread_t thread;
	int durable;

	storage.hold = true;
	rig_queue(rig, 0, &w, OUT, 0, 4096, 1);
	rig_kick(rig, 0);
	wait_held(1);
	assert_int_equal(pthread_create(&thread, NULL, switch_cache_on, rig), 0);
	usleep(ahead);
	rig_queue(rig, 0, &later, OUT, 8, 4096, 2);
	rig_kick(rig, 0);
	expect_untold(rig, &later);
	assert_int_equal(pthread_tryjoin_np(thread, NULL), EBUSY);
	release();
	assert_int_equal(pthread_join(thread, NULL), 0);
	expect_told(rig, &w);
	expect_told(rig, &later);
	assert_int_equal(storage.fdsyncs + storage.syncs, 0);
	durable = storage.durable;
	rig_free(rig);
	return durable == 1;
}

/* Else a durable write that fails could be the only one to hear of the loss of a later one that is
 * not, and the FLUSH after that would be told that all is well. */
static void switching_the_cache_on_waits_for_durable_writes(void **state)
{
	for (unsigned i = 0; i < 3; i++) {
		bool came_first = false;

		for (useconds_t ahead = 20000; !came_first && ahead < 10000000; ahead *= 4) {
			reset_storage(NULL);
			came_first = switches_cache_on(every[i], ahead);
		}
		assert_true(came_first);
	}
}

static void unsafe_disks_never_sync(void **state)
{
	struct rig *rig =
		rig_new((struct rig_config){ .aio = DISK_AIO_THREADS, .cache = DISK_CACHE_UNSAFE });
	struct rig_req w = rig_req(rig, 4096);

	assert_int_equal(rig_do(rig, &w, OUT, 0, 4096), VIRTIO_BLK_S_OK);
	assert_int_equal(rig_do(rig, &w, FLUSH, 0, 0), VIRTIO_BLK_S_OK);
	set_wce(rig, false);
	assert_int_equal(rig_do(rig, &w, OUT, 0, 4096), VIRTIO_BLK_S_OK);
	rig_free(rig);
	assert_int_equal(storage.fdsyncs + storage.syncs + storage.durable, 0);
}

/* ---- the end --------------------------------------------------------------------------------- */

/* F22: what the guest wrote and did not flush, because it was stopped, is durable when mvmm ends. */
static void the_end_syncs_what_was_written(void **state)
{
	for (unsigned i = 0; i < 3; i++) {
		struct rig *rig = rig_new(*every[i]);
		struct rig_req w = rig_req(rig, 4096);

		reset_storage(NULL);
		assert_int_equal(rig_do(rig, &w, OUT, 0, 4096), VIRTIO_BLK_S_OK);
		assert_int_equal(storage.syncs, 0);
		storage.hold = true;
		assert_int_equal(blk_dataplane_stop(rig->dp, 30), -ETIMEDOUT);
		wait_held(1);
		assert_int_equal(storage.syncs, 1);
		release();
		assert_int_equal(blk_dataplane_stop(rig->dp, RIG_WAIT_MS), 0);
		assert_int_equal(storage.syncs, 1);
		rig_free(rig);
	}
}

static void the_end_of_a_disk_that_was_only_read_is_quick(void **state)
{
	struct rig *rig = rig_new(native);
	struct rig_req r = rig_req(rig, 4096);

	assert_int_equal(rig_do(rig, &r, VIRTIO_BLK_T_IN, 0, 4096), VIRTIO_BLK_S_OK);
	rig_free(rig);
	assert_int_equal(storage.fdsyncs + storage.syncs, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_flush_is_ok_only_after_its_sync_completed),
		T(other_requests_go_on_while_a_sync_takes_long),
		T(without_flushes_every_write_waits_until_it_is_durable),
		T(without_flushes_zeroes_are_durable_too),
		T(switching_the_cache_off_makes_durable_what_was_written),
		T(switching_the_cache_on_waits_for_durable_writes),
		T(unsafe_disks_never_sync),
		T(the_end_syncs_what_was_written),
		T(the_end_of_a_disk_that_was_only_read_is_quick),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
