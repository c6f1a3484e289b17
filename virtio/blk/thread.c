/* SPDX-License-Identifier: Apache-2.0 */
/* Starts the disks' threads and their workers; see thread.h. Main's thread only. */
#include "virtio/blk/thread.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>

/* Address space, of which a few pages get touched. */
#define STACK_SIZE (128U << 10)

/*
 * Signals are main's business: a disk's thread must not be interrupted in a system call, nor run a
 * handler. What a thread does to itself cannot be put off and keeps its default: a fault still
 * dumps core, a forbidden system call still reaches the sandbox's reporter.
 */
static void thread_signals(sigset_t *set)
{
	static const int own[] = { SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGTRAP, SIGSYS };

	sigfillset(set);
	for (unsigned i = 0; i < sizeof(own) / sizeof(own[0]); i++)
		sigdelset(set, own[i]);
}

static int set_attributes(pthread_attr_t *attr, int cpu)
{
	cpu_set_t cpus;
	int ret;

	ret = pthread_attr_setstacksize(attr, STACK_SIZE);
	if (ret || cpu < 0)
		return ret;
	if (cpu >= CPU_SETSIZE)
		return EINVAL;
	CPU_ZERO(&cpus);
	CPU_SET(cpu, &cpus);
	return pthread_attr_setaffinity_np(attr, sizeof(cpus), &cpus);
}

int blk_thread_create(pthread_t *thread, const char *name, int cpu, void *(*fn)(void *), void *arg)
{
	pthread_attr_t attr;
	sigset_t blocked, before;
	char cut[16];
	int ret;

	ret = pthread_attr_init(&attr);
	if (ret)
		return -ret;
	ret = set_attributes(&attr, cpu);
	if (ret)
		goto out_attr;
	/* Inherited, so that there is no moment in which the thread could take one. */
	thread_signals(&blocked);
	pthread_sigmask(SIG_SETMASK, &blocked, &before);
	ret = pthread_create(thread, &attr, fn, arg);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (ret)
		goto out_attr;
	snprintf(cut, sizeof(cut), "%s", name);
	pthread_setname_np(*thread, cut);
out_attr:
	pthread_attr_destroy(&attr);
	return -ret;
}
