/* SPDX-License-Identifier: Apache-2.0 */
/* The driver of the ring target: requests as one would build them, and what none would. */
#ifndef MVMM_TESTS_FUZZ_RING_DRIVER_H
#define MVMM_TESTS_FUZZ_RING_DRIVER_H

#include "tests/fuzz/ring_run.h"

static inline void put_desc(uint64_t table, unsigned i, uint64_t addr, uint32_t len, uint16_t flags,
			    uint16_t next)
{
	const struct vring_desc d = { addr, len, flags, next };

	guest_write(table + 16ULL * i, &d, sizeof(d));
}

/* 2.7.10, 2.7.13.4: does the device ask for a kick when avail->idx becomes `idx`? */
static inline bool wants_kick(unsigned q, uint16_t idx)
{
	const struct model_queue *m = &model.queue[q];

	if (!m->vq)
		return true;
	if (m->event_idx)
		return word_at(m->used + 4 + 8 * m->size) == (uint16_t)(idx - 1);
	return !(word_at(m->used) & VRING_USED_F_NO_NOTIFY);
}

static inline void offer(unsigned q, uint16_t head)
{
	const uint16_t size = run.config[q].size ? run.config[q].size : 1;

	guest_write(run.config[q].avail + 4 + 2ULL * (run.avail[q] % size), &head, 2);
	run.avail[q]++;
	guest_write(run.config[q].avail + 2, &run.avail[q], 2);
	run.kicked |= wants_kick(q, run.avail[q]);
}

/* A head that the device does not hold, if there is one within reach. */
static inline unsigned free_head(unsigned q, unsigned n)
{
	const unsigned size = run.config[q].size ? run.config[q].size : 1;
	unsigned head = 0;

	for (unsigned tries = 0; tries < size; tries++) {
		head = run.next_desc[q] % size;
		run.next_desc[q] = (head + 1) % size;
		if (head >= MODEL_SIZE || !model.queue[q].flight[head].live)
			break;
	}
	run.next_desc[q] = (head + n) % size;
	return head;
}

static inline uint32_t request_type(unsigned code)
{
	static const uint32_t types[] = {
		VIRTIO_BLK_T_IN,	   VIRTIO_BLK_T_OUT,	 VIRTIO_BLK_T_IN,
		VIRTIO_BLK_T_OUT,	   VIRTIO_BLK_T_FLUSH,	 VIRTIO_BLK_T_GET_ID,
		VIRTIO_BLK_T_WRITE_ZEROES, VIRTIO_BLK_T_DISCARD, VIRTIO_BLK_T_SCSI_CMD,
		VIRTIO_BLK_T_SECURE_ERASE, UINT32_MAX,
	};

	return types[code % (sizeof(types) / sizeof(types[0]))];
}

struct buffer {
	uint64_t gpa;
	uint32_t len;
	uint16_t flags;
};

/* What a driver would build: header, data, status; returns how many buffers. */
static inline unsigned build_request(const struct action *x, struct buffer *buf)
{
	const uint64_t hdr = HEADERS_GPA + 32ULL * (run.next_header % HEADERS);
	const uint32_t type = request_type(x->a & 15);
	const uint16_t flags =
		type == VIRTIO_BLK_T_IN || type == VIRTIO_BLK_T_GET_ID ? VRING_DESC_F_WRITE : 0;
	const struct virtio_blk_outhdr head = {
		.type = type,
		.sector = x->c < 0x8000 ? x->c % (SECTORS + 2) : -(uint64_t)(x->c & 0x7fff),
	};
	const struct virtio_blk_discard_write_zeroes range = {
		.sector = x->c % (SECTORS + 2),
		.num_sectors = x->b,
		.flags = x->c >> 14,
	};
	const unsigned data = type == VIRTIO_BLK_T_FLUSH ? 0 : x->b & 7;
	uint64_t at = gpa_decode(x->d);
	unsigned n = 0;

	guest_write(hdr, &head, sizeof(head));
	buf[n++] = (struct buffer){ hdr, sizeof(head), 0 };
	if (type == VIRTIO_BLK_T_DISCARD || type == VIRTIO_BLK_T_WRITE_ZEROES)
		guest_write(at, &range, sizeof(range));
	for (unsigned i = 0; i < data; i++) {
		/* Sectors, or a range, or pieces that make sectors only together. */
		const uint32_t len = !flags && type != VIRTIO_BLK_T_OUT ? 16
				     : x->b & 0x80			? 512u >> (x->b >> 4 & 3)
									: 512u << (x->b >> 4 & 3);

		buf[n++] = (struct buffer){ at, len, flags };
		at += len;
	}
	buf[n++] = (struct buffer){ hdr + 24, 1, VRING_DESC_F_WRITE };
	return n;
}

static inline void add_request(const struct action *x, unsigned q)
{
	const unsigned size = run.config[q].size ? run.config[q].size : 1;
	const uint64_t table = TABLES_GPA + 128ULL * (run.next_header % 32);
	struct buffer buf[16];
	unsigned n = build_request(x, buf), head;

	run.next_header++;
	if (x->a & 0x40) /* no status */
		n--;
	if (x->a & 0x20 && n > 2) { /* the status shares the last buffer */
		n--;
		buf[n - 1].len++;
	}
	if (x->a & 0x10 && n <= 8) {
		head = free_head(q, 1);
		for (unsigned i = 0; i < n; i++)
			put_desc(table, i, buf[i].gpa, buf[i].len,
				 buf[i].flags | (i + 1 < n ? VRING_DESC_F_NEXT : 0), i + 1);
		put_desc(run.config[q].desc, head, table, 16 * n, VRING_DESC_F_INDIRECT, 0);
	} else {
		head = free_head(q, n);
		for (unsigned i = 0; i < n; i++)
			put_desc(run.config[q].desc, (head + i) % size, buf[i].gpa, buf[i].len,
				 buf[i].flags | (i + 1 < n ? VRING_DESC_F_NEXT : 0),
				 (head + i + 1) % size);
	}
	offer(q, head);
}

static inline void set_event(const struct action *x, unsigned q)
{
	const uint16_t size = run.config[q].size;

	if (x->a & 1)
		guest_write(run.config[q].avail + 4 + 2ULL * size, &x->c, 2);
	else
		guest_write(run.config[q].avail, &x->c, 2);
}

static inline void jump(const struct action *x, unsigned q)
{
	run.avail[q] += (int16_t)x->c;
	guest_write(run.config[q].avail + 2, &run.avail[q], 2);
}

#endif
