/* SPDX-License-Identifier: Apache-2.0 */
/*
 * When a guest may be told that its data is durable: not before the host has said so, and never
 * again once the host has failed at it. The storage is ours: io_submit(), fdatasync() and pwritev2(),
 * which the linker prefers to the libraries', hold syncs back, fail them and count them. F numbers
 * are the cases of the host-fault list.
 */
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

static int reset_storage(void **state)
{
	storage.hold = storage.hold_writes = false;
	storage.waiting = storage.fail = storage.refuse = 0;
	storage.fdsyncs = storage.syncs = storage.durable = 0;
	storage.nheld = 0;
	return 0;
}

static bool take(_Atomic int *left)
{
	int n = *left;

	while (n > 0)
		if (atomic_compare_exchange_weak(left, &n, n - 1))
			return true;
	return false;
}

static int really_submit(io_context_t ctx, long n, struct iocb **iocb)
{
	const int ret = syscall(SYS_io_submit, ctx, n, iocb);

	return ret < 0 ? -errno : ret;
}

static bool is_held(const struct iocb *iocb)
{
	if (iocb->aio_rw_flags & RWF_DSYNC)
		return storage.hold || storage.hold_writes;
	return storage.hold && iocb->aio_lio_opcode == IO_CMD_FDSYNC;
}

/* A sync that fails does so when it completes, as a write of an odd length does here. */
static void spoil(struct iocb *iocb)
{
	static uint8_t odd[512];

	if (iocb->aio_lio_opcode != IO_CMD_FDSYNC || !take(&storage.fail))
		return;
	iocb->aio_lio_opcode = IO_CMD_PREAD;
	iocb->u.c.buf = odd;
	iocb->u.c.nbytes = 511;
}

static int submit_one(io_context_t ctx, struct iocb *iocb)
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

static void wait_for_release(const _Atomic bool *writes)
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

static unsigned held(void)
{
	unsigned n;

	pthread_mutex_lock(&storage.lock);
	n = storage.nheld;
	pthread_mutex_unlock(&storage.lock);
	return n + storage.waiting;
}

static void wait_held(unsigned n)
{
	for (unsigned i = 0; i < RIG_WAIT_MS && held() != n; i++)
		usleep(1000);
	assert_int_equal(held(), n);
}

static void release(void)
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

static struct rig_config through(const struct rig_config *config)
{
	struct rig_config c = *config;

	c.writethrough = true;
	return c;
}

static void set_wce(struct rig *rig, bool writeback)
{
	const struct blk_command cmd = { .type = BLK_CMD_SET_WCE, .writeback = writeback };

	assert_int_equal(blk_dataplane_send(rig->dp, &cmd, -1, RIG_WAIT_MS), 0);
}

static void guest_reset(struct rig *rig)
{
	uint64_t count;

	assert_int_equal(rig_send(rig, BLK_CMD_RESET), 0);
	fake_queue_reset(&rig->drv[0]);
	while (read(rig->irq_fd[0], &count, sizeof(count)) > 0)
		;
	assert_int_equal(rig_start(rig), 0);
}

/* ---- nothing is told before it is so ---------------------------------------------------------- */

/* A guest may look whenever it likes, also while the byte is written. */
__attribute__((noinline, no_sanitize("thread"))) static uint8_t peek(const volatile uint8_t *byte)
{
	return *byte;
}

/* The request is with the storage; all that time the guest sees nothing of an end. */
static void expect_untold(struct rig *rig, const struct rig_req *r)
{
	struct fake_done done;

	for (unsigned i = 0; i < 20; i++) {
		assert_int_equal(peek(rig_ptr(rig, r->status)), 0xff);
		assert_false(fake_queue_poll(&rig->drv[0], &done));
		usleep(1000);
	}
}

static void expect_told(struct rig *rig, const struct rig_req *r)
{
	struct fake_done done;

	assert_true(rig_wait(rig, 0, &done));
	assert_int_equal(rig_status(rig, r), VIRTIO_BLK_S_OK);
}

