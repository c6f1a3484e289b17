/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The way into a disk's thread: mailboxes of one slot for one command each, an answer for each, and
 * one bell for all of them, so that the thread has one word to look at.
 *
 * A mailbox has one sender at a time. The guest's is the vCPUs', who hold the device's lock and wait
 * for the answer; control's is main's, who never waits for storage: it posts, and is told by an
 * eventfd that the answer is there. A command carries values; nothing in it is borrowed, but for the
 * words in which the device's state is shown. A sender may give up waiting: its command stays in the
 * slot and will be answered, and the next sender first waits for that.
 */
#ifndef MVMM_BLK_MAILBOX_H
#define MVMM_BLK_MAILBOX_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "virtio/blk/disk_config.h"
#include "virtio/blk/throttle_limits.h"
#include "virtio/virtqueue.h"
#include "vmm/irq.h"

#define BLK_MAX_QUEUES 64

enum blk_command_type {
	/* The guest's. */
	BLK_CMD_START,	 /* serve these queues; refused (-EBUSY) before a RESET of the last ones */
	BLK_CMD_RESET,	 /* answered when drained; forgets queues, lines and parked requests */
	BLK_CMD_SET_WCE, /* CONFIG_WCE's writeback byte; a change drains, going to 0 syncs, too */
	/* Control's. */
	BLK_CMD_PAUSE,	/* answered when drained: all in flight is parked; outlasts START, RESET */
	BLK_CMD_RESUME, /* serve again, with parked requests and a look at all queues; also after a
			 * stop by on-error= */
	BLK_CMD_QUIT,	/* like RESET, then a sync, and the thread ends */
	BLK_CMD_THROTTLE, /* these limits from now on, for those that wait as well */
	BLK_CMD_RESIZE, /* requests beyond the new size fail; a smaller one is answered when drained, so
			 * that the image can be cut then */
	BLK_CMD_SET_ON_ERROR,
	/* Of a job (job.h), and answered at once. */
	BLK_CMD_JOB_START,    /* -EBUSY: there is one */
	BLK_CMD_JOB_COMPLETE, /* a mirror is to become the disk; -ENOENT: there is no job */
	BLK_CMD_JOB_PIVOT,    /* of one that is HELD: from now on it is */
	BLK_CMD_JOB_SPEED,
	BLK_CMD_JOB_CANCEL,
};

enum blk_mailbox_id { BLK_BOX_GUEST, BLK_BOX_CONTROL, BLK_BOX_COUNT };

static inline enum blk_mailbox_id blk_command_mailbox(enum blk_command_type type)
{
	return type <= BLK_CMD_SET_WCE ? BLK_BOX_GUEST : BLK_BOX_CONTROL;
}

struct blk_job;

struct blk_queue_setup {
	struct virtq_config config;
	struct irq_line line;
};

struct blk_command {
	enum blk_command_type type;
	bool writeback; /* START, SET_WCE: a volatile cache is allowed, FLUSH makes durable */
	enum disk_on_error on_error; /* SET_ON_ERROR */
	uint64_t size;		     /* RESIZE: bytes */
	uint64_t features;	     /* START: negotiated */
	struct irq_line config_line;
	struct throttle_limits throttle; /* THROTTLE */
	_Atomic uint32_t *status;	 /* START: where NEEDS_RESET goes when a ring is broken */
	struct blk_job *job;		 /* JOB_START: the disk's thread's until it has ended */
	uint64_t speed;			 /* JOB_SPEED: bytes per second, 0: no limit */
	struct blk_queue_setup queue[BLK_MAX_QUEUES];
};

#define BLK_BELL_CLOSED (1U << 31)

struct blk_bell {
	int fd;		       /* eventfd; owned; in the disk's epoll set */
	_Atomic uint32_t mail; /* bit n: mailbox n has a command; CLOSED: nobody takes any more */
};

struct blk_mailbox {
	struct blk_bell *bell;
	uint32_t bit;		   /* in bell->mail */
	int answer;		   /* eventfd; owned; senders poll it */
	uint32_t posted;	   /* the sender's: commands ever posted */
	_Atomic uint32_t answered; /* commands ever answered; the disk's thread writes */
	int result;		   /* of the last one answered */
	struct blk_command command;
};

int blk_bell_init(struct blk_bell *bell);
void blk_bell_destroy(struct blk_bell *bell);

int blk_mailbox_init(struct blk_mailbox *mb, struct blk_bell *bell, enum blk_mailbox_id id);
void blk_mailbox_destroy(struct blk_mailbox *mb);

/*
 * Posts `command` and waits for its answer, which it returns: 0 or -errno. -ECANCELED: `stop_fd`
 * (-1: none) became readable first. -ETIMEDOUT: `timeout_ms` (-1: for ever) is over. After these
 * two the command has been posted or not, and is carried out or not: the VM is at its end anyway.
 * -ESHUTDOWN: the thread has ended and carries out nothing.
 */
int blk_mailbox_send(struct blk_mailbox *mb, const struct blk_command *command, int stop_fd,
		     int timeout_ms);

/* Waits until every command posted has been answered: 0, or the errors above. */
int blk_mailbox_settle(struct blk_mailbox *mb, int stop_fd, int timeout_ms);

/* Posts `command` and returns: 0, -EBUSY while the last one is not answered, or -ESHUTDOWN. */
int blk_mailbox_post(struct blk_mailbox *mb, const struct blk_command *command);

/* 0: the last command posted is answered, with *result. -EAGAIN: not yet; mb->answer becomes
 * readable by then, and this empties it. */
int blk_mailbox_poll(struct blk_mailbox *mb, int *result);

/* The disk's thread: is there a command to take? */
static inline bool blk_bell_has_rung(const struct blk_bell *bell)
{
	return atomic_load_explicit(&bell->mail, memory_order_relaxed);
}

/* The disk's thread: the mailboxes, as bits, each of which has a new command. Never waits. */
static inline uint32_t blk_bell_take(struct blk_bell *bell)
{
	if (!atomic_load_explicit(&bell->mail, memory_order_relaxed))
		return 0;
	/* Acquire pairs with the release in post() of mailbox.c. */
	return atomic_exchange_explicit(&bell->mail, 0, memory_order_acquire);
}

/* The same, for the last time: who posts from now on is told so. */
uint32_t blk_bell_close(struct blk_bell *bell);

/* The disk's thread: answers the command, which may no longer be looked at. */
void blk_mailbox_answer(struct blk_mailbox *mb, int result);

#endif
