/* SPDX-License-Identifier: Apache-2.0 */
/* A disk's copies as main has them made, one after another and among other changes: the real threads on
 * a machine without KVM. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>

#include "tests/control/fake_machine.h"
#include "tests/unit/watched_close.h"

/* Ours, which the linker prefers to the C library's: a file system without locks. */
static _Atomic bool no_locks;

int fcntl(int fd, int command, ...)
{
	va_list args;
	long arg;

	va_start(args, command);
	arg = va_arg(args, long);
	va_end(args);
	if (no_locks && (command == F_OFD_SETLK || command == F_OFD_GETLK)) {
		errno = ENOLCK;
		return -1;
	}
	return syscall(SYS_fcntl, fd, command, arg);
}

struct host {
	struct fake_machine fake;
	struct loop loop;
	char dir[32];
	char target[64];
	uint64_t speed; /* of what begins */
};

static struct copying *of_disk(struct host *h, unsigned index)
{
	return &h->fake.m.disk[index]->copying;
}

static struct copying *vda(struct host *h)
{
	return of_disk(h, 0);
}

static int set_up(void **state)
{
	struct host *h = calloc(1, sizeof(*h));

	if (!h)
		return -1;
	strcpy(h->dir, "/tmp/mvmm-copy-XXXXXX");
	*state = h;
	return mkdtemp(h->dir) ? fake_machine_open(&h->fake) : -1;
}

static bool watches(const struct loop *loop)
{
	for (unsigned i = 0; i < loop->nwatches; i++)
		if (loop->watch[i])
			return true;
	return false;
}

/* Until nothing is under way beside main. */
static void settle(struct host *h)
{
	while (watches(&h->loop))
		loop_once(&h->loop);
}

static int tear_down(void **state)
{
	struct host *h = *state;
	int ret;

	fake_machine_close(&h->fake);
	settle(h);
	ret = rmdir(h->dir);
	free(h);
	return ret;
}

/* ---- what main waits for --------------------------------------------------------------------- */

struct answer {
	bool done;
	int ret;
	struct error err;
};

static void answered(void *opaque, int ret, const struct error *err)
{
	struct answer *a = opaque;

	a->done = true;
	a->ret = ret;
	if (err)
		a->err = *err;
}

static int wait_for(struct host *h, const struct answer *a)
{
	while (!a->done)
		loop_once(&h->loop);
	return a->ret;
}

static int start(struct host *h, struct copying *c, enum copying_kind kind, const char *name,
		 struct answer *a)
{
	const struct copying_wish wish = { .kind = kind, .target = h->target, .speed = h->speed };
	const struct copying_waiter waiter = { answered, a };
	int ret;

	*a = (struct answer){ 0 };
	snprintf(h->target, sizeof(h->target), "%s/%s", h->dir, name);
	ret = copying_start(c, &h->loop, &wish, &waiter, &a->err);
	return ret ? ret : wait_for(h, a);
}

static void begin(struct host *h, struct copying *c, enum copying_kind kind, const char *name)
{
	struct answer a;

	if (start(h, c, kind, name, &a))
		fail_msg("%s", a.err.text);
}

static void wait_done(struct host *h, struct copying *c)
{
	while (copying_under_way(c))
		loop_once(&h->loop);
	assert_int_equal(c->phase, COPYING_ENDED);
	assert_int_equal(c->view.state, BLK_JOB_DONE);
}

static void mirror_to(struct host *h, const char *name)
{
	struct answer a = { 0 };
	const struct copying_waiter waiter = { answered, &a };

	begin(h, vda(h), COPYING_MIRROR, name);
	if (copying_complete(vda(h), &waiter, &a.err) || wait_for(h, &a))
		fail_msg("%s", a.err.text);
	wait_done(h, vda(h));
	assert_string_equal(machine_disk_path(h->fake.m.disk[0]), h->target);
}

/* ---- a size ---------------------------------------------------------------------------------- */

