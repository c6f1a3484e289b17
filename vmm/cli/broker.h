/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The broker: a process that opens files for the VM's, which in its sandbox cannot. It is there with
 * --control only, forked before there is any thread; it opens what lies in the folders of --allow, and
 * gives the descriptors away over a socket pair. It ends when nobody holds the other end any more, and
 * removes the control socket's file then, unless that is another one's by now.
 */
#ifndef MVMM_CLI_BROKER_H
#define MVMM_CLI_BROKER_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "vmm/cli/allow.h"
#include "vmm/error.h"
#include "vmm/sandbox.h"

struct broker_config {
	const struct allow *allow;
	enum sandbox_mode sandbox;
	const char *remove; /* a file to remove at the end, or NULL */
	dev_t dev;	    /* only if it is this one */
	ino_t ino;
};

/* Forks it, and waits until it is in its sandbox. The descriptor of its socket, which children of ours inherit, or -errno with a message.
 * Main, before any thread. */
int broker_start(const struct broker_config *config, struct error *err);

/* Closes the socket and waits a moment for the broker to end, that is, for the file to be gone. For the
 * last one that holds the socket. */
void broker_end(int fd);

/* Somebody who asks the broker. */
struct broker {
	int fd;
	pthread_mutex_t lock; /* one asks at a time */
	uint64_t last;	      /* number of the last request */
	int patience_ms;      /* for an answer; -1: no end */
	bool stuck;	      /* the patience has come to its end: nothing is asked any more */
};

void broker_init(struct broker *broker, int fd, int patience_ms);

/* As blk_opener's open, with a struct broker. Any thread that may wait for storage: not main, but before
 * the vCPUs run. -EXDEV: not allowed. -EPIPE: the broker is gone. -ETIME: it does not answer, because
 * storage does not answer it. */
int broker_open(void *broker, const char *path, int flags, mode_t *kind);

#endif
