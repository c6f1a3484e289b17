/* SPDX-License-Identifier: Apache-2.0 */
/* on-error=: requests that the host fails and the guest is not to know of. The faults are made by our
 * own io_submit() and p*v2(), which the linker prefers to the libraries'. */
#include "tests/dataplane/driver.h"
#include "tests/dataplane/rig.h"

#include <libaio.h>
#include <sys/syscall.h>
#include <sys/uio.h>

/* What goes wrong; read by the disk's threads. All 0: nothing does. */
static struct {
	_Atomic int submit_errno; /* io_submit() will not have READ and WRITE */
	_Atomic int complete;	  /* READ and WRITE of Linux AIO fail when they complete: EINVAL */
	_Atomic int blocking;	  /* p*v2() fail with this */
	_Atomic int short_first;  /* p*v2() move so many sectors before they fail */
	_Atomic int zeroes;	  /* fallocate() fails with this */
	_Atomic int sync_errno;	  /* fdatasync() */
	_Atomic int durable;	  /* writes with RWF_DSYNC seen */
	_Atomic int syncs;	  /* fdatasync() seen */
} fault;

static int no_faults(void **state)
{
	memset(&fault, 0, sizeof(fault));
	return 0;
}

int io_submit(io_context_t ctx, long n, struct iocb **iocb)
{
	const bool io =
		iocb[0]->aio_lio_opcode != IO_CMD_POLL && iocb[0]->aio_lio_opcode != IO_CMD_FDSYNC;
	int ret;

	if (io && fault.submit_errno)
		return -fault.submit_errno;
	if (io && fault.complete) {
		iocb[0]->u.c.nbytes = 511;
		n = 1;
	}
	ret = syscall(SYS_io_submit, ctx, n, iocb);
	return ret < 0 ? -errno : ret;
}

static ssize_t blocking(long call, int fd, const struct iovec *iov, int n, off_t off, int flags)
{
	struct iovec one = { iov[0].iov_base, 512 };

	fault.durable += !!(flags & RWF_DSYNC);
	if (fault.short_first) {
		fault.short_first--;
		return syscall(call, fd, &one, 1, off, 0, flags);
	}
	if (fault.blocking) {
		errno = fault.blocking;
		return -1;
	}
	return syscall(call, fd, iov, n, off, 0, flags);
}

ssize_t preadv2(int fd, const struct iovec *iov, int n, off_t off, int flags)
{
	if (flags & RWF_NOWAIT && (fault.blocking || fault.short_first)) {
		errno = EAGAIN;
		return -1;
	}
	return blocking(SYS_preadv2, fd, iov, n, off, flags);
}

ssize_t pwritev2(int fd, const struct iovec *iov, int n, off_t off, int flags)
{
	return blocking(SYS_pwritev2, fd, iov, n, off, flags);
}

int fdatasync(int fd)
{
	fault.syncs++;
	if (fault.sync_errno) {
		errno = fault.sync_errno;
		return -1;
	}
	return syscall(SYS_fdatasync, fd);
}

int fallocate(int fd, int mode, off_t off, off_t len)
{
	if (fault.zeroes) {
		errno = fault.zeroes;
		return -1;
	}
	return syscall(SYS_fallocate, fd, mode, off, len);
}

static struct rig *new_rig(bool native, enum disk_on_error on_error)
{
	return rig_new((struct rig_config){
		.aio = native ? DISK_AIO_NATIVE : DISK_AIO_THREADS,
		.cache = native ? DISK_CACHE_NONE : DISK_CACHE_WRITEBACK,
		.on_error = on_error,
		.features = F_EVENT,
	});
}

/* As main's loop would. */
static void wait_stopped(struct rig *rig, int code)
{
	struct pollfd pfd = { .fd = rig->event_fd, .events = POLLIN };
	const struct blk_stats *stats = blk_dataplane_stats(rig->dp);
	uint64_t count;

	assert_int_equal(poll(&pfd, 1, RIG_WAIT_MS), 1);
	assert_int_equal(read(rig->event_fd, &count, sizeof(count)), sizeof(count));
	assert_int_equal(atomic_load(&stats->stopped), code);
	assert_int_equal(rig_stat(&stats->errors), 0);
}

