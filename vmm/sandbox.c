/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How threads enter their sandboxes, and how main knows that all have; see sandbox.h.
 *
 * sandbox_enter() runs on every thread, the rest on main. Must not know roles, system calls or what
 * becomes of a thread that breaks its rules: that is for whoever handles SIGSYS.
 */
#include "vmm/sandbox.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "vmm/landlock.h"

/*
 * Without this flag kernels before 5.16 make every filtered thread run without speculative store
 * bypass: a precaution for processes that run foreign code in their own address space, which costs
 * each exit and gains nothing where the foreign code is a guest.
 */
#define FILTER_FLAGS SECCOMP_FILTER_FLAG_SPEC_ALLOW

/* Sanitizers' own system calls are on no list. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED true
#elif defined(__has_feature)
#define SANITIZED (__has_feature(address_sanitizer) || __has_feature(thread_sanitizer))
#else
#define SANITIZED false
#endif

static int set_filter(const struct sandbox_program *program)
{
	struct sock_filter code[SANDBOX_MAX_CODE];
	const struct sock_fprog prog = { .len = program->len, .filter = code };

	if (program->len > SANDBOX_MAX_CODE)
		return -E2BIG;
	memcpy(code, program->code, program->len * sizeof(code[0]));
	if (program->pid_at)
		code[program->pid_at].k = getpid();
	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, FILTER_FLAGS, &prog))
		return -errno;
	return 0;
}

/* Is there an action that tells a handler which call it was? Kernels without filters say no. */
static int probe_filters(void)
{
	const uint32_t action = SECCOMP_RET_TRAP;

	return syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) ? -errno : 0;
}

/* ---- set-up ---- */

static void look_at_host(struct sandbox *sb)
{
	const int filters = probe_filters();

	sb->filters = !filters;
	sb->ruleset = landlock_nothing();
	if (filters) {
		sb->missing = sb->ruleset < 0 ? "seccomp filters and Landlock" : "seccomp filters";
		sb->why = -filters;
	} else if (sb->ruleset < 0) {
		sb->missing = "Landlock";
		sb->why = -sb->ruleset;
	}
}

/* It is there, and there is no room for it now: that is no reason to do without. */
static bool is_shortage(int code)
{
	return code == EMFILE || code == ENFILE || code == ENOMEM;
}

int sandbox_init(struct sandbox *sb, enum sandbox_mode mode, const struct sandbox_program *program,
		 unsigned nroles, struct error *err)
{
	*sb = (struct sandbox){ .ruleset = -1 };
	if (SANITIZED && mode == SANDBOX_STRICT)
		return error_setx(err, ENOTSUP,
				  "--sandbox 'strict': not in a build with sanitizers");
	if (SANITIZED || mode == SANDBOX_OFF)
		return 0;
	look_at_host(sb);
	if (sb->missing && is_shortage(sb->why))
		return error_set(err, sb->why, "sandbox: cannot be prepared");
	if (sb->missing && mode == SANDBOX_STRICT)
		return error_set(err, sb->why, "--sandbox 'strict': this host's kernel has no %s",
				 sb->missing);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return error_set(err, errno, "sandbox: no_new_privs");
	for (unsigned i = 0; i < nroles; i++)
		sb->role[i] = (struct sandbox_role){ .sandbox = sb, .program = &program[i] };
	sb->on = true;
	return 0;
}

int sandbox_restrict(enum sandbox_mode mode, const struct sandbox_program *program,
		     struct error *err)
{
	int ret;

	if (SANITIZED || mode == SANDBOX_OFF || probe_filters())
		return 0;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return error_set(err, errno, "sandbox: no_new_privs");
	ret = set_filter(program);
	return ret ? error_set(err, -ret, "sandbox: the parent of all boots cannot enter it") : 0;
}

/* ---- entering ---- */

static void futex_wait(_Atomic uint32_t *word, uint32_t seen)
{
	syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
}

static void futex_wake(_Atomic uint32_t *word)
{
	syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

/* Landlock first: no role's list has its calls. */
static int enter(const struct sandbox_role *role)
{
	const struct sandbox *sb = role->sandbox;
	int ret = 0;

	if (sb->ruleset >= 0)
		ret = landlock_enter(sb->ruleset);
	if (!ret && sb->filters)
		ret = set_filter(role->program);
	return ret;
}

static void hook_created(void *opaque)
{
	const struct sandbox_role *role = opaque;

	role->sandbox->created++;
}

static void hook_enter(void *opaque)
{
	const struct sandbox_role *role = opaque;
	struct sandbox *sb = role->sandbox;
	const int ret = enter(role);
	int none = 0;

	if (ret)
		atomic_compare_exchange_strong(&sb->failed, &none, ret);
	atomic_fetch_add(&sb->entered, 1);
	futex_wake(&sb->entered);
}

struct thread_hook sandbox_hook(struct sandbox *sb, unsigned role)
{
	if (!sb || !sb->on)
		return (struct thread_hook){ 0 };
	return (struct thread_hook){ hook_created, hook_enter, &sb->role[role] };
}

static void wait_for_all(struct sandbox *sb)
{
	uint32_t n;

	while ((n = atomic_load(&sb->entered)) != sb->created)
		futex_wait(&sb->entered, n);
}

int sandbox_settle(struct sandbox *sb, struct error *err)
{
	int ret;

	if (!sb || !sb->on)
		return 0;
	wait_for_all(sb);
	ret = atomic_load(&sb->failed);
	return ret ? error_set(err, -ret, "sandbox: a thread cannot enter it") : 0;
}

/* Main enters while the others do, not after them. */
int sandbox_seal(struct sandbox *sb, unsigned role, struct error *err)
{
	int ret;

	if (!sb->on)
		return 0;
	ret = enter(&sb->role[role]);
	wait_for_all(sb);
	if (sb->ruleset >= 0)
		close(sb->ruleset);
	sb->ruleset = -1;
	if (!ret)
		ret = atomic_load(&sb->failed);
	return ret ? error_set(err, -ret, "sandbox: a thread cannot enter it") : 0;
}