/* F24 */
static void flush_waits_for_sync(const struct rig_config *config)
{
	struct rig *rig = rig_new(*config);
	struct rig_req w = rig_req(rig, 4096), f = rig_req(rig, 0);
	uint8_t page[4096];

	memset(rig_ptr(rig, w.data), 0xab, 4096);
	assert_int_equal(rig_do(rig, &w, OUT, 8, 4096), VIRTIO_BLK_S_OK);
	storage.hold = true;
	rig_queue(rig, 0, &f, FLUSH, 0, 0, 2);
	rig_kick(rig, 0);
	wait_held(1);
	/* When the sync begins, all is written that it has to cover. */
	rig_peek(rig, 8 * 512, page, sizeof(page));
	assert_int_equal(page[0], 0xab);
	assert_int_equal(page[4095], 0xab);
	expect_untold(rig, &f);
	release();
	expect_told(rig, &f);
	assert_int_equal(storage.fdsyncs + storage.syncs, 1);
	rig_free(rig);
}

static void a_flush_is_ok_only_after_its_sync_completed(void **state)
{
	for (unsigned i = 0; i < 3; i++) {
		reset_storage(NULL);
		flush_waits_for_sync(every[i]);
	}
}

static void other_requests_go_on_while_a_sync_takes_long(void **state)
{
	for (unsigned i = 0; i < 3; i++) {
		struct rig *rig = rig_new(*every[i]);
		struct rig_req r = rig_req(rig, 4096), f = rig_req(rig, 0);
		struct fake_done done;

		storage.hold = true;
		rig_queue(rig, 0, &f, FLUSH, 0, 0, 2);
		rig_kick(rig, 0);
		wait_held(1);
		assert_int_equal(rig_do(rig, &r, OUT, 0, 4096), VIRTIO_BLK_S_OK);
		assert_int_equal(rig_do(rig, &r, VIRTIO_BLK_T_IN, 0, 4096), VIRTIO_BLK_S_OK);
		release();
		assert_true(rig_wait(rig, 0, &done));
		assert_int_equal(done.cookie, 2);
		rig_free(rig);
	}
}

/* F25: `len` bytes from `skip` bytes into the buffer. */
static void write_is_durable(const struct rig_config *config, uint32_t skip, uint32_t len)
{
	struct rig *rig = rig_new(through(config));
	struct rig_req w = rig_req(rig, 8192);

	w.data += skip;
	storage.hold = true;
	rig_queue(rig, 0, &w, OUT, 16, len, 1);
	rig_kick(rig, 0);
	wait_held(1);
	expect_untold(rig, &w);
	release();
	expect_told(rig, &w);
	assert_int_equal(storage.durable, 1);
	rig_free(rig);
}

static void without_flushes_every_write_waits_until_it_is_durable(void **state)
{
	for (unsigned i = 0; i < 3; i++) {
		reset_storage(NULL);
		write_is_durable(every[i], 0, 4096);
		reset_storage(NULL);
		write_is_durable(every[i], 1, 512); /* through an aligned buffer */
	}
}

static void without_flushes_zeroes_are_durable_too(void **state)
{
	for (unsigned i = 0; i < 3; i++) {
		struct rig_config config = through(every[i]);
		struct virtio_blk_discard_write_zeroes *seg;
		struct rig_req r;
		struct rig *rig;

		config.features = F_RANGES;
		rig = rig_new(config);
		r = rig_req(rig, 16);
		seg = rig_ptr(rig, r.data);
		*seg = (struct virtio_blk_discard_write_zeroes){ 8, 8, 0 };
		storage.hold = true;
		rig_queue(rig, 0, &r, VIRTIO_BLK_T_WRITE_ZEROES, 0, 16, 1);
		rig_kick(rig, 0);
		wait_held(1);
		expect_untold(rig, &r);
		release();
		expect_told(rig, &r);
		rig_free(rig);
	}
}

