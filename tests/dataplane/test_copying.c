/* SPDX-License-Identifier: Apache-2.0 */
/* A disk's copies as main has them made, one after another and among other changes: the real threads on
 * a machine without KVM. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/control/fake_machine.h"

struct host {
	struct fake_machine fake;
	struct loop loop;
	char dir[32];
	char target[64];
};

static struct copying *vda(struct host *h)
{
	return &h->fake.m.disk[0]->copying;
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

static int tear_down(void **state)
{
	struct host *h = *state;
	int ret;

	fake_machine_close(&h->fake);
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

static int start(struct host *h, enum blk_copy_mode mode, struct answer *a)
{
	const struct copying_wish wish = { .mode = mode, .target = h->target };
	const struct copying_waiter waiter = { answered, a };
	int ret;

	*a = (struct answer){ 0 };
	ret = copying_start(vda(h), &h->loop, &wish, &waiter, &a->err);
	return ret ? ret : wait_for(h, a);
}

static void begin(struct host *h, enum blk_copy_mode mode, const char *name)
{
	struct answer a;

	snprintf(h->target, sizeof(h->target), "%s/%s", h->dir, name);
	if (start(h, mode, &a))
		fail_msg("%s", a.err.text);
}

static void wait_end(struct host *h)
{
	while (vda(h)->phase == COPYING_RUNS)
		loop_once(&h->loop);
	assert_int_equal(vda(h)->phase, COPYING_ENDED);
}

static void mirror_to(struct host *h, const char *name)
{
	struct answer a = { 0 };
	const struct copying_waiter waiter = { answered, &a };

	begin(h, BLK_COPY_MIRROR, name);
	if (copying_complete(vda(h), &waiter, &a.err) || wait_for(h, &a))
		fail_msg("%s", a.err.text);
	wait_end(h);
	assert_int_equal(vda(h)->view.state, BLK_JOB_DONE);
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
	begin(h, BLK_COPY_BACKUP, "backup");
	wait_end(h);
	assert_int_equal(vda(h)->view.state, BLK_JOB_DONE);
	assert_int_equal(vda(h)->view.copied, FAKE_BYTES / 4);
	remove_file(h, "first");
	remove_file(h, "second");
	remove_file(h, "backup");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			a_disk_that_has_moved_and_changed_its_size_is_copied_again, set_up,
			tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
