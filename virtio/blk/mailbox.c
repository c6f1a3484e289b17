/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one-slot mailboxes and their bell; see mailbox.h.
 *
 * Runs on the senders' threads (send, post) and on the disk's (take, answer). Knows no device. The
 * two counters of a mailbox say whose the slot is: equal, the next sender's; posted ahead by one, the
 * disk's.
 */
#include "virtio/blk/mailbox.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

static int new_eventfd(int *fd)
{
	*fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	return *fd < 0 ? -errno : 0;
}

int blk_bell_init(struct blk_bell *bell)
{
	memset(bell, 0, sizeof(*bell));
	return new_eventfd(&bell->fd);
}

void blk_bell_destroy(struct blk_bell *bell)
{
	close(bell->fd);
}

int blk_mailbox_init(struct blk_mailbox *mb, struct blk_bell *bell, enum blk_mailbox_id id)
{
	memset(mb, 0, sizeof(*mb));
	mb->bell = bell;
	mb->bit = 1U << id;
	return new_eventfd(&mb->answer);
}

void blk_mailbox_destroy(struct blk_mailbox *mb)
{
	close(mb->answer);
}

static void signal_fd(int fd)
{
	const uint64_t one = 1;

	/* EAGAIN: the counter is full, so whoever waits is woken all the same. */
	if (write(fd, &one, sizeof(one)) < 0)
		return;
}

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* Acquire pairs with the release in blk_mailbox_answer(): result and slot are the sender's. */
static bool slot_free(const struct blk_mailbox *mb)
{
	return atomic_load_explicit(&mb->answered, memory_order_acquire) == mb->posted;
}

/* -ECANCELED, -ETIMEDOUT, or 0: perhaps something was answered. `deadline` -1: none. */
static int wait_once(struct blk_mailbox *mb, int stop_fd, int64_t deadline)
{
	struct pollfd fds[2] = {
		{ .fd = mb->answer, .events = POLLIN },
		{ .fd = stop_fd, .events = POLLIN },
	};
	int64_t left = -1;
	uint64_t count;
	int ret;

	if (deadline >= 0) {
		left = deadline - now_ms();
		if (left < 0)
			left = 0;
	}
	ret = poll(fds, 2, left);
	if (ret < 0)
		return errno == EINTR ? 0 : -errno;
	if (ret == 0)
		return -ETIMEDOUT;
	/* Emptied before the counters are read again, so that no later answer goes unnoticed. It
	 * may be the answer to a command whose sender gave up: then there is just one more round.
	 */
	if (fds[0].revents)
		return read(mb->answer, &count, sizeof(count)) < 0 && errno != EAGAIN ? -errno : 0;
	return -ECANCELED;
}

static int wait_free(struct blk_mailbox *mb, int stop_fd, int64_t deadline)
{
	int ret;

	while (!slot_free(mb)) {
		ret = wait_once(mb, stop_fd, deadline);
		if (ret)
			return ret;
	}
	return 0;
}

static int64_t deadline_in(int timeout_ms)
{
	return timeout_ms < 0 ? -1 : now_ms() + timeout_ms;
}

int blk_mailbox_settle(struct blk_mailbox *mb, int stop_fd, int timeout_ms)
{
	return wait_free(mb, stop_fd, deadline_in(timeout_ms));
}

/* Once the slot is free. */
static int post(struct blk_mailbox *mb, const struct blk_command *command)
{
	mb->command = *command;
	/* Release pairs with the acquire in blk_bell_take(): the command is there to read. Acquire
	 * pairs with the release in blk_bell_close(): who is told that the thread has ended finds
	 * nothing running any more. */
	if (atomic_fetch_or_explicit(&mb->bell->mail, mb->bit, memory_order_acq_rel) &
	    BLK_BELL_CLOSED)
		return -ESHUTDOWN;
	mb->posted++;
	signal_fd(mb->bell->fd);
	return 0;
}

int blk_mailbox_send(struct blk_mailbox *mb, const struct blk_command *command, int stop_fd,
		     int timeout_ms)
{
	const int64_t deadline = deadline_in(timeout_ms);
	int ret;

	ret = wait_free(mb, stop_fd, deadline);
	if (!ret)
		ret = post(mb, command);
	if (!ret)
		ret = wait_free(mb, stop_fd, deadline);
	return ret ? ret : mb->result;
}

int blk_mailbox_post(struct blk_mailbox *mb, const struct blk_command *command)
{
	return slot_free(mb) ? post(mb, command) : -EBUSY;
}

int blk_mailbox_poll(struct blk_mailbox *mb, int *result)
{
	uint64_t count;

	/* Emptied first: an answer that comes after the look makes it readable again. */
	if (read(mb->answer, &count, sizeof(count)) < 0 && errno != EAGAIN)
		return -errno;
	if (!slot_free(mb))
		return -EAGAIN;
	*result = mb->result;
	return 0;
}

uint32_t blk_bell_close(struct blk_bell *bell)
{
	/* Release pairs with the acquire in post(). */
	return atomic_exchange_explicit(&bell->mail, BLK_BELL_CLOSED, memory_order_release);
}

void blk_mailbox_answer(struct blk_mailbox *mb, int result)
{
	const uint32_t answered = atomic_load_explicit(&mb->answered, memory_order_relaxed);

	mb->result = result;
	/* Release pairs with the acquire in slot_free(). The one writer needs no atomic addition.
	 */
	atomic_store_explicit(&mb->answered, answered + 1, memory_order_release);
	signal_fd(mb->answer);
}
