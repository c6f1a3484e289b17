/* SPDX-License-Identifier: Apache-2.0 */
/* A host that fails: what the guest is told, and that the thread goes on. The faults are made by
 * our own io_submit(), preadv2() and so on, which the linker prefers to the libraries'. F numbers
 * are the cases of the host-fault list. */
#include "tests/dataplane/rig.h"

#include <libaio.h>
#include <linux/falloc.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "virtio/blk/aio_ring.h"

/* What goes wrong; read by the disk's threads. All 0: nothing does. */
static struct {
	_Atomic int eagain;	  /* so many io_submit() calls take nothing */
	_Atomic int one_each;	  /* io_submit() takes one request per call and then says EAGAIN */
	_Atomic int refuse;	  /* io_submit() refuses requests on this sector with EIO */
	_Atomic int no_fdsync;	  /* as before Linux 4.18 */
	_Atomic int short_io;	  /* requests are cut to one sector */
	_Atomic int corrupt_len;  /* requests fail when they complete */
	_Atomic int setup_eagain; /* io_setup() */
	_Atomic int no_ring;	  /* the mapped ring is of an unknown kind */
	_Atomic int sync_errno;	  /* fdatasync(), once */
	_Atomic int told_once;	  /* fdatasync() fails late for one caller, never for another */
	_Atomic int write_errno;  /* pwritev2(), and with no_ring all writes by Linux AIO */
	_Atomic int group_errno;  /* with no_ring: so many of these fail with EIO */
	_Atomic int eintr;	  /* so many p*v2() calls */
	_Atomic int short_sync;	  /* p*v2() move one sector */
	_Atomic int no_fallocate; /* fallocate() is not supported */
	_Atomic int calls;	  /* of io_submit() */
} fault;

static int no_faults(void **state)
{
	memset(&fault, 0, sizeof(fault));
	return 0;
}

int io_setup(int n, io_context_t *ctx)
{
	int ret;

	if (fault.setup_eagain)
		return -EAGAIN;
	ret = syscall(SYS_io_setup, n, ctx) ? -errno : 0;
	if (!ret && fault.no_ring)
		((struct aio_ring *)*ctx)->incompat_features = 1;
	return ret;
}

/* False: this one is refused with *error. */
static bool spoil(struct iocb *iocb, int *error)
{
	if (fault.no_fdsync && iocb->aio_lio_opcode == IO_CMD_FDSYNC) {
		*error = -EINVAL;
		return false;
	}
	if (fault.refuse && iocb->u.c.offset == fault.refuse * 512) {
		*error = -EIO;
		return false;
	}
	if (fault.short_io && iocb->u.c.nbytes > 512)
		iocb->u.c.nbytes = 512;
	if (fault.corrupt_len && iocb->aio_lio_opcode <= IO_CMD_PWRITE)
		iocb->u.c.nbytes = 511;
	return true;
}

int io_submit(io_context_t ctx, long n, struct iocb **iocb)
{
	int error = 0, ret;
	long good = 0;

	fault.calls++;
	if (take(&fault.eagain))
		return -EAGAIN;
	if (fault.one_each) {
		n = 1;
		if (++fault.one_each % 2)
			return -EAGAIN;
	}
	while (good < n && spoil(iocb[good], &error))
		good++;
	if (!good)
		return error;
	ret = syscall(SYS_io_submit, ctx, good, iocb);
	return ret < 0 ? -errno : ret;
}

static void spoil_event(struct io_event *event)
{
	const short op = event->obj->aio_lio_opcode;

	if (op != IO_CMD_PWRITE && op != IO_CMD_PWRITEV)
		return;
	if (fault.write_errno)
		event->res = (unsigned long)-(long)fault.write_errno;
	if (take(&fault.group_errno))
		event->res = (unsigned long)-EIO;
}

int io_getevents(io_context_t ctx, long min, long max, struct io_event *events, struct timespec *t)
{
	const int n = (int)syscall(SYS_io_getevents, ctx, min, max, events, t);

	for (int i = 0; i < n; i++)
		spoil_event(&events[i]);
	return n < 0 ? -errno : n;
}

static bool fail_rw(bool write)
{
	if (take(&fault.eintr)) {
		errno = EINTR;
		return true;
	}
	if (write && fault.write_errno) {
		errno = fault.write_errno;
		return true;
	}
	return false;
}

