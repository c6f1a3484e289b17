/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one-slot mailbox; see mailbox.h.
 *
 * Runs on the senders' threads (send) and on the disk's (take, answer). Knows no device. The two
 * counters say whose the slot is: equal, the next sender's; posted ahead by one, the disk's.
 */
#include "virtio/blk/mailbox.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

int blk_mailbox_init(struct blk_mailbox *mb)
{
	int ret;

	memset(mb, 0, sizeof(*mb));
	mb->doorbell = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (mb->doorbell < 0)
		return -errno;
	mb->answer = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (mb->answer < 0) {
		ret = -errno;
		close(mb->doorbell);
		return ret;
	}
	return 0;
}

void blk_mailbox_destroy(struct blk_mailbox *mb)
{
	close(mb->answer);
	close(mb->doorbell);
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
static bool slot_free(struct blk_mailbox *mb)
{
	return atomic_load_explicit(&mb->answered, memory_order_acquire) ==
	       atomic_load_explicit(&mb->posted, memory_order_relaxed);
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

int blk_mailbox_send(struct blk_mailbox *mb, const struct blk_command *command, int stop_fd,
		     int timeout_ms)
{
	const int64_t deadline = deadline_in(timeout_ms);
	int ret;

	ret = wait_free(mb, stop_fd, deadline);
	if (ret)
		return ret;
	mb->command = *command;
	/* Release pairs with the acquire in blk_mailbox_take(): the command is there to read. */
	atomic_fetch_add_explicit(&mb->posted, 1, memory_order_release);
	signal_fd(mb->doorbell);
	ret = wait_free(mb, stop_fd, deadline);
	return ret ? ret : mb->result;
}

const struct blk_command *blk_mailbox_take(struct blk_mailbox *mb)
{
	if (atomic_load_explicit(&mb->posted, memory_order_acquire) == mb->taken)
		return NULL;
	mb->taken++;
	return &mb->command;
}

void blk_mailbox_answer(struct blk_mailbox *mb, int result)
{
	mb->result = result;
	/* Release pairs with the acquire in slot_free(). The one writer needs no atomic addition.
	 */
	atomic_store_explicit(&mb->answered, mb->taken, memory_order_release);
	signal_fd(mb->answer);
}