struct resize {
	struct disk_call call;
	uint64_t bytes;
	struct answer answer;
};

static int post_size(struct virtio_blk *blk, void *opaque)
{
	return virtio_blk_resize(blk, ((struct resize *)opaque)->bytes);
}

static void has_size(void *opaque, int result)
{
	answered(&((struct resize *)opaque)->answer, result, NULL);
}

static void resize(struct host *h, uint64_t bytes)
{
	struct machine_disk *disk = h->fake.m.disk[0];
	struct resize r = { .bytes = bytes };

	r.call = (struct disk_call){ .post = post_size, .done = has_size, .opaque = &r };
	disk_call(&disk->calls, &h->loop, &r.call);
	assert_int_equal(wait_for(h, &r.answer), 0);
	assert_int_equal(virtio_blk_show_size(&disk->blk, bytes), 0);
}

static void remove_file(struct host *h, const char *name)
{
	char path[64];

	snprintf(path, sizeof(path), "%s/%s", h->dir, name);
	assert_int_equal(unlink(path), 0);
}

/* What was opened for the mirror has the size it had then; the disk has another. */
static void a_disk_that_has_moved_and_changed_its_size_is_copied_again(void **state)
{
	struct host *h = *state;

	mirror_to(h, "first");
	resize(h, FAKE_BYTES / 2);
	mirror_to(h, "second");
	assert_int_equal(vda(h)->view.size, FAKE_BYTES / 2);
	resize(h, FAKE_BYTES / 4);
	begin(h, vda(h), COPYING_BACKUP, "backup");
	wait_done(h, vda(h));
	assert_int_equal(vda(h)->view.copied, FAKE_BYTES / 4);
	remove_file(h, "first");
	remove_file(h, "second");
	remove_file(h, "backup");
}

/* ---- what is closed -------------------------------------------------------------------------- */

/* It may take as long as the storage behind it. */
static void main_does_not_close_the_image_that_a_disk_has_left(void **state)
{
	struct host *h = *state;

	watch_close(h->fake.m.disk[0]->blk.backend.fd, false);
	mirror_to(h, "moved");
	settle(h);
	assert_true(watched.begun);
	assert_false(watched.by_main);
	remove_file(h, "moved");
}

/* A copy to a target that is still open would find it locked: so the one before is not over yet. */
static void main_does_not_close_the_target_of_a_cancelled_copy(void **state)
{
	struct host *h = *state;
	struct copying *c = vda(h);
	struct answer a;

	h->speed = 1024;
	begin(h, c, COPYING_BACKUP, "target");
	watch_close(c->be->fd, true);
	assert_int_equal(copying_cancel(c, &a.err), 0);
	while (c->phase == COPYING_RUNS)
		loop_once(&h->loop);
	assert_string_equal(copying_state_name(c), "ending");
	assert_int_equal(start(h, c, COPYING_BACKUP, "target", &a), -EBUSY);
	assert_int_equal(copying_cancel(c, &a.err), -ESRCH);
	watched.held = false;
	while (copying_under_way(c))
		loop_once(&h->loop);
	assert_true(watched.begun);
	assert_false(watched.by_main);
	assert_string_equal(copying_state_name(c), "cancelled");
	h->speed = 0;
	begin(h, c, COPYING_BACKUP, "target");
	wait_done(h, c);
	remove_file(h, "target");
}

static void a_copy_that_is_cancelled_before_it_begins_leaves_its_target(void **state)
{
	struct host *h = *state;
	struct copying *c = vda(h);
	struct answer a = { 0 };
	const struct copying_wish wish = { .kind = COPYING_BACKUP, .target = h->target };
	const struct copying_waiter waiter = { answered, &a };

	snprintf(h->target, sizeof(h->target), "%s/target", h->dir);
	assert_int_equal(copying_start(c, &h->loop, &wish, &waiter, &a.err), 0);
	assert_int_equal(copying_cancel(c, &a.err), 0);
	assert_int_equal(wait_for(h, &a), -ECANCELED);
	assert_non_null(strstr(a.err.text, "the backup was cancelled"));
	assert_int_equal(c->phase, COPYING_NONE);
	begin(h, c, COPYING_BACKUP, "target");
	wait_done(h, c);
	remove_file(h, "target");
}

