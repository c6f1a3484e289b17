/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The broker itself: a process of one thread that waits for requests until nobody can make any.
 *
 * Whoever has taken over the VM's process can ask for anything: only what allow.c lets through is
 * opened, and Landlock and seccomp hold the broker to that as well. Must not know what files are for.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "vmm/cli/broker.h"
#include "vmm/cli/broker_wire.h"
#include "vmm/cli/roles.h"
#include "vmm/cli/violation.h"
#include "vmm/landlock.h"

#define FLAGS (O_ACCMODE | O_CREAT | O_EXCL | O_TMPFILE)

struct process {
	struct allow allow;
	int fd;
	int remove_dir; /* -1: nothing to remove */
	char remove[NAME_MAX + 1];
	dev_t dev;
	ino_t ino;
};

/* ---- set-up ---- */

static bool is_ours(const struct process *p, int fd)
{
	for (unsigned i = 0; i < p->allow.n; i++)
		if (p->allow.dir[i].fd == fd)
			return true;
	return p->fd == fd;
}

/* What the VM has open is none of ours, its listening socket above all: who connects there would not
 * notice the VM's end. */
static void close_others(const struct process *p)
{
	int last = p->fd;

	for (unsigned i = 0; i < p->allow.n; i++)
		if (p->allow.dir[i].fd > last)
			last = p->allow.dir[i].fd;
	for (int fd = 0; fd < last; fd++)
		if (fd != STDERR_FILENO && !is_ours(p, fd))
			close(fd);
	syscall(SYS_close_range, last + 1, ~0U, 0);
}

/* Opened now: later the path may lead elsewhere. */
static void open_remove(struct process *p, const struct broker_config *config)
{
	const char *slash, *name = config->remove;
	char dir[PATH_MAX] = ".";

	p->remove_dir = -1;
	if (!name)
		return;
	slash = strrchr(name, '/');
	if (slash)
		snprintf(dir, sizeof(dir), "%.*s/", (int)(slash - name), name);
	snprintf(p->remove, sizeof(p->remove), "%s", slash ? slash + 1 : name);
	p->dev = config->dev;
	p->ino = config->ino;
	p->remove_dir = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
}

static int add_rules(const struct process *p, int ruleset)
{
	int ret = 0;

	for (unsigned i = 0; i < p->allow.n && !ret; i++)
		ret = landlock_allow_files(ruleset, p->allow.dir[i].fd);
	if (!ret && p->remove_dir >= 0)
		ret = landlock_allow_removal(ruleset, p->remove_dir);
	return ret;
}

/* What the host lacks the VM's process says. */
static int enter_sandbox(const struct process *p, enum sandbox_mode mode)
{
	struct sandbox sb;
	int ret = sandbox_init(&sb, mode, role_programs, ROLE_COUNT, NULL);

	if (ret || !sb.on)
		return ret;
	if (sb.ruleset >= 0)
		ret = add_rules(p, sb.ruleset);
	if (ret)
		return ret;
	if (sb.filters)
		violation_report();
	return sandbox_seal(&sb, ROLE_BROKER, NULL);
}

/* ---- requests ---- */

static void answer(const struct process *p, const struct broker_answer *text, int fd)
{
	_Alignas(struct cmsghdr) char room[CMSG_SPACE(sizeof(int))] = { 0 };
	struct iovec iov = { (void *)text, sizeof(*text) };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	struct cmsghdr *head;

	if (fd >= 0) {
		msg.msg_control = room;
		msg.msg_controllen = sizeof(room);
		head = CMSG_FIRSTHDR(&msg);
		head->cmsg_level = SOL_SOCKET;
		head->cmsg_type = SCM_RIGHTS;
		head->cmsg_len = CMSG_LEN(sizeof(fd));
		memcpy(CMSG_DATA(head), &fd, sizeof(fd));
	}
	if (sendmsg(p->fd, &msg, MSG_NOSIGNAL) < 0)
		return; /* who asked is gone, and so are we, soon */
}

static void serve(const struct process *p, const struct broker_request *request)
{
	struct broker_answer text = { .number = request->number };
	mode_t kind = 0;
	int fd = -EINVAL;

	if (!(request->flags & ~FLAGS) && memchr(request->path, '\0', sizeof(request->path)))
		fd = allow_open(&p->allow, request->path, request->flags, &kind);
	text.result = fd < 0 ? fd : 0;
	text.kind = kind;
	answer(p, &text, fd);
	if (fd >= 0)
		close(fd);
}

static bool receive(const struct process *p, struct broker_request *request)
{
	ssize_t len;

	do
		len = recv(p->fd, request, sizeof(*request), 0);
	while (len < 0 && errno == EINTR);
	return len == sizeof(*request);
}

static void remove_file(const struct process *p)
{
	struct stat st;

	if (p->remove_dir < 0 || fstatat(p->remove_dir, p->remove, &st, AT_SYMLINK_NOFOLLOW))
		return;
	if (st.st_dev == p->dev && st.st_ino == p->ino)
		unlinkat(p->remove_dir, p->remove, 0);
}

void broker_run(int fd, const struct broker_config *config)
{
	struct process p = { .fd = fd, .allow = *config->allow };
	struct broker_request request;
	struct broker_answer word = { 0 };

	prctl(PR_SET_NAME, "broker");
	close_others(&p);
	open_remove(&p, config);
	word.result = enter_sandbox(&p, config->sandbox);
	answer(&p, &word, -1);
	if (word.result)
		_exit(1);
	while (receive(&p, &request))
		serve(&p, &request);
	remove_file(&p);
	_exit(0);
}
