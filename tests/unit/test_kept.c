/* SPDX-License-Identifier: Apache-2.0 */
/* Which disks a boot leaves to the next. The same machine, without its disks, is the next one. */
#include "tests/unit/plug_rig.h"

#include <sys/mman.h>
#include <sys/socket.h>

#include "vmm/cli/broker_wire.h"
#include "vmm/cli/kept.h"

static int setup_kept(void **state)
{
	struct plug_rig *rig;
	struct run_options *opt;

	setup(state);
	rig = *state;
	opt = &rig->opt;
	opt->broker_fd = rig->broker_fd;
	opt->kept = kept_create(NULL);
	assert_non_null(opt->kept);
	opt->disk = calloc(2, sizeof(*opt->disk));
	assert_non_null(opt->disk);
	assert_int_equal(disk_option_parse(image(rig, "a.img"), &opt->disk[0], NULL), 0);
	assert_int_equal(disk_option_parse(image(rig, "b.img"), &opt->disk[1], NULL), 0);
	opt->ndisks = 2;
	assert_int_equal(machine_disks_add(&rig->m, NULL), 0);
	return 0;
}

static int teardown_kept(void **state)
{
	struct plug_rig *rig = *state;
	struct run_options opt = rig->opt;

	teardown(state);
	disk_config_free(&opt.disk[0]);
	disk_config_free(&opt.disk[1]);
	free(opt.disk);
	munmap(opt.kept, sizeof(*opt.kept));
	return 0;
}

static void next_boot(struct plug_rig *rig)
{
	machine_disks_abandon(&rig->m);
	rig->err.text[0] = '\0';
	assert_int_equal(machine_disks_add(&rig->m, &rig->err), 0);
}

static void expect_disk(const struct plug_rig *rig, unsigned i, const char *name, const char *file)
{
	const char *path = machine_disk_path(rig->m.disk[i]);

	assert_string_equal(rig->m.disk[i]->blk.dev.name, name);
	assert_string_equal(strrchr(path, '/') + 1, file);
}

/* To the guest and to main. */
static void remove_disk(struct plug_rig *rig, struct machine_disk *disk)
{
	const unsigned before = rig->removed;

	assert_int_equal(take_out(rig, disk, -1), 0);
	eject(rig, ~0u);
	run_until(rig, before + 1);
}

static void without_a_change_they_are_the_command_lines(void **state)
{
	struct plug_rig *rig = *state;

	next_boot(rig);
	assert_int_equal(rig->m.ndisks, 2);
	expect_disk(rig, 0, "vda", "a.img");
	expect_disk(rig, 1, "vdb", "b.img");
}

static void what_came_is_there_again_and_what_went_is_not(void **state)
{
	struct plug_rig *rig = *state;
	char text[160];

	strcat(strcpy(text, image(rig, "c.img")), ",serial=late,queues=3,readonly");
	assert_int_equal(add(rig, text), 0);
	remove_disk(rig, rig->m.disk[0]);
	for (unsigned boot = 0; boot < 2; boot++) {
		next_boot(rig);
		assert_int_equal(rig->m.ndisks, 2);
		expect_disk(rig, 0, "vda", "b.img");
		expect_disk(rig, 1, "vdb", "c.img");
		assert_string_equal(rig->m.disk[1]->blk.serial, "late");
		assert_int_equal(rig->m.disk[1]->blk.dev.nqueues, 3);
		assert_true(rig->m.disk[1]->blk.backend.readonly);
	}
	remove_disk(rig, rig->m.disk[1]);
	next_boot(rig);
	assert_int_equal(rig->m.ndisks, 1);
	expect_disk(rig, 0, "vda", "b.img");
}

/* A guest that resets has let go of everything. */
static void what_was_asked_for_is_gone(void **state)
{
	struct plug_rig *rig = *state;

	assert_int_equal(take_out(rig, rig->m.disk[0], -1), 0);
	plug_forget_waiter(&rig->m.plug, rig);
	next_boot(rig);
	assert_int_equal(rig->m.ndisks, 1);
	expect_disk(rig, 0, "vda", "b.img");
}

