/* SPDX-License-Identifier: Apache-2.0 */
/* Disks that stop by on-error=stop, and the pause of the machine that follows. */
#include "tests/dataplane/pausing_rig.h"

static void wait_paused(struct vm_rig *r)
{
	for (unsigned i = 0; i < RIG_WAIT_MS && r->m.pausing.state != PAUSING_PAUSED; i++)
		serve(r, 1, NULL);
	assert_string_equal(pausing_state_name(&r->m.pausing), "paused");
}

/* The guest sees nothing but time: its requests are verified afterwards. */
static void a_disk_that_stops_pauses_the_machine_until_it_is_resumed(void **state)
{
	struct vm_rig *r = vm_rig_new();
	struct answer resumed = { 0 };
	unsigned told = 0, n;
	char want[128], why[128];

	wait_for_io(0);
	assert_false(disk_stop_reason(&r->m, why, sizeof(why)));
	fail_io(ENOSPC);
	wait_paused(r);
	serve(r, 20, NULL); /* the other disk fails, too, or has had nothing to do */
	assert_true(disk_stop_reason(&r->m, why, sizeof(why)));
	assert_non_null(strstr(why, "': No space left on device"));
	assert_int_equal(pausing_resume(&r->m.pausing, answer, &resumed), 0); /* in vain */
	assert_true(serve(r, RIG_WAIT_MS, &resumed.there));
	wait_paused(r);
	fail_io(0);
	resume_machine(r);
	assert_false(disk_stop_reason(&r->m, why, sizeof(why)));
	wait_for_io(0);
	wait_for_io(1);
	assert_string_equal(pausing_state_name(&r->m.pausing), "running");
	assert_in_range(count(heard(), "\n"), 2, 4); /* once a disk and stop */
	assert_int_equal(count(heard(), "make room, then: mvmm ctl a.sock resume\n"),
			 count(heard(), "\n"));
	for (unsigned i = 0; i < CPUS; i++, told += n) {
		snprintf(want, sizeof(want), "mvmm: warning: disk '%s': No space left on device",
			 r->rig[i]->path);
		n = count(heard(), want);
		assert_in_range(n, 0, 2);
	}
	assert_int_equal(count(heard(), "\n"), told);
	vm_rig_free(r);
}

static void a_disk_that_stops_in_a_paused_machine_says_so_and_changes_nothing(void **state)
{
	struct vm_rig *r = vm_rig_new();
	struct answer paused = { 0 };
	char why[128];

	wait_for_io(0);
	fail_io(ENOSPC);
	assert_int_equal(pausing_pause(&r->m.pausing, answer, &paused), 0);
	assert_true(serve(r, RIG_WAIT_MS, &paused.there));
	assert_int_equal(paused.result, 0);
	serve(r, 20, NULL);
	assert_string_equal(pausing_state_name(&r->m.pausing), "paused");
	fail_io(0);
	resume_machine(r);
	assert_false(disk_stop_reason(&r->m, why, sizeof(why)));
	wait_for_io(0);
	wait_for_io(1);
	vm_rig_free(r);
}

/* One disk's storage takes requests and answers none from now on: whose does still? */
static unsigned hang_one(struct vm_rig *r)
{
	unsigned before[CPUS];

	hold_some_io(r);
	for (unsigned cpu = 0; cpu < CPUS; cpu++)
		before[cpu] = atomic_load(&guest[cpu].now);
	for (unsigned i = 0; i < RIG_WAIT_MS; i++, usleep(1000))
		for (unsigned cpu = 0; cpu < CPUS; cpu++)
			if (atomic_load(&guest[cpu].now) > before[cpu] + 2 * DEPTH)
				return cpu;
	fail_msg("both hang");
	return 0;
}

static void wait_told(struct vm_rig *r, unsigned times)
{
	for (unsigned i = 0; i < RIG_WAIT_MS && count(heard(), "mvmm ctl") < times; i++)
		serve(r, 1, NULL);
	assert_int_equal(count(heard(), "make room, then: mvmm ctl a.sock resume\n"), times);
}

