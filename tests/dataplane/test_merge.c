/* SPDX-License-Identifier: Apache-2.0 */
/* Neighbours in a batch go to the kernel as one, and each is told how it fared itself. */
#include "tests/dataplane/rig.h"

#include <libaio.h>
#include <sys/syscall.h>

#include "virtio/blk/aio_native.h"

#define BATCH 8
#define KIB   1024

/* What our own io_submit() saw and what it does; the disk's thread's while it works. */
static struct {
	_Atomic unsigned iocbs;
	_Atomic unsigned cut; /* so many vectors of iocbs with several are kept: a short result */
	_Atomic int refuse_many; /* -errno for an iocb that is a vector */
	_Atomic long bad;	 /* offset: alone it is refused with EIO, in a vector it ends it */
} seen;

static long bytes_of(const struct iocb *iocb)
{
	const struct iovec *iov = iocb->u.c.buf;
	long sum = 0;

	if (iocb->aio_lio_opcode <= IO_CMD_PWRITE)
		return (long)iocb->u.c.nbytes;
	for (unsigned i = 0; i < iocb->u.c.nbytes; i++)
		sum += (long)iov[i].iov_len;
	return sum;
}

static int spoil(struct iocb *iocb)
{
	const bool many = iocb->aio_lio_opcode > IO_CMD_POLL && iocb->u.c.nbytes > 1;
	const long from = iocb->u.c.offset;

	if (iocb->aio_lio_opcode == IO_CMD_POLL)
		return 0;
	if (many && seen.refuse_many)
		return seen.refuse_many;
	if (many && seen.cut)
		iocb->u.c.nbytes = seen.cut;
	if (seen.bad && from <= seen.bad && seen.bad < from + bytes_of(iocb)) {
		if (from == seen.bad)
			return -EIO;
		iocb->u.c.nbytes = 1;
	}
	return 0;
}

int io_submit(io_context_t ctx, long n, struct iocb **iocb)
{
	int ret = 0;
	long good = 0;

	while (good < n && !(ret = spoil(iocb[good])))
		good++;
	if (!good)
		return ret;
	if (iocb[0]->aio_lio_opcode != IO_CMD_POLL)
		seen.iocbs += good;
	ret = syscall(SYS_io_submit, ctx, good, iocb);
	return ret < 0 ? -errno : ret;
}

static int nothing_seen(void **state)
{
	memset(&seen, 0, sizeof(seen));
	return 0;
}

struct part {
	uint32_t type;
	uint64_t offset;
	uint32_t len;
};

/* All in one batch: the thread sleeps until the kick. The guest's data of part i is full of i. */
static void run(struct rig *rig, const struct part *part, unsigned n, uint8_t *status)
{
	struct rig_req r[BATCH];
	struct fake_done done;

	for (unsigned i = 0; i < n; i++) {
		r[i] = rig_req(rig, part[i].len);
		memset(rig_ptr(rig, r[i].data), (int)(0xa0 + i), part[i].len);
		assert_true(rig_queue(rig, 0, &r[i], part[i].type, part[i].offset / 512,
				      part[i].len, i) >= 0);
	}
	rig_kick(rig, 0);
	for (unsigned i = 0; i < n; i++) {
		assert_true(rig_wait(rig, 0, &done));
		assert_true(done.cookie < n);
		status[done.cookie] = rig_status(rig, &r[done.cookie]);
		if (part[done.cookie].type == VIRTIO_BLK_T_IN && !status[done.cookie])
			assert_int_equal(done.len, part[done.cookie].len + 1);
	}
	/* The rig's image has page k full of (uint8_t)k. */
	for (unsigned i = 0; i < n; i++)
		for (uint32_t at = 0; at < part[i].len && part[i].type == VIRTIO_BLK_T_IN;
		     at += 512)
			if (!status[i])
				assert_int_equal(((uint8_t *)rig_ptr(rig, r[i].data))[at],
						 (uint8_t)((part[i].offset + at) >> 12));
}

static void check_written(struct rig *rig, const struct part *part, unsigned n)
{
	uint8_t buf[64 * KIB];

	for (unsigned i = 0; i < n; i++) {
		rig_peek(rig, part[i].offset, buf, part[i].len);
		for (uint32_t at = 0; at < part[i].len; at++)
			assert_int_equal(buf[at], 0xa0 + i);
	}
}

/* Returns how many iocbs the kernel got. */
static unsigned count(struct rig_config config, const struct part *part, unsigned n)
{
	uint8_t status[BATCH];
	struct rig *rig;

	config.no_look = true;
	rig = rig_new(config);
	seen.iocbs = 0;
	run(rig, part, n, status);
	for (unsigned i = 0; i < n; i++)
		assert_int_equal(status[i], VIRTIO_BLK_S_OK);
	if (part[0].type == VIRTIO_BLK_T_OUT)
		check_written(rig, part, n);
	rig_free(rig);
	return seen.iocbs;
}

#define IN  VIRTIO_BLK_T_IN
#define OUT VIRTIO_BLK_T_OUT

static const struct part row_in[] = {
	{ IN, 8192, 4096 },  { IN, 12288, 4096 },     { IN, 16384, 8192 },
	{ IN, 24576, 4096 }, { IN, 28672, 64 * KIB }, { IN, 94208, 512 },
};
static const struct part row_out[] = {
	{ OUT, 0, 4096 }, { OUT, 4096, 512 }, { OUT, 4608, 512 }, { OUT, 5120, 32 * KIB }
};

static void neighbours_are_one_io(void **state)
{
	assert_int_equal(count((struct rig_config){ 0 }, row_in, 6), 1);
	assert_int_equal(count((struct rig_config){ .features = F_INDIRECT }, row_in, 6), 1);
	assert_int_equal(count((struct rig_config){ 0 }, row_out, 4), 1);
	assert_int_equal(count((struct rig_config){ .writethrough = true }, row_out, 4), 1);
}

