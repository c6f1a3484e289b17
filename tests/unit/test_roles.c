/* SPDX-License-Identifier: Apache-2.0 */
/* Holds the compiled filters to the table, and the table to what no thread may ever have. */
#include <errno.h>
#include <linux/audit.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include "vmm/cli/roles.h"

#define MAX_CALL  600
#define MAX_RULES 128
#define OWN_PID	  4711

/* ---- the machine that runs filters (Documentation/networking/filter.rst), as far as they use it -- */

static uint32_t load(const struct seccomp_data *data, uint32_t at)
{
	uint32_t word;

	assert_true(at % 4 == 0 && at <= sizeof(*data) - 4);
	memcpy(&word, (const uint8_t *)data + at, 4);
	return word;
}

static bool jumps(const struct sock_filter *code, uint32_t a)
{
	switch (BPF_OP(code->code)) {
	case BPF_JEQ:
		return a == code->k;
	case BPF_JGT:
		return a > code->k;
	case BPF_JGE:
		return a >= code->k;
	case BPF_JSET:
		return a & code->k;
	default:
		fail_msg("a jump that is not known here: %#x", code->code);
		return false;
	}
}

static uint32_t run(const struct sandbox_program *program, const struct seccomp_data *data)
{
	uint32_t a = 0;

	for (unsigned pc = 0; pc < program->len; pc++) {
		struct sock_filter code = program->code[pc];

		if (program->pid_at && pc == program->pid_at)
			code.k = OWN_PID;
		if (code.code == (BPF_LD | BPF_W | BPF_ABS))
			a = load(data, code.k);
		else if (code.code == (BPF_ALU | BPF_AND | BPF_K))
			a &= code.k;
		else if (code.code == (BPF_JMP | BPF_JA))
			pc += code.k;
		else if (BPF_CLASS(code.code) == BPF_JMP)
			pc += jumps(&code, a) ? code.jt : code.jf;
		else if (code.code == (BPF_RET | BPF_K))
			return code.k;
		else
			fail_msg("an instruction that is not known here: %#x", code.code);
	}
	fail_msg("a program runs off its end");
	return 0;
}

/* ---- the table --------------------------------------------------------------------------------- */

static int number(const char *name, size_t len)
{
	for (int nr = 0; nr < MAX_CALL; nr++) {
		const char *known = role_call_name(nr);

		if (known && strlen(known) == len && !strncmp(known, name, len))
			return nr;
	}
	return -1;
}

/* Of "poll|ppoll" the first that this architecture has. */
static int resolve(const char *calls)
{
	int nr = -1;

	for (const char *call = calls; call && nr < 0; call = strchr(call, '|')) {
		call += *call == '|';
		nr = number(call, strcspn(call, "|"));
	}
	return nr;
}

/* The numbers of the rules' calls, in their order. */
static int resolve_all(void **state)
{
	static int numbers[MAX_RULES];

	for (unsigned i = 0; role_rules[i].call; i++) {
		if (i == MAX_RULES)
			return -1;
		numbers[i] = resolve(role_rules[i].call);
		if (numbers[i] < 0)
			return -1;
	}
	*state = numbers;
	return 0;
}

/* What the table says of a call: SECCOMP_RET_*. All arguments are 0 but one. */
static uint32_t verdict(const int *numbers, enum role role, int nr, unsigned arg, uint32_t value)
{
	for (unsigned i = 0; role_rules[i].call; i++) {
		const struct role_rule *rule = &role_rules[i];
		const uint32_t wanted = rule->value == ROLE_OWN_PID ? OWN_PID : rule->value;

		if (rule->roles & 1U << role && numbers[i] == nr &&
		    (!rule->by_arg || wanted == (rule->arg == arg ? value : 0)))
			return rule->absent ? SECCOMP_RET_ERRNO | ENOSYS : SECCOMP_RET_ALLOW;
	}
	return SECCOMP_RET_TRAP | (role + 1);
}

static uint32_t arch_of_this_machine(void)
{
#ifdef SYS_open /* x86-64 has it, arm64 has not */
	return AUDIT_ARCH_X86_64;
#else
	return AUDIT_ARCH_AARCH64;
#endif
}

static void check(const int *numbers, enum role role, int nr, unsigned arg, uint32_t value)
{
	struct seccomp_data data = { .nr = nr, .arch = arch_of_this_machine() };
	const char *name = role_call_name(nr);
	const uint32_t wanted = verdict(numbers, role, nr, arg, value);
	uint32_t ret;

	/* The upper half is nothing that the kernel looks at. */
	data.args[arg] = (uint64_t)0xabcd << 32 | value;
	ret = run(&role_programs[role], &data);
	if (ret != wanted)
		fail_msg("%s: %s (%d) with %#x as argument %u: %#x, not %#x", role_names[role],
			 name ? name : "?", nr, value, arg, ret, wanted);
}

