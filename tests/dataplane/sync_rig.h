/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A disk on storage of ours: io_submit(), fdatasync() and pwritev2(), which the linker prefers to
 * the libraries', hold syncs back, fail them and count them. Include it in exactly one file of a
 * program.
 */
#ifndef MVMM_TESTS_SYNC_RIG_H
#define MVMM_TESTS_SYNC_RIG_H

#include "tests/dataplane/limited.h"
#include "tests/dataplane/rig.h"

#include <libaio.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#define FLUSH VIRTIO_BLK_T_FLUSH
#define OUT   VIRTIO_BLK_T_OUT

/* Read and written by the disk's threads, too. */
static struct {
	pthread_mutex_t lock;
	_Atomic bool hold;	  /* syncs and durable writes do not get on */
	_Atomic bool hold_writes; /* durable writes do not */
	_Atomic int waiting;	  /* of them, the workers' */
	_Atomic int fail;	  /* so many syncs fail */
	_Atomic int refuse;	  /* so many FDSYNCs are not even taken: ENOMEM */
	_Atomic int fdsyncs;	  /* IO_CMD_FDSYNC seen */
	_Atomic int syncs;	  /* fdatasync() seen */
	_Atomic int durable;	  /* writes with RWF_DSYNC seen */
	io_context_t ctx;	  /* under `lock`, as are these: what is held of Linux AIO */
	struct iocb held[64];	  /* copies: the disk's own belong to its thread */
	unsigned nheld;
} storage = { .lock = PTHREAD_MUTEX_INITIALIZER };

static inline int reset_storage(void **state)
{
	storage.hold = storage.hold_writes = false;
	storage.waiting = storage.fail = storage.refuse = 0;
	storage.fdsyncs = storage.syncs = storage.durable = 0;
	storage.nheld = 0;
	return 0;
}

static inline int really_submit(io_context_t ctx, long n, struct iocb **iocb)
{
	const int ret = syscall(SYS_io_submit, ctx, n, iocb);

	return ret < 0 ? -errno : ret;
}

static inline bool is_held(const struct iocb *iocb)
{
	if (iocb->aio_rw_flags & RWF_DSYNC)
		return storage.hold || storage.hold_writes;
	return storage.hold && iocb->aio_lio_opcode == IO_CMD_FDSYNC;
}

/* A sync that fails does so when it completes, as a write of an odd length does here. */
static inline void spoil(struct iocb *iocb)
{
	static uint8_t odd[512];

	if (iocb->aio_lio_opcode != IO_CMD_FDSYNC || !take(&storage.fail))
		return;
	iocb->aio_lio_opcode = IO_CMD_PREAD;
	iocb->u.c.buf = odd;
	iocb->u.c.nbytes = 511;
}

static inline int submit_one(io_context_t ctx, struct iocb *iocb)
{
	int ret = 1;

	storage.fdsyncs += iocb->aio_lio_opcode == IO_CMD_FDSYNC;
	storage.durable += !!(iocb->aio_rw_flags & RWF_DSYNC);
	if (iocb->aio_lio_opcode == IO_CMD_FDSYNC && take(&storage.refuse))
		return -ENOMEM;
	pthread_mutex_lock(&storage.lock);
	if (is_held(iocb)) {
		storage.ctx = ctx;
		storage.held[storage.nheld++] = *iocb;
	} else {
		spoil(iocb);
		ret = really_submit(ctx, 1, &iocb);
	}
	pthread_mutex_unlock(&storage.lock);
	return ret;
}

int io_submit(io_context_t ctx, long n, struct iocb **iocb)
{
	int ret = 0;

	for (long i = 0; i < n; i++) {
		ret = submit_one(ctx, iocb[i]);
		if (ret != 1)
			return i ? i : ret;
	}
	return n;
}

static inline void wait_for_release(const _Atomic bool *writes)
{
	storage.waiting++;
	while (storage.hold || (writes && *writes))
		usleep(500);
	storage.waiting--;
}

int fdatasync(int fd)
{
	storage.syncs++;
	wait_for_release(NULL);
	if (take(&storage.fail)) {
		errno = EIO;
		return -1;
	}
	return syscall(SYS_fdatasync, fd);
}

