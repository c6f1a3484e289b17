/* SPDX-License-Identifier: Apache-2.0 */
/* Main's commands to a disk's thread, in a queue; see disk_call.h. Knows no command. */
#include "vmm/cli/disk_call.h"

#include <errno.h>
#include <poll.h>
#include <stddef.h>

#include "virtio/blk/virtio_blk.h"

static void end_first(struct disk_calls *calls, int result)
{
	struct disk_call *call = calls->first;

	calls->first = call->next;
	calls->posted = false;
	call->done(call->opaque, result);
}

/* Until one is under way, or none is left. Whoever is told that his is done may have come here. */
static void post_first(struct disk_calls *calls)
{
	int ret;

	while (calls->first && !calls->posted) {
		ret = calls->closed ? -ENODEV
				    : calls->first->post(calls->blk, calls->first->opaque);
		if (ret)
			end_first(calls, ret);
		else
			calls->posted = true;
	}
	if (!calls->first && calls->loop)
		loop_remove(calls->loop, &calls->watch);
}

static void answered(void *opaque, short revents)
{
	struct disk_calls *calls = opaque;
	int result;

	if (virtio_blk_answer(calls->blk, &result))
		return;
	end_first(calls, result);
	post_first(calls);
}

void disk_call(struct disk_calls *calls, struct loop *loop, struct disk_call *call)
{
	struct disk_call **last = &calls->first;

	while (*last)
		last = &(*last)->next;
	call->next = NULL;
	*last = call;
	if (!calls->watch.at && !calls->closed) {
		calls->watch = (struct loop_watch){
			.fd = virtio_blk_answer_fd(calls->blk),
			.events = POLLIN,
			.ready = answered,
			.opaque = calls,
		};
		calls->loop = loop;
		loop_add(loop, &calls->watch); /* there is room for one of each disk */
	}
	post_first(calls);
}

bool disk_call_waits(const struct disk_calls *calls, const struct disk_call *call)
{
	const struct disk_call *at = calls->first;

	while (at && at != call)
		at = at->next;
	return at;
}

void disk_calls_close(struct disk_calls *calls)
{
	calls->closed = true;
	while (calls->first)
		end_first(calls, -ENODEV);
	post_first(calls);
}
