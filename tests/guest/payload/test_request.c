/* SPDX-License-Identifier: Apache-2.0 */
/* Single requests: every type, every refusal (virtio 1.2, 5.2.6), and odd but lawful layouts. */
#include "guest/io.h"
#include "guest/lib.h"
#include "tests.h"

#define TYPE_UNKNOWN   7
#define BUFFER_SECTORS 64

static struct blk *start(uint64_t features)
{
	struct blk *blk = disk(0);

	if (!ok(blk_start(blk, features, 1, VQ_MAX_SIZE), "the device starts"))
		return NULL;
	disk_shadow();
	return blk;
}

/* One generation on, on disk and in the shadow. */
static uint8_t write_shadow(struct blk *blk, uint64_t sector, uint8_t *data, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		disk_shadow()->generation[sector + i]++;
		shadow_fill(disk_shadow(), sector + i, (uint64_t *)(data + i * SECTOR));
	}
	return blk_write(blk, sector, data, n);
}

static bool reads_as_shadow(struct blk *blk, uint64_t sector, uint8_t *data, uint32_t n)
{
	memset(data, 0x5a, n * SECTOR);
	if (blk_read(blk, sector, data, n) != VIRTIO_BLK_S_OK)
		return false;
	for (uint32_t i = 0; i < n; i++) {
		if (!shadow_check(disk_shadow(), sector + i, (uint64_t *)(data + i * SECTOR)))
			return false;
	}
	return true;
}

static void flush(void)
{
	struct blk *blk = start(BLK_FEATURES);
	uint8_t *data = alloc_pages(BUFFER_SECTORS * SECTOR);
	uint32_t used_len;

	if (!blk)
		return;
	ok(blk_has(blk, VIRTIO_BLK_F_FLUSH), "FLUSH is offered");
	ok(write_shadow(blk, 100, data, 8) == VIRTIO_BLK_S_OK, "write");
	ok(blk_do(&blk->queue[0], VIRTIO_BLK_T_FLUSH, 0, NULL, 0, &used_len) == VIRTIO_BLK_S_OK,
	   "flush");
	ok(used_len == 1, "flush wrote its status byte only");
	ok(reads_as_shadow(blk, 100, data, 8), "and the data is there");
}

/* A driver that does not take FLUSH has durable writes (5.2.5.2): they still work. */
static void no_flush(void)
{
	struct blk *blk = start(BLK_FEATURES & ~VIRTIO_BIT(VIRTIO_BLK_F_FLUSH) &
				~VIRTIO_BIT(VIRTIO_BLK_F_CONFIG_WCE));
	uint8_t *data = alloc_pages(BUFFER_SECTORS * SECTOR);

	if (!blk)
		return;
	ok(write_shadow(blk, 200, data, 64) == VIRTIO_BLK_S_OK, "write without FLUSH negotiated");
	ok(reads_as_shadow(blk, 200, data, 64), "it reads back");
}

static bool is_serial(const char *id, const char *want)
{
	unsigned n = 0;

	for (; n < VIRTIO_BLK_ID_BYTES && want[n] && want[n] != ' '; n++) {
		if (id[n] != want[n])
			return false;
	}
	return n == VIRTIO_BLK_ID_BYTES || !id[n];
}

static void get_id(void)
{
	const char *want = option("serial", 0);
	struct blk *blk = start(BLK_FEATURES);
	char *id = alloc_pages(PAGE_SIZE);
	const struct sg whole = { id, VIRTIO_BLK_ID_BYTES, true };
	const struct sg split[] = { { id + 64, 3, true }, { id + 128, 17, true } };

	if (!blk)
		return;
	memset(id, 0x5a, PAGE_SIZE);
	ok(blk_do(&blk->queue[0], VIRTIO_BLK_T_GET_ID, 0, &whole, 1, NULL) == VIRTIO_BLK_S_OK,
	   "get-id");
	ok(want && is_serial(id, want), "the serial is the one asked for");
	ok(id[VIRTIO_BLK_ID_BYTES] == 0x5a, "20 bytes and no more");
	ok(blk_do(&blk->queue[0], VIRTIO_BLK_T_GET_ID, 0, split, 2, NULL) == VIRTIO_BLK_S_OK,
	   "get-id into two buffers");
	ok(memcmp(id, id + 64, 3) == 0 && memcmp(id + 3, id + 128, 17) == 0, "is the same");
}

