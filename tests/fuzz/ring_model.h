/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the ring target knows about each queue by itself: where its rings are, which heads the device
 * holds, and what every byte of guest RAM may be. The linker leads the dataplane's calls of
 * virtqueue.c through here (--wrap), so that each answer is held against a second walk over the same
 * bytes, and each effect against what was allowed.
 */
#ifndef MVMM_TESTS_FUZZ_RING_MODEL_H
#define MVMM_TESTS_FUZZ_RING_MODEL_H

#include <errno.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <stdbool.h>

#include "tests/fuzz/ring_memory.h"
#include "virtio/virtqueue.h"

#define MODEL_QUEUES 2
#define MODEL_SIZE   256 /* the largest queue */

/* A head that the device has taken and not given back. */
struct flight {
	bool live;
	bool known;	/* nothing changed under the device's eyes: `type` is what it saw */
	bool submitted; /* an engine has it */
	bool durable;	/* a WRITE must be on stable storage before it is OK */
	bool synced;	/* a sync of it has succeeded */
	bool failed;	/* the host failed a part of it */
	bool resent;	/* sent again after that: on-error= */
	uint32_t type;
	uint64_t sector;
	uint64_t done; /* bytes the engine has moved */
	struct desc_chain chain;
};

struct model_queue {
	const struct virtqueue *vq; /* NULL: not running */
	uint16_t size, last_avail, seen, next_used, signalled;
	bool event_idx, indirect;
	uint8_t *desc, *avail, *used;
	struct flight flight[MODEL_SIZE];
};

static struct {
	struct model_queue queue[MODEL_QUEUES];
	unsigned order[MODEL_QUEUES]; /* the ready queues, as START will start them */
	unsigned nstarted;
	bool broken;	  /* a ring is: hands off until a reset */
	bool durable_now; /* what a WRITE popped now must be */
	bool volatile_cache;
	bool keeps_failed; /* on-error= says so of some errors at least */
	bool sync_failed;  /* written data may be lost: no sync is honest any more */
	unsigned raced;	   /* times the guest wrote in the middle of the device's work */
	struct flight *last_popped;
} model;

static inline struct model_queue *model_of(const struct virtqueue *vq)
{
	for (unsigned i = 0; i < MODEL_QUEUES; i++)
		if (model.queue[i].vq == vq)
			return &model.queue[i];
	return NULL;
}

static inline struct flight *flight_of(unsigned queue, unsigned head)
{
	fuzz_check(queue < MODEL_QUEUES && head < MODEL_SIZE, "queue %u, head %u", queue, head);
	fuzz_check(model.queue[queue].flight[head].live, "I/O for head %u, which is not ours",
		   head);
	return &model.queue[queue].flight[head];
}

/* ---- memory ---------------------------------------------------------------------------------- */

static inline bool iov_covers(const struct iovec *iov, const uint8_t *p)
{
	return iov->iov_base && (uintptr_t)p - (uintptr_t)iov->iov_base < iov->iov_len;
}

/* Where the writable buffers of requests under way that hold `p` end; NULL: none does. */
static inline const uint8_t *writable_until(const uint8_t *p)
{
	for (unsigned q = 0; q < MODEL_QUEUES; q++) {
		for (unsigned h = 0; h < MODEL_SIZE; h++) {
			const struct flight *f = &model.queue[q].flight[h];
			const struct iovec *iov = f->chain.iov + f->chain.nreadable;

			for (unsigned i = 0; f->live && i < f->chain.nwritable; i++)
				if (iov_covers(&iov[i], p))
					return (uint8_t *)iov[i].iov_base + iov[i].iov_len;
		}
	}
	return NULL;
}

static inline void check_slot(uint8_t *at, uint8_t *shadow, uint64_t size, uint64_t gpa)
{
	uint64_t i = 0;

	if (!memcmp(at, shadow, size))
		return;
	while (i < size) {
		const uint8_t *end;

		if (at[i] == shadow[i]) {
			i++;
			continue;
		}
		end = writable_until(at + i);
		fuzz_check(end, "guest byte %#llx was written and is in no writable buffer",
			   (unsigned long long)(gpa + i));
		if (end > at + size)
			end = at + size;
		memcpy(shadow + i, at + i, end - (at + i));
		i = end - at;
	}
}

/* All of guest RAM is as it must be, but for buffers of requests under way. */
static inline void check_memory(void)
{
	check_slot(ram.low, ram.low_shadow, LOW_SIZE, 0);
	check_slot(ram.high, ram.high_shadow, HIGH_SIZE, HIGH_GPA);
}

