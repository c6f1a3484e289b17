/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One virtio-blk request (virtio 1.2, 5.2.6): a chain of the guest's made into work for a disk.
 *
 * A request is
 *	readable:	16 bytes header, then the data to write or the ranges to discard
 *	writable:	the data to read, then 1 byte status
 * and where the descriptors end is nobody's business (2.7.4): the header may come in sixteen
 * pieces, the status may share a buffer with the data.
 */
#ifndef MVMM_BLK_REQUEST_H
#define MVMM_BLK_REQUEST_H

#include <errno.h>
#include <libaio.h>
#include <linux/virtio_blk.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "virtio/blk/backend.h"
#include "virtio/virtqueue.h"

#define BLK_SECTOR_SIZE 512
#define BLK_SEG_MAX	(VIRTQ_MAX_CHAIN - 2) /* header and status take one each */

/* What is offered for DISCARD and WRITE_ZEROES: ranges per request, sectors per range. The second
 * is smaller because zeroes may have to be written one by one. */
#define BLK_MAX_RANGES		32
#define BLK_MAX_DISCARD_SECTORS (1U << 22)
#define BLK_MAX_ZEROES_SECTORS	(1U << 16)

enum blk_op {
	BLK_OP_READ,
	BLK_OP_WRITE,
	BLK_OP_FLUSH,
	BLK_OP_DISCARD,
	BLK_OP_WRITE_ZEROES,
	BLK_OP_OTHER, /* GET_ID, and whatever is refused */
	BLK_OP_COUNT,
};

/* The first ones are those whose time is measured. */
#define BLK_TIMED_OPS (BLK_OP_FLUSH + 1)

/* A checked range of DISCARD or WRITE_ZEROES, in bytes; as large as an iovec. */
struct blk_range {
	uint64_t offset;
	uint32_t sectors;
	bool unmap;
};

/* Scatter entries a request holds itself; longer ones spill into a table of VIRTQ_MAX_CHAIN entries
 * that costs memory only when touched. */
#define BLK_INLINE_IOV 8

/* Of the first of a group of neighbours that go to the kernel as one: see aio_native.h. */
struct blk_group {
	struct blk_request *last;
	uint32_t len; /* bytes of all */
	unsigned nseg;
};

/* Where the buffers behind a part begin: entries of the request's own table, but for the first, of
 * which the part may have had some. */
struct blk_later {
	struct iovec *iov;
	struct iovec first;
	uint16_t nseg;
};

/* The disk's, from a pool made at start; from pop to completion nobody else's. */
struct blk_request {
	struct iocb iocb;	  /* native engine; iocb.data is the request */
	struct blk_request *next; /* free list, the workers' stack of finished ones, or who shares
				   * the iocb of the first of a group */
	uint8_t *status;	  /* the guest's status byte; NULL: it gave none */
	uint64_t taken_ns;	  /* from its ring, where that is measured */
	uint64_t since_ns;	  /* when it began to wait for a job */
	uint64_t in_len;	  /* writable bytes before the status */
	uint64_t offset;	  /* in the image, bytes, where the rest of the I/O starts */
	uint32_t total;		  /* bytes of READ or WRITE */
	uint32_t len;		  /* of them still to do, or of the part that is being done */
	uint32_t later_len;	  /* behind that part: see blk_request_cut() */
	uint32_t written;	  /* bytes given to the guest, status apart */
	int32_t result;		  /* a worker's: 0 or -errno */
	const struct block_backend *be; /* for a worker, NULL: the pool's */
	uint16_t head;
	uint8_t queue;
	uint8_t op;	 /* enum blk_op */
	bool durable;	 /* WRITE: must be on stable storage when it completes */
	bool silent;	 /* its completion rings no eventfd: see aio_native.h */
	bool alone;	 /* must not be merged (again) */
	bool from_base;	 /* READ: of the file below the overlay */
	bool make_space; /* WRITE: a worker makes space for it, and nothing else: see overlay.h */
	uint16_t nseg;	 /* entries of iov or range */
	union {
		struct iovec *iov;	 /* READ, WRITE: the rest */
		struct blk_range *range; /* DISCARD, WRITE_ZEROES */
	};
	struct iovec *spill; /* VIRTQ_MAX_CHAIN entries */
	struct blk_later later;
	struct blk_group group;
	struct iovec inline_iov[BLK_INLINE_IOV];
};