static void assert_stopped_no_more(struct rig *rig)
{
	assert_int_equal(atomic_load(&blk_dataplane_stats(rig->dp)->stopped), 0);
}

static void queue(struct rig *rig, const struct rig_req *r, uint32_t type, uint64_t sector,
		  uint64_t cookie)
{
	assert_true(rig_queue(rig, 0, r, type, sector, r->room, cookie) >= 0);
	rig_kick(rig, 0);
}

static void assert_nothing_ends(struct rig *rig)
{
	struct fake_done done;

	usleep(20000);
	assert_false(fake_queue_poll(&rig->drv[0], &done));
}

static void assert_ends(struct rig *rig, const struct rig_req *r, uint64_t cookie, uint8_t status,
			uint32_t len)
{
	struct fake_done done;

	assert_true(rig_wait(rig, 0, &done));
	assert_int_equal(done.cookie, cookie);
	assert_int_equal(done.len, len);
	assert_int_equal(rig_status(rig, r), status);
}

static void assert_image(struct rig *rig, uint64_t off, uint8_t byte, size_t len)
{
	uint8_t data[4096];

	rig_peek(rig, off, data, len);
	for (size_t i = 0; i < len; i++)
		assert_int_equal(data[i], byte);
}

/* A write and a read that fail are done after all, and nothing else meanwhile. */
static void try_again(struct rig *rig, _Atomic int *faulty, int value, int code)
{
	struct rig_req w = rig_req(rig, 4096), r = rig_req(rig, 4096), late = rig_req(rig, 4096);
	struct fake_done done;

	memset(rig_ptr(rig, w.data), 0xab, 4096);
	for (unsigned round = 0; round < 3; round++) {
		*faulty = value;
		queue(rig, &w, VIRTIO_BLK_T_OUT, 8, 1);
		wait_stopped(rig, code);
		queue(rig, &late, VIRTIO_BLK_T_IN, 16, 2);
		assert_nothing_ends(rig);
		*faulty = 0;
		assert_int_equal(rig_send(rig, BLK_CMD_RESUME), 0);
		assert_true(rig_wait(rig, 0, &done) && rig_wait(rig, 0, &done));
		assert_int_equal(rig_status(rig, &w), VIRTIO_BLK_S_OK);
		assert_int_equal(rig_status(rig, &late), VIRTIO_BLK_S_OK);
		assert_image(rig, 4096, 0xab, 4096);

		*faulty = value;
		queue(rig, &r, VIRTIO_BLK_T_IN, 24, 3);
		wait_stopped(rig, code);
		*faulty = 0;
		assert_int_equal(rig_send(rig, BLK_CMD_RESUME), 0);
		assert_ends(rig, &r, 3, VIRTIO_BLK_S_OK, 4097);
		assert_int_equal(((uint8_t *)rig_ptr(rig, r.data))[4095], 3);
		assert_stopped_no_more(rig);
	}
	assert_int_equal(rig_stat(&blk_dataplane_stats(rig->dp)->stops), 6);
	rig_free(rig);
}

static void what_failed_is_done_after_the_resume(void **state)
{
	try_again(new_rig(true, DISK_ON_ERROR_STOP), &fault.submit_errno, EIO, EIO);
	try_again(new_rig(true, DISK_ON_ERROR_STOP), &fault.complete, 1, EINVAL);
	try_again(new_rig(false, DISK_ON_ERROR_STOP), &fault.blocking, EIO, EIO);
	try_again(new_rig(false, DISK_ON_ERROR_ENOSPC), &fault.blocking, ENOSPC, ENOSPC);
	try_again(new_rig(true, DISK_ON_ERROR_ENOSPC), &fault.submit_errno, EDQUOT, EDQUOT);
}