ssize_t preadv2(int fd, const struct iovec *iov, int n, off_t off, int flags)
{
	struct iovec one = iov[0];

	if (fail_rw(false))
		return -1;
	if (fault.short_sync && one.iov_len > 512) {
		one.iov_len = 512;
		return syscall(SYS_preadv2, fd, &one, 1, off, 0, flags);
	}
	return syscall(SYS_preadv2, fd, iov, n, off, 0, flags);
}

ssize_t pwritev2(int fd, const struct iovec *iov, int n, off_t off, int flags)
{
	struct iovec one = iov[0];

	if (fail_rw(true))
		return -1;
	if (fault.short_sync && one.iov_len > 512) {
		one.iov_len = 512;
		return syscall(SYS_pwritev2, fd, &one, 1, off, 0, flags);
	}
	return syscall(SYS_pwritev2, fd, iov, n, off, 0, flags);
}

/* The first caller is told, late; whoever comes in beside it or after it is not. */
static int sync_once_told(void)
{
	if (fault.told_once++ > 1)
		return 0;
	usleep(20000);
	errno = EIO;
	return -1;
}

int fdatasync(int fd)
{
	if (fault.told_once)
		return sync_once_told();
	if (fault.sync_errno) {
		errno = fault.sync_errno;
		fault.sync_errno = 0;
		return -1;
	}
	return syscall(SYS_fdatasync, fd);
}

int fallocate(int fd, int mode, off_t off, off_t len)
{
	if (fault.no_fallocate) {
		errno = EOPNOTSUPP;
		return -1;
	}
	return syscall(SYS_fallocate, fd, mode, off, len);
}

static const struct rig_config threads = { .aio = DISK_AIO_THREADS, .cache = DISK_CACHE_WRITEBACK };

/* `n` writes of different pages queued at once, all waited for, the image compared. */
static void write_many(struct rig *rig, unsigned n)
{
	struct fake_done done;
	struct rig_req r[32];
	uint8_t page[4096];

	for (unsigned i = 0; i < n; i++) {
		r[i] = rig_req(rig, 4096);
		memset(rig_ptr(rig, r[i].data), 0x80 + i, 4096);
		assert_true(rig_queue(rig, 0, &r[i], VIRTIO_BLK_T_OUT, 8 * i, 4096, i) >= 0);
	}
	rig_kick(rig, 0);
	for (unsigned i = 0; i < n; i++) {
		assert_true(rig_wait(rig, 0, &done));
		assert_int_equal(rig_status(rig, &r[done.cookie]), VIRTIO_BLK_S_OK);
	}
	for (unsigned i = 0; i < n; i++) {
		rig_peek(rig, 4096 * i, page, 4096);
		assert_int_equal(page[0], 0x80 + i);
		assert_int_equal(page[4095], 0x80 + i);
	}
}

/* F12: no completion will come that could wake the thread. */
static void eagain_with_nothing_in_flight_is_retried(void **state)
{
	struct rig *rig = rig_new((struct rig_config){ 0 });

	fault.eagain = 5;
	write_many(rig, 8);
	assert_int_equal(rig_stat(&blk_dataplane_stats(rig->dp)->stalls), 5);
	assert_int_equal(rig_stat(&blk_dataplane_stats(rig->dp)->errors), 0);
	rig_free(rig);
}

static void partial_submits_keep_the_tail(void **state)
{
	struct rig *rig = rig_new((struct rig_config){ 0 });

	fault.one_each = 1;
	write_many(rig, 32);
	rig_free(rig);
}

static void a_reset_drains_what_the_host_did_not_take_yet(void **state)
{
	struct rig *rig = rig_new((struct rig_config){ 0 });
	struct rig_req r = rig_req(rig, 512);

	fault.eagain = 20;
	rig_queue(rig, 0, &r, VIRTIO_BLK_T_IN, 0, 512, 0);
	rig_kick(rig, 0);
	assert_int_equal(rig_send(rig, BLK_CMD_RESET), 0);
	rig_free(rig);
}