/* A driver that switches the cache off sends no flush for what it wrote before. */
static void switching_the_cache_off_makes_durable_what_was_written(void **state)
{
	for (unsigned i = 0; i < 3; i++) {
		struct rig *rig = rig_new(*every[i]);
		struct rig_req w = rig_req(rig, 4096);

		reset_storage(NULL);
		set_wce(rig, false); /* nothing was written */
		set_wce(rig, true);
		assert_int_equal(storage.syncs, 0);
		assert_int_equal(rig_do(rig, &w, OUT, 0, 4096), VIRTIO_BLK_S_OK);
		set_wce(rig, false);
		assert_int_equal(storage.syncs, 1);
		set_wce(rig, false);
		assert_int_equal(storage.syncs, 1);
		assert_int_equal(storage.durable, 0);
		assert_int_equal(rig_do(rig, &w, OUT, 0, 4096), VIRTIO_BLK_S_OK);
		assert_int_equal(storage.durable, 1);
		rig_free(rig);
	}
}

static void *switch_cache_on(void *rig)
{
	set_wce(rig, true);
	return NULL;
}

/* False: the later write has overtaken the command, whose sender a busy host had held up. */
static bool switches_cache_on(const struct rig_config *config, useconds_t ahead)
{
	struct rig *rig = rig_new(through(config));
	struct rig_req w = rig_req(rig, 4096), later = rig_req(rig, 4096);
	pthread_t thread;
	int durable;

	storage.hold = true;
	rig_queue(rig, 0, &w, OUT, 0, 4096, 1);
	rig_kick(rig, 0);
	wait_held(1);
	assert_int_equal(pthread_create(&thread, NULL, switch_cache_on, rig), 0);
	usleep(ahead);
	rig_queue(rig, 0, &later, OUT, 8, 4096, 2);
	rig_kick(rig, 0);
	expect_untold(rig, &later);
	assert_int_equal(pthread_tryjoin_np(thread, NULL), EBUSY);
	release();
	assert_int_equal(pthread_join(thread, NULL), 0);
	expect_told(rig, &w);
	expect_told(rig, &later);
	assert_int_equal(storage.fdsyncs + storage.syncs, 0);
	durable = storage.durable;
	rig_free(rig);
	return durable == 1;
}

/* Else a durable write that fails could be the only one to hear of the loss of a later one that is
 * not, and the FLUSH after that would be told that all is well. */
static void switching_the_cache_on_waits_for_durable_writes(void **state)
{
	for (unsigned i = 0; i < 3; i++) {
		bool came_first = false;

		for (useconds_t ahead = 20000; !came_first && ahead < 10000000; ahead *= 4) {
			reset_storage(NULL);
			came_first = switches_cache_on(every[i], ahead);
		}
		assert_true(came_first);
	}
}

static void unsafe_disks_never_sync(void **state)
{
	struct rig *rig =
		rig_new((struct rig_config){ .aio = DISK_AIO_THREADS, .cache = DISK_CACHE_UNSAFE });
	struct rig_req w = rig_req(rig, 4096);

	assert_int_equal(rig_do(rig, &w, OUT, 0, 4096), VIRTIO_BLK_S_OK);
	assert_int_equal(rig_do(rig, &w, FLUSH, 0, 0), VIRTIO_BLK_S_OK);
	set_wce(rig, false);
	assert_int_equal(rig_do(rig, &w, OUT, 0, 4096), VIRTIO_BLK_S_OK);
	rig_free(rig);
	assert_int_equal(storage.fdsyncs + storage.syncs + storage.durable, 0);
}

/* ---- the end ----------------------------------------------------------------------------------- */

/* F22: what the guest wrote and did not flush, because it was stopped, is durable when mvmm ends. */
static void the_end_syncs_what_was_written(void **state)
{
	for (unsigned i = 0; i < 3; i++) {
		struct rig *rig = rig_new(*every[i]);
		struct rig_req w = rig_req(rig, 4096);

		reset_storage(NULL);
		assert_int_equal(rig_do(rig, &w, OUT, 0, 4096), VIRTIO_BLK_S_OK);
		assert_int_equal(storage.syncs, 0);
		storage.hold = true;
		assert_int_equal(blk_dataplane_stop(rig->dp, 30), -ETIMEDOUT);
		wait_held(1);
		assert_int_equal(storage.syncs, 1);
		release();
		assert_int_equal(blk_dataplane_stop(rig->dp, RIG_WAIT_MS), 0);
		assert_int_equal(storage.syncs, 1);
		rig_free(rig);
	}
}