static void who_fails_again_stops_again(void **state)
{
	struct rig *rig = new_rig(false, DISK_ON_ERROR_STOP);
	struct rig_req w = rig_req(rig, 4096);

	fault.blocking = ENOSPC;
	queue(rig, &w, VIRTIO_BLK_T_OUT, 8, 1);
	for (unsigned i = 0; i < 20; i++) {
		wait_stopped(rig, ENOSPC);
		assert_int_equal(rig_send(rig, BLK_CMD_RESUME), 0);
	}
	wait_stopped(rig, ENOSPC);
	fault.blocking = 0;
	assert_int_equal(rig_send(rig, BLK_CMD_RESUME), 0);
	assert_ends(rig, &w, 1, VIRTIO_BLK_S_OK, 1);
	rig_free(rig);
}

static void the_rest_is_sent_not_what_was_done(void **state)
{
	struct rig *rig = new_rig(false, DISK_ON_ERROR_STOP);
	struct rig_req w = rig_req(rig, 4096), r = rig_req(rig, 4096);

	memset(rig_ptr(rig, w.data), 0x11, 4096);
	fault.short_first = 3;
	fault.blocking = ENOSPC;
	queue(rig, &w, VIRTIO_BLK_T_OUT, 8, 1);
	wait_stopped(rig, ENOSPC);
	assert_image(rig, 4096, 0x11, 3 * 512);
	assert_image(rig, 4096 + 3 * 512, 1, 512);
	/* Would be written, too, by one that begins anew. */
	memset(rig_ptr(rig, w.data), 0x22, 4096);
	fault.blocking = 0;
	assert_int_equal(rig_send(rig, BLK_CMD_RESUME), 0);
	assert_ends(rig, &w, 1, VIRTIO_BLK_S_OK, 1);
	assert_image(rig, 4096, 0x11, 3 * 512);
	assert_image(rig, 4096 + 3 * 512, 0x22, 5 * 512);

	fault.short_first = 2;
	fault.blocking = EIO;
	queue(rig, &r, VIRTIO_BLK_T_IN, 24, 2);
	wait_stopped(rig, EIO);
	fault.blocking = 0;
	assert_int_equal(rig_send(rig, BLK_CMD_RESUME), 0);
	assert_ends(rig, &r, 2, VIRTIO_BLK_S_OK, 4097);
	for (unsigned i = 0; i < 4096; i++)
		assert_int_equal(((uint8_t *)rig_ptr(rig, r.data))[i], 3);
	rig_free(rig);
}

/* Zeroes are a write. */
static void zeroes_are_written_after_the_resume(void **state)
{
	struct rig *rig = rig_new(
		(struct rig_config){ .on_error = DISK_ON_ERROR_ENOSPC, .features = F_RANGES });
	struct rig_req r = rig_req(rig, 2 * sizeof(struct virtio_blk_discard_write_zeroes));
	struct virtio_blk_discard_write_zeroes *seg = rig_ptr(rig, r.data);

	seg[0] = (struct virtio_blk_discard_write_zeroes){ 64, 8, 0 };
	seg[1] = (struct virtio_blk_discard_write_zeroes){ 128, 8, 0 };
	fault.zeroes = ENOSPC;
	queue(rig, &r, VIRTIO_BLK_T_WRITE_ZEROES, 0, 1);
	wait_stopped(rig, ENOSPC);
	fault.zeroes = 0;
	assert_int_equal(rig_send(rig, BLK_CMD_RESUME), 0);
	assert_ends(rig, &r, 1, VIRTIO_BLK_S_OK, 1);
	assert_image(rig, 64 * 512, 0, 4096);
	assert_image(rig, 128 * 512, 0, 4096);
	fault.zeroes = ENOSPC; /* a discard is only advice */
	seg[1] = (struct virtio_blk_discard_write_zeroes){ 256, 64, 0 };
	queue(rig, &r, VIRTIO_BLK_T_DISCARD, 0, 2);
	assert_ends(rig, &r, 2, VIRTIO_BLK_S_IOERR, 1);
	rig_free(rig);
}