/* A piece that an engine is given lies in the request's own buffers of the right direction. */
static inline void flight_check_buffer(const struct flight *f, const struct iovec *piece,
				       bool to_disk)
{
	const unsigned first = to_disk ? 0 : f->chain.nreadable;
	const unsigned n = to_disk ? f->chain.nreadable : f->chain.nwritable;

	fuzz_check(ram_holds(piece->iov_base, piece->iov_len), "I/O outside guest RAM");
	for (unsigned i = first; i < first + n; i++) {
		const struct iovec *iov = &f->chain.iov[i];

		if (iov_covers(iov, piece->iov_base) &&
		    (uint8_t *)piece->iov_base + piece->iov_len <=
			    (uint8_t *)iov->iov_base + iov->iov_len)
			return;
	}
	fuzz_fail("I/O outside the buffers of its request");
}

/* ---- the second walk ------------------------------------------------------------------------- */

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

/* ---- calls of the dataplane ------------------------------------------------------------------ */

int __real_virtq_start(struct virtqueue *vq, const struct guest_memory *mem,
		       const struct virtq_config *config, uint64_t features);
int __real_virtq_pop(struct virtqueue *vq, struct desc_chain *chain);
void __real_virtq_push(struct virtqueue *vq, uint16_t head, uint32_t written);
bool __real_virtq_publish(struct virtqueue *vq);
void __real_virtq_disable_notify(struct virtqueue *vq);
bool __real_virtq_enable_notify(struct virtqueue *vq);
int __wrap_virtq_start(struct virtqueue *vq, const struct guest_memory *mem,
		       const struct virtq_config *config, uint64_t features);
int __wrap_virtq_pop(struct virtqueue *vq, struct desc_chain *chain);
void __wrap_virtq_push(struct virtqueue *vq, uint16_t head, uint32_t written);
bool __wrap_virtq_publish(struct virtqueue *vq);
void __wrap_virtq_disable_notify(struct virtqueue *vq);
bool __wrap_virtq_enable_notify(struct virtqueue *vq);

static inline bool areas_overlap(const uint8_t *a, uint64_t a_len, const uint8_t *b, uint64_t b_len)
{
	return a < b + b_len && b < a + a_len;
}

/* 2.7: the rings of `config`, if that is a queue. */
static inline bool model_rings(struct model_queue *q, const struct virtq_config *config,
			       uint64_t features)
{
	const uint64_t n = config->size;
	const uint64_t event = features >> VIRTIO_RING_F_EVENT_IDX & 1 ? 2 : 0;
	const uint64_t desc = 16 * n, avail = 4 + 2 * n + event, used = 4 + 8 * n + event;

	if (!n || n > VIRTQ_MAX_SIZE || __builtin_popcountll(n) != 1)
		return false;
	if (!config->desc || !config->avail || !config->used)
		return false;
	if (config->desc % 16 || config->avail % 2 || config->used % 4)
		return false;
	q->desc = ram_at(config->desc, desc);
	q->avail = ram_at(config->avail, avail);
	q->used = ram_at(config->used, used);
	return q->desc && q->avail && q->used && !areas_overlap(q->desc, desc, q->avail, avail) &&
	       !areas_overlap(q->desc, desc, q->used, used) &&
	       !areas_overlap(q->avail, avail, q->used, used);
}

int __wrap_virtq_start(struct virtqueue *vq, const struct guest_memory *mem,
		       const struct virtq_config *config, uint64_t features)
{
	const int ret = __real_virtq_start(vq, mem, config, features);
	struct model_queue rings, *q;

	fuzz_check(!ret == model_rings(&rings, config, features), "a queue is %s",
		   ret ? "refused" : "taken that is none");
	if (ret)
		return ret;
	q = &model.queue[model.order[model.nstarted++]];
	q->vq = vq;
	q->desc = rings.desc;
	q->avail = rings.avail;
	q->used = rings.used;
	q->size = config->size;
	q->event_idx = features >> VIRTIO_RING_F_EVENT_IDX & 1;
	q->indirect = features >> VIRTIO_RING_F_INDIRECT_DESC & 1;
	q->last_avail = q->seen = q->next_used = q->signalled = 0;
	return 0;
}

