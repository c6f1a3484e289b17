/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The way into a disk's thread: one slot for one command, a doorbell, an answer.
 *
 * Senders are vCPUs and main, one at a time (they hold the device's lock). A command carries
 * values; nothing in it is borrowed, but for the words in which the device's state is shown. A
 * sender may give up waiting when the VM stops: its command stays in the slot and will be answered,
 * and the next sender first waits for that.
 */
#ifndef MVMM_BLK_MAILBOX_H
#define MVMM_BLK_MAILBOX_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "virtio/virtqueue.h"
#include "vmm/irq.h"

#define BLK_MAX_QUEUES 64

enum blk_command_type {
	BLK_CMD_START,	 /* serve these queues; refused (-EBUSY) before a RESET of the last ones */
	BLK_CMD_PAUSE,	 /* answered when nothing is in flight; outlasts START and RESET */
	BLK_CMD_RESUME,	 /* serve again, and look at all queues once: kicks may have been missed */
	BLK_CMD_RESET,	 /* answered when nothing is in flight; forgets queues and lines */
	BLK_CMD_SET_WCE, /* CONFIG_WCE's writeback byte; going to 0 drains and syncs first */
	BLK_CMD_QUIT,	 /* like RESET, then a sync, and the thread ends */
};

struct blk_queue_setup {
	struct virtq_config config;
	struct irq_line line;
};

struct blk_command {
	enum blk_command_type type;
	bool writeback;	   /* START, SET_WCE: a volatile cache is allowed, FLUSH makes durable */
	uint64_t features; /* START: negotiated */
	struct irq_line config_line;
	_Atomic uint32_t *status; /* START: where NEEDS_RESET goes when a ring is broken */
	struct blk_queue_setup queue[BLK_MAX_QUEUES];
};

struct blk_mailbox {
	int doorbell;		   /* eventfd; owned; in the disk's epoll set */
	int answer;		   /* eventfd; owned; senders poll it */
	_Atomic uint32_t posted;   /* commands ever posted; senders write */
	_Atomic uint32_t answered; /* commands ever answered; the disk's thread writes */
	uint32_t taken;		   /* the disk's thread: commands ever taken */
	int result;		   /* of the last one answered */
	struct blk_command command;
};

int blk_mailbox_init(struct blk_mailbox *mb);
void blk_mailbox_destroy(struct blk_mailbox *mb);

/*
 * Posts `command` and waits for its answer, which it returns: 0 or -errno. -ECANCELED: `stop_fd`
 * (-1: none) became readable first. -ETIMEDOUT: `timeout_ms` (-1: for ever) is over. After these
 * two the command has been posted or not, and is carried out or not: the VM is at its end anyway.
 */
int blk_mailbox_send(struct blk_mailbox *mb, const struct blk_command *command, int stop_fd,
		     int timeout_ms);

/* Waits until every command posted has been answered: 0, or the errors above. */
int blk_mailbox_settle(struct blk_mailbox *mb, int stop_fd, int timeout_ms);

/* The disk's thread: is there a command to take? */
static inline bool blk_mailbox_has_command(const struct blk_mailbox *mb)
{
	return atomic_load_explicit(&mb->posted, memory_order_relaxed) != mb->taken;
}

/* The disk's thread: a command to carry out, or NULL. Never waits. */
const struct blk_command *blk_mailbox_take(struct blk_mailbox *mb);

/* The disk's thread: answers the command taken last; it may no longer be looked at. */
void blk_mailbox_answer(struct blk_mailbox *mb, int result);

#endif
