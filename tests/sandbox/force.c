/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What holds a thread of a running mvmm, seen from outside:
 *
 *	force filter PID NAME		the roles whose compiled programs are the thread's filters, in
 *					the order in which it got them
 *	force call PID NAME NUMBER	makes the thread enter that system call, all arguments 0
 *
 * NAME is the thread's name. Both need the rights of a debugger; `filter` also a kernel with
 * CONFIG_CHECKPOINT_RESTORE, and to be root and unfiltered itself. x86-64.
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/sandbox/threads.h"
#include "vmm/cli/roles.h"

static void stop(pid_t tid)
{
	int status;

	if (ptrace(PTRACE_SEIZE, tid, 0, 0) || ptrace(PTRACE_INTERRUPT, tid, 0, 0))
		err(1, "cannot trace thread %d", tid);
	if (waitpid(tid, &status, __WALL) != tid || !WIFSTOPPED(status))
		errx(1, "thread %d does not stop", tid);
}

/* ---- whose program is it? -------------------------------------------------------------------- */

static int is_program(const struct sandbox_program *program, const struct sock_filter *code,
		      int len, uint32_t pid)
{
	if (program->len != len)
		return 0;
	for (int i = 0; i < len; i++) {
		struct sock_filter wanted = program->code[i];

		if (program->pid_at && i == program->pid_at)
			wanted.k = pid;
		if (memcmp(&wanted, &code[i], sizeof(wanted)))
			return 0;
	}
	return 1;
}

static const char *whose(const struct sock_filter *code, int len, uint32_t pid)
{
	for (unsigned i = 0; i < ROLE_COUNT; i++)
		if (is_program(&role_programs[i], code, len, pid))
			return role_names[i];
	if (is_program(&parent_program, code, len, pid))
		return role_names[ROLE_PARENT];
	errx(1, "a filter of %d instructions that is no role's", len);
}

/* The kernel counts them from the oldest on. */
static int tell_filters(const char *pid, pid_t tid)
{
	struct sock_filter code[BPF_MAXINSNS];
	unsigned n = 0;
	long len;

	stop(tid);
	for (; (len = ptrace(PTRACE_SECCOMP_GET_FILTER, tid, n, code)) >= 0; n++)
		printf("%s%s", n ? " " : "", whose(code, len, atoi(pid)));
	if (errno != ENOENT)
		err(errno == EACCES || errno == EIO ? 77 : 1, "cannot read the filter");
	puts("");
	return 0;
}

/* ---- a call that it does not want to make ---------------------------------------------------- */

/* Of any executable mapping: `syscall` is 0f 05, and what comes after it does not matter. */
static unsigned long find_syscall(const char *pid)
{
	unsigned long from, to, found = 0;
	unsigned char page[4096];
	char path[64], line[512];
	FILE *maps;
	int mem;

	snprintf(path, sizeof(path), "/proc/%s/mem", pid);
	mem = open(path, O_RDONLY);
	snprintf(path, sizeof(path), "/proc/%s/maps", pid);
	maps = fopen(path, "r");
	if (mem < 0 || !maps)
		err(1, "%s", path);
	while (!found && fgets(line, sizeof(line), maps)) {
		if (sscanf(line, "%lx-%lx r-xp", &from, &to) != 2 || !strstr(line, "r-xp"))
			continue;
		for (; !found && from < to; from += sizeof(page)) {
			const ssize_t n = pread(mem, page, sizeof(page), from);
			const unsigned char *at = n > 0 ? memmem(page, n, "\x0f\x05", 2) : NULL;

			if (at)
				found = from + (at - page);
		}
	}
	fclose(maps);
	close(mem);
	if (!found)
		errx(1, "process %s makes no system calls", pid);
	return found;
}

/* orig_rax: the kernel must not want to go on with the call in which the thread was stopped. */
static int force(const char *pid, pid_t tid, unsigned long nr)
{
	const unsigned long at = find_syscall(pid);
	struct user_regs_struct regs;

	stop(tid);
	if (ptrace(PTRACE_GETREGS, tid, 0, &regs))
		err(1, "registers");
	regs.rip = at;
	regs.orig_rax = -1UL;
	regs.rax = nr;
	regs.rdi = regs.rsi = regs.rdx = regs.r10 = regs.r8 = regs.r9 = 0;
	if (ptrace(PTRACE_SETREGS, tid, 0, &regs) || ptrace(PTRACE_DETACH, tid, 0, 0))
		err(1, "registers");
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 4 && !strcmp(argv[1], "filter"))
		return tell_filters(argv[2], find(argv[2], argv[3]));
	if (argc == 5 && !strcmp(argv[1], "call"))
		return force(argv[2], find(argv[2], argv[3]), strtoul(argv[4], NULL, 0));
	errx(2, "usage: force filter PID NAME | force call PID NAME NUMBER");
}