/* ---- its beginning and its end ------------------------------------------------------------------ */

/* Both the answer to its start and its end are there when main looks. */
static void a_copy_may_end_before_main_hears_that_it_has_begun(void **state)
{
	struct host *h = *state;
	struct copying *c = vda(h);
	struct answer a = { 0 };
	const struct copying_wish wish = { .kind = COPYING_BACKUP, .target = h->target };
	const struct copying_waiter waiter = { answered, &a };

	snprintf(h->target, sizeof(h->target), "%s/quick", h->dir);
	assert_int_equal(copying_start(c, &h->loop, &wish, &waiter, &a.err), 0);
	while (!c->posted)
		loop_once(&h->loop);
	while (!blk_job_has_ended(blk_job_state(c->job)))
		usleep(1000);
	assert_int_equal(wait_for(h, &a), 0);
	wait_done(h, c);
	assert_null(c->job);
	assert_false(c->sample.armed);
	remove_file(h, "quick");
}

/* The disk's thread says of a job that it has ended, and then wakes main, who may have seen it before:
 * what it writes to must not be another's by then. */
static void what_the_disks_thread_rings_is_there_as_long_as_the_disk(void **state)
{
	struct host *h = *state;
	const uint64_t one = 1;
	int fd;

	begin(h, vda(h), COPYING_BACKUP, "first");
	fd = vda(h)->notify_fd;
	wait_done(h, vda(h));
	assert_int_equal(write(fd, &one, sizeof(one)), sizeof(one));
	begin(h, vda(h), COPYING_BACKUP, "second");
	assert_int_equal(vda(h)->notify_fd, fd);
	wait_done(h, vda(h));
	remove_file(h, "first");
	remove_file(h, "second");
}

/* Who looks next is told of that still. */
static void what_cannot_begin_takes_nothing_from_what_was_before(void **state)
{
	struct host *h = *state;
	struct copying *c = vda(h);
	struct copying_view view;
	struct answer a;
	char first[64];

	h->speed = 0;
	begin(h, c, COPYING_BACKUP, "first");
	wait_done(h, c);
	strcpy(first, h->target);
	h->speed = 4096;
	assert_int_equal(start(h, c, COPYING_MIRROR, "none/at/all", &a), -ENOENT);
	assert_false(copying_look(c, COPYING_MIRROR, &view));
	assert_true(copying_look(c, COPYING_BACKUP, &view));
	assert_string_equal(copying_state_name(c), "done");
	assert_int_equal(view.copied, FAKE_BYTES);
	assert_string_equal(c->target, first);
	assert_int_equal(c->speed, 0);
	begin(h, c, COPYING_BACKUP, "second");
	assert_null(c->last.target);
	remove_file(h, "first");
	remove_file(h, "second");
}

/* ---- a speed --------------------------------------------------------------------------------- */

static int set_speed(struct host *h, uint64_t speed)
{
	struct answer a = { 0 };
	const struct copying_waiter waiter = { answered, &a };
	const int ret = copying_set_speed(vda(h), speed, &waiter, &a.err);

	return ret ? ret : wait_for(h, &a);
}

static void a_copy_under_way_gets_another_speed(void **state)
{
	struct host *h = *state;

	assert_int_equal(set_speed(h, 4096), -ESRCH);
	h->speed = 1024;
	begin(h, vda(h), COPYING_BACKUP, "slow");
	assert_int_equal(set_speed(h, 2048), 0);
	assert_int_equal(vda(h)->speed, 2048);
	assert_int_equal(set_speed(h, 0), 0);
	wait_done(h, vda(h));
	assert_int_equal(set_speed(h, 4096), -ESRCH);
	assert_int_equal(vda(h)->speed, 0);
	remove_file(h, "slow");
}

