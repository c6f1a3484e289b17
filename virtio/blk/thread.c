/* SPDX-License-Identifier: Apache-2.0 */
/* Starts the disks' threads and their workers; see thread.h. On main, thread_main() on the new one. */
#include "virtio/blk/thread.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>

#include "vmm/thread_signals.h"

/* Address space, of which a few pages get touched. */
#define STACK_SIZE (128U << 10)

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

/* A thread names itself: to name another one takes a file of /proc. */
static void *thread_main(void *opaque)
{
	const struct blk_thread *thread = opaque;

	prctl(PR_SET_NAME, thread->name);
	thread_hook_enter(&thread->hook);
	return thread->fn(thread->arg);
}

int blk_thread_create(struct blk_thread *thread, const char *name, int cpu,
		      const struct thread_hook *hook, void *(*fn)(void *), void *arg)
{
	pthread_attr_t attr;
	sigset_t blocked, before;
	int ret;

	*thread = (struct blk_thread){ .fn = fn, .arg = arg };
	if (hook)
		thread->hook = *hook;
	snprintf(thread->name, sizeof(thread->name), "%s", name);
	ret = pthread_attr_init(&attr);
	if (ret)
		return -ret;
	ret = set_attributes(&attr, cpu);
	if (ret)
		goto out_attr;
	/* Inherited, so that there is no moment in which the thread could take one. */
	thread_signals(&blocked);
	pthread_sigmask(SIG_SETMASK, &blocked, &before);
	ret = pthread_create(&thread->id, &attr, thread_main, thread);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (ret)
		goto out_attr;
	thread_hook_created(&thread->hook);
out_attr:
	pthread_attr_destroy(&attr);
	return -ret;
}
