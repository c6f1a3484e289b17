/* SPDX-License-Identifier: Apache-2.0 */
/* A disk with a throw-away overlay: the base stays as it is, and the guest never knows. */
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "tests/dataplane/history.h"
#include "tests/dataplane/slow.h"

static void random_io(struct rig_config config, bool overlap, unsigned requests)
{
	struct history *h = history_new(config, overlap, 42 + requests + overlap);

	run(h, requests);
	read_all(h);
	history_free(h);
}

static const struct rig_config engines[] = {
	{ .features = F_EVENT | F_INDIRECT },
	{ .features = F_EVENT, .aio = DISK_AIO_THREADS },
	{ .features = F_INDIRECT, .aio = DISK_AIO_THREADS, .cache = DISK_CACHE_WRITEBACK },
	{ .overlay_dir = "/dev/shm", .dir = "/dev/shm" },
};

#define ENGINES (sizeof(engines) / sizeof(engines[0]))

static void data_survives_requests_that_keep_apart(void **state)
{
	for (unsigned i = 0; i < ENGINES; i++)
		random_io(engines[i], false, 1000);
}

static void requests_that_overlap_find_one_version_or_another(void **state)
{
	for (unsigned i = 0; i < ENGINES; i++)
		random_io(engines[i], true, 1000);
}

/* ---- twenty disks on one image --------------------------------------------------------------- */

#define DISKS 20

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

static struct rig *overlay_rig(struct rig_config config)
{
	struct rig *rig;

	config.overlay = true;
	config.features |= F_RANGES;
	rig = rig_new_stopped(config);
	make_base(rig);
	assert_int_equal(rig_start(rig), 0);
	return rig;
}

static uint8_t do_write(struct rig *rig, const struct rig_req *r, uint64_t sector, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++)
		fill_sector(rig_ptr(rig, r->data + i * 512), sector + i, 1);
	return rig_do(rig, r, VIRTIO_BLK_T_OUT, sector, n * 512);
}

/* What a READ finds in each of the sectors: a generation, or -1 for zeroes. */
static void expect(struct rig *rig, const struct rig_req *r, uint64_t sector, uint64_t n,
		   int (*gen)(uint64_t sector))
{
	static const uint8_t zeroes[512];
	uint64_t want[WORDS];

	memset(rig_ptr(rig, r->data), 0x5a, n * 512);
	assert_int_equal(rig_do(rig, r, VIRTIO_BLK_T_IN, sector, n * 512), VIRTIO_BLK_S_OK);
	for (uint64_t i = 0; i < n; i++) {
		const int g = gen(sector + i);

		fill_sector(want, sector + i, g);
		assert_memory_equal(rig_ptr(rig, r->data + i * 512), g < 0 ? (void *)zeroes : want,
				    512);
	}
}

static int gen_base(uint64_t sector)
{
	return 0;
}

static int gen_new(uint64_t sector)
{
	return 1;
}

static int gen_zeroes(uint64_t sector)
{
	return -1;
}

static int gen_every_third(uint64_t sector)
{
	return sector % 3 == 0;
}

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

static uint64_t blocks_of(const struct rig *rig)
{
	struct stat st;

	assert_int_equal(fstat(rig->be.fd, &st), 0);
	return st.st_blocks;
}

static uint8_t do_range(struct rig *rig, const struct rig_req *r, uint32_t type, uint64_t sector,
			uint32_t n, uint32_t flags)
{
	struct virtio_blk_discard_write_zeroes *seg = rig_ptr(rig, r->data);

	*seg = (struct virtio_blk_discard_write_zeroes){ sector, n, flags };
	return rig_do(rig, r, type, 0, sizeof(*seg));
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

static void a_full_file_system_fails_writes_and_nothing_else(void **state)
{
	char dir[] = "/var/tmp/mvmm-test-XXXXXX";

	assert_non_null(mkdtemp(dir));
	if (mount("none", dir, "tmpfs", 0, "size=2m")) {
		rmdir(dir);
		print_message("no leave to mount a tmpfs\n");
		skip();
	}
	for (unsigned i = 0; i < ENGINES; i++)
		check_full(&engines[i], dir);
	assert_int_equal(umount(dir), 0);
	assert_int_equal(rmdir(dir), 0);
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
		cmocka_unit_test(a_base_that_fails_fails_its_own_reads),
		cmocka_unit_test(nothing_is_ever_synced),
		cmocka_unit_test(a_full_file_system_fails_writes_and_nothing_else),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
