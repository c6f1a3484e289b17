/* SPDX-License-Identifier: Apache-2.0 */
/* An overlay on a host that fails: the guest is told, and all else goes on. */
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>

#include "tests/dataplane/overlay_rig.h"
#include "tests/dataplane/slow.h"

/* Somebody cuts the image short: what the overlay holds is as good as ever. */
static void a_base_that_fails_fails_its_own_reads(void **state)
{
	for (unsigned i = 0; i < ENGINES; i++) {
		struct rig *rig = overlay_rig(engines[i]);
		struct rig_req r = rig_req(rig, 64 * 512);

		assert_int_equal(do_write(rig, &r, 8, 8), VIRTIO_BLK_S_OK);
		assert_int_equal(truncate(rig->path, 4096), 0);
		expect(rig, &r, 0, 8, gen_base);
		expect(rig, &r, 8, 8, gen_new);
		assert_int_equal(rig_do(rig, &r, VIRTIO_BLK_T_IN, 16, 4096), VIRTIO_BLK_S_IOERR);
		/* In parts, and the last one fails; then the slot is used again. */
		assert_int_equal(rig_do(rig, &r, VIRTIO_BLK_T_IN, 0, 64 * 512), VIRTIO_BLK_S_IOERR);
		assert_int_equal(rig_do(rig, &r, VIRTIO_BLK_T_IN, 0, 8 * 512), VIRTIO_BLK_S_OK);
		assert_int_equal(do_write(rig, &r, 16, 48), VIRTIO_BLK_S_OK);
		expect(rig, &r, 8, 56, gen_new);
		rig_free(rig);
	}
}

/* The same for the overlay's own file. */
static void an_overlay_that_fails_fails_its_own_reads(void **state)
{
	for (unsigned i = 0; i < ENGINES; i++) {
		struct rig *rig = overlay_rig(engines[i]);
		struct rig_req r = rig_req(rig, 64 * 512);

		assert_int_equal(do_write(rig, &r, 0, 8), VIRTIO_BLK_S_OK);
		assert_int_equal(do_write(rig, &r, 16, 8), VIRTIO_BLK_S_OK);
		assert_int_equal(ftruncate(rig->be.fd, 4096), 0);
		expect(rig, &r, 0, 8, gen_new);
		expect(rig, &r, 8, 8, gen_base);
		assert_int_equal(rig_do(rig, &r, VIRTIO_BLK_T_IN, 16, 4096), VIRTIO_BLK_S_IOERR);
		assert_int_equal(rig_do(rig, &r, VIRTIO_BLK_T_IN, 8, 4096 * 2), VIRTIO_BLK_S_IOERR);
		expect(rig, &r, 24, 40, gen_base);
		assert_int_equal(do_write(rig, &r, 8, 16), VIRTIO_BLK_S_OK);
		expect(rig, &r, 8, 16, gen_new);
		check_base(rig);
		rig_free(rig);
	}
}

/* What it should have replaced is still there. */
static void a_write_that_fails_shows_the_base(void **state)
{
	static const int errors[] = { EIO, ENOSPC, EDQUOT };

	for (unsigned i = 0; i < 3; i++) {
		struct rig *rig = overlay_rig((struct rig_config){ 0 });
		struct rig_req r = rig_req(rig, 64 * 512);

		assert_int_equal(do_write(rig, &r, 8, 8), VIRTIO_BLK_S_OK);
		fail_io(errors[i]);
		assert_int_equal(do_write(rig, &r, 0, 8), VIRTIO_BLK_S_IOERR);
		fail_io(0);
		assert_int_equal(blk_dataplane_stats(rig->dp)->last_errno, errors[i]);
		expect(rig, &r, 0, 8, gen_base);
		expect(rig, &r, 8, 8, gen_new);
		assert_int_equal(do_write(rig, &r, 0, 64), VIRTIO_BLK_S_OK);
		expect(rig, &r, 0, 64, gen_new);
		rig_free(rig);
	}
}

/* The first half is within the limit, and lands in the file, but was never acknowledged. */
static void a_limit_on_files_fails_what_is_beyond(void **state)
{
	const struct rlimit low = { 32 * 512, RLIM_INFINITY };
	struct rlimit old;

	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	signal(SIGXFSZ, SIG_IGN); /* as launch.c does */
	for (unsigned i = 0; i < ENGINES; i++) {
		struct rig *rig = overlay_rig(engines[i]);
		struct rig_req r = rig_req(rig, 64 * 512);

		assert_int_equal(setrlimit(RLIMIT_FSIZE, &low), 0);
		assert_int_equal(do_write(rig, &r, 0, 64), VIRTIO_BLK_S_IOERR);
		assert_int_equal(do_write(rig, &r, 64, 8), VIRTIO_BLK_S_IOERR);
		assert_int_equal(blk_dataplane_stats(rig->dp)->last_errno, EFBIG);
		expect(rig, &r, 0, 64, gen_base);
		assert_int_equal(do_write(rig, &r, 8, 8), VIRTIO_BLK_S_OK);
		expect(rig, &r, 8, 8, gen_new);
		assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
		assert_int_equal(do_write(rig, &r, 0, 64), VIRTIO_BLK_S_OK);
		expect(rig, &r, 0, 64, gen_new);
		rig_free(rig);
	}
}

