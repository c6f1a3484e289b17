/* SPDX-License-Identifier: Apache-2.0 */
/* Threads for what main must not wait for; see errand.h. Must not know what that is. */
#include "vmm/cli/errand.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "vmm/thread_signals.h"

#define STACK_SIZE (128U << 10)

/* The write is the last that the thread does with the errand: main frees it then. */
static void *thread_main(void *opaque)
{
	const uint64_t one = 1;
	struct errand *errand = opaque;
	const int fd = errand->watch.fd;

	prctl(PR_SET_NAME, "errand");
	errand->run(errand->opaque);
	while (write(fd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
	return NULL;
}

static void ready(void *opaque, short revents)
{
	struct errand *errand = opaque;

	pthread_join(errand->thread, NULL);
	loop_remove(errand->loop, &errand->watch);
	close(errand->watch.fd);
	errand->done(errand->opaque);
}

static int create(struct errand *errand)
{
	sigset_t blocked, before;
	pthread_attr_t attr;
	int ret;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_SIZE);
	thread_signals(&blocked);
	pthread_sigmask(SIG_SETMASK, &blocked, &before);
	ret = pthread_create(&errand->thread, &attr, thread_main, errand);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attr);
	return ret;
}

int errand_start(struct errand *errand, struct loop *loop, struct error *err)
{
	int fd = eventfd(0, EFD_CLOEXEC);
	int ret;

	if (fd < 0)
		return error_set(err, errno, "eventfd");
	errand->loop = loop;
	errand->watch = (struct loop_watch){
		.fd = fd,
		.events = POLLIN,
		.ready = ready,
		.opaque = errand,
	};
	if (loop_add(loop, &errand->watch)) {
		close(fd);
		return error_setx(err, ENOSPC, "too much is going on at once");
	}
	ret = create(errand);
	if (!ret)
		return 0;
	loop_remove(loop, &errand->watch);
	close(fd);
	return error_set(err, ret, "cannot create a thread");
}
