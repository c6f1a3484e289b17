/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Threads in their sandboxes, each role for itself, try what they may not. Every attempt is a child
 * process of its own, because it is the last thing that it does.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "devices/legacy.h"
#include "vmm/cli/result.h"
#include "vmm/cli/roles.h"
#include "vmm/cli/violation.h"
#include "vmm/vm.h"
#include "vmm/x86/layout.h"

#define LET_THROUGH 99
#define NO_SANDBOX  77
#define ALL_ROLES   ((1U << ROLE_COUNT) - 1)
#define BUT(role)   (ALL_ROLES & ~(1U << (role)))
#define PARENT	    BUT(ROLE_MAIN_CONTROL) /* its threads inherit from it what they need */

struct attempt {
	const char *name; /* of the call, as the message has it */
	unsigned roles;
	long nr;
	unsigned long arg[6];
};

/* As strace shows it of pthread_create. */
#define CLONE_OF_A_THREAD 0x3d0f00

#define RWX (PROT_READ | PROT_WRITE | PROT_EXEC)

static const struct attempt attempts[] = {
	{ "openat", ALL_ROLES, SYS_openat, { AT_FDCWD, (unsigned long)"/", O_RDONLY } },
	{ "socket", ALL_ROLES, SYS_socket, { AF_INET, SOCK_STREAM } },
	{ "execve", ALL_ROLES, SYS_execve, { (unsigned long)"/bin/true" } },
	{ "ptrace", ALL_ROLES, SYS_ptrace, { PTRACE_TRACEME } },
	{ "mprotect", ALL_ROLES, SYS_mprotect, { 0, 4096, RWX } },
	{ "mmap", ALL_ROLES, SYS_mmap, { 0, 4096, RWX, MAP_PRIVATE | MAP_ANONYMOUS, -1UL } },
	{ "clone", ALL_ROLES, SYS_clone, { SIGCHLD } },
	{ "clone", ALL_ROLES, SYS_clone, { CLONE_VM | CLONE_VFORK | SIGCHLD } },
	{ "clone", ALL_ROLES, SYS_clone, { CLONE_NEWUSER | SIGCHLD } },
	{ "clone", ALL_ROLES, SYS_clone, { CLONE_OF_A_THREAD | CLONE_NEWNET } },
	{ "clone", ALL_ROLES, SYS_clone, { CLONE_OF_A_THREAD & ~CLONE_THREAD } },
	{ "unshare", ALL_ROLES, SYS_unshare, { CLONE_NEWUSER } },
	{ "clone3", BUT(ROLE_MAIN_CONTROL), SYS_clone3, { 0 } },
	{ "prctl", ALL_ROLES, SYS_prctl, { PR_SET_DUMPABLE, 1 } },
	{ "seccomp", ALL_ROLES, SYS_seccomp, { 0 } },
	{ "rt_sigaction", ALL_ROLES, SYS_rt_sigaction, { SIGSYS } },
	{ "kill", ALL_ROLES, SYS_kill, { 1, 0 } },
	{ "tgkill", ALL_ROLES, SYS_tgkill, { 1, 1, SIGKILL } },
	{ "process_vm_writev", ALL_ROLES, SYS_process_vm_writev, { 1 } },
	{ "io_uring_setup", ALL_ROLES, SYS_io_uring_setup, { 1 } },
	{ "memfd_create", ALL_ROLES, SYS_memfd_create, { (unsigned long)"" } },
	{ "unlinkat", BUT(ROLE_BROKER), SYS_unlinkat, { AT_FDCWD, (unsigned long)"/none" } },
	{ "ioctl", ALL_ROLES, SYS_ioctl, { -1UL, KVM_CREATE_VM } },
	{ "ioctl", ALL_ROLES, SYS_ioctl, { -1UL, KVM_SET_USER_MEMORY_REGION } },
	{ "ioctl", ALL_ROLES, SYS_ioctl, { -1UL, TIOCSTI } },
	/* What only others need. */
	{ "ioctl", BUT(ROLE_VCPU), SYS_ioctl, { -1UL, KVM_RUN } },
	{ "ioctl", BUT(ROLE_VCPU) & BUT(ROLE_MAIN) & PARENT, SYS_ioctl, { -1UL, KVM_IRQFD } },
	{ "io_submit", BUT(ROLE_DISK) & PARENT, SYS_io_submit, { 0 } },
	{ "pwritev2", BUT(ROLE_WORKER) & PARENT, SYS_pwritev2, { -1UL } },
	{ "fallocate", BUT(ROLE_WORKER) & PARENT, SYS_fallocate, { -1UL, 3 } },
	{ "openat2", BUT(ROLE_BROKER), SYS_openat2, { AT_FDCWD, (unsigned long)"/", 0 } },
	{ "fallocate", ALL_ROLES, SYS_fallocate, { -1UL, 0 } },
	{ "read", 1U << ROLE_DISK | 1U << ROLE_WORKER, SYS_read, { -1UL } },
};

