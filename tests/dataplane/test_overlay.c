/* SPDX-License-Identifier: Apache-2.0 */
/* A disk with a throw-away overlay: the base stays as it is, and the guest never knows. */
#include <sys/syscall.h>

#include "tests/dataplane/overlay_rig.h"
#include "tests/dataplane/slow.h"

/* There everything takes ten times as long, and races do not wait for the last request. */
#ifdef __SANITIZE_THREAD__
#define REQUESTS 250
#define DISKS	 4
#else
#define REQUESTS 1000
#define DISKS	 20
#endif

static void random_io(struct rig_config config, bool overlap, unsigned requests)
{
	struct history *h = history_new(config, overlap, 42 + requests + overlap);

	run(h, requests);
	read_all(h);
	history_free(h);
}

static void data_survives_requests_that_keep_apart(void **state)
{
	for (unsigned i = 0; i < ENGINES; i++)
		random_io(engines[i], false, REQUESTS);
}

static void requests_that_overlap_find_one_version_or_another(void **state)
{
	for (unsigned i = 0; i < ENGINES; i++)
		random_io(engines[i], true, REQUESTS);
}

/* ---- twenty disks on one image --------------------------------------------------------------- */

static void twenty_disks_share_a_base(void **state)
{
	struct history *h[DISKS];
	struct rig *owner =
		rig_new_stopped((struct rig_config){ .readonly = true, .dir = "/dev/shm" });

	make_base(owner);
	for (unsigned i = 0; i < DISKS; i++) {
		const struct rig_config config = {
			.image = owner->path,
			.overlay_dir = i ? "/dev/shm" : "/var/tmp",
		};

		h[i] = history_new(config, false, i);
	}
	for (unsigned i = 0; i < DISKS; i++)
		run(h[i], 100);
	for (unsigned i = 0; i < DISKS; i++) {
		read_all(h[i]);
		history_free(h[i]);
	}
	check_base(owner);
	rig_free(owner);
}

/* ---- one request ----------------------------------------------------------------------------- */

static void a_read_of_many_runs_is_put_together(void **state)
{
	for (unsigned i = 0; i < ENGINES; i++) {
		struct rig *rig = overlay_rig(engines[i]);
		struct rig_req r = rig_req(rig, 300 * 512);

		for (uint64_t s = 0; s < 300; s += 3)
			assert_int_equal(do_write(rig, &r, s, 1), VIRTIO_BLK_S_OK);
		expect(rig, &r, 0, 300, gen_every_third);
		r.data += 3; /* and through a bounce buffer */
		r.room -= 3;
		expect(rig, &r, 0, 299, gen_every_third);
		check_base(rig);
		rig_free(rig);
	}
}

/* Two READs that follow each other, but in different files. */
static void neighbours_of_two_files_stay_apart(void **state)
{
	struct rig *rig = overlay_rig((struct rig_config){ .features = F_EVENT });
	struct rig_req a = rig_req(rig, 4096), b = rig_req(rig, 4096);
	struct fake_done done;
	uint64_t want[WORDS];

	for (uint64_t s = 0; s < 64; s += 16) {
		assert_int_equal(do_write(rig, &a, s, 8), VIRTIO_BLK_S_OK);
		for (unsigned order = 0; order < 2; order++) {
			const uint64_t first = s + 8 * order;

			rig_queue(rig, 0, &a, VIRTIO_BLK_T_IN, first, 4096, 1);
			rig_queue(rig, 0, &b, VIRTIO_BLK_T_IN, first + 8, 4096, 2);
			rig_kick(rig, 0);
			assert_true(rig_wait(rig, 0, &done) && rig_wait(rig, 0, &done));
			fill_sector(want, first, !order);
			assert_memory_equal(rig_ptr(rig, a.data), want, 512);
			fill_sector(want, first + 8, 0);
			assert_memory_equal(rig_ptr(rig, b.data), want, 512);
		}
	}
	rig_free(rig);
}

/* Neither what was written nor what lies below comes back; the space does. */
static void a_discard_reads_as_zeroes_and_gives_space_back(void **state)
{
	for (unsigned i = 0; i < ENGINES; i++) {
		struct rig *rig = overlay_rig(engines[i]);
		struct rig_req r = rig_req(rig, 2048 * 512);

		assert_int_equal(do_write(rig, &r, 0, 2048), VIRTIO_BLK_S_OK);
		assert_true(blocks_of(rig) >= 2048);
		assert_int_equal(do_range(rig, &r, VIRTIO_BLK_T_DISCARD, 0, 4096, 0),
				 VIRTIO_BLK_S_OK);
		expect(rig, &r, 0, 2048, gen_zeroes);
		expect(rig, &r, 2048, 2048, gen_zeroes);
		expect(rig, &r, 4096, 2048, gen_base);
		assert_true(blocks_of(rig) < 128);
		rig_free(rig);
	}
}

