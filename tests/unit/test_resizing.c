/* SPDX-License-Identifier: Apache-2.0 */
/* A disk gets another size: main's steps, with real disks, in a test that has the host's clock and
 * ftruncate() in its hands. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <endian.h>
#include <linux/virtio_blk.h>
#include <stdatomic.h>
#include <sys/stat.h>

#include "tests/control/fake_machine.h"
#include "vmm/cli/clock.h"

#define OLD    FAKE_BYTES
#define LARGE  (2 * OLD)
#define SMALL  (OLD / 2)
#define WAIT_S 20

struct answer {
	unsigned calls;
	int ret;
	uint64_t bytes;
	struct error err;
};

static struct fake_machine fake;
static struct loop loop;
static struct machine_disk *disk;
static struct resizing *r;
static struct answer got;

/* ---- the host ---- */

static _Atomic int64_t later_s;
static _Atomic int cut_errno;

int clock_gettime(clockid_t id, struct timespec *ts)
{
	const long ret = syscall(SYS_clock_gettime, id, ts);

	ts->tv_sec += atomic_load(&later_s);
	return (int)ret;
}

int ftruncate(int fd, off_t length)
{
	errno = atomic_load(&cut_errno);
	return errno ? -1 : (int)syscall(SYS_ftruncate, fd, length);
}

static uint64_t file_size(void)
{
	struct stat st;

	assert_int_equal(stat(disk->config->path, &st), 0);
	return st.st_size;
}

/* Of a backup. */
static const char *target(void)
{
	static char path[64];

	snprintf(path, sizeof(path), "/tmp/mvmm-fake-backup-%d", getpid());
	return path;
}

/* ---- the guest ---- */

static uint64_t shown(void)
{
	const struct virtio_blk_config *config = (const void *)disk->blk.dev.config;

	return le64toh(config->capacity) * 512;
}

/* As a vCPU does inside a reset that waits for storage. */
static void hold_device(bool on)
{
	if (on)
		pthread_mutex_lock(&disk->blk.dev.lock);
	else
		pthread_mutex_unlock(&disk->blk.dev.lock);
}

/* ---- who asks ---- */

static void done(void *opaque, int ret, uint64_t bytes, const struct error *err)
{
	struct answer *a = opaque;

	a->calls++;
	a->ret = ret;
	a->bytes = bytes;
	if (ret)
		a->err = *err;
}

static int ask(uint64_t bytes)
{
	const struct resizing_waiter waiter = { done, &got };

	got = (struct answer){ 0 };
	return resizing_start(r, &loop, bytes, &waiter, &got.err);
}

/* Laps until the answer, or until it is in that state. */
static void run_until(enum resizing_state state)
{
	while (r->state != state && !got.calls)
		loop_once(&loop);
	if (state != RESIZING_NOT)
		assert_int_equal(r->state, state);
}

static void laps(unsigned n)
{
	while (n--)
		loop_once(&loop);
}

static int resize(uint64_t bytes)
{
	int ret = ask(bytes);

	if (ret)
		return ret;
	run_until(RESIZING_NOT);
	assert_int_equal(got.calls, 1);
	return got.ret;
}

static int setup(void **state)
{
	memset(&loop, 0, sizeof(loop));
	atomic_store(&later_s, 0);
	atomic_store(&cut_errno, 0);
	if (fake_machine_open(&fake))
		return -1;
	disk = fake.m.disk[1];
	r = &disk->resizing;
	return 0;
}

static int teardown(void **state)
{
	fake_machine_close(&fake);
	return 0;
}

static void assert_size(uint64_t guest, uint64_t file)
{
	assert_int_equal(shown(), guest);
	assert_int_equal(disk->blk.backend.size, guest);
	assert_int_equal(file_size(), file);
}

/* ---- tests ---- */

static void a_disk_becomes_larger_and_smaller(void **state)
{
	const unsigned generation = atomic_load(&disk->blk.dev.generation);

	assert_int_equal(resize(LARGE), 0);
	assert_int_equal(got.bytes, LARGE);
	assert_size(LARGE, LARGE);
	assert_int_equal(atomic_load(&disk->blk.dev.generation), generation + 1);
	assert_int_equal(resize(SMALL), 0);
	assert_int_equal(got.bytes, SMALL);
	assert_size(SMALL, SMALL);
	assert_int_equal(resize(SMALL), 0);
	assert_size(SMALL, SMALL);
}