static void other_errors_are_reported(void **state)
{
	struct rig *rig = new_rig(false, DISK_ON_ERROR_ENOSPC);
	struct rig_req r = rig_req(rig, 4096);

	fault.blocking = EIO;
	assert_int_equal(rig_do(rig, &r, VIRTIO_BLK_T_OUT, 0, 4096), VIRTIO_BLK_S_IOERR);
	assert_int_equal(rig_do(rig, &r, VIRTIO_BLK_T_IN, 0, 4096), VIRTIO_BLK_S_IOERR);
	assert_stopped_no_more(rig);
	rig_free(rig);
	rig = new_rig(false, DISK_ON_ERROR_REPORT);
	r = rig_req(rig, 4096);
	fault.blocking = ENOSPC;
	assert_int_equal(rig_do(rig, &r, VIRTIO_BLK_T_OUT, 0, 4096), VIRTIO_BLK_S_IOERR);
	rig_free(rig);
}

/* One that fails says that writes are lost which were completed: to try again would hide that. And
 * what the guest itself got wrong is its own. */
static void flushes_and_refused_requests_are_reported(void **state)
{
	struct rig *rig = new_rig(false, DISK_ON_ERROR_STOP);
	struct rig_req r = rig_req(rig, 4096);

	assert_int_equal(rig_do(rig, &r, VIRTIO_BLK_T_OUT, RIG_SECTORS, 4096), VIRTIO_BLK_S_IOERR);
	fault.sync_errno = EIO;
	assert_int_equal(rig_do(rig, &r, VIRTIO_BLK_T_OUT, 0, 4096), VIRTIO_BLK_S_OK);
	assert_int_equal(rig_do(rig, &r, VIRTIO_BLK_T_FLUSH, 0, 0), VIRTIO_BLK_S_IOERR);
	fault.sync_errno = 0;
	assert_int_equal(rig_do(rig, &r, VIRTIO_BLK_T_FLUSH, 0, 0), VIRTIO_BLK_S_IOERR);
	assert_stopped_no_more(rig);
	rig_free(rig);
}

/* Such a write promises what no sync can keep any more; it would stop the disk for ever. */
static void a_durable_write_after_a_lost_sync_is_reported(void **state)
{
	struct rig *rig = rig_new((struct rig_config){ .aio = DISK_AIO_THREADS,
						       .cache = DISK_CACHE_WRITEBACK,
						       .on_error = DISK_ON_ERROR_STOP });
	const struct blk_command wce = { .type = BLK_CMD_SET_WCE };
	struct rig_req r = rig_req(rig, 4096);

	rig_do(rig, &r, VIRTIO_BLK_T_OUT, 0, 4096);
	fault.sync_errno = EIO;
	assert_int_equal(blk_dataplane_send(rig->dp, &wce, -1, RIG_WAIT_MS), 0);
	assert_int_equal(rig_do(rig, &r, VIRTIO_BLK_T_OUT, 0, 4096), VIRTIO_BLK_S_IOERR);
	assert_stopped_no_more(rig);
	rig_free(rig);
}

/* The write itself was the sync that told of lost pages: main hears of it, and no resume is in vain. */
static void a_durable_write_that_lost_pages_is_reported(void **state)
{
	struct rig *rig = rig_new((struct rig_config){ .aio = DISK_AIO_THREADS,
						       .cache = DISK_CACHE_WRITEBACK,
						       .writethrough = true,
						       .on_error = DISK_ON_ERROR_STOP });
	const struct blk_stats *stats = blk_dataplane_stats(rig->dp);
	struct rig_req r = rig_req(rig, 4096);

	fault.blocking = ENOSPC; /* loses none */
	queue(rig, &r, VIRTIO_BLK_T_OUT, 8, 1);
	wait_stopped(rig, ENOSPC);
	fault.blocking = 0;
	assert_int_equal(rig_send(rig, BLK_CMD_RESUME), 0);
	assert_ends(rig, &r, 1, VIRTIO_BLK_S_OK, 1);
	assert_int_equal(atomic_load(&stats->sync_errno), 0);
	fault.blocking = EIO;
	assert_int_equal(rig_do(rig, &r, VIRTIO_BLK_T_OUT, 8, 4096), VIRTIO_BLK_S_IOERR);
	assert_int_equal(atomic_load(&stats->sync_errno), EIO);
	fault.blocking = 0;
	assert_int_equal(rig_do(rig, &r, VIRTIO_BLK_T_OUT, 8, 4096), VIRTIO_BLK_S_IOERR);
	assert_stopped_no_more(rig);
	assert_int_equal(rig_stat(&stats->stops), 1);
	rig_free(rig);
}

