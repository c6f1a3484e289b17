/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio 1.2, 2.7.5, said once more: what the device must find in a ring, by a second walk over the
 * same bytes.
 */
#ifndef MVMM_TESTS_FUZZ_RING_WALK_H
#define MVMM_TESTS_FUZZ_RING_WALK_H

#include <errno.h>

#include "tests/fuzz/ring_model.h"

static inline uint16_t word_at(const uint8_t *p)
{
	uint16_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

struct walk {
	const struct model_queue *q;
	const uint8_t *table;
	uint32_t n;
	struct desc_chain *chain;
};

static inline int walk_indirect(struct walk *w, const struct vring_desc *d)
{
	if (!w->q->indirect || w->table != w->q->desc || d->flags & VRING_DESC_F_NEXT)
		return -EPROTO;
	if (!d->len || d->len % 16 || d->len / 16 > VIRTQ_MAX_SIZE)
		return -EPROTO;
	w->table = ram_at(d->addr, d->len);
	w->n = d->len / 16;
	return w->table && w->table != w->q->desc ? 0 : -EPROTO;
}

static inline int walk_buffer(struct walk *w, const struct vring_desc *d)
{
	struct desc_chain *c = w->chain;
	uint8_t *base;

	if (!d->len || c->bad_order)
		return 0;
	if (c->nreadable + c->nwritable == VIRTQ_MAX_CHAIN)
		return -EPROTO;
	base = ram_at(d->addr, d->len);
	c->bad_address |= !base;
	c->iov[c->nreadable + c->nwritable] = (struct iovec){ base, d->len };
	if (d->flags & VRING_DESC_F_WRITE) {
		c->nwritable++;
		c->writable += d->len;
	} else if (c->nwritable) {
		c->bad_order = true;
		c->nreadable = c->nwritable = 0;
		c->readable = c->writable = 0;
	} else {
		c->nreadable++;
		c->readable += d->len;
	}
	return 0;
}

/* virtio 1.2, 2.7.5: what a chain is, said once more. */
static inline int walk(const struct model_queue *q, uint16_t head, struct desc_chain *chain)
{
	struct walk w = { .q = q, .table = q->desc, .n = q->size, .chain = chain };
	uint32_t i = head;

	memset(chain, 0, offsetof(struct desc_chain, iov));
	chain->head = head;
	for (unsigned left = VIRTQ_MAX_CHAIN + 1; left; left--) {
		struct vring_desc d;
		int ret;

		if (i >= w.n)
			return -EPROTO;
		memcpy(&d, w.table + 16 * i, sizeof(d));
		if (d.flags & VRING_DESC_F_INDIRECT) {
			ret = walk_indirect(&w, &d);
			i = 0;
		} else {
			ret = walk_buffer(&w, &d);
			i = d.next;
			if (!ret && !(d.flags & VRING_DESC_F_NEXT))
				return 1;
		}
		if (ret)
			return ret;
	}
	return -EPROTO;
}

/* What virtq_pop() must say: 1, 0 or -EPROTO. */
static inline int expect_pop(struct model_queue *q, struct desc_chain *chain)
{
	uint16_t head;

	if (q->last_avail == q->seen) {
		const uint16_t idx = word_at(q->avail + 2);

		if ((uint16_t)(idx - q->last_avail) > q->size)
			return -EPROTO;
		q->seen = idx;
		if (idx == q->last_avail)
			return 0;
	}
	head = word_at(q->avail + 4 + 2 * (q->last_avail % q->size));
	if (head >= q->size || q->flight[head].live)
		return -EPROTO;
	return walk(q, head, chain);
}

#endif
