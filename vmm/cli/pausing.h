/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A whole machine that stops and goes on, because somebody asks for it or because a disk has stopped
 * (on-error=): first its vCPUs, then its disks; back in one go. All on main's loop, which serves
 * everything else meanwhile; signals, the user and --timeout, which goes on counting, end the VM from
 * any of these states.
 *
 * Paused means: no vCPU runs, no device works for one, every request a disk has taken has ended, or
 * waits in the disk's hands with nothing of it in flight, and so neither the guest's memory nor an
 * image changes. The console's input waits, its output goes on to where it leads.
 */
#ifndef MVMM_CLI_PAUSING_H
#define MVMM_CLI_PAUSING_H

#include <stdbool.h>

#include "vmm/cli/loop.h"

struct machine;

enum pausing_state {
	PAUSING_RUNS,
	PAUSING_PAUSES,
	PAUSING_PAUSED,
	PAUSING_RESUMES, /* the vCPUs run already */
};

typedef void (*pausing_done)(void *opaque, int result);

struct pausing {
	struct machine *machine;
	struct loop *loop;
	enum pausing_state state;
	bool disks_asked;
	unsigned waits; /* for so many disks */
	pausing_done done;
	void *opaque;
};

/* `loop` serves it from now on. Main, once, before the VM is asked to do anything. */
void pausing_init(struct pausing *p, struct machine *m, struct loop *loop);

/*
 * Starts to pause. 0: `done` (or nobody, if NULL) hears of it later, perhaps before this returns: 0, or
 * -ECANCELED where a resume came first. -EALREADY: it is paused. -EBUSY: a pause or a resume is under
 * way. A pause takes as long as the slowest disk's storage needs for what is in flight; one whose
 * storage does not answer never completes, but can be taken back by a resume. Main.
 */
int pausing_pause(struct pausing *p, pausing_done done, void *opaque);

/*
 * Starts to resume, or takes a pause back that is not complete. 0, and `done` as above, once every disk
 * serves again; -EALREADY: it runs. -EBUSY: a resume is under way, and no disk has stopped meanwhile
 * that could be tried again; else this one takes its place (-ECANCELED). Main.
 */
int pausing_resume(struct pausing *p, pausing_done done, void *opaque);

/* The vCPUs, or a disk, may have something new: vm->event_fd was readable. Main. */
void pausing_look(struct pausing *p);

/* "running", "pausing", "paused", "resuming". */
const char *pausing_state_name(const struct pausing *p);

#endif