/* A pause was taken back because of the one that hangs: until that answers the machine resumes. */
static void a_disk_that_stops_beside_a_hung_one_is_resumed(void **state)
{
	struct vm_rig *r = vm_rig_new();
	struct answer paused = { 0 }, resumed[3] = { 0 };
	struct pausing *p = &r->m.pausing;
	struct machine_disk *disk;
	unsigned works;

	wait_for_io(0);
	wait_for_io(1);
	works = hang_one(r);
	disk = &r->disk[works];
	assert_int_equal(pausing_pause(p, answer, &paused), 0);
	assert_false(serve(r, 50, &paused.there));
	assert_int_equal(pausing_resume(p, answer, &resumed[0]), 0);
	for (unsigned i = 0; i < RIG_WAIT_MS && disk_call_waits(&disk->calls, &disk->pause.resume);
	     i++)
		serve(r, 1, NULL);
	fail_io(ENOSPC);
	wait_told(r, 1);
	assert_int_equal(pausing_resume(p, answer, &resumed[1]), 0); /* in vain */
	assert_int_equal(resumed[0].result, -ECANCELED);
	assert_int_equal(pausing_resume(p, NULL, NULL), -EBUSY);
	wait_told(r, 2);
	assert_string_equal(pausing_state_name(p), "resuming");
	fail_io(0);
	assert_int_equal(pausing_resume(p, answer, &resumed[2]), 0);
	wait_for_io(works);
	release_held();
	assert_true(serve(r, RIG_WAIT_MS, &resumed[2].there));
	assert_int_equal(resumed[2].result, 0);
	wait_for_io(!works);
	assert_string_equal(pausing_state_name(p), "running");
	vm_rig_free(r);
}

/* Its storage may hang for ever; the machine need not. */
static void a_stopped_disk_that_is_taken_out_holds_nobody(void **state)
{
	struct vm_rig *r = vm_rig_new();
	struct answer resumed = { 0 };
	char why[64];
	int code;

	wait_for_io(0);
	fail_io(ENOSPC);
	wait_paused(r);
	for (unsigned i = 0; i < 2; i++)
		if (disk_stop_holds(&r->disk[i], &code))
			disk_calls_close(&r->disk[i].calls);
	fail_io(0);
	assert_int_equal(pausing_resume(&r->m.pausing, answer, &resumed), 0);
	assert_true(serve(r, RIG_WAIT_MS, &resumed.there));
	serve(r, 50, NULL);
	assert_string_equal(pausing_state_name(&r->m.pausing), "running");
	assert_false(disk_stop_reason(&r->m, why, sizeof(why)));
	vm_rig_free(r);
}

static void a_stopped_machine_ends_at_once(void **state)
{
	struct vm_rig *r = vm_rig_new();
	const uint64_t begin_ms = clock_ms();

	wait_for_io(0);
	fail_io(ENOSPC);
	wait_paused(r);
	vm_request_end(&r->m.vm, VM_END_SIGNAL, 15);
	vm_rig_free(r);
	fail_io(0);
	assert_in_range(clock_ms() - begin_ms, 0, 10000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			a_disk_that_stops_pauses_the_machine_until_it_is_resumed, listen_begin,
			listen_end),
		cmocka_unit_test_setup_teardown(
			a_disk_that_stops_in_a_paused_machine_says_so_and_changes_nothing,
			listen_begin, listen_end),
		cmocka_unit_test_setup_teardown(a_disk_that_stops_beside_a_hung_one_is_resumed,
						listen_begin, listen_end),
		cmocka_unit_test_setup_teardown(a_stopped_disk_that_is_taken_out_holds_nobody,
						listen_begin, listen_end),
		cmocka_unit_test_setup_teardown(a_stopped_machine_ends_at_once, listen_begin,
						listen_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
