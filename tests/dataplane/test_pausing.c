/* SPDX-License-Identifier: Apache-2.0 */
/* A whole machine that pauses and goes on under load. */
#include "tests/dataplane/pausing_rig.h"

/* All of a guest's memory and its image, in a number. */
static uint64_t fingerprint(struct vm_rig *r)
{
	static uint64_t image[RIG_SIZE / 8];
	uint64_t hash = 0;

	for (unsigned i = 0; i < CPUS; i++) {
		const struct fake_guest *g = &r->rig[i]->guest;
		const uint64_t *mem = (const uint64_t *)g->mem.slot[0].hva;

		rig_peek(r->rig[i], 0, image, sizeof(image));
		for (unsigned n = 0; n < RIG_SIZE / 8; n++)
			hash = hash * 31 + image[n];
		for (uint64_t n = 0; n < (g->next - g->mem.slot[0].gpa) / 8; n++)
			hash = hash * 31 + mem[n];
	}
	return hash;
}

static void nothing_moves_in_a_paused_machine(void **state)
{
	struct vm_rig *r = vm_rig_new();

	for (unsigned i = 0; i < 3; i++) {
		uint64_t before;

		wait_for_io(0);
		wait_for_io(1);
		pause_machine(r);
		before = fingerprint(r);
		serve(r, 20, NULL);
		assert_true(fingerprint(r) == before);
		resume_machine(r);
	}
	wait_for_io(0);
	wait_for_io(1);
	vm_rig_free(r);
}

static void verified_io_survives_a_thousand_pauses(void **state)
{
	struct vm_rig *r = vm_rig_new();

	for (unsigned i = 0; i < 1000; i++) {
		if (i % 16 == 0)
			wait_for_io(i / 16 % CPUS);
		pause_machine(r);
		for (unsigned cpu = 0; cpu < CPUS; cpu++)
			assert_null(guest[cpu].driver->error);
		resume_machine(r);
	}
	wait_for_io(0);
	wait_for_io(1);
	pause_machine(r);
	vm_rig_free(r);
}

static void who_asks_for_what_is_or_is_under_way_is_told(void **state)
{
	struct vm_rig *r = vm_rig_new();
	struct pausing *p = &r->m.pausing;
	struct answer a = { 0 };

	assert_string_equal(pausing_state_name(p), "running");
	assert_int_equal(pausing_resume(p, answer, &a), -EALREADY);
	assert_int_equal(pausing_pause(p, NULL, NULL), 0);
	assert_string_equal(pausing_state_name(p), "pausing");
	assert_int_equal(pausing_pause(p, answer, &a), -EBUSY);
	for (unsigned i = 0; i < RIG_WAIT_MS && p->state != PAUSING_PAUSED; i++)
		serve(r, 1, NULL);
	assert_int_equal(pausing_pause(p, answer, &a), -EALREADY);
	assert_int_equal(pausing_resume(p, NULL, NULL), 0);
	assert_string_equal(pausing_state_name(p), "resuming");
	assert_int_equal(pausing_resume(p, answer, &a), -EBUSY);
	assert_int_equal(pausing_pause(p, answer, &a), -EBUSY);
	for (unsigned i = 0; i < RIG_WAIT_MS && p->state != PAUSING_RUNS; i++)
		serve(r, 1, NULL);
	assert_string_equal(pausing_state_name(p), "running");
	assert_false(a.there);
	vm_rig_free(r);
}

/* Main serves its loop all the while. Once the pause is taken back the guest goes on, with the disk
 * whose storage answers at once. */
static void a_pause_waits_for_storage_until_it_is_taken_back(void **state)
{
	struct vm_rig *r = vm_rig_new();
	struct answer paused = { 0 }, resumed = { 0 };

	wait_for_io(0);
	hold_some_io(r);
	assert_int_equal(pausing_pause(&r->m.pausing, answer, &paused), 0);
	for (unsigned i = 0; i < RIG_WAIT_MS && !vm_paused(&r->m.vm); i++)
		serve(r, 1, NULL);
	assert_true(vm_paused(&r->m.vm));
	assert_false(serve(r, 50, &paused.there));
	assert_string_equal(pausing_state_name(&r->m.pausing), "pausing");
	assert_int_equal(pausing_resume(&r->m.pausing, answer, &resumed), 0);
	assert_int_equal(paused.result, -ECANCELED);
	assert_false(vm_paused(&r->m.vm));
	assert_false(serve(r, 50, &resumed.there));
	wait_for_some_io();
	release_held();
	assert_true(serve(r, RIG_WAIT_MS, &resumed.there));
	assert_int_equal(resumed.result, 0);
	wait_for_io(0);
	wait_for_io(1);
	pause_machine(r);
	resume_machine(r);
	vm_rig_free(r);
}

static void a_pause_is_taken_back_at_any_moment(void **state)
{
	struct vm_rig *r = vm_rig_new();

	for (unsigned i = 0; i < 100; i++) {
		struct answer paused = { 0 };

		assert_int_equal(pausing_pause(&r->m.pausing, answer, &paused), 0);
		for (unsigned laps = i % 4; laps && !paused.there; laps--)
			loop_once(&r->loop);
		resume_machine(r);
		assert_true(paused.there);
		assert_true(paused.result == 0 || paused.result == -ECANCELED);
	}
	wait_for_io(0);
	wait_for_io(1);
	vm_rig_free(r);
}

/* As ending.c does it: rig_free() in vm_rig_free() drains and must not wait. */
static void a_machine_ends_from_any_state(void **state)
{
	for (unsigned i = 0; i < 8; i++) {
		struct vm_rig *r = vm_rig_new();
		const uint64_t begin_ms = clock_ms();

		if (i % 4)
			assert_int_equal(pausing_pause(&r->m.pausing, NULL, NULL), 0);
		if (i % 4 >= 2)
			serve(r, i, NULL);
		if (i % 4 == 3)
			assert_int_equal(pausing_resume(&r->m.pausing, NULL, NULL), 0);
		vm_request_end(&r->m.vm, VM_END_SIGNAL, 15);
		vm_rig_free(r);
		assert_in_range(clock_ms() - begin_ms, 0, 10000);
	}
}

static void a_disk_that_is_taken_away_holds_no_pause_up(void **state)
{
	struct vm_rig *r = vm_rig_new();
	struct answer paused = { 0 };

	wait_for_io(0);
	hold_some_io(r);
	assert_int_equal(pausing_pause(&r->m.pausing, answer, &paused), 0);
	assert_false(serve(r, 50, &paused.there));
	for (unsigned i = 0; i < CPUS; i++)
		disk_calls_close(&r->disk[i].calls);
	assert_true(paused.there);
	assert_int_equal(paused.result, 0);
	release_held();
	resume_machine(r); /* they answer nobody any more, and nobody waits */
	vm_rig_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_moves_in_a_paused_machine),
		cmocka_unit_test(verified_io_survives_a_thousand_pauses),
		cmocka_unit_test(who_asks_for_what_is_or_is_under_way_is_told),
		cmocka_unit_test(a_pause_waits_for_storage_until_it_is_taken_back),
		cmocka_unit_test(a_pause_is_taken_back_at_any_moment),
		cmocka_unit_test(a_machine_ends_from_any_state),
		cmocka_unit_test(a_disk_that_is_taken_away_holds_no_pause_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
