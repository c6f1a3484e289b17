/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Walks scatter lists for request.c and the workers; see iov.h. Any thread, on lists of its own.
 * Knows nothing of virtio: where a header ends and data begins is request.c's business.
 */
#include "virtio/blk/iov.h"

#include <string.h>

/* The pieces of [off, off + len), one per call: the state of a walk over the list. */
struct iov_walk {
	const struct iovec *iov;
	const struct iovec *end;
	uint64_t skip; /* bytes still before the part */
	uint64_t left; /* bytes of the part still to come */
};

static struct iov_walk walk_begin(const struct iovec *iov, unsigned n, uint64_t off, uint64_t len)
{
	return (struct iov_walk){ .iov = iov, .end = iov + n, .skip = off, .left = len };
}

/* An iov_len of 0 means the walk is over. */
static struct iovec walk_next(struct iov_walk *w)
{
	for (; w->left && w->iov < w->end; w->iov++) {
		struct iovec piece = *w->iov;

		if (w->skip >= piece.iov_len) {
			w->skip -= piece.iov_len;
			continue;
		}
		piece.iov_base = (uint8_t *)piece.iov_base + w->skip;
		piece.iov_len -= w->skip;
		if (piece.iov_len > w->left)
			piece.iov_len = w->left;
		w->skip = 0;
		w->left -= piece.iov_len;
		w->iov++;
		return piece;
	}
	return (struct iovec){ .iov_len = 0 };
}

uint64_t iov_read(const struct iovec *iov, unsigned n, uint64_t off, void *dst, uint64_t len)
{
	struct iov_walk w = walk_begin(iov, n, off, len);
	uint64_t done = 0;
	struct iovec p;

	for (p = walk_next(&w); p.iov_len; p = walk_next(&w)) {
		memcpy((uint8_t *)dst + done, p.iov_base, p.iov_len);
		done += p.iov_len;
	}
	return done;
}

uint64_t iov_write(const struct iovec *iov, unsigned n, uint64_t off, const void *src, uint64_t len)
{
	struct iov_walk w = walk_begin(iov, n, off, len);
	uint64_t done = 0;
	struct iovec p;

	for (p = walk_next(&w); p.iov_len; p = walk_next(&w)) {
		memcpy(p.iov_base, (const uint8_t *)src + done, p.iov_len);
		done += p.iov_len;
	}
	return done;
}

unsigned iov_slice(struct iovec *dst, const struct iovec *iov, unsigned n, uint64_t off,
		   uint64_t len)
{
	struct iov_walk w = walk_begin(iov, n, off, len);
	unsigned used = 0;
	struct iovec p;

	for (p = walk_next(&w); p.iov_len; p = walk_next(&w))
		dst[used++] = p;
	return used;
}

uint8_t *iov_last_byte(const struct iovec *iov, unsigned n)
{
	while (n--) {
		if (!iov[n].iov_len)
			continue;
		return iov[n].iov_base ? (uint8_t *)iov[n].iov_base + iov[n].iov_len - 1 : NULL;
	}
	return NULL;
}
