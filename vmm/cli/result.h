/* SPDX-License-Identifier: Apache-2.0 */
/* How a VM ended: as an exit status, as one line for people, as one line of JSON. */
#ifndef MVMM_CLI_RESULT_H
#define MVMM_CLI_RESULT_H

#include <stddef.h>
#include <stdint.h>

#include "vmm/error.h"
#include "vmm/vm.h"

enum exit_status {
	STATUS_POWEROFF = 0,
	STATUS_ERROR = 1,
	STATUS_USAGE = 2,
	STATUS_SLOW = 3,   /* mvmm check */
	STATUS_NOBODY = 3, /* mvmm ctl */
	STATUS_RESET = 32,
	STATUS_CRASH = 33,
	STATUS_PANIC = 34,
	STATUS_HALTED = 35,
	STATUS_TIMEOUT = 36,
	STATUS_VIOLATION = 37, /* a thread left its sandbox: no VM end of its own */
	STATUS_SIGNAL = 128,   /* plus its number */
};

struct result {
	enum vm_end end;
	uint32_t value;	      /* see enum vm_end */
	const char *name;     /* the VM's, or NULL */
	const char *message;  /* for VM_END_HOST_ERROR: what happened, or NULL */
	uint64_t run_ms;      /* from the first vCPU's start to the end */
	uint64_t dropped;     /* console bytes that nobody took */
	uint64_t disk_errors; /* requests that ended with an error */
	unsigned stuck;	      /* disks whose I/O did not drain */
};

int result_status(const struct result *res);

/* The closing line without "mvmm: ", as in "guest powered off (exit status 0)". */
void result_line(const struct result *res, char *buf, size_t size);

/* One line of JSON with its newline. Returns the length, or -ENOSPC. */
int result_json(const struct result *res, char *buf, size_t size);

/*
 * Before the VM starts: a process in its sandbox opens nothing, and a place that cannot be written is
 * found out now. A regular file is replaced by a new, empty one, so that an old result is never taken
 * for this run's; anything else (a pipe, /dev/fd/3) is appended to. The descriptor, or -errno.
 */
int result_open(const char *path, struct error *err);

/* The JSON line in one write(2), so that no reader sees half of it. 0 or -errno. */
int result_write(const struct result *res, int fd, struct error *err);

/* Whether a result could be written there; changes nothing. 0 or -errno. */
int result_check(const char *path, struct error *err);

#endif