static void the_end_of_a_disk_that_was_only_read_is_quick(void **state)
{
	struct rig *rig = rig_new(native);
	struct rig_req r = rig_req(rig, 4096);

	assert_int_equal(rig_do(rig, &r, VIRTIO_BLK_T_IN, 0, 4096), VIRTIO_BLK_S_OK);
	rig_free(rig);
	assert_int_equal(storage.fdsyncs + storage.syncs, 0);
}

static void a_sync_that_fails_at_the_end_is_told_of(void **state)
{
	struct rig *rig = rig_new(buffered);
	struct rig_req w = rig_req(rig, 4096);

	assert_int_equal(rig_do(rig, &w, OUT, 0, 4096), VIRTIO_BLK_S_OK);
	storage.fail = 1;
	assert_int_equal(blk_dataplane_stop(rig->dp, RIG_WAIT_MS), 0);
	assert_int_equal(atomic_load(&blk_dataplane_stats(rig->dp)->sync_errno), EIO);
	rig_free(rig);
}

/* ---- a sync that failed ------------------------------------------------------------------------ */

/* F3: in each mode, and whatever the guest does. */
static void stays_failed(const struct rig_config *config)
{
	struct rig *rig = rig_new(*config);
	struct rig_req r = rig_req(rig, 4096);

	assert_int_equal(rig_do(rig, &r, FLUSH, 0, 0), VIRTIO_BLK_S_OK);
	storage.fail = 1;
	assert_int_equal(rig_do(rig, &r, FLUSH, 0, 0), VIRTIO_BLK_S_IOERR);
	assert_int_equal(storage.fail, 0);
	assert_int_equal(rig_do(rig, &r, FLUSH, 0, 0), VIRTIO_BLK_S_IOERR);
	/* The disk can be read, and written by who does not expect too much of it. */
	assert_int_equal(rig_do(rig, &r, OUT, 0, 4096), VIRTIO_BLK_S_OK);
	assert_int_equal(rig_do(rig, &r, VIRTIO_BLK_T_IN, 0, 4096), VIRTIO_BLK_S_OK);
	guest_reset(rig);
	assert_int_equal(rig_do(rig, &r, FLUSH, 0, 0), VIRTIO_BLK_S_IOERR);
	set_wce(rig, false);
	assert_int_equal(rig_do(rig, &r, OUT, 0, 4096), VIRTIO_BLK_S_IOERR);
	assert_int_equal(rig_do(rig, &r, VIRTIO_BLK_T_IN, 0, 4096), VIRTIO_BLK_S_OK);
	set_wce(rig, true);
	assert_int_equal(rig_do(rig, &r, OUT, 0, 4096), VIRTIO_BLK_S_OK);
	assert_int_equal(rig_do(rig, &r, FLUSH, 0, 0), VIRTIO_BLK_S_IOERR);
	assert_int_not_equal(atomic_load(&blk_dataplane_stats(rig->dp)->sync_errno), 0);
	rig_free(rig);
}

static void a_failed_flush_stays_failed_over_resets(void **state)
{
	for (unsigned i = 0; i < 3; i++) {
		reset_storage(NULL);
		stays_failed(every[i]);
	}
}

/* The storage told the FLUSH of a loss, and nobody else. Through the page cache one waits for the other. */
static void a_durable_write_beside_a_failed_flush_fails_too(void **state)
{
	for (unsigned i = 0; i < 2; i++) {
		struct rig *rig = rig_new(through(every[i]));
		struct rig_req w = rig_req(rig, 4096), f = rig_req(rig, 0);
		struct fake_done done;

		reset_storage(NULL);
		storage.hold_writes = true;
		rig_queue(rig, 0, &w, OUT, 0, 4096, 1);
		rig_kick(rig, 0);
		wait_held(1);
		storage.fail = 1;
		assert_int_equal(rig_do(rig, &f, FLUSH, 0, 0), VIRTIO_BLK_S_IOERR);
		release();
		assert_true(rig_wait(rig, 0, &done));
		assert_int_equal(rig_status(rig, &w), VIRTIO_BLK_S_IOERR);
		rig_free(rig);
	}
}