ssize_t pwritev2(int fd, const struct iovec *iov, int n, off_t off, int flags)
{
	if (flags & RWF_DSYNC) {
		storage.durable++;
		wait_for_release(&storage.hold_writes);
	}
	return syscall(SYS_pwritev2, fd, iov, n, off, 0, flags);
}

static inline unsigned held(void)
{
	unsigned n;

	pthread_mutex_lock(&storage.lock);
	n = storage.nheld;
	pthread_mutex_unlock(&storage.lock);
	return n + storage.waiting;
}

static inline void wait_held(unsigned n)
{
	for (unsigned i = 0; i < RIG_WAIT_MS && held() != n; i++)
		usleep(1000);
	assert_int_equal(held(), n);
}

static inline void release(void)
{
	pthread_mutex_lock(&storage.lock);
	storage.hold = storage.hold_writes = false;
	for (unsigned i = 0; i < storage.nheld; i++) {
		struct iocb *iocb = &storage.held[i];

		spoil(iocb);
		assert_int_equal(really_submit(storage.ctx, 1, &iocb), 1);
	}
	storage.nheld = 0;
	pthread_mutex_unlock(&storage.lock);
}

static const struct rig_config native = { 0 };
static const struct rig_config threads = { .aio = DISK_AIO_THREADS };
static const struct rig_config buffered = { .aio = DISK_AIO_THREADS,
					    .cache = DISK_CACHE_WRITEBACK };

static const struct rig_config *const every[] = { &native, &threads, &buffered };

static inline struct rig_config through(const struct rig_config *config)
{
	struct rig_config c = *config;

	c.writethrough = true;
	return c;
}

static inline void set_wce(struct rig *rig, bool writeback)
{
	const struct blk_command cmd = { .type = BLK_CMD_SET_WCE, .writeback = writeback };

	assert_int_equal(blk_dataplane_send(rig->dp, &cmd, -1, RIG_WAIT_MS), 0);
}

static inline void guest_reset(struct rig *rig)
{
	uint64_t count;

	assert_int_equal(rig_send(rig, BLK_CMD_RESET), 0);
	fake_queue_reset(&rig->drv[0]);
	while (read(rig->irq_fd[0], &count, sizeof(count)) > 0)
		;
	assert_int_equal(rig_start(rig), 0);
}

/* A guest may look whenever it likes, also while the byte is written. */
__attribute__((noinline, no_sanitize("thread"))) static uint8_t peek(const volatile uint8_t *byte)
{
	return *byte;
}

/* The request is with the storage; all that time the guest sees nothing of an end. */
static inline void expect_untold(struct rig *rig, const struct rig_req *r)
{
	struct fake_done done;

	for (unsigned i = 0; i < 20; i++) {
		assert_int_equal(peek(rig_ptr(rig, r->status)), 0xff);
		assert_false(fake_queue_poll(&rig->drv[0], &done));
		usleep(1000);
	}
}

static inline void expect_told(struct rig *rig, const struct rig_req *r)
{
	struct fake_done done;

	assert_true(rig_wait(rig, 0, &done));
	assert_int_equal(rig_status(rig, r), VIRTIO_BLK_S_OK);
}

/* Queues that many and kicks: one goes to the storage, the others wait for it. */
static inline void begin_flushes(struct rig *rig, struct rig_req *r, unsigned n)
{
	storage.hold = true;
	for (unsigned i = 0; i < n; i++) {
		r[i] = rig_req(rig, 0);
		rig_queue(rig, 0, &r[i], FLUSH, 0, 0, i);
	}
	rig_kick(rig, 0);
	wait_held(1);
	usleep(20000);
	assert_int_equal(held(), 1);
}

/* All end, the first one first. */
static inline void end_flushes(struct rig *rig, struct rig_req *r, unsigned n, uint8_t status)
{
	struct fake_done done;

	release();
	for (unsigned i = 0; i < n; i++) {
		assert_true(rig_wait(rig, 0, &done));
		if (!i)
			assert_int_equal(done.cookie, 0);
		assert_int_equal(rig_status(rig, &r[done.cookie]), status);
	}
}

#define T(name) cmocka_unit_test_setup(name, reset_storage)

#endif