static void they_keep_the_order_of_their_names(void **state)
{
	struct plug_rig *rig = *state;

	remove_disk(rig, rig->m.disk[0]);
	assert_int_equal(add(rig, image(rig, "c.img")), 0);
	next_boot(rig);
	expect_disk(rig, 0, "vda", "c.img");
	expect_disk(rig, 1, "vdb", "b.img");
}

/* A disk of the command line, before the first boot, as `options` say. */
static void instead_of_b(struct plug_rig *rig, const char *options)
{
	char text[160];

	machine_disks_abandon(&rig->m);
	disk_config_free(&rig->opt.disk[1]);
	strcat(strcpy(text, image(rig, "b.img")), options);
	assert_int_equal(disk_option_parse(text, &rig->opt.disk[1], NULL), 0);
	assert_int_equal(machine_disks_add(&rig->m, &rig->err), 0);
}

static void expect_group(const struct plug_rig *rig, unsigned i, const char *name, uint64_t iops,
			 unsigned disks)
{
	const struct throttle_group *group = rig->m.disk[i]->blk.group;

	assert_string_equal(group->name, name);
	assert_int_equal(group->limits.of[THROTTLE_IOPS].rate, iops);
	assert_int_equal(group->disks, disks);
}

static void a_group_has_its_limits_whoever_comes_first(void **state)
{
	struct plug_rig *rig = *state;
	char text[160];

	instead_of_b(rig, ",group=g,iops=100");
	strcat(strcpy(text, image(rig, "d.img")), ",group=late,iops=50");
	assert_int_equal(add(rig, text), 0);
	remove_disk(rig, rig->m.disk[0]);
	strcat(strcpy(text, image(rig, "c.img")), ",group=g");
	assert_int_equal(add(rig, text), 0);
	next_boot(rig);
	assert_int_equal(rig->m.ndisks, 3);
	expect_disk(rig, 0, "vda", "c.img");
	expect_disk(rig, 1, "vdb", "b.img");
	for (unsigned i = 0; i < 2; i++)
		expect_group(rig, i, "g", 100, 2);
	expect_group(rig, 2, "late", 50, 1);
	remove_disk(rig, rig->m.disk[0]);
	strcat(strcpy(text, image(rig, "c.img")), ",group=late");
	assert_int_equal(add(rig, text), 0);
	next_boot(rig);
	expect_disk(rig, 0, "vda", "c.img");
	expect_group(rig, 0, "late", 50, 2);
	expect_group(rig, 1, "g", 100, 1);
}

/* As PATCH does. */
static void change(struct plug_rig *rig, unsigned i, uint64_t iops, enum disk_on_error on_error)
{
	struct throttle_limits limits = { .of[THROTTLE_IOPS].rate = iops };

	throttle_group_change(rig->m.disk[i]->blk.group, &limits, 0);
	rig->m.disk[i]->blk.on_error = on_error;
	kept_update(&rig->m);
}

static void what_was_changed_stays_so(void **state)
{
	struct plug_rig *rig = *state;
	char text[160];

	instead_of_b(rig, ",group=g,iops=100,on-error=stop");
	strcat(strcpy(text, image(rig, "c.img")), ",group=g");
	assert_int_equal(add(rig, text), 0);
	change(rig, 0, 70, DISK_ON_ERROR_ENOSPC);
	change(rig, 1, 0, DISK_ON_ERROR_REPORT);
	for (unsigned boot = 0; boot < 2; boot++) {
		next_boot(rig);
		assert_int_equal(rig->m.ndisks, 3);
		expect_group(rig, 0, "", 70, 1);
		assert_int_equal(rig->m.disk[0]->blk.on_error, DISK_ON_ERROR_ENOSPC);
		for (unsigned i = 1; i < 3; i++)
			expect_group(rig, i, "g", 0, 2);
		assert_int_equal(rig->m.disk[1]->blk.on_error, DISK_ON_ERROR_REPORT);
	}
}

static void one_that_is_no_more_is_left_out(void **state)
{
	struct plug_rig *rig = *state;

	assert_int_equal(add(rig, image(rig, "c.img")), 0);
	unlink(image(rig, "c.img"));
	next_boot(rig);
	assert_int_equal(rig->m.ndisks, 2);
	expect_disk(rig, 1, "vdb", "b.img");
}