static void zeroes_hide_the_base(void **state)
{
	for (unsigned flags = 0; flags < 2; flags++)
		for (unsigned i = 0; i < ENGINES; i++) {
			struct rig *rig = overlay_rig(engines[i]);
			struct rig_req r = rig_req(rig, 64 * 512);

			assert_int_equal(do_range(rig, &r, VIRTIO_BLK_T_WRITE_ZEROES, 7, 9, flags),
					 VIRTIO_BLK_S_OK);
			expect(rig, &r, 0, 7, gen_base);
			expect(rig, &r, 7, 9, gen_zeroes);
			expect(rig, &r, 16, 48, gen_base);
			rig_free(rig);
		}
}

/* A read beside a write under way finds what was there before, not the hole the write will fill. */
static void a_write_counts_when_it_is_done(void **state)
{
	struct rig *rig = overlay_rig((struct rig_config){ 0 });
	struct rig_req w = rig_req(rig, 64 * 512), r = rig_req(rig, 64 * 512);
	struct fake_done done;

	for (uint64_t i = 0; i < 64; i++)
		fill_sector(rig_ptr(rig, w.data + i * 512), i, 1);
	/* The first makes the space. */
	assert_int_equal(rig_do(rig, &w, VIRTIO_BLK_T_OUT, 64, 512), VIRTIO_BLK_S_OK);
	fill_sector(rig_ptr(rig, w.data), 0, 1);
	hold_io(true);
	rig_queue(rig, 0, &w, VIRTIO_BLK_T_OUT, 0, 64 * 512, 2);
	rig_kick(rig, 0);
	wait_held(1);
	hold_io(false);
	expect(rig, &r, 0, 64, gen_base);
	release_held();
	assert_true(rig_wait(rig, 0, &done));
	assert_int_equal(done.cookie, 2);
	expect(rig, &r, 0, 64, gen_new);
	rig_free(rig);
}

/* The image ends within a sector: the one before is the disk's last, and what reaches beyond it leaves
 * no mark. */
static void an_odd_image_ends_with_its_last_sector(void **state)
{
	const uint64_t last = RIG_SECTORS - 2;

	for (unsigned i = 0; i < ENGINES; i++) {
		struct rig *owner = rig_new_stopped((struct rig_config){ .readonly = true });
		struct rig_config config = engines[i];
		struct rig_req r;
		struct rig *rig;

		make_base(owner);
		assert_int_equal(truncate(owner->path, RIG_SIZE - 100), 0);
		config.image = owner->path;
		config.overlay = true;
		config.features |= F_RANGES;
		rig = rig_new(config);
		r = rig_req(rig, 16 * 512);
		assert_int_equal(do_write(rig, &r, last, 2), VIRTIO_BLK_S_IOERR);
		assert_int_equal(do_write(rig, &r, last + 1, 1), VIRTIO_BLK_S_IOERR);
		assert_int_equal(do_range(rig, &r, VIRTIO_BLK_T_DISCARD, last, 2, 0),
				 VIRTIO_BLK_S_IOERR);
		expect(rig, &r, last - 7, 8, gen_base);
		assert_int_equal(do_write(rig, &r, last - 7, 8), VIRTIO_BLK_S_OK);
		expect(rig, &r, last - 7, 8, gen_new);
		assert_int_equal(do_range(rig, &r, VIRTIO_BLK_T_WRITE_ZEROES, last, 1, 1),
				 VIRTIO_BLK_S_OK);
		expect(rig, &r, last, 1, gen_zeroes);
		expect(rig, &r, last - 7, 7, gen_new);
		rig_free(rig);
		rig_free(owner);
	}
}

static _Atomic unsigned syncs;

int fdatasync(int fd)
{
	syncs++;
	return syscall(SYS_fdatasync, fd);
}

/* It ends with the VM: nothing need be durable. */
static void nothing_is_ever_synced(void **state)
{
	for (unsigned i = 0; i < 2 * ENGINES; i++) {
		struct rig_config config = engines[i / 2];
		const struct blk_stats *stats;
		struct rig *rig;
		struct rig_req r;
		uint64_t submits;

		config.writethrough = i % 2;
		syncs = 0;
		take_durable();
		rig = overlay_rig(config);
		r = rig_req(rig, 4096);
		stats = blk_dataplane_stats(rig->dp);
		assert_int_equal(do_write(rig, &r, 0, 8), VIRTIO_BLK_S_OK);
		submits = rig_stat(&stats->submits);
		assert_int_equal(rig_do(rig, &r, VIRTIO_BLK_T_FLUSH, 0, 0), VIRTIO_BLK_S_OK);
		assert_int_equal(rig_stat(&stats->submits), submits);
		rig_free(rig);
		assert_int_equal(syncs, 0);
		assert_int_equal(take_durable(), 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(data_survives_requests_that_keep_apart),
		cmocka_unit_test(requests_that_overlap_find_one_version_or_another),
		cmocka_unit_test(twenty_disks_share_a_base),
		cmocka_unit_test(a_read_of_many_runs_is_put_together),
		cmocka_unit_test(neighbours_of_two_files_stay_apart),
		cmocka_unit_test(a_discard_reads_as_zeroes_and_gives_space_back),
		cmocka_unit_test(zeroes_hide_the_base),
		cmocka_unit_test(a_write_counts_when_it_is_done),
		cmocka_unit_test(an_odd_image_ends_with_its_last_sector),
		cmocka_unit_test(nothing_is_ever_synced),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
