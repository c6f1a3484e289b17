/* SPDX-License-Identifier: Apache-2.0 */
/* Disks that on-error= has stopped; see disk_stop.h. Main. Must not know what is done about it. */
#include "vmm/cli/disk_stop.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "vmm/cli/machine.h"
#include "vmm/log.h"

static const char *remedy(int code)
{
	return code == ENOSPC || code == EDQUOT ? "make room" : "put that right";
}

static void tell(const struct machine *m, const struct machine_disk *disk, int code)
{
	const char *socket = m->opt->control;

	log_warn("disk '%s': %s: the VM waits for it; %s, then: mvmm ctl %s resume",
		 machine_disk_path(disk), strerror(code), remedy(code), socket ? socket : "PATH");
}

/* One that is being taken out holds nobody: no RESUME would reach it any more. */
static bool is_stopped(const struct machine_disk *disk, int *code)
{
	return !disk->calls.closed && virtio_blk_stopped(&disk->blk, code);
}

/* Until that RESUME is answered, it is the last stop that is still seen. */
bool disk_stop_holds(const struct machine_disk *disk, int *code)
{
	return is_stopped(disk, code) && !disk_call_waits(&disk->calls, &disk->pause.resume);
}

bool disk_stop_tell(struct machine *m)
{
	bool any = false;
	int code;

	for (unsigned i = 0; i < m->ndisks; i++) {
		struct machine_disk *disk = m->disk[i];

		if (!disk_stop_holds(disk, &code))
			continue;
		any = true;
		if (!disk->pause.told)
			tell(m, disk, code);
		disk->pause.told = true;
	}
	return any;
}

bool disk_stop_reason(const struct machine *m, char *text, size_t size)
{
	int code;

	for (unsigned i = 0; i < m->ndisks; i++) {
		if (!is_stopped(m->disk[i], &code))
			continue;
		snprintf(text, size, "disk '%s': %s", machine_disk_path(m->disk[i]),
			 strerror(code));
		return true;
	}
	return false;
}
