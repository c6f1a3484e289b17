/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Makes the control socket's file and takes it away again. Main, outside the sandbox. Must not know
 * what is spoken on it.
 *
 * "Nobody listens there, so it can go" and the removal itself are two steps: a lock on the folder
 * keeps two starts with one path from removing each other's socket.
 */
#include "vmm/cli/api/listen.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define BACKLOG	    128 /* clients that do not wait to connect fail beyond that */
#define LOCK_TRIES  200
#define LOCK_NAP_NS (10 * 1000 * 1000)

static int address(const char *path, struct sockaddr_un *addr, struct error *err)
{
	*addr = (struct sockaddr_un){ .sun_family = AF_UNIX };
	if (!path[0])
		return error_setx(err, EINVAL, "--control '': the path is empty");
	if (strlen(path) >= sizeof(addr->sun_path))
		return error_setx(err, ENAMETOOLONG,
				  "--control '%s': a socket's path has at most %zu bytes", path,
				  sizeof(addr->sun_path) - 1);
	strcpy(addr->sun_path, path);
	return 0;
}

/* A lock that somebody else never gives back is no reason to wait for ever. */
static int lock(int fd)
{
	const struct timespec nap = { .tv_nsec = LOCK_NAP_NS };

	for (int i = 0; i < LOCK_TRIES; i++) {
		if (!flock(fd, LOCK_EX | LOCK_NB))
			return 0;
		if (errno != EWOULDBLOCK && errno != EINTR)
			return -errno;
		nanosleep(&nap, NULL);
	}
	return -EWOULDBLOCK;
}

/* The folder, locked: a descriptor whose close gives it back. */
static int lock_folder(const struct sockaddr_un *addr, struct error *err)
{
	char copy[sizeof(addr->sun_path)];
	int fd, ret;

	strcpy(copy, addr->sun_path);
	fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return error_set(err, errno, "--control '%s': its folder", addr->sun_path);
	ret = lock(fd);
	if (!ret)
		return fd;
	close(fd);
	return error_set(err, -ret, "--control '%s': cannot lock its folder", addr->sun_path);
}

/* Whoever has too many waiting already (EAGAIN) is alive, too. */
static bool somebody_listens(const struct sockaddr_un *addr, int *why)
{
	const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	bool alive;

	*why = 0;
	alive = fd >= 0 &&
		(!connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) || errno == EAGAIN);
	if (!alive)
		*why = errno;
	if (fd >= 0)
		close(fd);
	return alive;
}

/* 0: nothing is there; 1: a socket that nobody listens on any more. */
static int look(const struct sockaddr_un *addr, struct error *err)
{
	struct stat st;
	int why;

	if (lstat(addr->sun_path, &st)) {
		if (errno == ENOENT)
			return 0;
		return error_set(err, errno, "--control '%s'", addr->sun_path);
	}
	if (!S_ISSOCK(st.st_mode))
		return error_setx(err, EEXIST,
				  "--control '%s': there is a file of that name, and it is no "
				  "socket",
				  addr->sun_path);
	if (somebody_listens(addr, &why))
		return error_setx(err, EADDRINUSE, "--control '%s': another process listens there",
				  addr->sun_path);
	if (why == ECONNREFUSED)
		return 1;
	return error_set(err, why, "--control '%s': a socket is there, and cannot be asked",
			 addr->sun_path);
}

static int bind_at(struct control_socket *sock, const struct sockaddr_un *addr, struct error *err)
{
	const mode_t mask = umask(0177);
	struct stat st;
	int ret;

	ret = bind(sock->fd, (const struct sockaddr *)addr, sizeof(*addr)) ? errno : 0;
	umask(mask);
	if (ret)
		return error_set(err, ret, "--control '%s': cannot be made", addr->sun_path);
	if (listen(sock->fd, BACKLOG) || stat(addr->sun_path, &st)) {
		ret = error_set(err, errno, "--control '%s'", addr->sun_path);
		unlink(addr->sun_path);
		return ret;
	}
	sock->dev = st.st_dev;
	sock->ino = st.st_ino;
	return 0;
}

static int replace(struct control_socket *sock, const struct sockaddr_un *addr, struct error *err)
{
	const int found = look(addr, err);
	int ret;

	if (found < 0)
		return found;
	if (found && unlink(addr->sun_path))
		return error_set(err, errno, "--control '%s': cannot be replaced", addr->sun_path);
	sock->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (sock->fd < 0)
		return error_set(err, errno, "--control '%s': socket", addr->sun_path);
	ret = bind_at(sock, addr, err);
	if (!ret)
		return 0;
	close(sock->fd);
	sock->fd = -1;
	return ret;
}

int control_socket_open(struct control_socket *sock, const char *path, struct error *err)
{
	struct sockaddr_un addr;
	int folder, ret;

	*sock = (struct control_socket){ .fd = -1, .path = path, .pid = getpid() };
	ret = address(path, &addr, err);
	if (ret)
		return ret;
	folder = lock_folder(&addr, err);
	if (folder < 0)
		return folder;
	ret = replace(sock, &addr, err);
	close(folder);
	return ret;
}

int control_socket_check(const char *path, struct error *err)
{
	struct sockaddr_un addr;
	int ret = address(path, &addr, err);

	if (ret)
		return ret;
	ret = look(&addr, err);
	return ret < 0 ? ret : 0;
}

void control_socket_hang_up(struct control_socket *sock)
{
	if (sock->fd >= 0)
		close(sock->fd);
	sock->fd = -1;
}

void control_socket_remove(struct control_socket *sock)
{
	struct sockaddr_un addr;
	struct error err;
	struct stat st;
	int folder;

	if (!sock->ino || sock->sealed || sock->pid != getpid() || address(sock->path, &addr, &err))
		return;
	folder = lock_folder(&addr, &err);
	if (folder < 0)
		return;
	if (!lstat(sock->path, &st) && st.st_dev == sock->dev && st.st_ino == sock->ino)
		unlink(sock->path);
	close(folder);
	control_socket_hang_up(sock);
	sock->ino = 0;
}
