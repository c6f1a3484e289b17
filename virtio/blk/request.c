/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads a request out of a descriptor chain and holds it against the disk's limits (virtio 1.2,
 * 5.2.6).
 *
 * The disk's thread. Every guest byte is read once, into `struct virtio_blk_outhdr` or
 * `struct virtio_blk_discard_write_zeroes` on our stack. Knows nothing of engines, queues or files.
 */
#include "virtio/blk/request.h"

#include <endian.h>
#include <string.h>

#include "virtio/blk/iov.h"

_Static_assert(sizeof(struct blk_range) == sizeof(struct iovec), "they share a table");
_Static_assert(BLK_MAX_RANGES <= VIRTQ_MAX_CHAIN, "ranges fit the spill table");

/* The largest READ or WRITE: with the status byte it must fit used.len. */
#define MAX_DATA (UINT32_MAX - (BLK_SECTOR_SIZE - 1))

void blk_limits_move(struct blk_limits *limits, const struct block_backend *be)
{
	limits->granule = BLK_SECTOR_SIZE;
	if (be->direct && be->offset_align > limits->granule)
		limits->granule = be->offset_align;
}

void blk_limits_init(struct blk_limits *limits, const struct block_backend *be, uint64_t size,
		     uint64_t features, const char *serial)
{
	memset(limits, 0, sizeof(*limits));
	limits->size = size;
	blk_limits_move(limits, be);
	limits->readonly = be->readonly;
	/* An overlay ends with the VM: nothing of it need ever be durable. */
	limits->volatile_cache = !be->readonly && be->cache != DISK_CACHE_UNSAFE && !be->overlay;
	limits->discard = features & (1ULL << VIRTIO_BLK_F_DISCARD);
	limits->write_zeroes = features & (1ULL << VIRTIO_BLK_F_WRITE_ZEROES);
	memcpy(limits->id, serial, strnlen(serial, sizeof(limits->id)));
}

/* True when [sector, sector + len) lies inside the image; no sum that could wrap. */
static bool inside(const struct blk_limits *limits, uint64_t sector, uint64_t len)
{
	return sector <= limits->size / BLK_SECTOR_SIZE &&
	       len <= limits->size - sector * BLK_SECTOR_SIZE;
}

static struct iovec *data_table(struct blk_request *req, unsigned n)
{
	return n <= BLK_INLINE_IOV ? req->inline_iov : req->spill;
}

static int parse_data(struct blk_request *req, uint64_t sector, const struct iovec *iov, unsigned n,
		      uint64_t off, uint64_t len, const struct blk_limits *limits)
{
	if (len > MAX_DATA || (len | sector * BLK_SECTOR_SIZE) & (limits->granule - 1))
		return VIRTIO_BLK_S_IOERR;
	if (!inside(limits, sector, len))
		return VIRTIO_BLK_S_IOERR;
	if (!len)
		return VIRTIO_BLK_S_OK;
	req->offset = sector * BLK_SECTOR_SIZE;
	req->total = req->len = len;
	req->iov = data_table(req, n);
	req->nseg = iov_slice(req->iov, iov, n, off, len);
	return BLK_START;
}

static int parse_read(struct blk_request *req, uint64_t sector, const struct desc_chain *chain,
		      const struct blk_limits *limits)
{
	req->op = BLK_OP_READ;
	return parse_data(req, sector, chain->iov + chain->nreadable, chain->nwritable, 0,
			  req->in_len, limits);
}

static int parse_write(struct blk_request *req, uint64_t sector, const struct desc_chain *chain,
		       const struct blk_limits *limits)
{
	const uint64_t hdr = sizeof(struct virtio_blk_outhdr);

	req->op = BLK_OP_WRITE;
	/* 5.2.6.2: IOERR, and no data written, when the disk is read-only. */
	if (limits->readonly)
		return VIRTIO_BLK_S_IOERR;
	return parse_data(req, sector, chain->iov, chain->nreadable, hdr, chain->readable - hdr,
			  limits);
}

