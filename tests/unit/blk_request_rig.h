/* SPDX-License-Identifier: Apache-2.0 */
/* One request of a driver as the disk finds it in a descriptor chain. */
#ifndef MVMM_TESTS_BLK_REQUEST_RIG_H
#define MVMM_TESTS_BLK_REQUEST_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "virtio/blk/iov.h"
#include "virtio/blk/request.h"

#include "virtio/blk/iov.h"
#include "virtio/blk/request.h"

#define SECTORS 2048
#define F_ALL	(1ULL << VIRTIO_BLK_F_DISCARD | 1ULL << VIRTIO_BLK_F_WRITE_ZEROES)

struct rig {
	uint8_t mem[64 << 10];
	struct iovec spill[VIRTQ_MAX_CHAIN];
	struct block_backend be;
	struct blk_limits limits;
	struct desc_chain chain;
	struct blk_request req;
};

static inline void limits(struct rig *rig, uint64_t features, const char *serial)
{
	blk_limits_init(&rig->limits, &rig->be, rig->be.size, features, serial);
}

static inline int setup(void **state)
{
	static struct rig rig;

	memset(&rig, 0xa5, sizeof(rig));
	memset(&rig.chain, 0, sizeof(rig.chain));
	rig.req.spill = rig.spill;
	rig.be = (struct block_backend){
		.size = SECTORS * 512,
		.block_size = 512,
		.mem_align = 512,
		.offset_align = 512,
		.direct = true,
		.can_discard = true,
	};
	limits(&rig, F_ALL, "serial-0123");
	*state = &rig;
	return 0;
}

/* Appends a buffer at mem + off; writable ones come last, as virtq_pop() sees to it. */
static inline void add(struct rig *rig, bool writable, size_t off, size_t len)
{
	struct desc_chain *c = &rig->chain;

	c->iov[c->nreadable + c->nwritable] = (struct iovec){ rig->mem + off, len };
	if (writable) {
		c->nwritable++;
		c->writable += len;
	} else {
		c->nreadable++;
		c->readable += len;
	}
}

/* A header at mem + 0. */
static inline void header(struct rig *rig, uint32_t type, uint64_t sector)
{
	const struct virtio_blk_outhdr hdr = { .type = type, .sector = sector };

	memcpy(rig->mem, &hdr, sizeof(hdr));
	add(rig, false, 0, sizeof(hdr));
}

static inline int parse(struct rig *rig)
{
	return blk_request_parse(&rig->req, &rig->chain, &rig->limits);
}

#define DATA   4096 /* where data buffers lie in mem */
#define STATUS 60000

static inline int parse_rw(struct rig *rig, uint32_t type, uint64_t sector, size_t len)
{
	header(rig, type, sector);
	if (len)
		add(rig, type == VIRTIO_BLK_T_IN, DATA, len);
	add(rig, true, STATUS, 1);
	return parse(rig);
}

/* A range command with `n` ranges laid out at mem + DATA. */
static inline int parse_ranges(struct rig *rig, uint32_t type,
			       const struct virtio_blk_discard_write_zeroes *seg, unsigned n)
{
	header(rig, type, 0);
	memcpy(rig->mem + DATA, seg, n * sizeof(*seg));
	if (n)
		add(rig, false, DATA, n * sizeof(*seg));
	add(rig, true, STATUS, 1);
	return parse(rig);
}

static inline int parse_range(struct rig *rig, uint32_t type, uint64_t sector, uint32_t num,
			      uint32_t flags)
{
	return parse_ranges(rig, type,
			    &(struct virtio_blk_discard_write_zeroes){ sector, num, flags }, 1);
}

#define T(name) cmocka_unit_test_setup(name, setup)

#endif