static void one_of_the_command_line_must_be_there(void **state)
{
	struct plug_rig *rig = *state;

	remove_disk(rig, rig->m.disk[0]);
	machine_disks_abandon(&rig->m);
	unlink(image(rig, "b.img"));
	assert_int_equal(machine_disks_add(&rig->m, &rig->err), -ENOENT);
	assert_int_equal(rig->m.ndisks, 0);
}

/* It still waits for storage that will not answer the boot before. Those of the command line are opened by
 * ourselves; it is asked once, and the rest go without. */
static void a_broker_that_is_stuck_is_not_waited_for_without_end(void **state)
{
	static struct broker_request request;
	struct plug_rig *rig = *state;
	const int own = rig->opt.broker_fd;
	char text[160];
	int fd[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fd), 0);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(add(rig, strcat(strcpy(text, image(rig, "c.img")), ",readonly")),
				 0);
	rig->opt.broker_fd = fd[0];
	next_boot(rig);
	rig->opt.broker_fd = own;
	assert_int_equal(rig->m.ndisks, 2);
	expect_disk(rig, 1, "vdb", "b.img");
	assert_int_equal(recv(fd[1], &request, sizeof(request), MSG_DONTWAIT), sizeof(request));
	assert_int_equal(recv(fd[1], &request, sizeof(request), MSG_DONTWAIT), -1);
	close(fd[0]);
	close(fd[1]);
	next_boot(rig); /* it has come back to life */
	assert_int_equal(rig->m.ndisks, 5);
}

/* By somebody who has taken over the boot before. */
static void what_was_left_is_not_believed(void **state)
{
	struct plug_rig *rig = *state;
	struct kept *kept = rig->opt.kept;
	unsigned before;

	machine_disks_abandon(&rig->m);
	before = descriptors();
	kept->changed = 2;
	kept->n = ~0u;
	for (unsigned i = 0; i < KEPT_MAX; i++)
		kept->disk[i].option = -1;
	kept->disk[0].option = 2; /* there are two */
	kept->disk[1].option = INT_MIN;
	memset(kept->disk[2].text, 'x', KEPT_TEXT);
	strcpy(kept->disk[3].text, "/etc/passwd,readonly");
	strcpy(kept->disk[4].text, image(rig, "c.img"));
	strcat(kept->disk[4].text, ",overlay=temp:/etc");
	strcpy(kept->disk[5].text, image(rig, "c.img"));
	strcat(kept->disk[5].text, ",queues=999999");
	strcpy(kept->disk[6].text, rig->dir);
	strcpy(kept->disk[7].text, image(rig, "c.img"));
	kept->disk[7].on_error = 3;
	strcpy(kept->disk[8].text, image(rig, "c.img"));
	kept->disk[8].limits.of[THROTTLE_BPS].rate = THROTTLE_RATE_MAX + 1;
	assert_int_equal(machine_disks_add(&rig->m, &rig->err), 0);
	assert_int_equal(rig->m.ndisks, 0);
	assert_int_equal(descriptors(), before);
	/* The command line's are there all the same, as it says. */
	kept->n = 1;
	kept->disk[0] = (struct kept_disk){ .option = 1, .on_error = 3 };
	assert_int_equal(machine_disks_add(&rig->m, &rig->err), 0);
	expect_disk(rig, 0, "vda", "b.img");
	assert_int_equal(rig->m.disk[0]->blk.on_error, DISK_ON_ERROR_REPORT);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup_kept, teardown_kept)
	const struct CMUnitTest tests[] = {
		T(without_a_change_they_are_the_command_lines),
		T(what_came_is_there_again_and_what_went_is_not),
		T(what_was_asked_for_is_gone),
		T(they_keep_the_order_of_their_names),
		T(a_group_has_its_limits_whoever_comes_first),
		T(what_was_changed_stays_so),
		T(one_that_is_no_more_is_left_out),
		T(one_of_the_command_line_must_be_there),
		T(a_broker_that_is_stuck_is_not_waited_for_without_end),
		T(what_was_left_is_not_believed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