#define ATTEMPTS (sizeof(attempts) / sizeof(attempts[0]))

struct child {
	struct sandbox sandbox;
	struct thread_hook hook;
	const struct attempt *attempt;
	void (*fn)(void);
};

/* ---- in the child ------------------------------------------------------------------------------ */

static void insist(bool ok, const char *what)
{
	if (ok)
		return;
	dprintf(STDERR_FILENO, "%s: %s\n", what, strerror(errno));
	_exit(1);
}

static void try(const struct child *c)
{
	const unsigned long *a = c->attempt ? c->attempt->arg : NULL;

	if (a)
		syscall(c->attempt->nr, a[0], a[1], a[2], a[3], a[4], a[5]);
	else
		c->fn();
	_exit(LET_THROUGH);
}

static void *thread_main(void *opaque)
{
	struct child *c = opaque;

	thread_hook_enter(&c->hook);
	if (atomic_load(&c->sandbox.failed))
		_exit(1);
	try(c);
	return NULL;
}

static void run_role(struct child *c, enum role role)
{
	pthread_t thread;

	if (role == ROLE_MAIN) {
		if (sandbox_seal(&c->sandbox, role, NULL))
			_exit(1);
		try(c);
	}
	c->hook = sandbox_hook(&c->sandbox, role);
	if (pthread_create(&thread, NULL, thread_main, c))
		_exit(1);
	pthread_join(thread, NULL);
}

static void child_main(struct child *c, enum role role, bool filters)
{
	struct error err = { 0 };

	if (sandbox_init(&c->sandbox, SANDBOX_STRICT, role_programs, ROLE_COUNT, &err)) {
		fprintf(stderr, "%s\n", err.text);
		_exit(NO_SANDBOX);
	}
	violation_report();
	c->sandbox.filters = filters;
	run_role(c, role);
}

/* ---- in the parent ----------------------------------------------------------------------------- */