/* F2 */
static void a_refused_request_fails_alone(void **state)
{
	struct rig *rig = rig_new((struct rig_config){ 0 });
	const struct blk_stats *s = blk_dataplane_stats(rig->dp);
	struct fake_done done;
	struct rig_req r[8];

	fault.refuse = 5;
	assert_int_equal(rig_send(rig, BLK_CMD_PAUSE), 0);
	for (unsigned i = 0; i < 8; i++) {
		r[i] = rig_req(rig, 512);
		rig_queue(rig, 0, &r[i], VIRTIO_BLK_T_IN, 7 - i, 512, 7 - i);
	}
	rig_kick(rig, 0);
	assert_int_equal(rig_send(rig, BLK_CMD_RESUME), 0);
	for (unsigned i = 0; i < 8; i++) {
		assert_true(rig_wait(rig, 0, &done));
		if (done.cookie == 5)
			assert_int_equal(done.len, 0);
		assert_int_equal(rig_status(rig, &r[7 - done.cookie]),
				 done.cookie == 5 ? VIRTIO_BLK_S_IOERR : VIRTIO_BLK_S_OK);
	}
	assert_int_equal(rig_stat(&s->errors), 1);
	assert_int_equal(atomic_load(&s->last_errno), EIO);
	rig_free(rig);
}

static void a_request_that_completes_with_an_error_says_so(void **state)
{
	struct rig *rig = rig_new((struct rig_config){ 0 });
	struct rig_req r = rig_req(rig, 512);

	fault.corrupt_len = 1;
	assert_int_equal(rig_do(rig, &r, VIRTIO_BLK_T_IN, 0, 512), VIRTIO_BLK_S_IOERR);
	fault.corrupt_len = 0;
	assert_int_equal(rig_do(rig, &r, VIRTIO_BLK_T_IN, 0, 512), VIRTIO_BLK_S_OK);
	rig_free(rig);
}

/* F4 */
static void short_transfers_are_continued(void **state)
{
	struct rig *rig = rig_new((struct rig_config){ 0 });

	fault.short_io = 1;
	write_many(rig, 16);
	rig_free(rig);
	fault.short_io = 0;
	fault.short_sync = 1;
	fault.eintr = 10;
	rig = rig_new(threads);
	write_many(rig, 16);
	rig_free(rig);
}

/* F4: never OK with what the buffer held before. */
static void truncated(struct rig_config config)
{
	struct rig *rig = rig_new(config);
	struct rig_req r = rig_req(rig, 8192);

	assert_int_equal(truncate(rig->path, RIG_SIZE / 2 + 1000), 0);
	assert_int_equal(rig_do(rig, &r, VIRTIO_BLK_T_IN, RIG_SECTORS - 16, 8192),
			 VIRTIO_BLK_S_IOERR);
	assert_int_equal(rig_do(rig, &r, VIRTIO_BLK_T_IN, RIG_SECTORS / 2, 8192),
			 VIRTIO_BLK_S_IOERR);
	assert_int_equal(rig_do(rig, &r, VIRTIO_BLK_T_IN, 0, 8192), VIRTIO_BLK_S_OK);
	rig_free(rig);
}

static void reads_behind_a_file_cut_short_are_errors(void **state)
{
	truncated((struct rig_config){ 0 });
	truncated((struct rig_config){ .aio = DISK_AIO_THREADS });
	truncated(threads);
}

/* F1 */
static void no_space_is_an_error_and_then_it_works_again(void **state)
{
	struct rig *rig = rig_new(threads);
	struct rig_req r = rig_req(rig, 4096);

	fault.write_errno = ENOSPC;
	assert_int_equal(rig_do(rig, &r, VIRTIO_BLK_T_OUT, 0, 4096), VIRTIO_BLK_S_IOERR);
	assert_int_equal(atomic_load(&blk_dataplane_stats(rig->dp)->last_errno), ENOSPC);
	fault.write_errno = 0;
	assert_int_equal(rig_do(rig, &r, VIRTIO_BLK_T_OUT, 0, 4096), VIRTIO_BLK_S_OK);
	rig_free(rig);
}

/* F3: the kernel reports lost pages once; the next fdatasync() would call them clean. */
static void a_failed_flush_stays_failed(void **state)
{
	struct rig *rig = rig_new(threads);
	struct rig_req r = rig_req(rig, 4096);

	fault.sync_errno = EIO;
	assert_int_equal(rig_do(rig, &r, VIRTIO_BLK_T_FLUSH, 0, 0), VIRTIO_BLK_S_IOERR);
	assert_int_equal(rig_do(rig, &r, VIRTIO_BLK_T_FLUSH, 0, 0), VIRTIO_BLK_S_IOERR);
	assert_int_equal(rig_do(rig, &r, VIRTIO_BLK_T_OUT, 0, 4096), VIRTIO_BLK_S_OK);
	assert_int_equal(rig_send(rig, BLK_CMD_RESET), 0);
	fake_queue_reset(&rig->drv[0]);
	assert_int_equal(rig_start(rig), 0);
	assert_int_equal(rig_do(rig, &r, VIRTIO_BLK_T_FLUSH, 0, 0), VIRTIO_BLK_S_IOERR);
	rig_free(rig);
}