/* Promises durability for more than its own data, or for that. */
static inline bool blk_request_promises(const struct blk_request *req)
{
	if (req->op == BLK_OP_FLUSH)
		return true;
	return req->durable && (req->op == BLK_OP_WRITE || req->op == BLK_OP_WRITE_ZEROES);
}

/* Does its end, with `error`, say that more may be lost than its own data? A sync does. A WRITE that
 * found no space, or too large a file, has lost nothing; of an I/O error nobody knows whether it came
 * from its sync. */
static inline bool blk_request_lost(const struct blk_request *req, int error)
{
	return error && blk_request_promises(req) && (req->op == BLK_OP_FLUSH || error == -EIO);
}

/* What requests of one disk are held against. Changes only while it is drained, but for a size that
 * grows. */
struct blk_limits {
	uint64_t size;	  /* bytes the guest may touch */
	uint32_t granule; /* lengths and offsets must be multiples: 512 or what direct I/O needs */
	bool readonly;
	bool volatile_cache; /* FLUSH has something to do */
	bool discard;	     /* negotiated */
	bool write_zeroes;
	char id[VIRTIO_BLK_ID_BYTES]; /* GET_ID's answer, NUL-padded, perhaps without a NUL */
};

/* `serial` becomes `id`; the rest comes from the image and the negotiated features. */
void blk_limits_init(struct blk_limits *limits, const struct block_backend *be, uint64_t size,
		     uint64_t features, const char *serial);

/* Another image of the same size, engine and rights takes its place. */
void blk_limits_move(struct blk_limits *limits, const struct block_backend *be);

#define BLK_START -1

/*
 * Fills `req` (all but iocb, queue, taken_ns, since_ns, durable, silent, alone, next, spill, group)
 * from `chain`. BLK_START: it is well formed and must be executed. Otherwise it ends here, with the
 * status returned: refused (VIRTIO_BLK_S_IOERR, VIRTIO_BLK_S_UNSUPP), or done (VIRTIO_BLK_S_OK).
 */
int blk_request_parse(struct blk_request *req, const struct desc_chain *chain,
		      const struct blk_limits *limits);

/* Whether all that is left to do of it lies inside the image; for one that has waited. */
bool blk_request_fits(const struct blk_request *req, const struct blk_limits *limits);

/* READ or WRITE: `n` more bytes, at most req->len, are done. */
void blk_request_advance(struct blk_request *req, uint32_t n);

/*
 * READ: leaves all but the first `n` bytes, less than req->len, for later, so that an engine sees a
 * shorter request. Not to be called again before the next part. A request in parts must be `alone`:
 * its table may be the end of the spill table, which is where neighbours would be joined.
 */
void blk_request_cut(struct blk_request *req, uint32_t n);

/* The next part begins; there is one. */
void blk_request_begin_part(struct blk_request *req);

/* A part is done: turns to what was left for later. False: nothing was, as is usual. */
static inline bool blk_request_next_part(struct blk_request *req)
{
	if (!req->later_len)
		return false;
	blk_request_begin_part(req);
	return true;
}

/* Writes the status byte. Returns the used length: see the definition. */
uint32_t blk_request_finish(struct blk_request *req, uint8_t status);

/* Whether O_DIRECT takes the rest of this READ or WRITE as it is. */
bool blk_request_aligned(const struct blk_request *req, const struct block_backend *be);

#endif