static void read_only(void)
{
	struct blk *blk = start(BLK_FEATURES);
	uint8_t *data = alloc_pages(SECTOR), *was = alloc_pages(SECTOR);

	if (!blk)
		return;
	ok(blk_has(blk, VIRTIO_BLK_F_RO), "RO is offered");
	ok(blk_read(blk, 0, was, 1) == VIRTIO_BLK_S_OK, "reads work");
	memset(data, 0xee, SECTOR);
	ok(blk_write(blk, 0, data, 1) == VIRTIO_BLK_S_IOERR, "writes are refused");
	blk_read(blk, 0, data, 1);
	ok(!memcmp(data, was, SECTOR), "and not done");
}

static void capacity(void)
{
	struct blk *blk = start(BLK_FEATURES);
	uint64_t last;
	uint8_t *data = alloc_pages(2 * SECTOR);

	if (!blk)
		return;
	last = blk->capacity - 1;
	ok(blk->capacity == option_u64("capacity", 0), "capacity is %lu sectors", blk->capacity);
	ok(blk_config(blk, blk_size) == option_u64("block", SECTOR), "the block size is right");
	ok(blk_config(blk, seg_max) > 0, "seg_max is %u", blk_config(blk, seg_max));
	ok(blk_config32(blk, 0xf0) == 0, "configuration beyond its end reads as 0");
	ok(write_shadow(blk, last, data, 1) == VIRTIO_BLK_S_OK, "the last sector takes a write");
	ok(reads_as_shadow(blk, last, data, 1), "and gives it back");
}

static uint8_t zero_range(struct blk *blk, uint32_t type, uint64_t sector, uint32_t n,
			  uint32_t flags)
{
	static struct virtio_blk_discard_write_zeroes range;
	const struct sg sg = { &range, sizeof(range), false };

	range.sector = sector;
	range.num_sectors = n;
	range.flags = flags;
	return blk_do(&blk->queue[0], type, 0, &sg, 1, NULL);
}

/* Where the image is a file a discard is a hole, which reads as zeroes; the specification promises
 * nothing about it, so the test is about the range and its neighbours. */
static void discard(void)
{
	struct blk *blk = start(BLK_FEATURES);
	uint8_t *data = alloc_pages(BUFFER_SECTORS * SECTOR);
	uint64_t end;

	if (!blk)
		return;
	end = blk->capacity;
	if (!ok(blk_has(blk, VIRTIO_BLK_F_DISCARD), "DISCARD is offered"))
		return;
	write_shadow(blk, 1024, data, 64);
	ok(zero_range(blk, VIRTIO_BLK_T_DISCARD, 1032, 48, 0) == VIRTIO_BLK_S_OK, "discard");
	shadow_zero(disk_shadow(), 1032, 48);
	ok(reads_as_shadow(blk, 1024, data, 64), "the range is zeroes, its neighbours are not");
	ok(zero_range(blk, VIRTIO_BLK_T_DISCARD, end - 1, 8, 0) == VIRTIO_BLK_S_IOERR,
	   "a discard beyond the end fails");
	ok(zero_range(blk, VIRTIO_BLK_T_DISCARD, UINT64_MAX - 3, 8, 0) == VIRTIO_BLK_S_IOERR,
	   "so does one that wraps");
	ok(zero_range(blk, VIRTIO_BLK_T_DISCARD, 0, 8, 2) == VIRTIO_BLK_S_UNSUPP,
	   "unknown flags are not supported");
}

static void write_zeroes(void)
{
	struct blk *blk = start(BLK_FEATURES);
	uint8_t *data = alloc_pages(BUFFER_SECTORS * SECTOR);

	if (!blk)
		return;
	if (!ok(blk_has(blk, VIRTIO_BLK_F_WRITE_ZEROES), "WRITE_ZEROES is offered"))
		return;
	for (uint32_t flags = 0; flags < 2; flags++) {
		write_shadow(blk, 2048, data, 64);
		ok(zero_range(blk, VIRTIO_BLK_T_WRITE_ZEROES, 2049, 50, flags) == VIRTIO_BLK_S_OK,
		   "write zeroes, %s", flags ? "unmap" : "no unmap");
		shadow_zero(disk_shadow(), 2049, 50);
		ok(reads_as_shadow(blk, 2048, data, 64), "are there, the neighbours as well");
	}
	ok(zero_range(blk, VIRTIO_BLK_T_WRITE_ZEROES, blk->capacity, 1, 0) == VIRTIO_BLK_S_IOERR,
	   "zeroes beyond the end fail");
}