static void only_neighbours_are(void **state)
{
	const struct part gap[] = { { IN, 0, 4096 }, { IN, 8192, 4096 }, { IN, 12288, 4096 } };
	const struct part back[] = { { IN, 8192, 4096 }, { IN, 4096, 4096 }, { IN, 0, 4096 } };
	const struct part same[] = { { IN, 4096, 4096 }, { IN, 4096, 4096 } };
	const struct part mixed[] = { { IN, 0, 4096 }, { OUT, 4096, 4096 } };
	const struct part large[] = { { IN, 0, 128 * KIB },
				      { IN, 128 * KIB, 128 * KIB },
				      { IN, 256 * KIB, 4096 } };

	assert_int_equal(count((struct rig_config){ 0 }, gap, 3), 2);
	assert_int_equal(count((struct rig_config){ 0 }, back, 3), 3);
	assert_int_equal(count((struct rig_config){ 0 }, same, 2), 2);
	assert_int_equal(count((struct rig_config){ 0 }, mixed, 2), 2);
	assert_int_equal(count((struct rig_config){ 0 }, large, 3), 2);
}

/* A request of many buffers keeps its table where the group's is made. */
static void a_long_request_may_come_first(void **state)
{
	struct rig *rig = rig_new((struct rig_config){ .no_look = true });
	struct rig_req first = rig_req(rig, 64 * KIB), second = rig_req(rig, 4096);
	struct fake_buf buf[18];
	struct fake_done done;

	rig_header(rig, &first, VIRTIO_BLK_T_OUT, 0);
	buf[0] = (struct fake_buf){ first.hdr, 16, 0 };
	for (unsigned i = 0; i < 16; i++) {
		buf[1 + i] = (struct fake_buf){ first.data + (15 - i) * 4096, 4096, 0 };
		memset(rig_ptr(rig, buf[1 + i].gpa), (int)(i + 1), 4096);
	}
	buf[17] = (struct fake_buf){ first.status, 1, W };
	memset(rig_ptr(rig, second.data), 17, 4096);
	assert_true(fake_queue_add(&rig->drv[0], buf, 18, 1) >= 0);
	assert_true(rig_queue(rig, 0, &second, VIRTIO_BLK_T_OUT, 128, 4096, 2) >= 0);
	seen.iocbs = 0;
	rig_kick(rig, 0);
	assert_true(rig_wait(rig, 0, &done) && rig_wait(rig, 0, &done));
	assert_int_equal(seen.iocbs, 1);
	for (unsigned i = 0; i < 17; i++) {
		uint8_t byte;

		rig_peek(rig, 4096 * i + 4095, &byte, 1);
		assert_int_equal(byte, i + 1);
	}
	rig_free(rig);
}

/* The fault is in the middle of the row: all the others are done all the same. */
static void one_bad_of_a_row(const struct part *part, unsigned n, unsigned bad)
{
	struct rig *rig = rig_new((struct rig_config){ .no_look = true });
	uint8_t status[BATCH];

	seen.bad = (long)part[bad].offset;
	run(rig, part, n, status);
	for (unsigned i = 0; i < n; i++)
		assert_int_equal(status[i], i == bad ? VIRTIO_BLK_S_IOERR : VIRTIO_BLK_S_OK);
	seen.bad = 0;
	rig_free(rig);
}

static void an_error_is_told_to_the_one_it_hit(void **state)
{
	for (unsigned bad = 1; bad < 6; bad++)
		one_bad_of_a_row(row_in, 6, bad);
	one_bad_of_a_row(row_out, 4, 1);
	one_bad_of_a_row(row_out, 4, 3);
}

static void a_short_result_sends_each_again_alone(void **state)
{
	seen.cut = 2;
	assert_int_equal(count((struct rig_config){ 0 }, row_in, 6), 1 + 6);
	assert_int_equal(count((struct rig_config){ 0 }, row_out, 4), 1 + 4);
}

static void a_group_that_is_refused_is_sent_one_by_one(void **state)
{
	seen.refuse_many = -EINVAL;
	assert_int_equal(count((struct rig_config){ 0 }, row_in, 6), 6);
	assert_int_equal(count((struct rig_config){ 0 }, row_out, 4), 4);
}

/* The guest may ask for nearly 4 GiB, all of them the same page of its memory. */
static void a_length_that_wraps_joins_nobody(void **state)
{
	struct blk_aio aio = { .file_fd = -1 };
	struct iovec spill[VIRTQ_MAX_CHAIN];
	struct blk_request req[2] = {
		{ .op = BLK_OP_READ, .len = 512, .nseg = 1, .spill = spill },
		{ .op = BLK_OP_READ, .offset = 512, .len = UINT32_MAX - 511, .nseg = 1 },
	};

	for (unsigned i = 0; i < 2; i++) {
		req[i].iov = req[i].inline_iov;
		blk_aio_queue(&aio, &req[i]);
	}
	assert_int_equal(aio.queued, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(neighbours_are_one_io, nothing_seen),
		cmocka_unit_test_setup(only_neighbours_are, nothing_seen),
		cmocka_unit_test_setup(a_long_request_may_come_first, nothing_seen),
		cmocka_unit_test_setup(an_error_is_told_to_the_one_it_hit, nothing_seen),
		cmocka_unit_test_setup(a_short_result_sends_each_again_alone, nothing_seen),
		cmocka_unit_test_setup(a_group_that_is_refused_is_sent_one_by_one, nothing_seen),
		cmocka_unit_test(a_length_that_wraps_joins_nobody),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
