/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What each thread may still ask of the kernel once the guest runs: the lists of the sandbox.
 *
 * The rules are compiled into seccomp programs when mvmm is built (scripts/mkfilters.c), so that a
 * start pays for nothing but handing them to the kernel.
 */
#ifndef MVMM_CLI_ROLES_H
#define MVMM_CLI_ROLES_H

#include <stdbool.h>
#include <stdint.h>

#include "vmm/sandbox.h"

enum role {
	ROLE_MAIN,
	ROLE_MAIN_CONTROL, /* main with a control socket */
	ROLE_VCPU,
	ROLE_DISK,    /* blk-... */
	ROLE_WORKER,  /* blk-...-w0 */
	ROLE_CONSOLE, /* writes what the guest prints */
	ROLE_ENDING,  /* hurries the end of a VM */
	ROLE_BROKER,  /* a process of its own, that opens files */
	ROLE_COUNT,
	ROLE_PARENT = ROLE_COUNT, /* of --on-reboot restart; has no list of what it may */
};

/* Stands for the number of our own process, which is known at run time only. */
#define ROLE_OWN_PID 0x4d564d4d

/* One allowed call, or one said to be absent. The same call may have several rules with different
 * values of an argument. */
struct role_rule {
	const char *call; /* or "poll|ppoll": the first of them that the architecture has */
	unsigned roles;	  /* bits: 1 << enum role */
	bool by_arg;	  /* only with `value` in argument `arg`, of which 32 bits count */
	unsigned arg;
	uint32_t value; /* or ROLE_OWN_PID */
	bool absent;	/* fails with ENOSYS, as on a kernel that has it not */
	const char *why;
	const char *unseen; /* why no run of the tests makes this call; NULL: some do */
};

/* Ends with a rule without a call. roles.c. */
extern const struct role_rule role_rules[];
extern const char *const role_names[ROLE_COUNT + 1];

/*
 * What no process of ours ever calls, not even while it makes a machine. That is all that can be taken
 * from ROLE_PARENT: a child has its parent's filters, and makes a machine. Ends with NULL; names that an
 * architecture does not have are left out.
 */
extern const char *const parent_forbidden[];

/* Flags of clone that would do what unshare does. clone3, whose flags a filter cannot see, is absent. */
extern const uint32_t parent_forbidden_clone;

/* Made by scripts/mkfilters.c from the rules: a program per role, which raises SIGSYS for all that
 * is not allowed, with 1 + the role in si_errno. */
extern const struct sandbox_program role_programs[ROLE_COUNT];

/* Of `parent_forbidden` and the flags: allows all the rest. */
extern const struct sandbox_program parent_program;

/* The name of a system call of this architecture, or NULL. Async-signal-safe. */
const char *role_call_name(int nr);

#endif