/* What a chain must be, however the guest wrote while it was read. */
static inline void check_chain(const struct model_queue *q, const struct desc_chain *c)
{
	uint64_t readable = 0, writable = 0;

	fuzz_check(c->head < q->size && !q->flight[c->head].live, "head %u is popped", c->head);
	fuzz_check(c->nreadable + c->nwritable <= VIRTQ_MAX_CHAIN, "a chain of too many buffers");
	for (unsigned i = 0; i < c->nreadable + c->nwritable; i++) {
		const struct iovec *iov = &c->iov[i];

		fuzz_check(iov->iov_len && iov->iov_len <= UINT32_MAX, "a buffer's length");
		fuzz_check(iov->iov_base ? ram_holds(iov->iov_base, iov->iov_len) : c->bad_address,
			   "a buffer outside guest RAM");
		*(i < c->nreadable ? &readable : &writable) += iov->iov_len;
	}
	fuzz_check(readable == c->readable && writable == c->writable, "a chain's sums");
}

static inline void compare_chains(const struct desc_chain *a, const struct desc_chain *b)
{
	fuzz_check(!memcmp(a->iov, b->iov, (b->nreadable + b->nwritable) * sizeof(b->iov[0])) &&
			   a->nreadable == b->nreadable && a->nwritable == b->nwritable &&
			   a->bad_order == b->bad_order && a->bad_address == b->bad_address,
		   "a chain of %u and %u buffers, not of %u and %u", a->nreadable, a->nwritable,
		   b->nreadable, b->nwritable);
}

/* The request's type and sector, as its header says now; no type but UINT32_MAX: it has none. */
static inline void read_header(struct flight *f)
{
	struct virtio_blk_outhdr hdr = { .type = UINT32_MAX };
	const struct desc_chain *c = &f->chain;
	uint8_t bytes[sizeof(hdr)];
	unsigned n = 0;

	for (unsigned i = 0; i < c->nreadable && c->iov[i].iov_base; i++)
		for (unsigned k = 0; k < c->iov[i].iov_len && n < sizeof(bytes); k++)
			bytes[n++] = ((uint8_t *)c->iov[i].iov_base)[k];
	if (n == sizeof(bytes))
		memcpy(&hdr, bytes, sizeof(hdr));
	f->type = hdr.type;
	f->sector = hdr.sector;
}

static inline void take_off(struct model_queue *q, const struct desc_chain *chain, bool known)
{
	struct flight *f = &q->flight[chain->head];

	memset(f, 0, offsetof(struct flight, chain));
	f->live = true;
	f->known = known;
	f->durable = model.durable_now;
	f->chain = *chain;
	read_header(f);
	q->last_avail++;
	model.last_popped = f;
}

int __wrap_virtq_pop(struct virtqueue *vq, struct desc_chain *chain)
{
	struct model_queue *q = model_of(vq);
	const unsigned raced = model.raced;
	static struct desc_chain want;
	int expected, ret;

	fuzz_check(!model.broken, "a broken ring is read");
	if (!q) {
		fuzz_check(!__real_virtq_pop(vq, chain), "a queue that does not run is read");
		return 0;
	}
	expected = expect_pop(q, &want);
	ret = __real_virtq_pop(vq, chain);
	if (model.raced == raced) {
		fuzz_check(ret == expected, "virtq_pop() says %d, not %d", ret, expected);
		if (ret == 1)
			compare_chains(chain, &want);
	} else {
		q->seen = vq->seen_avail;
	}
	fuzz_check(ret == 1 || ret == 0 || ret == -EPROTO, "virtq_pop() says %d", ret);
	if (ret == 1) {
		check_chain(q, chain);
		take_off(q, chain, model.raced == raced);
	}
	model.broken = ret < 0;
	return ret;
}

/* A status of OK is a promise. */
static inline void check_promise(const struct flight *f)
{
	switch (f->type) {
	case VIRTIO_BLK_T_IN:
		fuzz_check(f->done == f->chain.writable - 1, "READ is OK after %llu bytes",
			   (unsigned long long)f->done);
		break;
	case VIRTIO_BLK_T_OUT:
		fuzz_check(f->done == f->chain.readable - 16, "WRITE is OK after %llu bytes",
			   (unsigned long long)f->done);
		break;
	case VIRTIO_BLK_T_FLUSH:
		fuzz_check(f->synced || !model.volatile_cache,
			   "FLUSH is OK without a sync, or after one that failed");
		break;
	case VIRTIO_BLK_T_GET_ID:
	case VIRTIO_BLK_T_DISCARD:
	case VIRTIO_BLK_T_WRITE_ZEROES:
		break;
	default:
		fuzz_fail("a request of type %u is OK", f->type);
	}
	fuzz_check(!f->failed, "a request the host failed is OK");
}