/* The kernel reports lost pages once per open file. */
static void a_flush_beside_a_failed_one_fails_too(void **state)
{
	struct rig *rig = rig_new(threads);
	struct fake_done done;
	struct rig_req r[8];

	fault.told_once = 1;
	for (unsigned i = 0; i < 8; i++) {
		r[i] = rig_req(rig, 0);
		rig_queue(rig, 0, &r[i], VIRTIO_BLK_T_FLUSH, 0, 0, i);
	}
	rig_kick(rig, 0);
	for (unsigned i = 0; i < 8; i++)
		assert_true(rig_wait(rig, 0, &done));
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(rig_status(rig, &r[i]), VIRTIO_BLK_S_IOERR);
	rig_free(rig);
}

static void durable_writes_stay_failed(struct rig_config config)
{
	struct rig_req r;
	struct rig *rig;

	fault.no_ring = 1;
	config.writethrough = true;
	rig = rig_new(config);
	r = rig_req(rig, 512);
	fault.write_errno = ENOSPC; /* nothing was lost */
	assert_int_equal(rig_do(rig, &r, VIRTIO_BLK_T_OUT, 0, 512), VIRTIO_BLK_S_IOERR);
	fault.write_errno = 0;
	assert_int_equal(rig_do(rig, &r, VIRTIO_BLK_T_OUT, 0, 512), VIRTIO_BLK_S_OK);
	fault.write_errno = EIO;
	assert_int_equal(rig_do(rig, &r, VIRTIO_BLK_T_OUT, 0, 512), VIRTIO_BLK_S_IOERR);
	fault.write_errno = 0;
	assert_int_equal(rig_do(rig, &r, VIRTIO_BLK_T_OUT, 0, 512), VIRTIO_BLK_S_IOERR);
	assert_int_equal(rig_do(rig, &r, VIRTIO_BLK_T_FLUSH, 0, 0), VIRTIO_BLK_S_IOERR);
	assert_int_equal(rig_do(rig, &r, VIRTIO_BLK_T_IN, 0, 512), VIRTIO_BLK_S_OK);
	assert_int_equal(atomic_load(&blk_dataplane_stats(rig->dp)->sync_errno), EIO);
	rig_free(rig);
}

static void a_durable_write_after_a_failed_one_fails_too(void **state)
{
	durable_writes_stay_failed((struct rig_config){ 0 });
	durable_writes_stay_failed((struct rig_config){ .aio = DISK_AIO_THREADS });
	durable_writes_stay_failed(threads);
}

/* Writes that go as one, and fail as one: the second try of each says nothing of the first. */
static void durable_neighbours_of_a_failed_one_fail_too(void **state)
{
	struct rig_req r[4];
	struct rig *rig;
	struct fake_done done;

	fault.no_ring = 1;
	rig = rig_new((struct rig_config){ .writethrough = true });
	for (unsigned i = 0; i < 4; i++) {
		r[i] = rig_req(rig, 4096);
		rig_queue(rig, 0, &r[i], VIRTIO_BLK_T_OUT, 8 * i, 4096, i);
	}
	fault.group_errno = 1;
	rig_kick(rig, 0);
	for (unsigned i = 0; i < 4; i++)
		assert_true(rig_wait(rig, 0, &done));
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(rig_status(rig, &r[i]), VIRTIO_BLK_S_IOERR);
	assert_int_equal(fault.group_errno, 0);
	rig_free(rig);
}

static uint8_t do_range(struct rig *rig, const struct rig_req *r, uint32_t type, uint32_t flags)
{
	struct virtio_blk_discard_write_zeroes *seg = rig_ptr(rig, r->data);

	*seg = (struct virtio_blk_discard_write_zeroes){ 64, 64, flags };
	return rig_do(rig, r, type, 0, sizeof(*seg));
}