static void a_pause_keeps_what_failed(void **state)
{
	struct rig *rig = new_rig(false, DISK_ON_ERROR_STOP);
	struct rig_req w = rig_req(rig, 4096);

	fault.blocking = ENOSPC;
	queue(rig, &w, VIRTIO_BLK_T_OUT, 8, 1);
	wait_stopped(rig, ENOSPC);
	fault.blocking = 0;
	assert_int_equal(rig_send(rig, BLK_CMD_PAUSE), 0);
	assert_nothing_ends(rig);
	assert_int_equal(rig_send(rig, BLK_CMD_RESUME), 0);
	assert_ends(rig, &w, 1, VIRTIO_BLK_S_OK, 1);
	rig_free(rig);
}

static void a_reset_drops_what_failed(void **state)
{
	struct rig *rig = new_rig(false, DISK_ON_ERROR_STOP);
	struct rig_req r[8];
	struct fake_done done;

	fault.blocking = ENOSPC;
	for (unsigned i = 0; i < 8; i++) {
		r[i] = rig_req(rig, 4096);
		memset(rig_ptr(rig, r[i].data), 0x33, 4096);
		queue(rig, &r[i], VIRTIO_BLK_T_OUT, 16 * i, i);
	}
	wait_stopped(rig, ENOSPC);
	assert_int_equal(rig_send(rig, BLK_CMD_RESET), 0);
	assert_stopped_no_more(rig);
	fault.blocking = 0;
	/* Those that workers had in hand until then have failed, which is no reason to stop any more. */
	while (fake_queue_poll(&rig->drv[0], &done))
		assert_int_equal(rig_status(rig, &r[done.cookie]), VIRTIO_BLK_S_IOERR);
	assert_nothing_ends(rig);
	fake_queue_reset(&rig->drv[0]);
	assert_int_equal(rig_start(rig), 0);
	for (unsigned i = 0; i < 8; i++) {
		assert_int_equal(rig_do(rig, &r[i], VIRTIO_BLK_T_IN, 16 * i, 4096),
				 VIRTIO_BLK_S_OK);
		assert_int_equal(*(uint8_t *)rig_ptr(rig, r[i].data), 2 * i);
	}
	rig_free(rig);
}

static void a_stopped_disk_can_be_ended(void **state)
{
	struct rig *rig = new_rig(true, DISK_ON_ERROR_STOP);
	struct rig_req r = rig_req(rig, 4096);

	fault.submit_errno = EIO;
	queue(rig, &r, VIRTIO_BLK_T_IN, 0, 1);
	wait_stopped(rig, EIO);
	assert_int_equal(blk_dataplane_stop(rig->dp, RIG_WAIT_MS), 0);
	rig_free(rig);
}

/* The driver gives up flushes between the failure and the next try: the write must be durable, and
 * so must what was done of it. */
static void what_is_sent_again_obeys_the_cache_mode_of_now(void **state)
{
	struct rig *rig = new_rig(false, DISK_ON_ERROR_STOP);
	const struct blk_command wce = { .type = BLK_CMD_SET_WCE };
	struct rig_req w = rig_req(rig, 4096);

	fault.short_first = 1;
	fault.blocking = ENOSPC;
	queue(rig, &w, VIRTIO_BLK_T_OUT, 8, 1);
	wait_stopped(rig, ENOSPC);
	assert_int_equal(fault.durable, 0);
	assert_int_equal(blk_dataplane_send(rig->dp, &wce, -1, RIG_WAIT_MS), 0);
	assert_int_equal(fault.syncs, 1);
	fault.blocking = 0;
	assert_int_equal(rig_send(rig, BLK_CMD_RESUME), 0);
	assert_ends(rig, &w, 1, VIRTIO_BLK_S_OK, 1);
	assert_int_equal(fault.durable, 1);
	rig_free(rig);
}

static void send_on_error(struct rig *rig, enum disk_on_error on_error)
{
	const struct blk_command cmd = { .type = BLK_CMD_SET_ON_ERROR, .on_error = on_error };

	assert_int_equal(blk_dataplane_send(rig->dp, &cmd, -1, RIG_WAIT_MS), 0);
}

