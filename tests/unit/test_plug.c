/* SPDX-License-Identifier: Apache-2.0 */
/* Disks that come and go, step by step. */
#include "tests/unit/plug_rig.h"
#include "tests/unit/watched_close.h"

#include <signal.h>
#include <sys/resource.h>

static void a_disk_comes_and_goes(void **state)
{
	struct plug_rig *rig = *state;
	unsigned before;

	for (unsigned i = 0; i < ROUNDS; i++) {
		before = descriptors();
		assert_int_equal(add(rig, image(rig, "a.img")), 0);
		assert_int_equal(rig->m.ndisks, 1);
		assert_string_equal(rig->disk->blk.dev.name, "vda");
		assert_int_equal(in(rig, HOTPLUG_INSERTED), 1u << 1);
		assert_int_equal(config(rig, 1), 0x10421af4);
		decode(rig, 1, BAR);
		assert_int_not_equal(fake_kvm.nio, 0);
		assert_int_equal(take_out(rig, rig->disk, -1), 0);
		assert_int_equal(in(rig, HOTPLUG_ASKED), 1u << 1);
		assert_int_equal(config(rig, 1), 0x10421af4);
		eject(rig, 1u << 1);
		assert_int_equal(config(rig, 1), ABSENT);
		assert_int_equal(rig->removed, i); /* that was only the guest's part */
		run_until(rig, i + 1);
		assert_int_equal(rig->m.ndisks, 0);
		assert_int_equal(fake_kvm.nio, 0);
		assert_int_equal(fake_kvm.nirqfds, 0);
		assert_int_equal(descriptors(), before);
	}
}

/* Which may take as long as the storage behind it: the disk is no more when it has been done. */
static void main_does_not_close_the_image_of_a_removed_disk(void **state)
{
	struct loop_timer tick = { .expired = expired };
	struct plug_rig *rig = *state;

	assert_int_equal(add(rig, image(rig, "a.img")), 0);
	watch_close(rig->disk->blk.backend.fd, true);
	assert_int_equal(take_out(rig, rig->disk, -1), 0);
	eject(rig, 1u << 1);
	while (!watched.begun && !rig->removed) {
		loop_timer_set(&rig->loop, &tick, clock_ms() + 20);
		loop_once(&rig->loop);
	}
	assert_int_equal(add(rig, image(rig, "a.img")), -EBUSY);
	assert_int_equal(rig->removed, 0);
	assert_int_equal(rig->m.ndisks, 1);
	loop_timer_cancel(&rig->loop, &tick);
	watched.held = false;
	run_until(rig, 1);
	assert_false(watched.by_main);
	assert_int_equal(rig->m.ndisks, 0);
	assert_int_equal(add(rig, image(rig, "a.img")), 0);
}

static void names_and_slots_are_the_first_that_are_free(void **state)
{
	struct plug_rig *rig = *state;
	struct machine_disk *b;

	assert_int_equal(add(rig, image(rig, "a.img")), 0);
	assert_int_equal(add(rig, image(rig, "b.img")), 0);
	b = rig->disk;
	assert_int_equal(add(rig, image(rig, "c.img")), 0);
	assert_string_equal(rig->disk->blk.dev.name, "vdc");
	assert_int_equal(take_out(rig, b, -1), 0);
	eject(rig, 1u << 2);
	run_until(rig, 1);
	assert_string_equal(rig->m.disk[1]->blk.dev.name, "vdc");
	assert_int_equal(add(rig, image(rig, "b.img")), 0);
	assert_string_equal(rig->disk->blk.dev.name, "vdb");
	assert_int_equal(rig->disk->pci.slot, 2);
}

static void what_cannot_be_is_refused_and_leaves_nothing(void **state)
{
	struct plug_rig *rig = *state;
	char text[160];

	assert_int_equal(add(rig, strcat(strcpy(text, image(rig, "a.img")), ",serial=one")), 0);
	expect_refused(rig, "/etc/passwd", -EXDEV, "not in a folder");
	snprintf(text, sizeof(text), "%s/none.img", rig->dir);
	expect_refused(rig, text, -ENOENT, "cannot open: No such file");
	expect_refused(rig, rig->dir, -EXDEV, "not in a folder");
	expect_refused(rig, image(rig, "a.img"), -EBUSY, "the same image as disk");
	expect_refused(rig, strcat(strcpy(text, image(rig, "b.img")), ",serial=one"), -EEXIST,
		       "vda has the serial 'one' already");
	expect_refused(rig,
		       strcat(strcpy(text, image(rig, "b.img")), ",readonly,queues=63,cpu=1023"),
		       -EINVAL, "CPU 1023");
	assert_int_equal(rig->m.ndisks, 1);
	assert_int_equal(config(rig, 2), ABSENT);
	assert_int_equal(in(rig, HOTPLUG_INSERTED), 1u << 1);
}

