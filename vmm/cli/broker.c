/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The VM process's side of the broker: starts it, and asks it. Main starts and ends it; any thread of
 * the VM that may wait asks. Must not know what the files are for.
 */
#include "vmm/cli/broker.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "vmm/cli/broker_wire.h"
#include "vmm/cli/clock.h"
#include "vmm/cli/signals.h"

#define END_MS 500

/* From its first instruction on the broker takes none of the signals that end the VM. */
static pid_t fork_unsignalled(void)
{
	sigset_t set, before;
	pid_t pid;

	signals_that_end(&set);
	sigprocmask(SIG_BLOCK, &set, &before);
	pid = fork();
	if (pid)
		sigprocmask(SIG_SETMASK, &before, NULL);
	return pid;
}

/* Nothing runs before it is in its sandbox. */
static int wait_for_word(int fd, struct error *err)
{
	struct broker_answer word;
	ssize_t len;

	do
		len = recv(fd, &word, sizeof(word), 0);
	while (len < 0 && errno == EINTR);
	if (len != sizeof(word))
		return error_setx(err, ECHILD, "broker: ended at once");
	return word.result ? error_set(err, -word.result, "broker: cannot enter its sandbox") : 0;
}

int broker_start(const struct broker_config *config, struct error *err)
{
	int fd[2];
	pid_t pid;
	int ret;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fd))
		return error_set(err, errno, "broker: socketpair");
	pid = fork_unsignalled();
	if (!pid)
		broker_run(fd[1], config); /* closes all else */
	ret = pid < 0 ? error_set(err, errno, "broker: fork") : 0;
	close(fd[1]);
	if (!ret)
		ret = wait_for_word(fd[0], err);
	if (!ret)
		return fd[0];
	close(fd[0]);
	return ret;
}

void broker_end(int fd)
{
	struct pollfd pfd = { .fd = fd, .events = POLLIN };

	shutdown(fd, SHUT_WR);
	poll(&pfd, 1, END_MS);
	close(fd);
}

/* Requests of others before, whose answers may still come, had other numbers: nobody asks as often as
 * once in a nanosecond. */
void broker_init(struct broker *broker, int fd, int patience_ms)
{
	*broker = (struct broker){ .fd = fd, .last = clock_ns(), .patience_ms = patience_ms };
	pthread_mutex_init(&broker->lock, NULL);
}

/* One that this process has no room for is left out of the message. */
static int take_fd(struct msghdr *msg)
{
	struct cmsghdr *head = CMSG_FIRSTHDR(msg);
	int fd = msg->msg_flags & MSG_CTRUNC ? -EMFILE : -EPROTO;

	if (head && head->cmsg_type == SCM_RIGHTS && head->cmsg_len == CMSG_LEN(sizeof(fd)))
		memcpy(&fd, CMSG_DATA(head), sizeof(fd));
	return fd;
}

/* The descriptor, or -errno; -EAGAIN: there is no answer, or one to somebody else. */
static int receive(struct broker *broker, mode_t *kind)
{
	_Alignas(struct cmsghdr) char room[CMSG_SPACE(sizeof(int))];
	struct broker_answer answer;
	struct iovec iov = { &answer, sizeof(answer) };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = room,
		.msg_controllen = sizeof(room),
	};
	ssize_t len;
	int fd;

	do
		len = recvmsg(broker->fd, &msg, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	while (len < 0 && errno == EINTR);
	if (len != sizeof(answer))
		return len < 0 ? -errno : -EPIPE;
	fd = answer.result ? answer.result : take_fd(&msg);
	if (answer.number == broker->last) {
		*kind = answer.kind;
		return fd;
	}
	if (fd >= 0)
		close(fd);
	return -EAGAIN;
}

static int wait_for_answer(struct broker *broker, mode_t *kind)
{
	const uint64_t end =
		broker->patience_ms < 0 ? CLOCK_NEVER : clock_ms() + broker->patience_ms;
	struct pollfd pfd = { .fd = broker->fd, .events = POLLIN };
	int n, ret;

	do {
		n = poll(&pfd, 1, clock_poll_timeout(end, clock_ms()));
		if (!n) {
			broker->stuck = true;
			return -ETIME;
		}
		ret = n < 0 && errno != EINTR ? -errno : receive(broker, kind);
	} while (ret == -EAGAIN);
	return ret;
}

/* Where there is no room for a request there are many that nobody waits for. */
static int ask(struct broker *broker, const char *path, int flags, mode_t *kind)
{
	struct broker_request request = { .number = ++broker->last, .flags = flags };

	if (strlen(path) >= sizeof(request.path))
		return -ENAMETOOLONG;
	strcpy(request.path, path);
	if (broker->stuck)
		return -ETIME;
	if (send(broker->fd, &request, sizeof(request), MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		return errno == EAGAIN ? -ETIME : -errno;
	return wait_for_answer(broker, kind);
}

int broker_open(void *opaque, const char *path, int flags, mode_t *kind)
{
	struct broker *broker = opaque;
	int ret;

	*kind = 0;
	pthread_mutex_lock(&broker->lock);
	ret = ask(broker, path, flags, kind);
	pthread_mutex_unlock(&broker->lock);
	return ret;
}
