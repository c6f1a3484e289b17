/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The state of a machine that stops and goes on; see pausing.h. Main. Must not know who asks.
 *
 *	          pause            last vCPU holds, last disk has answered
 *	RUNS ------------> PAUSES ---------------------------------------> PAUSED
 *	  ^                   |                                              |
 *	  |                   | resume                                resume |
 *	  |                   v                                              v
 *	  +---------------- RESUMES <---------------------------------------+
 *	   last disk answers
 *
 * The vCPUs stop before the disks, so that nothing new comes while these drain. On the way back each
 * disk gets its RESUME first, but the vCPUs do not wait for the answers: a RESUME looks at all rings,
 * so that no doorbell of theirs is lost, and where a pause is taken back because one storage does
 * not answer, the guest goes on with the others.
 *
 * A disk that on-error= has stopped, with requests in its hands that the host has failed, pauses the
 * machine as anybody does. Its RESUME is what sends them again; whether it has stopped once more is
 * looked at when that has been answered. That may be long before another disk, whose storage does not
 * answer, lets the state be RUNS: so in RESUMES one that has stopped is told of, too, and a further
 * resume tries it again.
 */
#include "vmm/cli/pausing.h"

#include <errno.h>
#include <stddef.h>

#include "vmm/cli/disk_stop.h"
#include "vmm/cli/machine.h"

void pausing_init(struct pausing *p, struct machine *m, struct loop *loop)
{
	*p = (struct pausing){ .machine = m, .loop = loop };
}

static void finish(struct pausing *p, int result)
{
	const pausing_done done = p->done;

	p->done = NULL;
	if (done)
		done(p->opaque, result);
}

static void expect(struct pausing *p, enum pausing_state state, pausing_done done, void *opaque)
{
	p->state = state;
	p->done = done;
	p->opaque = opaque;
}

/* What a disk answers does not matter: one that is gone, or about to be, is as quiet as any. */
static void disk_done(struct pausing *p, enum pausing_state from, enum pausing_state to)
{
	if (p->state != from)
		return;
	if (!--p->waits) {
		p->state = to;
		finish(p, 0);
	}
	pausing_look(p);
}

static void disk_paused(void *opaque, int result)
{
	disk_done(opaque, PAUSING_PAUSES, PAUSING_PAUSED);
}

static void disk_resumed(void *opaque, int result)
{
	disk_done(opaque, PAUSING_RESUMES, PAUSING_RUNS);
}

static int post_pause(struct virtio_blk *blk, void *opaque)
{
	return virtio_blk_pause(blk);
}

static int post_resume(struct virtio_blk *blk, void *opaque)
{
	return virtio_blk_resume(blk);
}

/* One more than there are disks is waited for, so that the last step is taken here, once, at the
 * earliest. */
static void pause_disks(struct pausing *p)
{
	struct machine *m = p->machine;

	p->disks_asked = true;
	p->waits = m->ndisks + 1;
	for (unsigned i = 0; i < m->ndisks; i++) {
		struct disk_call *call = &m->disk[i]->pause.pause;

		*call = (struct disk_call){ post_pause, disk_paused, p, NULL };
		disk_call(&m->disk[i]->calls, p->loop, call);
	}
	disk_paused(p, 0);
}

/* If it stops once more, that will be told of once more. */
static void resume_disk(struct pausing *p, struct machine_disk *disk)
{
	struct disk_call *call = &disk->pause.resume;

	disk->pause.told = false;
	*call = (struct disk_call){ post_resume, disk_resumed, p, NULL };
	disk_call(&disk->calls, p->loop, call);
}

/* All of them: also where they were not asked to pause, one may have stopped by itself. */
static void resume_disks(struct pausing *p)
{
	struct machine *m = p->machine;

	p->waits = m->ndisks + 1;
	for (unsigned i = 0; i < m->ndisks; i++)
		resume_disk(p, m->disk[i]);
}

/* Those that have stopped since they answered, while another has yet to answer. */
static int resume_stopped(struct pausing *p, pausing_done done, void *opaque)
{
	struct machine *m = p->machine;
	unsigned n = 0;
	int code;

	for (unsigned i = 0; i < m->ndisks; i++) {
		if (!disk_stop_holds(m->disk[i], &code))
			continue;
		p->waits++;
		resume_disk(p, m->disk[i]);
		n++;
	}
	if (!n)
		return -EBUSY;
	finish(p, -ECANCELED);
	expect(p, PAUSING_RESUMES, done, opaque);
	return 0;
}

int pausing_pause(struct pausing *p, pausing_done done, void *opaque)
{
	if (p->state == PAUSING_PAUSED)
		return -EALREADY;
	if (p->state != PAUSING_RUNS)
		return -EBUSY;
	expect(p, PAUSING_PAUSES, done, opaque);
	p->disks_asked = false;
	vm_pause(&p->machine->vm);
	pausing_look(p);
	return 0;
}

int pausing_resume(struct pausing *p, pausing_done done, void *opaque)
{
	if (p->state == PAUSING_RUNS)
		return -EALREADY;
	if (p->state == PAUSING_RESUMES)
		return resume_stopped(p, done, opaque);
	if (p->state == PAUSING_PAUSES)
		finish(p, -ECANCELED);
	expect(p, PAUSING_RESUMES, done, opaque);
	resume_disks(p);
	vm_resume(&p->machine->vm);
	disk_resumed(p, 0);
	return 0;
}

void pausing_look(struct pausing *p)
{
	if (disk_stop_tell(p->machine) && p->state == PAUSING_RUNS)
		pausing_pause(p, NULL, NULL);
	if (p->state == PAUSING_PAUSES && !p->disks_asked && vm_paused(&p->machine->vm))
		pause_disks(p);
}

const char *pausing_state_name(const struct pausing *p)
{
	static const char *const names[] = {
		[PAUSING_RUNS] = "running",
		[PAUSING_PAUSES] = "pausing",
		[PAUSING_PAUSED] = "paused",
		[PAUSING_RESUMES] = "resuming",
	};

	return names[p->state];
}