static unsigned first_free(void)
{
	const int fd = dup(0);

	assert_true(fd >= 0);
	close(fd);
	return fd;
}

/* With room for one more each time, from none on: at each of them something else fails. */
static void without_descriptors_there_is_no_disk_and_nothing_left(void **state)
{
	struct plug_rig *rig = *state;
	const unsigned fds = descriptors(), running = threads();
	struct rlimit before, few;
	unsigned failed = 0;
	int ret;

	getrlimit(RLIMIT_NOFILE, &before);
	few = before;
	for (few.rlim_cur = first_free(); few.rlim_cur < fds + 100; few.rlim_cur++) {
		const char *path = image(rig, "a.img");

		setrlimit(RLIMIT_NOFILE, &few);
		ret = add(rig, path);
		setrlimit(RLIMIT_NOFILE, &before);
		if (!ret)
			break;
		failed++;
		assert_non_null(strstr(rig->err.text, "Too many open files"));
		assert_int_equal(descriptors(), fds);
		settle(running);
		assert_int_equal(rig->m.ndisks, 0);
		assert_int_equal(config(rig, 1), ABSENT);
	}
	assert_int_equal(ret, 0);
	assert_true(failed > 10);
}

/* 31 of them, with one thread each. */
static void the_slots_are_given_to_so_many_and_no_more(void **state)
{
	struct plug_rig *rig = *state;
	char name[16], text[160];

	for (unsigned i = 0; i < MACHINE_MAX_DISKS; i++) {
		snprintf(name, sizeof(name), "%u.img", i);
		strcat(strcpy(text, image(rig, name)), ",queues=1,aio-depth=16");
		assert_int_equal(add(rig, text), 0);
	}
	expect_refused(rig, image(rig, "more.img"), -ENOSPC, "no room for more than 31 disks");
	assert_int_equal(take_out(rig, rig->m.disk[20], 0), 0);
	run_until(rig, 1);
	eject(rig, ~0u);
	assert_int_equal(add(rig, image(rig, "more.img")), 0);
	assert_int_equal(rig->disk->pci.slot, 21);
}

/* By another process: our own descriptors share their locks. */
static void a_locked_image_is_refused(void **state)
{
	struct plug_rig *rig = *state;
	const char *path = image(rig, "a.img");
	struct block_backend be;
	struct disk_config disk;
	int out[2], status;
	pid_t locker;
	char c;

	assert_int_equal(pipe(out), 0);
	assert_int_equal(disk_option_parse(path, &disk, &rig->err), 0);
	locker = fork();
	if (!locker) {
		if (block_backend_open(&be, &disk, NULL) || write(out[1], "", 1) != 1)
			_exit(1);
		pause();
	}
	assert_int_equal(read(out[0], &c, 1), 1);
	expect_refused(rig, path, -EAGAIN, "is locked by another process");
	kill(locker, SIGKILL);
	waitpid(locker, &status, 0);
	assert_int_equal(add(rig, path), 0);
	disk_config_free(&disk);
	close(out[0]);
	close(out[1]);
}

static void readonly_disks_may_share_an_image(void **state)
{
	struct plug_rig *rig = *state;
	char text[160];

	strcat(strcpy(text, image(rig, "a.img")), ",readonly");
	assert_int_equal(add(rig, text), 0);
	assert_int_equal(add(rig, text), 0);
	assert_int_equal(rig->m.ndisks, 2);
}