static void an_image_opened_again_can_be_flushed_again(void **state)
{
	struct rig *rig = rig_new(native);
	struct rig_req r = rig_req(rig, 0);
	struct error err;

	storage.fail = 1;
	assert_int_equal(rig_do(rig, &r, FLUSH, 0, 0), VIRTIO_BLK_S_IOERR);
	assert_int_equal(blk_dataplane_stop(rig->dp, RIG_WAIT_MS), 0);
	blk_dataplane_destroy(rig->dp);
	block_backend_close(&rig->be);
	assert_int_equal(block_backend_open(&rig->be, &rig->disk, &err), 0);
	assert_int_equal(rig_create_dataplane(rig, &err), 0);
	fake_queue_reset(&rig->drv[0]);
	assert_int_equal(rig_start(rig), 0);
	assert_int_equal(rig_do(rig, &r, FLUSH, 0, 0), VIRTIO_BLK_S_OK);
	rig_free(rig);
}

/* Queues that many and kicks: one goes to the storage, the others wait for it. */
static void begin_flushes(struct rig *rig, struct rig_req *r, unsigned n)
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
static void end_flushes(struct rig *rig, struct rig_req *r, unsigned n, uint8_t status)
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

/* The storage tells of a loss once: were two under way, it might tell one of them, and the other one
 * might be back before it, and well. */
static void no_flush_is_answered_while_an_earlier_one_may_fail(void **state)
{
	for (unsigned i = 0; i < 3; i++) {
		struct rig *rig = rig_new(*every[i]);
		struct rig_req r[2];

		reset_storage(NULL);
		begin_flushes(rig, r, 1);
		r[1] = rig_req(rig, 0);
		rig_queue(rig, 0, &r[1], FLUSH, 0, 0, 1);
		rig_kick(rig, 0);
		expect_untold(rig, &r[1]);
		assert_int_equal(held(), 1);
		storage.fail = 1;
		end_flushes(rig, r, 2, VIRTIO_BLK_S_IOERR);
		/* No host was asked once more for what is lost. */
		assert_int_equal(storage.fdsyncs + storage.syncs, 1);
		rig_free(rig);
	}
}

static void all_that_wait_for_a_flush_that_fails_fail_too(void **state)
{
	for (unsigned i = 0; i < 3; i++) {
		struct rig *rig = rig_new(*every[i]);
		struct rig_req r[4];

		reset_storage(NULL);
		begin_flushes(rig, r, 4);
		storage.fail = 1;
		end_flushes(rig, r, 4, VIRTIO_BLK_S_IOERR);
		rig_free(rig);
	}
}

/* Where the host did not even try, nothing is lost. */
static void a_sync_the_host_does_not_take_is_no_loss(void **state)
{
	struct rig *rig = rig_new(native);
	struct rig_req r = rig_req(rig, 0);

	storage.refuse = 1;
	assert_int_equal(rig_do(rig, &r, FLUSH, 0, 0), VIRTIO_BLK_S_IOERR);
	assert_int_equal(rig_do(rig, &r, FLUSH, 0, 0), VIRTIO_BLK_S_OK);
	rig_free(rig);
}

/* Nor of those that would have shared it: each is asked for again, until one is taken. */
static void a_sync_the_host_does_not_take_fails_its_own_flush_only(void **state)
{
	struct rig *rig = rig_new(native);
	unsigned failed = 0, ok = 0;
	struct fake_done done;
	struct rig_req r[6];

	begin_flushes(rig, r, 6);
	storage.refuse = 2; /* of the five that wait */
	release();
	for (unsigned i = 0; i < 6; i++) {
		assert_true(rig_wait(rig, 0, &done));
		failed += rig_status(rig, &r[done.cookie]) == VIRTIO_BLK_S_IOERR;
		ok += rig_status(rig, &r[done.cookie]) == VIRTIO_BLK_S_OK;
	}
	assert_int_equal(failed, 2);
	assert_int_equal(ok, 4);
	assert_int_equal(storage.fdsyncs, 4);
	rig_free(rig);
}

