/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Random verified I/O on a range of blocks: every write carries block and generation, every read
 * must find the last generation written. One driver, and thread, per queue.
 */
#ifndef MVMM_TESTS_DRIVER_H
#define MVMM_TESTS_DRIVER_H

#include "tests/dataplane/rig.h"

#define BLOCK  4096
#define BLOCKS (RIG_SIZE / BLOCK)

struct driver {
	struct rig *rig;
	unsigned q, depth, requests;
	uint64_t first, n;    /* its blocks */
	uint32_t gen[BLOCKS]; /* 0: as the file was made */
	bool busy[BLOCKS];
	struct rig_req req[64];
	struct {
		uint64_t block;
		bool write;
	} job[64];
	uint64_t seed;
	const char *error;
	_Atomic bool finished;
};

static inline uint32_t next_random(struct driver *d)
{
	d->seed = d->seed * 6364136223846793005ULL + 1442695040888963407ULL;
	return d->seed >> 33;
}

static inline void fill(uint8_t *data, uint64_t block, uint32_t gen)
{
	uint64_t *w = (uint64_t *)data;

	if (!gen) {
		memset(data, (int)block, BLOCK);
		return;
	}
	for (unsigned i = 0; i < BLOCK / 8; i++)
		w[i] = block << 40 ^ (uint64_t)gen << 16 ^ i;
}

static inline bool queue_one(struct driver *d, unsigned slot)
{
	uint64_t block;
	bool write;

	do {
		block = d->first + next_random(d) % d->n;
	} while (d->busy[block]);
	write = next_random(d) % 2;
	d->busy[block] = true;
	d->job[slot].block = block;
	d->job[slot].write = write;
	if (write)
		fill(rig_ptr(d->rig, d->req[slot].data), block, ++d->gen[block]);
	else
		memset(rig_ptr(d->rig, d->req[slot].data), 0x5a, BLOCK);
	return rig_queue(d->rig, d->q, &d->req[slot], write ? VIRTIO_BLK_T_OUT : VIRTIO_BLK_T_IN,
			 block * (BLOCK / 512), BLOCK, slot) >= 0;
}

static inline const char *check_one(struct driver *d, const struct fake_done *done)
{
	const uint64_t slot = done->cookie;
	uint8_t want[BLOCK];

	if (slot >= d->depth)
		return "a completion nobody waits for";
	if (rig_status(d->rig, &d->req[slot]) != VIRTIO_BLK_S_OK)
		return "status is not OK";
	if (done->len != (d->job[slot].write ? 1 : BLOCK + 1))
		return "wrong used length";
	fill(want, d->job[slot].block, d->gen[d->job[slot].block]);
	if (!d->job[slot].write && memcmp(want, rig_ptr(d->rig, d->req[slot].data), BLOCK))
		return "wrong data";
	d->busy[d->job[slot].block] = false;
	return NULL;
}

static inline void *drive(void *arg)
{
	struct driver *d = arg;
	struct fake_done done;
	unsigned queued = 0;

	for (; queued < d->depth && !d->error; queued++)
		if (!queue_one(d, queued))
			d->error = "queue full";
	rig_kick(d->rig, d->q);
	for (unsigned finished = 0; finished < d->requests && !d->error; finished++) {
		if (!rig_wait(d->rig, d->q, &done)) {
			d->error = "no completion, no interrupt";
			break;
		}
		d->error = check_one(d, &done);
		if (d->error || queued == d->requests)
			continue;
		if (!queue_one(d, done.cookie))
			d->error = "queue full";
		queued++;
		rig_kick(d->rig, d->q);
	}
	d->finished = true;
	return NULL;
}

static inline struct driver *driver_new(struct rig *rig, unsigned q, unsigned depth,
					unsigned requests)
{
	struct driver *d = calloc(1, sizeof(*d));

	assert_non_null(d);
	d->rig = rig;
	d->q = q;
	d->depth = depth;
	d->requests = requests;
	d->n = BLOCKS / rig->config.nqueues;
	d->first = q * d->n;
	d->seed = 42 + q;
	for (unsigned i = 0; i < depth; i++)
		d->req[i] = rig_req(rig, BLOCK);
	return d;
}

#endif