/* ---- a place that is full -------------------------------------------------------------------- */

#define PIECE  256 /* sectors */
#define PIECES (SECTORS / PIECE)

/* Writes all of the disk, as far as it goes; what could not be written is as it was. */
static void fill_up(struct rig *rig, const struct rig_req *r)
{
	bool failed[PIECES];
	unsigned n = 0;

	for (uint64_t i = 0; i < PIECES; i++) {
		failed[i] = do_write(rig, r, i * PIECE, PIECE) == VIRTIO_BLK_S_IOERR;
		n += failed[i];
	}
	assert_in_range(n, 1, PIECES - 1);
	assert_int_equal(blk_dataplane_stats(rig->dp)->last_errno, ENOSPC);
	for (uint64_t i = 0; i < PIECES; i++)
		expect(rig, r, i * PIECE, PIECE, failed[i] ? gen_base : gen_new);
}

/* Space that is given back can be written again. */
static void check_full(const struct rig_config *config, const char *dir)
{
	struct rig_config here = *config;
	struct rig *rig;
	struct rig_req r;

	here.overlay_dir = dir;
	rig = overlay_rig(here);
	r = rig_req(rig, PIECE * 512);
	fill_up(rig, &r);
	assert_int_equal(do_range(rig, &r, VIRTIO_BLK_T_DISCARD, 0, 512, 0), VIRTIO_BLK_S_OK);
	assert_int_equal(do_write(rig, &r, SECTORS - PIECE, PIECE), VIRTIO_BLK_S_OK);
	expect(rig, &r, SECTORS - PIECE, PIECE, gen_new);
	check_base(rig);
	rig_free(rig);
}

/* The guest hears of nothing: the write waits until there is room, and is then done. */
static void check_stops(const struct rig_config *config, const char *dir)
{
	struct rig_config here = *config;
	struct pollfd pfd = { .events = POLLIN };
	struct fake_done done;
	struct rig_req r;
	struct rig *rig;
	uint64_t piece = 0;

	here.overlay_dir = dir;
	here.on_error = DISK_ON_ERROR_ENOSPC;
	rig = overlay_rig(here);
	r = rig_req(rig, PIECE * 512);
	pfd.fd = rig->event_fd;
	for (; piece < PIECES; piece++) {
		for (uint64_t i = 0; i < PIECE; i++)
			fill_sector(rig_ptr(rig, r.data + i * 512), piece * PIECE + i, 1);
		assert_true(rig_queue(rig, 0, &r, VIRTIO_BLK_T_OUT, piece * PIECE, PIECE * 512,
				      piece) >= 0);
		rig_kick(rig, 0);
		while (!fake_queue_poll(&rig->drv[0], &done) && !poll(&pfd, 1, 1))
			;
		if (poll(&pfd, 1, 0))
			break;
	}
	assert_in_range(piece, 1, PIECES - 1);
	assert_int_equal(mount("none", dir, NULL, MS_REMOUNT, "size=8m"), 0);
	assert_int_equal(rig_send(rig, BLK_CMD_RESUME), 0);
	assert_true(rig_wait(rig, 0, &done));
	assert_int_equal(done.cookie, piece);
	assert_int_equal(rig_status(rig, &r), VIRTIO_BLK_S_OK);
	for (uint64_t i = 0; i < PIECES; i++)
		expect(rig, &r, i * PIECE, PIECE, i <= piece ? gen_new : gen_base);
	assert_int_equal(blk_dataplane_stats(rig->dp)->errors, 0);
	check_base(rig);
	rig_free(rig);
}

static void in_a_small_place(void (*check)(const struct rig_config *config, const char *dir))
{
	char dir[] = "/var/tmp/mvmm-test-XXXXXX";

	assert_non_null(mkdtemp(dir));
	for (unsigned i = 0; i < ENGINES; i++) {
		if (mount("none", dir, "tmpfs", 0, "size=2m")) {
			rmdir(dir);
			print_message("no leave to mount a tmpfs\n");
			skip();
		}
		check(&engines[i], dir);
		assert_int_equal(umount(dir), 0);
	}
	assert_int_equal(rmdir(dir), 0);
}

static void a_full_file_system_fails_writes_and_nothing_else(void **state)
{
	in_a_small_place(check_full);
}

static void a_full_file_system_may_stop_the_disk(void **state)
{
	in_a_small_place(check_stops);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_base_that_fails_fails_its_own_reads),
		cmocka_unit_test(an_overlay_that_fails_fails_its_own_reads),
		cmocka_unit_test(a_write_that_fails_shows_the_base),
		cmocka_unit_test(a_limit_on_files_fails_what_is_beyond),
		cmocka_unit_test(a_full_file_system_fails_writes_and_nothing_else),
		cmocka_unit_test(a_full_file_system_may_stop_the_disk),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