/* ---- flushes that share a sync ----------------------------------------------------------------- */

/* Of flushes that wait while another sync runs, all are done by the next one; none by the running
 * one, which may have begun before their writes were done. */
static void flushes_that_wait_share_one_sync(void **state)
{
	for (unsigned i = 0; i < 3; i++) {
		struct rig *rig = rig_new(*every[i]);
		struct rig_req r[8];

		reset_storage(NULL);
		begin_flushes(rig, r, 8);
		end_flushes(rig, r, 8, VIRTIO_BLK_S_OK);
		assert_int_equal(storage.fdsyncs + storage.syncs, 2);
		assert_int_equal(rig_do(rig, &r[0], FLUSH, 0, 0), VIRTIO_BLK_S_OK);
		assert_int_equal(storage.fdsyncs + storage.syncs, 3);
		rig_free(rig);
	}
}

/* A reset and the end have to wait for all of them. */
static void flushes_that_wait_are_drained(void **state)
{
	for (unsigned i = 0; i < 3; i++) {
		struct rig *rig = rig_new(*every[i]);
		struct rig_req r[8];

		reset_storage(NULL);
		begin_flushes(rig, r, 8);
		assert_int_equal(blk_dataplane_stop(rig->dp, 30), -ETIMEDOUT);
		release();
		assert_int_equal(blk_dataplane_stop(rig->dp, RIG_WAIT_MS), 0);
		for (unsigned n = 0; n < 8; n++)
			assert_int_equal(rig_status(rig, &r[n]), VIRTIO_BLK_S_OK);
		rig_free(rig);
	}
}

/* It waits for its limit while the cache is switched off, and nobody waits for it. */
static void a_write_that_waited_meanwhile_is_durable(void **state)
{
	const struct throttle_limits slow = limit(THROTTLE_BPS_WR, 1), none = { 0 };

	for (unsigned i = 0; i < 3; i++) {
		struct rig_config config = *every[i];
		struct fake_done done;
		struct rig_req r;
		struct rig *rig;

		config.limits = slow;
		rig = rig_new(config);
		r = rig_req(rig, 4096);
		assert_int_equal(rig_do(rig, &r, VIRTIO_BLK_T_OUT, 0, 4096), VIRTIO_BLK_S_OK);
		assert_true(rig_queue(rig, 0, &r, VIRTIO_BLK_T_OUT, 8, 4096, 7) >= 0);
		rig_kick(rig, 0);
		while (!rig_stat(&blk_dataplane_stats(rig->dp)->throttled))
			usleep(1000);
		set_wce(rig, false);
		storage.durable = 0;
		assert_int_equal(set_limits(rig, &none), 0);
		assert_true(rig_wait(rig, 0, &done));
		assert_int_equal(done.cookie, 7);
		assert_int_equal(storage.durable, 1);
		rig_free(rig);
	}
}

#define T(name) cmocka_unit_test_setup(name, reset_storage)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_flush_is_ok_only_after_its_sync_completed),
		T(other_requests_go_on_while_a_sync_takes_long),
		T(without_flushes_every_write_waits_until_it_is_durable),
		T(without_flushes_zeroes_are_durable_too),
		T(switching_the_cache_off_makes_durable_what_was_written),
		T(a_write_that_waited_meanwhile_is_durable),
		T(switching_the_cache_on_waits_for_durable_writes),
		T(unsafe_disks_never_sync),
		T(the_end_syncs_what_was_written),
		T(the_end_of_a_disk_that_was_only_read_is_quick),
		T(a_sync_that_fails_at_the_end_is_told_of),
		T(a_failed_flush_stays_failed_over_resets),
		T(a_durable_write_beside_a_failed_flush_fails_too),
		T(an_image_opened_again_can_be_flushed_again),
		T(no_flush_is_answered_while_an_earlier_one_may_fail),
		T(all_that_wait_for_a_flush_that_fails_fail_too),
		T(a_sync_the_host_does_not_take_is_no_loss),
		T(a_sync_the_host_does_not_take_fails_its_own_flush_only),
		T(flushes_that_wait_share_one_sync),
		T(flushes_that_wait_are_drained),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
