/* SPDX-License-Identifier: Apache-2.0 */
/* Who closes a descriptor, and when: close(2) of a test that includes this. */
#ifndef MVMM_TEST_WATCHED_CLOSE_H
#define MVMM_TEST_WATCHED_CLOSE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

static struct {
	_Atomic int fd; /* that is watched, or 0 */
	pthread_t main;
	_Atomic bool held; /* storage that takes its time, unless it is main who closes */
	_Atomic bool begun, by_main;
} watched;

int close(int fd)
{
	if (watched.fd && fd == watched.fd) {
		watched.by_main = pthread_equal(pthread_self(), watched.main);
		watched.begun = true;
		while (watched.held && !watched.by_main)
			usleep(1000);
		watched.fd = 0;
	}
	return syscall(SYS_close, fd);
}

static inline void watch_close(int fd, bool held)
{
	watched.main = pthread_self();
	watched.held = held;
	watched.begun = watched.by_main = false;
	watched.fd = fd;
}

#endif
