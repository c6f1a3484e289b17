/* SPDX-License-Identifier: Apache-2.0 */
/* Which of several reasons is the one a VM ended for; see vmm/vm.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "vmm/vm.h"

static int setup(void **state)
{
	static struct vm vm;

	memset(&vm, 0, sizeof(vm));
	vm.event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	*state = &vm;
	return vm.event_fd < 0;
}

static int teardown(void **state)
{
	struct vm *vm = *state;

	return close(vm->event_fd);
}

/* How often main was woken since the last look. */
static uint64_t wakes(struct vm *vm)
{
	uint64_t n = 0;

	if (read(vm->event_fd, &n, sizeof(n)) < 0)
		assert_int_equal(errno, EAGAIN);
	return n;
}

static void assert_ended(struct vm *vm, enum vm_end end, uint32_t value)
{
	uint32_t got;

	assert_int_equal(vm_end_reason(vm, &got), end);
	assert_int_equal(got, value);
}

static void a_vm_runs_until_somebody_ends_it(void **state)
{
	struct vm *vm = *state;

	assert_ended(vm, VM_RUNNING, 0);
	vm_request_end(vm, VM_RUNNING, 5);
	assert_ended(vm, VM_RUNNING, 0);
	assert_int_equal(wakes(vm), 0);
	assert_int_equal(vm_end_reason(vm, NULL), VM_RUNNING);
}

static void the_first_reason_wins_and_wakes_main_once(void **state)
{
	struct vm *vm = *state;

	vm_request_end(vm, VM_END_DEBUG_EXIT, 0xffffffff);
	vm_request_end(vm, VM_END_POWEROFF, 1);
	vm_request_end(vm, VM_END_CRASH, 2);
	assert_ended(vm, VM_END_DEBUG_EXIT, 0xffffffff);
	assert_int_equal(wakes(vm), 1);
}

static void a_panic_alone_wakes_main_and_ends_nothing(void **state)
{
	struct vm *vm = *state;

	vm_note_panic(vm);
	vm_note_panic(vm);
	assert_ended(vm, VM_RUNNING, 0);
	assert_true(vm->panicked);
	assert_int_equal(wakes(vm), 1);
}

static void a_reset_after_a_panic_is_the_panic(void **state)
{
	struct vm *vm = *state;

	vm_note_panic(vm);
	vm_request_end(vm, VM_END_RESET, 0);
	assert_ended(vm, VM_END_PANIC, 0);
}

static void a_halt_after_a_panic_is_the_panic(void **state)
{
	struct vm *vm = *state;

	vm_note_panic(vm);
	vm_request_end(vm, VM_END_HALTED, 0);
	assert_ended(vm, VM_END_PANIC, 0);
}

/* Some kernels reset by a triple fault. */
static void a_crash_after_a_panic_is_the_panic(void **state)
{
	struct vm *vm = *state;

	vm_note_panic(vm);
	vm_request_end(vm, VM_END_CRASH, 0);
	assert_ended(vm, VM_END_PANIC, 0);
}

static void other_ends_after_a_panic_keep_their_name(void **state)
{
	static const enum vm_end other[] = {
		VM_END_POWEROFF, VM_END_TIMEOUT,    VM_END_SIGNAL,
		VM_END_QUIT,	 VM_END_DEBUG_EXIT, VM_END_HOST_ERROR
	};
	struct vm *vm = *state;

	for (unsigned i = 0; i < sizeof(other) / sizeof(other[0]); i++) {
		vm->end = 0;
		vm_note_panic(vm);
		vm_request_end(vm, other[i], 9);
		assert_ended(vm, other[i], 9);
	}
}

static void a_panic_after_the_reset_changes_nothing(void **state)
{
	struct vm *vm = *state;

	vm_request_end(vm, VM_END_RESET, 0);
	vm_note_panic(vm);
	vm_request_end(vm, VM_END_RESET, 0);
	assert_ended(vm, VM_END_RESET, 0);
}

static void a_full_event_counter_is_no_obstacle(void **state)
{
	const uint64_t full = UINT64_MAX - 1;
	struct vm *vm = *state;

	assert_int_equal(write(vm->event_fd, &full, sizeof(full)), sizeof(full));
	vm_request_end(vm, VM_END_RESET, 0);
	assert_ended(vm, VM_END_RESET, 0);
}

static void *end_it(void *opaque)
{
	static _Atomic uint32_t next;
	struct vm *vm = opaque;
	uint32_t n = next++;

	/* Reason and value belong together whoever wins. */
	vm_request_end(vm, n & 1 ? VM_END_SIGNAL : VM_END_DEBUG_EXIT, n);
	return NULL;
}

static void of_many_threads_exactly_one_wins(void **state)
{
	struct vm *vm = *state;
	pthread_t thread[8];
	uint32_t value;

	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, end_it, vm), 0);
	for (unsigned i = 0; i < 8; i++)
		pthread_join(thread[i], NULL);
	assert_int_equal(wakes(vm), 1);
	if (vm_end_reason(vm, &value) == VM_END_SIGNAL)
		assert_int_equal(value & 1, 1);
	else
		assert_int_equal(value & 1, 0);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(a_vm_runs_until_somebody_ends_it),
		TEST(the_first_reason_wins_and_wakes_main_once),
		TEST(a_panic_alone_wakes_main_and_ends_nothing),
		TEST(a_reset_after_a_panic_is_the_panic),
		TEST(a_halt_after_a_panic_is_the_panic),
		TEST(a_crash_after_a_panic_is_the_panic),
		TEST(other_ends_after_a_panic_keep_their_name),
		TEST(a_panic_after_the_reset_changes_nothing),
		TEST(a_full_event_counter_is_no_obstacle),
		TEST(of_many_threads_exactly_one_wins),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
