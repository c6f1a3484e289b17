/* SPDX-License-Identifier: Apache-2.0 */
/* The control socket as a file: who may connect, and whether somebody listens there already. */
#ifndef MVMM_CLI_API_LISTEN_H
#define MVMM_CLI_API_LISTEN_H

#include <stdbool.h>
#include <sys/types.h>

#include "vmm/error.h"

struct control_socket {
	int fd; /* listening; -1: none */
	const char *path;
	dev_t dev;   /* of the file, so that only our own is ever removed */
	ino_t ino;   /* 0: there is none */
	pid_t pid;   /* whose it is: not its children's */
	bool sealed; /* this process is in its sandbox, and can remove nothing */
};

/*
 * Listens at `path`, which outlives it, for the user alone (0600). A socket there that nobody listens
 * on any more is replaced; one with a listener, or any other file, is an error. Main, before the
 * sandbox. 0 or -errno.
 */
int control_socket_open(struct control_socket *sock, const char *path, struct error *err);

/* Whether that would work; changes nothing. */
int control_socket_check(const char *path, struct error *err);

/*
 * Whoever connects from now on is told at once that nobody listens, unless another process has the
 * socket, too: the parent of --on-reboot restart, whose next boot answers.
 */
void control_socket_hang_up(struct control_socket *sock);

/* Closes it and removes the file, if it is still ours and can be removed: not in the sandbox. */
void control_socket_remove(struct control_socket *sock);

#endif