/* The overlay's file comes by way of the broker, and goes with the disk. */
static void disks_with_overlays_may_share_an_image(void **state)
{
	const unsigned before = descriptors();
	struct plug_rig *rig = *state;
	char text[256];

	snprintf(text, sizeof(text), "%s,overlay=temp:%s", image(rig, "a.img"), rig->dir);
	assert_int_equal(add(rig, text), 0);
	assert_non_null(rig->disk->blk.backend.overlay);
	assert_false(rig->disk->blk.backend.readonly);
	assert_int_equal(add(rig, text), 0);
	expect_refused(rig, image(rig, "a.img"), -EBUSY, "the same image as disk");
	assert_int_equal(rig->m.ndisks, 2);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(take_out(rig, rig->m.disk[0], -1), 0);
		eject(rig, 1u << (1 + i));
		run_until(rig, 1 + i);
	}
	assert_int_equal(rig->m.ndisks, 0);
	assert_int_equal(descriptors(), before);
}

static void an_overlay_is_made_only_where_files_may_be_opened(void **state)
{
	struct plug_rig *rig = *state;
	char text[256];

	snprintf(text, sizeof(text), "%s,overlay=temp:/tmp", image(rig, "a.img"));
	expect_refused(rig, text, -EXDEV, "an overlay in '/tmp': not in a folder");
	snprintf(text, sizeof(text), "%s,overlay=temp:%s/none", image(rig, "a.img"), rig->dir);
	expect_refused(rig, text, -ENOENT, "cannot create an overlay in");
	assert_int_equal(rig->m.ndisks, 0);
}

static void one_comes_at_a_time(void **state)
{
	struct plug_rig *rig = *state;

	assert_int_equal(begin_add(rig, image(rig, "a.img")), 0);
	assert_int_equal(begin_add(rig, image(rig, "b.img")), -EBUSY);
	assert_non_null(strstr(rig->err.text, "a.img' is still being opened"));
	while (!rig->added)
		loop_once(&rig->loop);
	assert_int_equal(rig->ret, 0);
	assert_int_equal(add(rig, image(rig, "b.img")), 0);
}

static void a_guest_that_does_not_listen_loses_it(void **state)
{
	struct plug_rig *rig = *state;

	assert_int_equal(add(rig, image(rig, "a.img")), 0);
	decode(rig, 1, BAR);
	assert_int_equal(take_out(rig, rig->disk, 10), 0);
	run_until(rig, 1);
	assert_int_equal(config(rig, 1), ABSENT);
	assert_int_equal(fake_kvm.nio, 0);
	/* It may still believe in it: the slot is nobody's. */
	assert_int_equal(add(rig, image(rig, "a.img")), 0);
	assert_int_equal(rig->disk->pci.slot, 2);
	eject(rig, ~0u);
	assert_int_equal(config(rig, 2), 0x10421af4);
	assert_int_equal(add(rig, image(rig, "b.img")), 0);
	assert_int_equal(rig->disk->pci.slot, 1);
	eject(rig, ~0u);
	assert_int_equal(config(rig, 1), 0x10421af4);
}

static void it_may_be_asked_again_but_not_for_two(void **state)
{
	struct plug_rig *rig = *state;

	assert_int_equal(add(rig, image(rig, "a.img")), 0);
	assert_int_equal(take_out(rig, rig->disk, -1), 0);
	assert_int_equal(in(rig, HOTPLUG_ASKED), 1u << 1); /* and nobody does anything */
	assert_int_equal(take_out(rig, rig->disk, -1), -EALREADY);
	plug_forget_waiter(&rig->m.plug, rig);
	assert_int_equal(take_out(rig, rig->disk, -1), 0);
	assert_int_equal(in(rig, HOTPLUG_ASKED), 1u << 1);
	eject(rig, 1u << 1);
	run_until(rig, 1);
}

static void a_waiter_that_is_gone_is_not_called(void **state)
{
	struct plug_rig *rig = *state;

	assert_int_equal(add(rig, image(rig, "a.img")), 0);
	assert_int_equal(take_out(rig, rig->disk, -1), 0);
	plug_forget_waiter(&rig->m.plug, rig);
	eject(rig, 1u << 1);
	while (rig->m.ndisks)
		loop_once(&rig->loop);
	assert_int_equal(rig->removed, 0);
}

