/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The dataplane's calls of virtqueue.c, which the linker leads through here (--wrap): each answer is
 * held against what the ring says (ring_walk.h), each effect against what was allowed.
 */
#ifndef MVMM_TESTS_FUZZ_RING_CALLS_H
#define MVMM_TESTS_FUZZ_RING_CALLS_H

#include "tests/fuzz/ring_walk.h"

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