static void filters_allow_what_the_table_says_and_nothing_else(void **state)
{
	for (unsigned role = 0; role < ROLE_COUNT; role++)
		for (int nr = -1; nr < MAX_CALL; nr++)
			check(*state, role, nr, 5, 12345);
	for (const struct role_rule *rule = role_rules; rule->call; rule++)
		for (unsigned role = 0; rule->by_arg && role < ROLE_COUNT; role++)
			for (int nr = 0; nr < MAX_CALL; nr++) {
				const bool pid = rule->value == ROLE_OWN_PID;

				check(*state, role, nr, rule->arg, pid ? OWN_PID : rule->value);
				check(*state, role, nr, rule->arg, rule->value + 1);
			}
}

/* 32-bit calls have other numbers, and a list for one kind would allow something else in another. */
static void other_kinds_of_system_calls_kill(void **state)
{
	static const uint32_t other[] = { AUDIT_ARCH_I386, AUDIT_ARCH_ARM, 0, 0xffffffff };

	for (unsigned role = 0; role < ROLE_COUNT; role++)
		for (unsigned i = 0; i < sizeof(other) / sizeof(other[0]); i++)
			for (int nr = 0; nr < MAX_CALL; nr++) {
				const struct seccomp_data data = { .nr = nr, .arch = other[i] };

				assert_int_equal(run(&role_programs[role], &data),
						 SECCOMP_RET_KILL_PROCESS);
			}
}

/* x86's x32 calls: the same architecture, numbers from 2^30 on. */
static void x32_calls_are_forbidden(void **state)
{
	for (unsigned role = 0; role < ROLE_COUNT; role++)
		for (int nr = 0; nr < MAX_CALL; nr++) {
			const struct seccomp_data data = {
				.nr = 0x40000000 | nr,
				.arch = arch_of_this_machine(),
			};

			assert_int_not_equal(run(&role_programs[role], &data), SECCOMP_RET_ALLOW);
		}
}

/* A rule of main with a control socket or of the broker, and of nobody else. */
static bool only_serves(unsigned n)
{
	return !(role_rules[n].roles & ~(1U << ROLE_MAIN_CONTROL | 1U << ROLE_BROKER));
}

static void no_thread_opens_maps_or_executes(void **state)
{
	static const char *const never[] = {
		"open",
		"openat",
		"openat2",
		"creat",
		"open_by_handle_at",
		"execve",
		"execveat",
		"fork",
		"vfork",
		"clone",
		"clone3",
		"mmap",
		"mprotect",
		"pkey_mprotect",
		"mremap",
		"socket",
		"connect",
		"bind",
		"sendmsg",
		"recvmsg",
		"ptrace",
		"kill",
		"tkill",
		"pidfd_open",
		"pidfd_getfd",
		"prctl",
		"seccomp",
		"bpf",
		"userfaultfd",
		"perf_event_open",
		"unlinkat",
		"renameat2",
		"linkat",
		"mount",
		"setns",
		"unshare",
		"setuid",
		"io_uring_setup",
		"io_setup",
		"memfd_create",
		"rt_sigaction",
		"process_vm_writev",
		"keyctl",
		"init_module",
		"eventfd2",
		"fcntl",
		"dup",
		"ftruncate",
		"sendfile",
		"splice",
	};

	const int *numbers = *state;

	for (unsigned i = 0; i < sizeof(never) / sizeof(never[0]); i++)
		for (unsigned n = 0; role_rules[n].call; n++)
			assert_false(numbers[n] == resolve(never[i]) && !only_serves(n));
}

/* Main with a control socket makes room and threads for what comes later; but no code, no files and
 * no other processes. */
static void main_that_serves_maps_no_code(void **state)
{
	static const char *const never[] = {
		"execve",
		"execveat",
		"open",
		"openat",
		"openat2",
		"creat",
		"socket",
		"connect",
		"bind",
		"listen",
		"ptrace",
		"kill",
		"sendmsg",
		"bpf",
		"unlinkat",
		"rt_sigaction",
		"landlock_restrict_self",
		"io_uring_setup",
	};
	static const char *const only_some[] = { "mmap",  "mprotect", "fcntl",
						 "prctl", "seccomp",  "clone" };

	const int *numbers = *state;

	for (unsigned n = 0; role_rules[n].call; n++) {
		if (!(role_rules[n].roles & 1U << ROLE_MAIN_CONTROL))
			continue;
		for (unsigned i = 0; i < sizeof(never) / sizeof(never[0]); i++)
			assert_int_not_equal(numbers[n], resolve(never[i]));
		for (unsigned i = 0; i < sizeof(only_some) / sizeof(only_some[0]); i++)
			assert_true(numbers[n] != resolve(only_some[i]) || role_rules[n].by_arg);
		if (numbers[n] == SYS_mmap || numbers[n] == SYS_mprotect)
			assert_true(role_rules[n].by_arg && role_rules[n].arg == 2 &&
				    !(role_rules[n].value & PROT_EXEC));
		if (numbers[n] == SYS_clone)
			assert_true(role_rules[n].arg == 0 && role_rules[n].value & CLONE_THREAD &&
				    !(role_rules[n].value & parent_forbidden_clone));
		assert_true(numbers[n] != SYS_clone3 || role_rules[n].absent);
	}
}

