/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sandbox: every thread gives up, before the guest runs its first instruction, all that its role
 * does not need: new privileges, files and ports by name (Landlock), and system calls that are not on
 * its role's list (seccomp).
 *
 * Main:
 *
 *	sandbox_init();				before any thread
 *	... threads are created with sandbox_hook() ...
 *	sandbox_seal();				main itself; waits for the others
 *	... now vCPUs may run ...
 *
 * Which roles there are and what they may do is not known here: a role is an index, its filter a
 * compiled program.
 */
#ifndef MVMM_SANDBOX_H
#define MVMM_SANDBOX_H

#include <linux/filter.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "vmm/error.h"
#include "vmm/thread_hook.h"

#define SANDBOX_MAX_ROLES 8

enum sandbox_mode {
	SANDBOX_ON,	/* as far as the host can; says once what it cannot */
	SANDBOX_OFF,	/* nothing at all */
	SANDBOX_STRICT, /* all of it, or an error */
};

#define SANDBOX_MAX_CODE 256

struct sandbox_program {
	const struct sock_filter *code;
	unsigned short len;    /* at most SANDBOX_MAX_CODE */
	unsigned short pid_at; /* what compares with our own process's number; 0: nothing */
};

struct sandbox;

struct sandbox_role {
	struct sandbox *sandbox;
	const struct sandbox_program *program;
};

/* Stays where it is for as long as there are threads. */
struct sandbox {
	bool on;	     /* there is something to enter */
	bool filters;	     /* this host has seccomp filters */
	const char *missing; /* what it lacks, or NULL */
	int why;	     /* as errno has it */
	int ruleset;	     /* Landlock's, or -1 */
	struct sandbox_role role[SANDBOX_MAX_ROLES];
	unsigned created;	  /* main's: threads that will enter */
	_Atomic uint32_t entered; /* a futex: threads that have, or have failed */
	_Atomic int failed;	  /* the first -errno of a thread that could not */
};

/*
 * Looks what this host can do, which `missing` tells; sets no_new_privs for main and all threads to
 * come. `program` has one entry per role and outlives the sandbox. -errno in strict mode where
 * something is missing. Main, before any thread.
 */
int sandbox_init(struct sandbox *sb, enum sandbox_mode mode, const struct sandbox_program *program,
		 unsigned nroles, struct error *err);

/*
 * For a process that is no machine but forks some: no_new_privs and this filter, which its children
 * have, too, beside their own. What the kernel does not have is left out in every mode: a child says
 * so. 0 or -errno. Main, before any thread.
 */
int sandbox_restrict(enum sandbox_mode mode, const struct sandbox_program *program,
		     struct error *err);

/* For a thread of that role; `sb` NULL: for one that stays free. Main. */
struct thread_hook sandbox_hook(struct sandbox *sb, unsigned role);

/*
 * Main enters its own role, for good, and waits until all threads created with a hook have entered
 * theirs. -errno if any of them could not: then no vCPU may run. Once.
 */
int sandbox_seal(struct sandbox *sb, unsigned role, struct error *err);

/*
 * For threads that come after that: they inherit main's sandbox, which must allow all that theirs does,
 * and the call to enter it. Waits until they have, as before; -errno if one could not. Main.
 */
int sandbox_settle(struct sandbox *sb, struct error *err);

#endif