/* ---- a target of another job ------------------------------------------------------------------ */

/* Both would write it. */
static void two_jobs_do_not_take_one_target_where_there_are_no_locks(void **state)
{
	struct host *h = *state;
	struct answer a;

	no_locks = true;
	h->speed = 4096;
	begin(h, vda(h), COPYING_BACKUP, "one");
	assert_int_equal(start(h, of_disk(h, 1), COPYING_BACKUP, "one", &a), -EBUSY);
	assert_non_null(strstr(a.err.text, "uses it"));
	no_locks = false;
	assert_int_equal(copying_cancel(vda(h), &a.err), 0);
	while (vda(h)->phase == COPYING_RUNS)
		loop_once(&h->loop);
	remove_file(h, "one");
}

/* ---- a target that is removed ---------------------------------------------------------------- */

static void assert_lost(struct host *h)
{
	const struct copying *c = vda(h);

	while (copying_under_way(c))
		loop_once(&h->loop);
	assert_int_equal(c->view.state, BLK_JOB_FAILED);
	assert_int_equal(c->view.error, ENOENT);
	assert_false(c->view.source);
}

/* It would be the disk for as long as the VM runs, and then nothing would be left of it. */
static void a_mirror_whose_file_was_removed_does_not_become_the_disk(void **state)
{
	struct host *h = *state;
	struct answer a = { 0 };
	const struct copying_waiter waiter = { answered, &a };

	begin(h, vda(h), COPYING_MIRROR, "gone");
	remove_file(h, "gone");
	assert_int_equal(copying_complete(vda(h), &waiter, &a.err), 0);
	assert_int_equal(wait_for(h, &a), -EIO);
	assert_non_null(strstr(a.err.text, "the mirror to"));
	assert_lost(h);
	assert_string_equal(machine_disk_path(h->fake.m.disk[0]), h->fake.path[0]);
	mirror_to(h, "kept");
	remove_file(h, "kept");
}

static void a_backup_whose_file_was_removed_has_failed(void **state)
{
	struct host *h = *state;

	begin(h, vda(h), COPYING_BACKUP, "gone");
	remove_file(h, "gone");
	assert_lost(h);
}

/* ---- a cancel beside the pivot ----------------------------------------------------------------- */

/* Another command of main's; whoever waits for it gives the mirror up. */
struct before_pivot {
	struct host *h;
	struct disk_call call;
	int ret; /* of the cancel */
};

static int post_any_speed(struct virtio_blk *blk, void *opaque)
{
	return virtio_blk_set_job_speed(blk, 0);
}

static void give_up(void *opaque, int result)
{
	struct before_pivot *b = opaque;
	struct error err;

	b->ret = copying_cancel(vda(b->h), &err);
}

static void wait_held(const struct copying *c)
{
	while (blk_job_state(c->job) != BLK_JOB_HELD)
		usleep(1000);
}

/* The pivot waits for its turn, and so does the cancel behind it. */
static void what_is_cancelled_before_the_pivot_does_not_become_the_disk(void **state)
{
	struct host *h = *state;
	struct before_pivot b = { .h = h, .ret = 1 };
	struct answer a = { 0 };
	const struct copying_waiter waiter = { answered, &a };

	begin(h, vda(h), COPYING_MIRROR, "given-up");
	assert_int_equal(copying_complete(vda(h), &waiter, &a.err), 0);
	b.call = (struct disk_call){ .post = post_any_speed, .done = give_up, .opaque = &b };
	disk_call(&h->fake.m.disk[0]->calls, &h->loop, &b.call);
	wait_held(vda(h));
	assert_int_equal(wait_for(h, &a), -ECANCELED);
	assert_int_equal(b.ret, 0);
	assert_int_equal(vda(h)->view.state, BLK_JOB_CANCELLED);
	assert_string_equal(machine_disk_path(h->fake.m.disk[0]), h->fake.path[0]);
	while (copying_under_way(vda(h)))
		loop_once(&h->loop);
	remove_file(h, "given-up");
}