static bool is_forbidden_to_parents(int nr)
{
	const char *name = role_call_name(nr);

	for (const char *const *call = parent_forbidden; name && *call; call++)
		if (!strcmp(*call, name))
			return true;
	return false;
}

static uint32_t verdict_on_parents(int nr)
{
	if (is_forbidden_to_parents(nr))
		return SECCOMP_RET_TRAP | (ROLE_PARENT + 1);
	return nr == SYS_clone3 ? SECCOMP_RET_ERRNO | ENOSYS : SECCOMP_RET_ALLOW;
}

static void the_parent_of_all_boots_may_what_a_machine_needs_to_be_made(void **state)
{
	static const char *const never[] = { "execve", "ptrace", "socket", "mount", "bpf" };
	struct seccomp_data data = { .arch = arch_of_this_machine() };

	for (data.nr = 0; data.nr < MAX_CALL; data.nr++)
		assert_int_equal(run(&parent_program, &data), verdict_on_parents(data.nr));
	for (unsigned i = 0; i < sizeof(never) / sizeof(never[0]); i++)
		assert_true(is_forbidden_to_parents(resolve(never[i])));
	for (unsigned i = 0; role_rules[i].call; i++)
		assert_false(is_forbidden_to_parents(((const int *)*state)[i]));
	data = (struct seccomp_data){ .nr = SYS_read, .arch = AUDIT_ARCH_I386 };
	assert_int_equal(run(&parent_program, &data), SECCOMP_RET_KILL_PROCESS);
}

/* fork and pthread_create go on, whichever of these bits would not. */
static void the_parent_of_all_boots_makes_no_namespaces(void **state)
{
	static const uint64_t namespaces[] = { CLONE_NEWNS,  CLONE_NEWCGROUP, CLONE_NEWUTS,
					       CLONE_NEWIPC, CLONE_NEWUSER,   CLONE_NEWPID,
					       CLONE_NEWNET };
	struct seccomp_data data = { .nr = SYS_clone, .arch = arch_of_this_machine() };

	for (unsigned i = 0; i < sizeof(namespaces) / sizeof(namespaces[0]); i++) {
		data.args[0] = namespaces[i] | CLONE_VM | 17;
		assert_int_equal(run(&parent_program, &data), SECCOMP_RET_TRAP | (ROLE_PARENT + 1));
	}
	data.args[0] = 0xffffffff & ~parent_forbidden_clone;
	assert_int_equal(run(&parent_program, &data), SECCOMP_RET_ALLOW);
}

/* An ioctl without a condition would be all of KVM's, and every driver's. */
static void ioctls_have_a_condition(void **state)
{
	const int *numbers = *state;

	for (unsigned i = 0; role_rules[i].call; i++)
		if (numbers[i] == SYS_ioctl || numbers[i] == SYS_tgkill)
			assert_true(role_rules[i].by_arg);
}

static void calls_of_the_io_path_cost_no_program(void **state)
{
	static const int hot[] = { SYS_io_submit, SYS_epoll_pwait, SYS_write, SYS_sched_yield,
				   SYS_futex };

	const int *numbers = *state;

	for (unsigned i = 0; i < sizeof(hot) / sizeof(hot[0]); i++)
		for (unsigned n = 0; role_rules[n].call; n++)
			assert_false(numbers[n] == hot[i] && role_rules[n].by_arg);
}

/* Without these, a forbidden call could not even be told of. */
static void every_role_can_report_and_end(void **state)
{
	static const int needed[] = { SYS_write, SYS_exit_group, SYS_rt_sigprocmask };

	for (unsigned role = 0; role < ROLE_COUNT; role++)
		for (unsigned i = 0; i < sizeof(needed) / sizeof(needed[0]); i++)
			assert_int_equal(verdict(*state, role, needed[i], 0, 0), SECCOMP_RET_ALLOW);
}

static void every_rule_says_why(void **state)
{
	for (const struct role_rule *rule = role_rules; rule->call; rule++) {
		assert_true(rule->why && *rule->why);
		assert_true(rule->roles && rule->roles < 1U << ROLE_COUNT);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(filters_allow_what_the_table_says_and_nothing_else),
		cmocka_unit_test(other_kinds_of_system_calls_kill),
		cmocka_unit_test(x32_calls_are_forbidden),
		cmocka_unit_test(no_thread_opens_maps_or_executes),
		cmocka_unit_test(main_that_serves_maps_no_code),
		cmocka_unit_test(the_parent_of_all_boots_may_what_a_machine_needs_to_be_made),
		cmocka_unit_test(the_parent_of_all_boots_makes_no_namespaces),
		cmocka_unit_test(ioctls_have_a_condition),
		cmocka_unit_test(calls_of_the_io_path_cost_no_program),
		cmocka_unit_test(every_role_can_report_and_end),
		cmocka_unit_test(every_rule_says_why),
	};

	return cmocka_run_group_tests(tests, resolve_all, NULL);
}
