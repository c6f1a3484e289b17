/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The handler of SIGSYS, by which a seccomp filter tells of a system call that it did not let
 * through.
 *
 * Runs on the thread that wanted the call, which may be anybody's by now: it calls nothing but
 * async-signal-safe functions that every role allows, keeps no state, and never returns to it. A
 * thread that has blocked the signal, or has no stack left, is killed by the kernel instead, and the
 * process with it.
 */
#include "vmm/cli/violation.h"

#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include "vmm/cli/result.h"
#include "vmm/cli/roles.h"
#include "vmm/cli/terminal.h"

#define SYSCALL_BY_SECCOMP                                                                         \
	1 /* SYS_SECCOMP of <asm/siginfo.h>, whose name <sys/syscall.h> has taken */

struct line {
	char text[160];
	size_t len;
};

static void add(struct line *line, const char *text)
{
	while (*text && line->len < sizeof(line->text))
		line->text[line->len++] = *text++;
}

static void add_number(struct line *line, unsigned n)
{
	char digits[12];
	unsigned at = sizeof(digits) - 1;

	digits[at] = '\0';
	do {
		digits[--at] = '0' + n % 10;
		n /= 10;
	} while (n);
	add(line, &digits[at]);
}

/* The filters put 1 + the role into si_errno. */
static const char *role_of(const siginfo_t *info)
{
	const unsigned role = info->si_errno - 1;

	return role <= ROLE_PARENT ? role_names[role] : "?";
}

static void tell(const siginfo_t *info)
{
	const char *name = role_call_name(info->si_syscall);
	struct line line = { .len = 0 };

	add(&line, "mvmm: error: sandbox: thread of role '");
	add(&line, role_of(info));
	add(&line, "' called ");
	add(&line, name ? name : "system call");
	add(&line, " (");
	add_number(&line, info->si_syscall);
	add(&line, "), which it may not (exit status ");
	add_number(&line, STATUS_VIOLATION);
	add(&line, ")\n");
	if (write(STDERR_FILENO, line.text, line.len) < 0)
		return;
}

static void on_violation(int sig, siginfo_t *info, void *context)
{
	terminal_give_back();
	if (info->si_code == SYSCALL_BY_SECCOMP) {
		tell(info);
		_exit(STATUS_VIOLATION);
	}
	raise(sig); /* somebody sent it: the default action is what they want */
}

/* SA_RESETHAND: a second one, from within, kills. */
void violation_report(void)
{
	struct sigaction action = {
		.sa_sigaction = on_violation,
		.sa_flags = SA_SIGINFO | SA_RESETHAND | SA_NODEFER,
	};

	sigemptyset(&action.sa_mask);
	sigaction(SIGSYS, &action, NULL);
}