static void without_a_size_it_follows_its_file(void **state)
{
	assert_int_equal(truncate(disk->config->path, LARGE + 100), 0);
	assert_int_equal(resize(0), 0);
	assert_size(LARGE, LARGE + 100);
	assert_int_equal(truncate(disk->config->path, SMALL), 0);
	assert_int_equal(resize(0), 0);
	assert_size(SMALL, SMALL);
	assert_int_equal(truncate(disk->config->path, 0), 0);
	assert_int_equal(resize(0), -EINVAL);
	assert_size(SMALL, 0);
}

/* Else the guest could use what is not there. */
static void a_file_that_cannot_grow_leaves_the_disk_alone(void **state)
{
	atomic_store(&cut_errno, EFBIG);
	assert_int_equal(resize(LARGE), -EFBIG);
	assert_non_null(strstr(got.err.text, "File too large"));
	assert_size(OLD, OLD);
	/* No fault of the size that was asked for, and not to be taken for one. */
	atomic_store(&cut_errno, ENOSPC);
	assert_int_equal(resize(LARGE), -EIO);
	assert_non_null(strstr(got.err.text, "No space left"));
	assert_size(OLD, OLD);
	atomic_store(&cut_errno, 0);
	assert_int_equal(resize(LARGE), 0);
}

/* Else what is cut off could still be in use. */
static void a_file_is_cut_when_the_guest_has_been_told(void **state)
{
	hold_device(true);
	assert_int_equal(ask(SMALL), 0);
	run_until(RESIZING_TELLS_GUEST);
	laps(20);
	assert_int_equal(r->state, RESIZING_TELLS_GUEST);
	assert_size(OLD, OLD);
	hold_device(false);
	run_until(RESIZING_CUTS);
	assert_int_equal(shown(), SMALL);
	run_until(RESIZING_NOT);
	assert_int_equal(got.ret, 0);
	assert_size(SMALL, SMALL);
}

static void a_file_that_cannot_be_cut_stays(void **state)
{
	atomic_store(&cut_errno, EIO);
	assert_int_equal(resize(SMALL), -EIO);
	assert_int_equal(got.bytes, SMALL);
	assert_size(SMALL, OLD);
	atomic_store(&cut_errno, 0);
	assert_int_equal(resize(SMALL), 0);
	assert_size(SMALL, SMALL);
}

/* Which the disk's thread refuses of a disk that it has for another size than main has. */
static bool can_be_copied(void)
{
	const struct copying_wish wish = { .kind = COPYING_BACKUP, .target = target() };
	const struct copying_waiter nobody = { 0 };
	struct copying *c = &disk->copying;
	struct error err;

	unlink(wish.target);
	assert_int_equal(copying_start(c, &loop, &wish, &nobody, &err), 0);
	while (copying_under_way(c))
		laps(1);
	unlink(wish.target);
	return c->phase == COPYING_ENDED;
}

/* The disk's thread allows the old size again. */
static void a_guest_that_cannot_be_told_keeps_its_size(void **state)
{
	hold_device(true);
	assert_int_equal(ask(SMALL), 0);
	run_until(RESIZING_TELLS_GUEST);
	atomic_store(&later_s, WAIT_S);
	run_until(RESIZING_TAKES_BACK);
	run_until(RESIZING_NOT);
	assert_int_equal(got.ret, -EBUSY);
	assert_int_equal(got.bytes, OLD);
	assert_size(OLD, OLD);
	assert_null(loop.timers);
	hold_device(false);
	assert_true(can_be_copied());
	assert_int_equal(resize(SMALL), 0);
	assert_size(SMALL, SMALL);
}

/* Storage that took its time has not taken the guest's. */
static void slow_storage_leaves_the_guest_its_time(void **state)
{
	assert_int_equal(ask(SMALL), 0);
	assert_int_equal(r->state, RESIZING_TELLS_DISK);
	atomic_store(&later_s, WAIT_S);
	hold_device(true);
	run_until(RESIZING_TELLS_GUEST);
	hold_device(false);
	run_until(RESIZING_NOT);
	assert_int_equal(got.ret, 0);
	assert_size(SMALL, SMALL);
}

static int start_slow_backup(struct error *err)
{
	const struct copying_wish wish = { .kind = COPYING_BACKUP,
					   .target = target(),
					   .speed = 65536 };
	const struct copying_waiter nobody = { 0 };

	return copying_start(&disk->copying, &loop, &wish, &nobody, err);
}

static struct copying *slow_backup(void)
{
	struct copying *c = &disk->copying;
	struct error err;

	unlink(target());
	fake.opt.broker_fd = -1;
	assert_int_equal(start_slow_backup(&err), 0);
	while (c->phase == COPYING_OPENS)
		laps(1);
	assert_int_equal(c->phase, COPYING_RUNS);
	return c;
}

