/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Makes a standard stream one that does not wait.
 *
 * To ask before writing is not enough. POLLOUT of a terminal says that there is some room, not that
 * a line fits with the two places for its end: write(2) then sleeps until somebody reads. It sleeps as
 * well behind another thread that writes to the same terminal and waits. Main thread.
 */
#include "vmm/cli/stream.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

static bool may_stand_still(int fd)
{
	struct stat st;

	return isatty(fd) || (!fstat(fd, &st) && S_ISFIFO(st.st_mode));
}

/* Who opens a terminal's master side gets a new terminal. */
static bool is_same(int own, int fd)
{
	unsigned a, b;

	return !isatty(fd) || (!ioctl(own, TIOCGDEV, &a) && !ioctl(fd, TIOCGDEV, &b) && a == b);
}

/* Its path may be out of reach, in a chroot for one; a link of /proc leads to the file itself. */
void stream_make_own(int fd)
{
	const int flags = fcntl(fd, F_GETFL);
	char path[32];
	int own;

	if (flags < 0 || !may_stand_still(fd))
		return;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	own = open(path, (flags & O_ACCMODE) | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (own < 0)
		return;
	if (is_same(own, fd))
		dup2(own, fd);
	close(own);
}