/* Runs a child; its wait status, and in `text` what it said. */
static int run(struct child *c, enum role role, bool filters, char *text, size_t size)
{
	size_t len = 0;
	int fd[2], status;
	ssize_t n;
	pid_t pid;

	assert_int_equal(pipe(fd), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		dup2(fd[1], STDERR_FILENO);
		child_main(c, role, filters);
		_exit(1);
	}
	close(fd[1]);
	while (len < size - 1 && (n = read(fd[0], text + len, size - 1 - len)) > 0)
		len += n;
	text[len] = '\0';
	close(fd[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static int needs_sandbox(void **state)
{
	struct sandbox sb;
	struct error err = { 0 };
	const pid_t pid = fork();
	int status;

	if (!pid)
		_exit(sandbox_init(&sb, SANDBOX_STRICT, role_programs, ROLE_COUNT, &err) != 0);
	waitpid(pid, &status, 0);
	*state = status ? "no" : "yes";
	return 0;
}

static void skip_without(void **state)
{
	if (strcmp(*state, "yes")) {
		printf("# this host, or a build with sanitizers, has not all of the sandbox\n");
		skip();
	}
}

static void check(const struct attempt *attempt, enum role role)
{
	struct child c = { .attempt = attempt };
	char text[512], want[128];
	const int status = run(&c, role, true, text, sizeof(text));

	snprintf(want, sizeof(want), "role '%s' called %s (%ld), which it may not",
		 role_names[role], attempt->name, attempt->nr);
	if (!WIFEXITED(status) || WEXITSTATUS(status) != STATUS_VIOLATION)
		fail_msg("%s: %s: wait status %#x: %s", role_names[role], attempt->name, status,
			 text);
	if (!strstr(text, want) || strchr(text, '\n') != text + strlen(text) - 1)
		fail_msg("%s: %s: said: %s", role_names[role], attempt->name, text);
}

/* A thread of that role runs `fn` to its end. */
static void must_go_well(enum role role, bool filters, void (*fn)(void))
{
	struct child c = { .fn = fn };
	char text[256];
	const int status = run(&c, role, filters, text, sizeof(text));

	if (!WIFEXITED(status) || WEXITSTATUS(status) != LET_THROUGH)
		fail_msg("%s: wait status %#x: %s", role_names[role], status, text);
}

static void what_a_role_may_not_ends_it_with_one_line(void **state)
{
	skip_without(state);
	for (unsigned i = 0; i < ATTEMPTS; i++)
		for (unsigned role = 0; role < ROLE_COUNT; role++)
			if (attempts[i].roles & 1U << role)
				check(&attempts[i], role);
}

/* A vCPU's thread reads the clock for its guest: the first read of a process, as it is there. */
static void read_clock(void)
{
	static struct vm vm;
	static struct cmos cmos;

	if (cmos_init(&cmos, &vm, NULL))
		_exit(1);
	for (uint8_t reg = 0; reg < 0x80; reg++) {
		uint8_t value;

		bus_write(&vm.pio, X86_PORT_CMOS, &reg, 1);
		bus_read(&vm.pio, X86_PORT_CMOS + 1, &value, 1);
	}
}

static void a_guest_may_read_the_clock(void **state)
{
	skip_without(state);
	must_go_well(ROLE_VCPU, true, read_clock);
}

#define GUARD 102 /* MADV_GUARD_INSTALL */

/* pthread_create() of glibc 2.42: where the kernel has no such advice an error is an answer. */
static void guard_a_stack(void)
{
	madvise(NULL, 0, GUARD);
}

static void late_threads_may_have_guarded_stacks(void **state)
{
	skip_without(state);
	must_go_well(ROLE_MAIN_CONTROL, true, guard_a_stack);
}

/* ---- the parent of all boots ------------------------------------------------------------------- */

static void child_of_parent(struct child *c, bool boots)
{
	if (sandbox_restrict(SANDBOX_ON, &parent_program, NULL))
		_exit(1);
	violation_report();
	if (boots && prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1)
		_exit(1);
	if (boots)
		child_main(c, ROLE_DISK, true);
	try(c);
}

static int run_parent(const struct attempt *attempt, bool boots)
{
	struct child c = { .attempt = attempt };
	const pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (!pid) {
		if (freopen("/dev/null", "w", stderr))
			child_of_parent(&c, boots);
		_exit(1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

/* A machine can be made under its filter, with filters of its own; and openat() is what that takes. */
static void a_parent_forbids_what_no_boot_needs(void **state)
{
	static const struct attempt execve = { "execve", 0, SYS_execve, { 0 } };
	static const struct attempt openat = { "openat", 0, SYS_openat, { AT_FDCWD, 0 } };
	static const struct attempt newuser = {
		"clone", 0, SYS_clone, { CLONE_NEWUSER | SIGCHLD }
	};

	skip_without(state);
	assert_int_equal(run_parent(&newuser, false), STATUS_VIOLATION);
	assert_int_equal(run_parent(&execve, false), STATUS_VIOLATION);
	assert_int_equal(run_parent(&openat, false), LET_THROUGH);
	assert_int_equal(run_parent(&openat, true), STATUS_VIOLATION);
}

/* ---- threads that come later ------------------------------------------------------------------- */

static void *nothing(void *opaque)
{
	return opaque;
}

/* Whatever the flags say: a filter does not see them. */
static void make_threads(void)
{
	uint64_t args[8] = { CLONE_NEWUSER };
	int thing;
	pthread_t thread;
	void *got = NULL;

	insist(syscall(SYS_clone3, args, sizeof(args)) < 0 && errno == ENOSYS, "clone3");
	errno = pthread_create(&thread, NULL, nothing, &thing);
	insist(!errno, "pthread_create");
	insist(!pthread_join(thread, &got) && got == &thing, "pthread_join");
}

static void who_serves_makes_threads_but_no_processes(void **state)
{
	struct child c = { .fn = make_threads };
	char text[256];
	int status;

	skip_without(state);
	status = run(&c, ROLE_MAIN_CONTROL, true, text, sizeof(text));
	if (!WIFEXITED(status) || WEXITSTATUS(status) != LET_THROUGH)
		fail_msg("%#x: %s", status, text);
}

/* ---- Landlock by itself ------------------------------------------------------------------------ */

static void reach_files(void)
{
	insist(open("/", O_RDONLY | O_DIRECTORY) < 0 && errno == EACCES, "open a folder");
	insist(open("/etc/passwd", O_RDONLY) < 0 && errno == EACCES, "open a file");
	insist(open("/dev/null", O_WRONLY) < 0 && errno == EACCES, "open a device");
	insist(mkdir("/tmp/mvmm-test-none", 0700) < 0 && errno == EACCES, "make a folder");
	insist(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1, "no_new_privs");
}

static void files_cannot_be_reached_by_name(void **state)
{
	skip_without(state);
	for (unsigned role = 0; role < ROLE_COUNT; role++)
		must_go_well(role, false, reach_files);
}

static int landlock_abi(void)
{
	return syscall(SYS_landlock_create_ruleset, NULL, 0, 1);
}

static void reach_others(void)
{
	const struct sockaddr_in to = {
		.sin_family = AF_INET,
		.sin_port = htons(9),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	const int fd = socket(AF_INET, SOCK_STREAM, 0);

	if (landlock_abi() >= 4)
		insist(connect(fd, (const struct sockaddr *)&to, sizeof(to)) < 0 && errno == EACCES,
		       "connect");
	if (syscall(SYS_landlock_create_ruleset, NULL, 0, 2) & 2)
		insist(kill(getppid(), 0) < 0 && errno == EPERM, "signal the parent");
	insist(!syscall(SYS_tgkill, getpid(), getpid(), 0), "signal main");
}

static void neither_ports_nor_other_processes_can_be_reached(void **state)
{
	skip_without(state);
	must_go_well(ROLE_DISK, false, reach_others);
}

/* ---- all threads or none ----------------------------------------------------------------------- */

static void *idle(void *hook)
{
	thread_hook_enter(hook);
	return NULL;
}

/* Main can enter, the other thread's program is none: the VM must not start. */
static void seal_with_a_bad_program(void)
{
	static struct sandbox_program programs[2];
	struct thread_hook hook;
	struct error err = { 0 };
	struct sandbox sb;
	pthread_t thread;

	programs[0] = role_programs[ROLE_MAIN];
	if (sandbox_init(&sb, SANDBOX_ON, programs, 2, NULL))
		_exit(1);
	hook = sandbox_hook(&sb, 1);
	if (pthread_create(&thread, NULL, idle, &hook))
		_exit(1);
	thread_hook_created(&hook);
	if (sandbox_seal(&sb, 0, &err) != -EINVAL || !strstr(err.text, "sandbox"))
		_exit(1);
	_exit(LET_THROUGH);
}

static void a_thread_that_cannot_enter_is_an_error(void **state)
{
	pid_t pid;
	int status;

	skip_without(state);
	pid = fork();
	if (!pid)
		seal_with_a_bad_program();
	waitpid(pid, &status, 0);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), LET_THROUGH);
}

static void off_changes_nothing(void **state)
{
	struct sandbox sb;
	struct thread_hook hook;

	assert_int_equal(sandbox_init(&sb, SANDBOX_OFF, role_programs, ROLE_COUNT, NULL), 0);
	hook = sandbox_hook(&sb, ROLE_DISK);
	assert_null(hook.enter);
	assert_null(hook.created);
	assert_int_equal(sandbox_seal(&sb, ROLE_MAIN, NULL), 0);
	assert_int_equal(prctl(PR_GET_SECCOMP), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_a_role_may_not_ends_it_with_one_line),
		cmocka_unit_test(a_guest_may_read_the_clock),
		cmocka_unit_test(late_threads_may_have_guarded_stacks),
		cmocka_unit_test(a_parent_forbids_what_no_boot_needs),
		cmocka_unit_test(who_serves_makes_threads_but_no_processes),
		cmocka_unit_test(files_cannot_be_reached_by_name),
		cmocka_unit_test(neither_ports_nor_other_processes_can_be_reached),
		cmocka_unit_test(a_thread_that_cannot_enter_is_an_error),
		cmocka_unit_test(off_changes_nothing),
	};

	return cmocka_run_group_tests(tests, needs_sandbox, NULL);
}