/* What main takes for ended, the disk's thread may still have. */
static void a_job_of_the_disks_thread_is_waited_for(void **state)
{
	struct copying *c = slow_backup();
	struct error err;

	assert_int_equal(ask(SMALL), -EBUSY);
	c->phase = COPYING_ENDED;
	assert_int_equal(ask(SMALL), 0);
	laps(10);
	assert_int_equal(got.calls, 0);
	assert_int_equal(r->state, RESIZING_TELLS_DISK);
	assert_size(OLD, OLD);
	assert_int_equal(start_slow_backup(&err), -EBUSY);
	assert_non_null(strstr(err.text, "resized"));
	c->phase = COPYING_RUNS;
	assert_int_equal(copying_cancel(c, &err), 0);
	run_until(RESIZING_NOT);
	assert_int_equal(got.ret, 0);
	assert_size(SMALL, SMALL);
	while (c->phase == COPYING_RUNS)
		laps(1);
	unlink(target());
}

static void a_job_that_does_not_end_ends_it(void **state)
{
	struct copying *c = slow_backup();

	c->phase = COPYING_ENDED;
	assert_int_equal(ask(LARGE), 0);
	run_until(RESIZING_TELLS_DISK);
	laps(2);
	atomic_store(&later_s, WAIT_S);
	run_until(RESIZING_NOT);
	assert_int_equal(got.ret, -EBUSY);
	assert_size(OLD, LARGE);
	unlink(target());
}

static void one_that_is_removed_ends_it(void **state)
{
	hold_device(true);
	assert_int_equal(ask(SMALL), 0);
	run_until(RESIZING_TELLS_GUEST);
	disk->exit.state = DISK_DRAINS;
	disk_calls_close(&disk->calls);
	run_until(RESIZING_NOT);
	assert_int_equal(got.ret, -ENODEV);
	assert_size(OLD, OLD);
	hold_device(false);
	assert_int_equal(ask(SMALL), -EBUSY);
}

/* Its thread has no more use for commands. */
static void one_that_is_removed_while_its_file_grows_ends_it(void **state)
{
	assert_int_equal(ask(LARGE), 0);
	assert_true(r->away);
	disk->exit.state = DISK_DRAINS;
	disk_calls_close(&disk->calls);
	run_until(RESIZING_NOT);
	assert_int_equal(got.ret, -ENODEV);
	assert_false(r->away);
	assert_int_equal(shown(), OLD);
}

static void one_that_is_gone_ends_it(void **state)
{
	hold_device(true);
	assert_int_equal(ask(SMALL), 0);
	run_until(RESIZING_TELLS_GUEST);
	resizing_destroy(r);
	assert_int_equal(got.calls, 1);
	assert_int_equal(got.ret, -ENODEV);
	assert_null(loop.timers);
	hold_device(false);
}

static void some_disks_keep_their_size(void **state)
{
	struct block_backend *be = &disk->blk.backend;
	const struct block_backend before = *be;

	assert_int_equal(ask(OLD + 1), -EINVAL);
	be->readonly = true;
	assert_int_equal(ask(LARGE), -EROFS);
	assert_int_equal(resize(0), 0); /* as any that follows */
	*be = before;
	be->block_device = true;
	assert_int_equal(ask(LARGE), -EINVAL);
	assert_int_equal(resize(0), 0);
	*be = before;
	be->overlay = (struct blk_overlay *)&got;
	assert_int_equal(ask(LARGE), -EINVAL);
	assert_int_equal(ask(0), -EINVAL);
	*be = before;
	disk->copying.phase = COPYING_OPENS;
	assert_int_equal(ask(LARGE), -EBUSY);
	disk->copying.phase = COPYING_NONE;
	assert_int_equal(ask(LARGE), 0);
	assert_int_equal(resizing_start(r, &loop, LARGE, &r->waiter, &got.err), -EBUSY);
	run_until(RESIZING_NOT);
	assert_int_equal(got.ret, 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_disk_becomes_larger_and_smaller),
		TEST(without_a_size_it_follows_its_file),
		TEST(a_file_that_cannot_grow_leaves_the_disk_alone),
		TEST(a_file_is_cut_when_the_guest_has_been_told),
		TEST(a_file_that_cannot_be_cut_stays),
		TEST(a_guest_that_cannot_be_told_keeps_its_size),
		TEST(slow_storage_leaves_the_guest_its_time),
		TEST(a_job_of_the_disks_thread_is_waited_for),
		TEST(a_job_that_does_not_end_ends_it),
		TEST(one_that_is_removed_ends_it),
		TEST(one_that_is_removed_while_its_file_grows_ends_it),
		TEST(one_that_is_gone_ends_it),
		TEST(some_disks_keep_their_size),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