static void the_policy_can_be_changed(void **state)
{
	struct rig *rig = new_rig(false, DISK_ON_ERROR_REPORT);
	const _Atomic int *stopped = &blk_dataplane_stats(rig->dp)->stopped;
	struct rig_req w = rig_req(rig, 4096);

	fault.blocking = EIO;
	assert_int_equal(rig_do(rig, &w, VIRTIO_BLK_T_OUT, 8, 4096), VIRTIO_BLK_S_IOERR);
	send_on_error(rig, DISK_ON_ERROR_STOP);
	queue(rig, &w, VIRTIO_BLK_T_OUT, 8, 1);
	for (unsigned i = 0; i < RIG_WAIT_MS && !atomic_load(stopped); i++)
		usleep(1000);
	assert_int_equal(atomic_load(stopped), EIO);
	/* Who is stopped stays so until resumed; then the guest is told. */
	send_on_error(rig, DISK_ON_ERROR_REPORT);
	assert_nothing_ends(rig);
	assert_int_equal(rig_send(rig, BLK_CMD_RESUME), 0);
	assert_ends(rig, &w, 1, VIRTIO_BLK_S_IOERR, 1);
	rig_free(rig);
}

/* Main at its worst, and a host that fails now and then: the guest sees a disk without a fault. */
static void storm(struct rig_config config)
{
	static const enum disk_on_error policies[] = { DISK_ON_ERROR_STOP, DISK_ON_ERROR_ENOSPC };
	struct driver *d[RIG_QUEUES];
	pthread_t thread[RIG_QUEUES];
	struct rig *rig = rig_new(config);
	bool running = true;

	for (unsigned q = 0; q < config.nqueues; q++) {
		d[q] = driver_new(rig, q, 16, 1500);
		assert_int_equal(pthread_create(&thread[q], NULL, drive, d[q]), 0);
	}
	for (unsigned i = 0; running; i++) {
		fault.submit_errno = i % 3 ? 0 : ENOSPC;
		fault.blocking = i % 3 ? 0 : ENOSPC;
		send_on_error(rig, policies[i % 2]);
		if (i % 4 == 2)
			assert_int_equal(rig_send(rig, BLK_CMD_PAUSE), 0);
		usleep(i % 7 * 40);
		assert_int_equal(rig_send(rig, BLK_CMD_RESUME), 0);
		running = false;
		for (unsigned q = 0; q < config.nqueues; q++)
			running |= !d[q]->finished;
	}
	assert_true(rig_stat(&blk_dataplane_stats(rig->dp)->stops) > 0);
	for (unsigned q = 0; q < config.nqueues; q++) {
		pthread_join(thread[q], NULL);
		if (d[q]->error)
			fail_msg("queue %u: %s", q, d[q]->error);
		free(d[q]);
	}
	rig_free(rig);
}

static void a_storm_of_stops_loses_nothing(void **state)
{
	storm((struct rig_config){
		.on_error = DISK_ON_ERROR_STOP, .nqueues = 2, .features = F_EVENT });
	storm((struct rig_config){ .on_error = DISK_ON_ERROR_STOP,
				   .nqueues = 1,
				   .no_look = true,
				   .aio = DISK_AIO_THREADS,
				   .cache = DISK_CACHE_WRITEBACK });
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup(f, no_faults)
	const struct CMUnitTest tests[] = {
		TEST(what_failed_is_done_after_the_resume),
		TEST(who_fails_again_stops_again),
		TEST(the_rest_is_sent_not_what_was_done),
		TEST(zeroes_are_written_after_the_resume),
		TEST(other_errors_are_reported),
		TEST(flushes_and_refused_requests_are_reported),
		TEST(a_durable_write_after_a_lost_sync_is_reported),
		TEST(a_durable_write_that_lost_pages_is_reported),
		TEST(a_pause_keeps_what_failed),
		TEST(a_reset_drops_what_failed),
		TEST(a_stopped_disk_can_be_ended),
		TEST(what_is_sent_again_obeys_the_cache_mode_of_now),
		TEST(the_policy_can_be_changed),
		TEST(a_storm_of_stops_loses_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
