/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Landlock by its system calls: C libraries have no functions for them, and the headers of a
 * distribution know fewer rights than the kernels that it meets.
 *
 * Main or the broker makes a ruleset, every thread of theirs enters it. Must not know what any thread does.
 */
#include "vmm/landlock.h"

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

#define CREATE_VERSION (1U << 0)
#define CREATE_ERRATA  (1U << 1)

/* Erratum 2: from ABI 6 on, a thread could not signal threads of its own process, as a kick does,
 * that had entered on their own. */
#define ERRATUM_SIGNALS (1U << 1)

struct ruleset_attr {
	uint64_t handled_access_fs;
	uint64_t handled_access_net; /* ABI 4 */
	uint64_t scoped;	     /* ABI 6 */
};

#define FS_WRITE_FILE  (1U << 1)
#define FS_READ_FILE   (1U << 2)
#define FS_REMOVE_FILE (1U << 5)
#define FS_MAKE_REG    (1U << 8)
#define FS_TRUNCATE    (1U << 14)
#define FS_IOCTL_DEV   (1U << 15)

#define RULE_BENEATH 1

struct beneath_attr {
	uint64_t allowed;
	int32_t dir;
} __attribute__((packed));

#define SCOPE_ABSTRACT_UNIX (1U << 0)
#define SCOPE_SIGNAL	    (1U << 1)
#define NET_TCP		    0x3 /* bind and connect */

static int create(const struct ruleset_attr *attr, size_t size, uint32_t flags)
{
	const long ret = syscall(SYS_landlock_create_ruleset, attr, size, flags);

	return ret < 0 ? -errno : (int)ret;
}

/* Kernel documentation, userspace-api/landlock: rights by ABI. */
static uint64_t fs_rights(int abi)
{
	static const unsigned count[] = { 0, 13, 14, 15, 15, 16 };
	const int last = sizeof(count) / sizeof(count[0]) - 1;

	return (1ULL << count[abi < last ? abi : last]) - 1;
}

static uint64_t scopes(int abi)
{
	int errata;

	if (abi < 6)
		return 0;
	errata = create(NULL, 0, CREATE_ERRATA);
	return SCOPE_ABSTRACT_UNIX | (errata > 0 && (errata & ERRATUM_SIGNALS) ? SCOPE_SIGNAL : 0);
}

/* Kernels refuse a struct with more in it than they know only where it is not zero. */
int landlock_nothing(void)
{
	const int abi = create(NULL, 0, CREATE_VERSION);
	struct ruleset_attr attr = { 0 };

	if (abi < 0)
		return abi;
	attr.handled_access_fs = fs_rights(abi);
	attr.handled_access_net = abi >= 4 ? NET_TCP : 0;
	attr.scoped = scopes(abi);
	return create(&attr, sizeof(attr), 0);
}

static int allow(int ruleset, int dir, uint64_t rights)
{
	const int abi = create(NULL, 0, CREATE_VERSION);
	const struct beneath_attr attr = { .allowed = rights & fs_rights(abi), .dir = dir };

	return syscall(SYS_landlock_add_rule, ruleset, RULE_BENEATH, &attr, 0) ? -errno : 0;
}

int landlock_allow_files(int ruleset, int dir)
{
	return allow(ruleset, dir,
		     FS_WRITE_FILE | FS_READ_FILE | FS_MAKE_REG | FS_TRUNCATE | FS_IOCTL_DEV);
}

int landlock_allow_removal(int ruleset, int dir)
{
	return allow(ruleset, dir, FS_REMOVE_FILE);
}

int landlock_enter(int ruleset)
{
	return syscall(SYS_landlock_restrict_self, ruleset, 0) ? -errno : 0;
}
