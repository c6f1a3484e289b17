/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What somebody else wants done at the start of a thread, without whoever starts it knowing what:
 * the sandbox goes on this way. A hook of all zeroes, or NULL, does nothing.
 */
#ifndef MVMM_THREAD_HOOK_H
#define MVMM_THREAD_HOOK_H

struct thread_hook {
	void (*created)(void *opaque); /* by the thread's creator, once there is one */
	void (*enter)(void *opaque);   /* by the thread itself, before anything else */
	void *opaque;
};

static inline void thread_hook_created(const struct thread_hook *hook)
{
	if (hook && hook->created)
		hook->created(hook->opaque);
}

static inline void thread_hook_enter(const struct thread_hook *hook)
{
	if (hook && hook->enter)
		hook->enter(hook->opaque);
}

#endif
