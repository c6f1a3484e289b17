/* SPDX-License-Identifier: Apache-2.0 */
/* A disk with an overlay, and one request at a time on it: each sector of the base has generation 0,
 * what is written 1. */
#ifndef MVMM_TESTS_OVERLAY_RIG_H
#define MVMM_TESTS_OVERLAY_RIG_H

#include <sys/stat.h>

#include "tests/dataplane/history.h"

static const struct rig_config engines[] = {
	{ .features = F_EVENT | F_INDIRECT },
	{ .features = F_EVENT, .aio = DISK_AIO_THREADS },
	{ .features = F_INDIRECT, .aio = DISK_AIO_THREADS, .cache = DISK_CACHE_WRITEBACK },
	{ .overlay_dir = "/dev/shm", .dir = "/dev/shm" },
};

#define ENGINES (sizeof(engines) / sizeof(engines[0]))

static inline struct rig *overlay_rig(struct rig_config config)
{
	struct rig *rig;

	config.overlay = true;
	config.features |= F_RANGES;
	rig = rig_new_stopped(config);
	make_base(rig);
	assert_int_equal(rig_start(rig), 0);
	return rig;
}

static inline uint8_t do_write(struct rig *rig, const struct rig_req *r, uint64_t sector,
			       uint64_t n)
{
	for (uint64_t i = 0; i < n; i++)
		fill_sector(rig_ptr(rig, r->data + i * 512), sector + i, 1);
	return rig_do(rig, r, VIRTIO_BLK_T_OUT, sector, n * 512);
}

/* What a READ finds in each of the sectors: a generation, or -1 for zeroes. */
static inline void expect(struct rig *rig, const struct rig_req *r, uint64_t sector, uint64_t n,
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

static inline int gen_base(uint64_t sector)
{
	return 0;
}

static inline int gen_new(uint64_t sector)
{
	return 1;
}

static inline int gen_zeroes(uint64_t sector)
{
	return -1;
}

static inline int gen_every_third(uint64_t sector)
{
	return sector % 3 == 0;
}

static inline uint64_t blocks_of(const struct rig *rig)
{
	struct stat st;

	assert_int_equal(fstat(rig->be.fd, &st), 0);
	return st.st_blocks;
}

static inline uint8_t do_range(struct rig *rig, const struct rig_req *r, uint32_t type,
			       uint64_t sector, uint32_t n, uint32_t flags)
{
	struct virtio_blk_discard_write_zeroes *seg = rig_ptr(rig, r->data);

	*seg = (struct virtio_blk_discard_write_zeroes){ sector, n, flags };
	return rig_do(rig, r, type, 0, sizeof(*seg));
}

#endif