/* Its bytes are there, the sync behind them was not. */
static void zeroes_whose_sync_fails_lose_the_disks_promise(void **state)
{
	struct rig_config config = { .writethrough = true, .features = F_RANGES };
	struct rig *rig = rig_new(config);
	struct rig_req r = rig_req(rig, 512);

	fault.sync_errno = EIO; /* once */
	assert_int_equal(do_range(rig, &r, VIRTIO_BLK_T_WRITE_ZEROES, 0), VIRTIO_BLK_S_IOERR);
	assert_int_equal(do_range(rig, &r, VIRTIO_BLK_T_WRITE_ZEROES, 0), VIRTIO_BLK_S_IOERR);
	assert_int_equal(rig_do(rig, &r, VIRTIO_BLK_T_OUT, 0, 512), VIRTIO_BLK_S_IOERR);
	rig_free(rig);
}

static void old_kernels_flush_on_a_worker(void **state)
{
	struct rig *rig = rig_new((struct rig_config){ 0 });
	struct rig_req r = rig_req(rig, 0);

	fault.no_fdsync = 1;
	assert_int_equal(rig_do(rig, &r, VIRTIO_BLK_T_FLUSH, 0, 0), VIRTIO_BLK_S_OK);
	fault.sync_errno = EIO;
	assert_int_equal(rig_do(rig, &r, VIRTIO_BLK_T_FLUSH, 0, 0), VIRTIO_BLK_S_IOERR);
	/* Direct I/O leaves no pages behind that could be lost, but a disk has a cache, too. */
	assert_int_equal(rig_do(rig, &r, VIRTIO_BLK_T_FLUSH, 0, 0), VIRTIO_BLK_S_IOERR);
	rig_free(rig);
}

static void an_unknown_ring_is_reaped_by_a_call(void **state)
{
	struct rig *rig;

	fault.no_ring = 1;
	rig = rig_new((struct rig_config){ 0 });
	write_many(rig, 32);
	rig_free(rig);
}

/* F13 */
static void too_few_aio_contexts_are_explained(void **state)
{
	struct rig *rig = rig_new((struct rig_config){ 0 });
	struct blk_dataplane *working = rig->dp;
	struct error err;

	fault.setup_eagain = 1;
	assert_int_equal(rig_create_dataplane(rig, &err), -EOPNOTSUPP);
	assert_non_null(strstr(err.text, "fs.aio-max-nr"));
	rig->dp = working;
	rig_free(rig);
}

static void zeroes_are_written_where_the_host_makes_none(void **state)
{
	struct rig *rig = rig_new((struct rig_config){ .features = F_RANGES });
	struct rig_req r = rig_req(rig, 16);
	uint8_t back[64 * 512];

	fault.no_fallocate = 1;
	assert_int_equal(do_range(rig, &r, VIRTIO_BLK_T_DISCARD, 0), VIRTIO_BLK_S_UNSUPP);
	rig_peek(rig, 64 * 512, back, sizeof(back));
	assert_int_not_equal(back[0], 0);
	assert_int_equal(do_range(rig, &r, VIRTIO_BLK_T_WRITE_ZEROES, 1), VIRTIO_BLK_S_OK);
	rig_peek(rig, 64 * 512, back, sizeof(back));
	for (unsigned i = 0; i < sizeof(back); i++)
		assert_int_equal(back[i], 0);
	rig_free(rig);
}

#define T(name) cmocka_unit_test_setup(name, no_faults)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(eagain_with_nothing_in_flight_is_retried),
		T(partial_submits_keep_the_tail),
		T(a_reset_drains_what_the_host_did_not_take_yet),
		T(a_refused_request_fails_alone),
		T(a_request_that_completes_with_an_error_says_so),
		T(short_transfers_are_continued),
		T(reads_behind_a_file_cut_short_are_errors),
		T(no_space_is_an_error_and_then_it_works_again),
		T(a_failed_flush_stays_failed),
		T(a_flush_beside_a_failed_one_fails_too),
		T(a_durable_write_after_a_failed_one_fails_too),
		T(durable_neighbours_of_a_failed_one_fail_too),
		T(zeroes_whose_sync_fails_lose_the_disks_promise),
		T(old_kernels_flush_on_a_worker),
		T(an_unknown_ring_is_reaped_by_a_call),
		T(too_few_aio_contexts_are_explained),
		T(zeroes_are_written_where_the_host_makes_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