/* A FLUSH that names a sector or carries data (5.2.6.1 forbids both to the driver) flushes. */
static int parse_flush(struct blk_request *req, const struct blk_limits *limits)
{
	req->op = BLK_OP_FLUSH;
	return limits->volatile_cache ? BLK_START : VIRTIO_BLK_S_OK;
}

/* Twenty bytes, or as many as the driver left room for. */
static int parse_get_id(struct blk_request *req, const struct desc_chain *chain,
			const struct blk_limits *limits)
{
	uint64_t len = sizeof(limits->id);

	if (len > req->in_len)
		len = req->in_len;
	req->written =
		iov_write(chain->iov + chain->nreadable, chain->nwritable, 0, limits->id, len);
	return VIRTIO_BLK_S_OK;
}

/*
 * 5.2.6.2: UNSUPP for flags that are not known, and for UNMAP on DISCARD; IOERR for what lies
 * outside the disk or is larger than was offered.
 */
static int parse_range(struct blk_request *req, unsigned i,
		       const struct virtio_blk_discard_write_zeroes *seg,
		       const struct blk_limits *limits)
{
	const bool zeroes = req->op == BLK_OP_WRITE_ZEROES;
	const uint32_t known = zeroes ? VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP : 0;
	const uint32_t max = zeroes ? BLK_MAX_ZEROES_SECTORS : BLK_MAX_DISCARD_SECTORS;
	const uint64_t sector = le64toh(seg->sector);
	const uint32_t sectors = le32toh(seg->num_sectors);
	const uint32_t flags = le32toh(seg->flags);

	if (flags & ~known)
		return VIRTIO_BLK_S_UNSUPP;
	if (sectors > max || !inside(limits, sector, (uint64_t)sectors * BLK_SECTOR_SIZE))
		return VIRTIO_BLK_S_IOERR;
	/* Zeroes may have to be written, which O_DIRECT does in whole blocks only. */
	if (zeroes && (sector | sectors) * BLK_SECTOR_SIZE & (limits->granule - 1))
		return VIRTIO_BLK_S_IOERR;
	req->range[i] = (struct blk_range){
		.offset = sector * BLK_SECTOR_SIZE,
		.sectors = sectors,
		.unmap = flags & VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP,
	};
	return BLK_START;
}

static int parse_ranges(struct blk_request *req, enum blk_op op, bool offered,
			const struct desc_chain *chain, const struct blk_limits *limits)
{
	const uint64_t hdr = sizeof(struct virtio_blk_outhdr);
	const uint64_t len = chain->readable - hdr;
	struct virtio_blk_discard_write_zeroes seg;
	int ret;

	req->op = op;
	if (limits->readonly)
		return VIRTIO_BLK_S_IOERR;
	if (!offered)
		return VIRTIO_BLK_S_UNSUPP;
	if (!len || len % sizeof(seg) || len / sizeof(seg) > BLK_MAX_RANGES)
		return VIRTIO_BLK_S_IOERR;
	req->nseg = len / sizeof(seg);
	req->range = (struct blk_range *)data_table(req, req->nseg);
	for (unsigned i = 0; i < req->nseg; i++) {
		iov_read(chain->iov, chain->nreadable, hdr + i * sizeof(seg), &seg, sizeof(seg));
		ret = parse_range(req, i, &seg, limits);
		if (ret != BLK_START)
			return ret;
	}
	return BLK_START;
}

static int parse_op(struct blk_request *req, const struct virtio_blk_outhdr *hdr,
		    const struct desc_chain *chain, const struct blk_limits *limits)
{
	const uint64_t sector = le64toh(hdr->sector);

	switch (le32toh(hdr->type)) {
	case VIRTIO_BLK_T_IN:
		return parse_read(req, sector, chain, limits);
	case VIRTIO_BLK_T_OUT:
		return parse_write(req, sector, chain, limits);
	case VIRTIO_BLK_T_FLUSH:
		return parse_flush(req, limits);
	case VIRTIO_BLK_T_GET_ID:
		return parse_get_id(req, chain, limits);
	case VIRTIO_BLK_T_DISCARD:
		return parse_ranges(req, BLK_OP_DISCARD, limits->discard, chain, limits);
	case VIRTIO_BLK_T_WRITE_ZEROES:
		return parse_ranges(req, BLK_OP_WRITE_ZEROES, limits->write_zeroes, chain, limits);
	default: /* 5.2.6.2: and among them SCSI passthrough, for good */
		return VIRTIO_BLK_S_UNSUPP;
	}
}