/* What is wrong with the request goes into its status; the ring goes on. */
static void refused(void)
{
	struct blk *blk = start(BLK_FEATURES);
	uint8_t *data = alloc_pages(BUFFER_SECTORS * SECTOR);
	const struct sg one = { data, SECTOR, true }, odd = { data, 511, true };
	const struct sg nowhere = { (void *)0xb0000000, SECTOR, true };
	const struct sg device = { (void *)0xfee00000, SECTOR, true };
	const struct sg wraps = { (void *)(UINT64_MAX - 100), SECTOR, true };
	struct virtq *vq;

	if (!blk)
		return;
	vq = &blk->queue[0];
	ok(blk_do(vq, TYPE_UNKNOWN, 0, &one, 1, NULL) == VIRTIO_BLK_S_UNSUPP, "unknown type");
	ok(blk_do(vq, VIRTIO_BLK_T_IN, blk->capacity, &one, 1, NULL) == VIRTIO_BLK_S_IOERR,
	   "a read at the end");
	ok(blk_read(blk, blk->capacity - 1, data, 2) == VIRTIO_BLK_S_IOERR, "a read over the end");
	ok(blk_do(vq, VIRTIO_BLK_T_IN, 1ULL << 55, &one, 1, NULL) == VIRTIO_BLK_S_IOERR,
	   "a sector whose byte offset wraps to 0");
	ok(blk_do(vq, VIRTIO_BLK_T_IN, UINT64_MAX, &one, 1, NULL) == VIRTIO_BLK_S_IOERR,
	   "the last of all sectors");
	ok(blk_do(vq, VIRTIO_BLK_T_IN, 0, &odd, 1, NULL) == VIRTIO_BLK_S_IOERR, "511 bytes");
	ok(blk_do(vq, VIRTIO_BLK_T_IN, 0, &nowhere, 1, NULL) == VIRTIO_BLK_S_IOERR,
	   "a buffer where no memory is");
	ok(blk_do(vq, VIRTIO_BLK_T_IN, 0, &device, 1, NULL) == VIRTIO_BLK_S_IOERR,
	   "a buffer on the local APIC");
	ok(blk_do(vq, VIRTIO_BLK_T_IN, 0, &wraps, 1, NULL) == VIRTIO_BLK_S_IOERR,
	   "a buffer that wraps");
	ok(!virtio_needs_reset(blk->dev), "none of it broke the device");
	ok(disk_works(), "which still works");
}

/* No layout is promised (virtio 1.2, 2.7.4): a header in pieces, the status byte glued to data. */
static void layouts(void)
{
	struct blk *blk = start(BLK_FEATURES);
	uint8_t *data = alloc_pages(BUFFER_SECTORS * SECTOR);
	struct virtio_blk_outhdr *hdr = alloc_pages(PAGE_SIZE);
	uint8_t *h = (uint8_t *)hdr;
	struct sg pieces[8] = {
		{ h, 1, false },     { h + 1, 5, false }, { h + 6, 2, false },
		{ h + 8, 8, false }, { data, 300, true }, { data + 300, 213, true },
	};
	uint32_t len = 0;

	if (!blk || !ok(write_shadow(blk, 300, data, 1) == VIRTIO_BLK_S_OK, "write"))
		return;
	memset(data, 0x5a, 2 * SECTOR);
	hdr->type = VIRTIO_BLK_T_IN;
	hdr->sector = 300;
	virtq_add(&blk->queue[0], pieces, 6, hdr);
	virtq_kick(&blk->queue[0]);
	ok(blk_wait(&blk->queue[0], &len) == hdr, "header in four pieces, status glued to data");
	ok(data[SECTOR] == VIRTIO_BLK_S_OK && len == SECTOR + 1,
	   "completes with length and status");
	ok(shadow_check(disk_shadow(), 300, (uint64_t *)data), "and the right data");
}

/* The cache mode can be turned by the driver (5.2.5.2) and reads back. */
static void cache_mode(void)
{
	struct blk *blk = start(BLK_FEATURES);
	uint8_t *data = alloc_pages(BUFFER_SECTORS * SECTOR), wce;
	const unsigned off = offsetof(struct virtio_blk_config, wce);

	if (!blk || !ok(blk_has(blk, VIRTIO_BLK_F_CONFIG_WCE), "CONFIG_WCE is offered"))
		return;
	for (unsigned i = 0; i < 2; i++) {
		blk->dev->ops->config_write8(blk->dev, off, i);
		blk->dev->ops->config_read(blk->dev, off, &wce, 1);
		ok(wce == i, "%s", i ? "write back" : "write through");
		ok(write_shadow(blk, 400, data, 16) == VIRTIO_BLK_S_OK &&
			   reads_as_shadow(blk, 400, data, 16),
		   "writes and reads");
	}
}

const struct test request_tests[] = {
	{ "flush", flush },
	{ "no-flush", no_flush },
	{ "get-id", get_id },
	{ "read-only", read_only },
	{ "capacity", capacity },
	{ "discard", discard },
	{ "write-zeroes", write_zeroes },
	{ "refused", refused },
	{ "layouts", layouts },
	{ "cache-mode", cache_mode },
	{ NULL, NULL },
};
