/* SPDX-License-Identifier: Apache-2.0 */
/* Landlock: a thread that can reach no file, no port and no other process by name any more. */
#ifndef MVMM_LANDLOCK_H
#define MVMM_LANDLOCK_H

/*
 * A ruleset that handles whatever this kernel's Landlock can, and has no rule: nothing is allowed.
 * The descriptor, or -errno: -ENOSYS and -EOPNOTSUPP where there is no Landlock.
 */
int landlock_nothing(void);

/*
 * Beneath the directory `dir`: to open, create, truncate and control files and devices; to remove
 * files. What a descriptor may be used for is settled when it is opened, whoever uses it later. 0 or
 * -errno.
 */
int landlock_allow_files(int ruleset, int dir);
int landlock_allow_removal(int ruleset, int dir);

/* This thread, for good; what it has open already stays. Needs no_new_privs. 0 or -errno. */
int landlock_enter(int ruleset);

#endif