int blk_request_parse(struct blk_request *req, const struct desc_chain *chain,
		      const struct blk_limits *limits)
{
	struct virtio_blk_outhdr hdr;

	req->head = chain->head;
	req->op = BLK_OP_OTHER;
	req->total = 0;
	req->later_len = 0;
	req->written = 0;
	req->nseg = 0;
	req->status = iov_last_byte(chain->iov + chain->nreadable, chain->nwritable);
	req->in_len = chain->writable ? chain->writable - 1 : 0;
	/* Nobody could be told how it went: do nothing. */
	if (!req->status)
		return VIRTIO_BLK_S_IOERR;
	if (chain->bad_address || chain->readable < sizeof(hdr))
		return VIRTIO_BLK_S_IOERR;
	iov_read(chain->iov, chain->nreadable, 0, &hdr, sizeof(hdr));
	return parse_op(req, &hdr, chain, limits);
}

bool blk_request_fits(const struct blk_request *req, const struct blk_limits *limits)
{
	const bool ranges = req->op == BLK_OP_DISCARD || req->op == BLK_OP_WRITE_ZEROES;

	if (req->op == BLK_OP_READ || req->op == BLK_OP_WRITE)
		return inside(limits, req->offset / BLK_SECTOR_SIZE, req->len);
	for (unsigned i = 0; ranges && i < req->nseg; i++)
		if (!inside(limits, req->range[i].offset / BLK_SECTOR_SIZE,
			    (uint64_t)req->range[i].sectors * BLK_SECTOR_SIZE))
			return false;
	return true;
}

void blk_request_advance(struct blk_request *req, uint32_t n)
{
	req->nseg = iov_slice(req->iov, req->iov, req->nseg, n, req->len - n);
	req->offset += n;
	req->len -= n;
	if (req->op == BLK_OP_READ)
		req->written += n;
}

void blk_request_cut(struct blk_request *req, uint32_t n)
{
	struct blk_later *later = &req->later;
	struct iovec *iov = req->iov;
	unsigned nseg = req->nseg;
	uint32_t keep = n;

	for (; keep >= iov->iov_len; iov++, nseg--)
		keep -= iov->iov_len;
	*later = (struct blk_later){
		.iov = iov,
		.first = { (uint8_t *)iov->iov_base + keep, iov->iov_len - keep },
		.nseg = nseg,
	};
	iov->iov_len = keep;
	req->nseg = iov - req->iov + (keep != 0);
	req->later_len = req->len - n;
	req->len = n;
}

void blk_request_begin_part(struct blk_request *req)
{
	req->iov = req->later.iov;
	req->iov[0] = req->later.first;
	req->nseg = req->later.nseg;
	req->len = req->later_len;
	req->later_len = 0;
}

/*
 * used.len promises that so many bytes *from the start* of the writable buffers were written
 * (virtio 1.2, 2.7.8.2): the status byte at their end counts when all before it was written.
 */
uint32_t blk_request_finish(struct blk_request *req, uint8_t status)
{
	if (!req->status)
		return 0;
	*req->status = status;
	return req->written == req->in_len ? req->written + 1 : req->written;
}

bool blk_request_aligned(const struct blk_request *req, const struct block_backend *be)
{
	uintptr_t base = 0, len = req->offset;

	for (unsigned i = 0; i < req->nseg; i++) {
		base |= (uintptr_t)req->iov[i].iov_base;
		len |= req->iov[i].iov_len;
	}
	return !((base & (be->mem_align - 1)) | (len & (be->offset_align - 1)));
}