/* 2.7.8.2: so many bytes from the start of the writable buffers were written. */
static inline void check_written(const struct flight *f, uint32_t written, bool ok)
{
	const uint64_t writable = f->chain.writable;

	fuzz_check(written <= writable, "used.len %u of %llu", written,
		   (unsigned long long)writable);
	if (!f->known)
		return;
	if (f->type == VIRTIO_BLK_T_IN) {
		fuzz_check(written == f->done + (f->done + 1 == writable), "used.len %u after %llu",
			   written, (unsigned long long)f->done);
		fuzz_check(!ok || written == writable, "READ is OK with %u", written);
	} else if (f->type != VIRTIO_BLK_T_GET_ID) {
		fuzz_check(written <= 1 && (!written || writable == 1), "used.len %u", written);
	}
}

static inline void check_end(const struct flight *f, uint32_t written)
{
	const struct iovec *end = f->chain.iov + f->chain.nreadable + f->chain.nwritable;
	uint8_t status;

	fuzz_check(!f->submitted, "a request ends that an engine still has");
	if (!f->chain.nwritable || !end[-1].iov_base) {
		fuzz_check(!written, "used.len %u without a status", written);
		return;
	}
	status = ((uint8_t *)end[-1].iov_base)[end[-1].iov_len - 1];
	if (f->known) {
		fuzz_check(status <= VIRTIO_BLK_S_UNSUPP, "status %u", status);
		if (status == VIRTIO_BLK_S_OK)
			check_promise(f);
	}
	check_written(f, written, status == VIRTIO_BLK_S_OK);
}

void __wrap_virtq_push(struct virtqueue *vq, uint16_t head, uint32_t written)
{
	struct model_queue *q = model_of(vq);
	const struct vring_used_elem elem = { .id = head, .len = written };

	fuzz_check(q && !model.broken, "a ring is written that is not the device's");
	fuzz_check(head < q->size && q->flight[head].live, "head %u ends, which is not out", head);
	check_end(&q->flight[head], written);
	check_memory();
	q->flight[head].live = false;
	__real_virtq_push(vq, head, written);
	device_wrote(q->used + 4 + 8 * (q->next_used % q->size), &elem, sizeof(elem),
		     "the used element");
	q->next_used++;
}

/* A word of the device's own, unless the guest wrote meanwhile, perhaps over it. */
static inline void device_stored(const uint8_t *p, uint16_t value, unsigned raced, const char *what)
{
	if (model.raced == raced)
		device_wrote(p, &value, sizeof(value), what);
	else
		memcpy(shadow_of(p), p, sizeof(value));
}

static inline bool expect_interrupt(const struct model_queue *q)
{
	const uint16_t event = word_at(q->avail + 4 + 2 * q->size);

	if (!q->event_idx)
		return !(word_at(q->avail) & VRING_AVAIL_F_NO_INTERRUPT);
	/* 2.7.7.2: the element the driver waits for is among the new ones. */
	for (uint16_t i = q->signalled; i != q->next_used; i++)
		if (i == event)
			return true;
	return false;
}

bool __wrap_virtq_publish(struct virtqueue *vq)
{
	struct model_queue *q = model_of(vq);
	const unsigned raced = model.raced;
	bool ret, expected;

	fuzz_check(q && !model.broken, "a ring is published that is not the device's");
	ret = __real_virtq_publish(vq);
	if (q->signalled == q->next_used) {
		fuzz_check(!ret, "an interrupt for nothing");
		return ret;
	}
	device_stored(q->used + 2, q->next_used, raced, "used->idx");
	expected = expect_interrupt(q);
	fuzz_check(ret == expected || model.raced != raced, "%s interrupt",
		   expected ? "no" : "an unwanted");
	q->signalled = q->next_used;
	return ret;
}

void __wrap_virtq_disable_notify(struct virtqueue *vq)
{
	const uint16_t no = VRING_USED_F_NO_NOTIFY;
	struct model_queue *q = model_of(vq);

	__real_virtq_disable_notify(vq);
	if (q && !q->event_idx)
		device_wrote(q->used, &no, 2, "used->flags");
}

bool __wrap_virtq_enable_notify(struct virtqueue *vq)
{
	const unsigned raced = model.raced;
	struct model_queue *q = model_of(vq);
	const bool ret = __real_virtq_enable_notify(vq);

	if (!q)
		return ret;
	fuzz_check(!model.broken, "kicks are asked for by a broken device");
	if (q->event_idx)
		device_stored(q->used + 4 + 8 * q->size, q->last_avail, raced, "avail_event");
	else
		device_stored(q->used, 0, raced, "used->flags");
	fuzz_check(ret == (word_at(q->avail + 2) != q->last_avail) || model.raced != raced,
		   "work is overlooked");
	return ret;
}

#endif