static void told_and_cancelled(void *opaque, int ret, const struct error *err)
{
	struct before_pivot *b = opaque;
	struct error why = { "" };

	assert_int_equal(ret, 0);
	b->ret = copying_cancel(vda(b->h), &why);
	assert_non_null(strstr(why.text, "its mirror has become the disk"));
}

static void what_was_said_to_be_the_disk_is_not_cancelled(void **state)
{
	struct host *h = *state;
	struct before_pivot b = { .h = h };
	const struct copying_waiter waiter = { told_and_cancelled, &b };
	struct error err;

	begin(h, vda(h), COPYING_MIRROR, "kept");
	assert_int_equal(copying_complete(vda(h), &waiter, &err), 0);
	wait_done(h, vda(h));
	assert_int_equal(b.ret, -EALREADY);
	assert_string_equal(machine_disk_path(h->fake.m.disk[0]), h->target);
	remove_file(h, "kept");
}

/* ---- an overlay ------------------------------------------------------------------------------ */

static void a_disk_with_an_overlay_is_committed_or_backed_up(void **state)
{
	struct host *h = *state;
	struct copying *c = of_disk(h, 2);
	struct copying_view view;

	begin(h, c, COPYING_COMMIT, "commit");
	wait_done(h, c);
	assert_true(copying_look(c, COPYING_COMMIT, &view));
	assert_false(copying_look(c, COPYING_BACKUP, &view));
	begin(h, c, COPYING_BACKUP, "backup");
	wait_done(h, c);
	remove_file(h, "commit");
	remove_file(h, "backup");
}

/* The folder is empty afterwards: tear_down() sees to that. */
static void what_cannot_be_copied_like_that_is_refused_before_a_file_is_made(void **state)
{
	struct host *h = *state;
	struct answer a;

	assert_int_equal(start(h, of_disk(h, 2), COPYING_MIRROR, "m", &a), -ENOTSUP);
	assert_non_null(strstr(a.err.text, "disk vdc: no mirror of a disk with an overlay"));
	assert_int_equal(start(h, vda(h), COPYING_COMMIT, "c", &a), -ENOTSUP);
	assert_non_null(strstr(a.err.text, "disk vda: has no overlay to commit"));
	h->fake.opt.restart = true;
	assert_int_equal(start(h, vda(h), COPYING_MIRROR, "m", &a), -ENOTSUP);
	assert_non_null(strstr(a.err.text, "--on-reboot restart"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_disk_that_has_moved_and_changed_its_size_is_copied_again),
		TEST(main_does_not_close_the_image_that_a_disk_has_left),
		TEST(main_does_not_close_the_target_of_a_cancelled_copy),
		TEST(a_copy_that_is_cancelled_before_it_begins_leaves_its_target),
		TEST(a_copy_may_end_before_main_hears_that_it_has_begun),
		TEST(what_the_disks_thread_rings_is_there_as_long_as_the_disk),
		TEST(what_cannot_begin_takes_nothing_from_what_was_before),
		TEST(a_copy_under_way_gets_another_speed),
		TEST(two_jobs_do_not_take_one_target_where_there_are_no_locks),
		TEST(a_mirror_whose_file_was_removed_does_not_become_the_disk),
		TEST(a_backup_whose_file_was_removed_has_failed),
		TEST(what_is_cancelled_before_the_pivot_does_not_become_the_disk),
		TEST(what_was_said_to_be_the_disk_is_not_cancelled),
		TEST(a_disk_with_an_overlay_is_committed_or_backed_up),
		TEST(what_cannot_be_copied_like_that_is_refused_before_a_file_is_made),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