/* What a guest was asked for that gives a disk up, or says so later, without having heard the question. */
static void a_question_of_before_is_not_for_the_next(void **state)
{
	struct plug_rig *rig = *state;

	for (unsigned i = 0; i < 4; i++) {
		assert_int_equal(add(rig, image(rig, "a.img")), 0);
		assert_int_equal(rig->disk->pci.slot, 1);
		assert_int_equal(in(rig, HOTPLUG_ASKED), 0);
		assert_int_equal(in(rig, HOTPLUG_INSERTED), 1u << 1);
		assert_int_equal(take_out(rig, rig->disk, i % 2 ? 10 : -1), 0);
		if (i % 2 == 0)
			eject(rig, 1u << 1);
		run_until(rig, i + 1);
		eject(rig, 1u << 1);
	}
}

/* Twice by force, because a vCPU was inside: the second time found nothing to take. */
static void who_lost_a_disk_by_force_still_hears_the_question(void **state)
{
	struct plug_rig *rig = *state;
	const uint64_t one = 1;

	assert_int_equal(add(rig, image(rig, "a.img")), 0);
	rig->disk->pci.func.users++;
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(take_out(rig, rig->disk, 0), 0);
		loop_once(&rig->loop);
		assert_int_equal(config(rig, 1), ABSENT);
		plug_forget_waiter(&rig->m.plug, rig);
	}
	rig->disk->pci.func.users--;
	assert_int_equal(write(rig->m.plug.event_fd, &one, sizeof(one)), sizeof(one));
	while (rig->m.ndisks)
		loop_once(&rig->loop);
	assert_int_equal(in(rig, HOTPLUG_ASKED), 1u << 1);
}

/* Asked once more between the guest's word and main's: that is void for whoever gets the slot. */
static void a_late_question_is_not_for_the_next(void **state)
{
	struct plug_rig *rig = *state;

	assert_int_equal(add(rig, image(rig, "a.img")), 0);
	assert_int_equal(take_out(rig, rig->disk, -1), 0);
	hotplug_ask(&rig->m.plug.regs, 1);
	eject(rig, 1u << 1);
	hotplug_ask(&rig->m.plug.regs, 1);
	run_until(rig, 1);
	assert_int_equal(add(rig, image(rig, "a.img")), 0);
	assert_int_equal(rig->disk->pci.slot, 1);
	assert_int_equal(in(rig, HOTPLUG_ASKED), 0);
	eject(rig, ~0u);
	assert_int_equal(config(rig, 1), 0x10421af4);
}

static void a_group_ends_with_its_last_disk(void **state)
{
	struct plug_rig *rig = *state;
	struct machine_disk *first, *last;
	char text[160];

	assert_int_equal(add(rig, strcat(strcpy(text, image(rig, "a.img")), ",iops=5,group=g")), 0);
	first = rig->disk;
	assert_int_equal(add(rig, strcat(strcpy(text, image(rig, "b.img")), ",group=g")), 0);
	last = rig->disk;
	assert_int_equal(take_out(rig, first, 0), 0);
	run_until(rig, 1);
	strcat(strcpy(text, image(rig, "c.img")), ",iops=7,group=g");
	expect_refused(rig, text, -EEXIST, "group 'g' has another iops");
	assert_int_equal(take_out(rig, last, 0), 0);
	run_until(rig, 2);
	eject(rig, ~0u);
	assert_int_equal(add(rig, text), 0);
	assert_int_equal(rig->disk->blk.group->limits.of[THROTTLE_IOPS].rate, 7);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(a_disk_comes_and_goes),
		T(main_does_not_close_the_image_of_a_removed_disk),
		T(names_and_slots_are_the_first_that_are_free),
		T(what_cannot_be_is_refused_and_leaves_nothing),
		T(without_descriptors_there_is_no_disk_and_nothing_left),
		T(the_slots_are_given_to_so_many_and_no_more),
		T(a_locked_image_is_refused),
		T(readonly_disks_may_share_an_image),
		T(disks_with_overlays_may_share_an_image),
		T(an_overlay_is_made_only_where_files_may_be_opened),
		T(one_comes_at_a_time),
		T(a_guest_that_does_not_listen_loses_it),
		T(it_may_be_asked_again_but_not_for_two),
		T(a_waiter_that_is_gone_is_not_called),
		T(a_late_question_is_not_for_the_next),
		T(a_group_ends_with_its_last_disk),
		T(a_question_of_before_is_not_for_the_next),
		T(who_lost_a_disk_by_force_still_hears_the_question),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
