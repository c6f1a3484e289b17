/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The disk's thread: works, carries out commands, looks for more a while (dataplane_poll.c),
 * sleeps.
 *
 * All it waits for are eventfds in one epoll set: doorbells, the mailbox, completions of AIO and of
 * the workers. They are edge-triggered and never read, which saves a system call each time: an
 * eventfd wakes epoll at every write, whatever its counter says, and a counter that grows by one
 * per event takes centuries to fill its 64 bits.
 *
 * Knows commands and sleep; what a request is, dataplane_io.c knows.
 */
#include <errno.h>
#include <sys/epoll.h>

#include "virtio/blk/blocking.h"
#include "virtio/blk/dataplane_priv.h"

/* How long to wait before the host is asked again to take a request that it refused with EAGAIN
 * while none of ours was in flight that could wake us. */
#define RETRY_MS 1

static void stop_queues(struct blk_dataplane *dp)
{
	dataplane_forget_failed(dp);
	for (unsigned i = 0; i < dp->nqueues; i++) {
		virtq_stop(&dp->queue[i].vq);
		dp->queue[i].line = (struct irq_line){ .fd = -1 };
	}
	dataplane_forget_lines(dp);
	dataplane_job_forget(dp);
	dp->config_line = (struct irq_line){ .fd = -1 };
	dp->started = false;
	dp->broken = false;
	dp->dirty = 0;
}

static int start_queues(struct blk_dataplane *dp, const struct blk_command *cmd)
{
	int ret;

	for (unsigned i = 0; i < dp->nqueues; i++) {
		if (!cmd->queue[i].config.ready)
			continue;
		ret = virtq_start(&dp->queue[i].vq, dp->mem, &cmd->queue[i].config, cmd->features);
		if (ret)
			return ret;
		dp->queue[i].line = cmd->queue[i].line;
	}
	return 0;
}

/* No kick need have come for what the driver queued before DRIVER_OK: the pass that follows every
 * command looks at all queues, and so does the one after RESUME. */
static int start(struct blk_dataplane *dp, const struct blk_command *cmd)
{
	int ret;

	if (dp->started)
		return -EBUSY;
	ret = start_queues(dp, cmd);
	if (ret) {
		stop_queues(dp);
		return ret;
	}
	blk_limits_init(&dp->limits, dp->be, dp->size, cmd->features, dp->serial);
	dp->config_line = cmd->config_line;
	dp->status = cmd->status;
	dp->writeback = cmd->writeback;
	dp->notify_on = true; /* as the rings come from the driver */
	dp->started = true;
	return 0;
}

static bool must_drain(const struct blk_dataplane *dp, const struct blk_command *cmd)
{
	switch (cmd->type) {
	case BLK_CMD_PAUSE:
	case BLK_CMD_RESET:
	case BLK_CMD_QUIT:
		return true;
	case BLK_CMD_SET_WCE:
		return dp->writeback != cmd->writeback;
	case BLK_CMD_RESIZE:
		return cmd->size < dp->size && !dp->job;
	default:
		return false;
	}
}

static void set_size(struct blk_dataplane *dp, uint64_t size)
{
	dp->size = dp->limits.size = size;
}

static int carry_out(struct blk_dataplane *dp, const struct blk_command *cmd)
{
	switch (cmd->type) {
	case BLK_CMD_START:
		return start(dp, cmd);
	case BLK_CMD_SET_WCE:
		dp->writeback = cmd->writeback;
		return 0;
	case BLK_CMD_RESUME:
		dp->paused = false;
		dataplane_go_on(dp);
		return 0;
	case BLK_CMD_THROTTLE:
		dataplane_set_limits(dp, &cmd->throttle);
		return 0;
	case BLK_CMD_RESIZE:
		if (dp->job) /* whose target is as large as the disk */
			return -EBUSY;
		set_size(dp, cmd->size);
		return 0;
	case BLK_CMD_SET_ON_ERROR:
		dp->on_error = cmd->on_error;
		return 0;
	default:
		return dataplane_job_command(dp, cmd);
	}
}

/* Carries out a new command, or begins to. */
static void begin_command(struct blk_dataplane *dp, enum blk_mailbox_id id)
{
	const struct blk_command *cmd = &dp->mailbox[id].command;

	if (cmd->type == BLK_CMD_QUIT)
		dataplane_job_quit(dp);
	if (must_drain(dp, cmd)) {
		dp->draining = true;
		dp->pending[id] = cmd;
		return;
	}
	blk_mailbox_answer(&dp->mailbox[id], carry_out(dp, cmd));
}

static bool take_commands(struct blk_dataplane *dp)
{
	const uint32_t mail = blk_bell_take(&dp->bell);

	for (unsigned id = 0; mail >> id; id++)
		if (mail >> id & 1)
			begin_command(dp, id);
	return mail;
}

static bool has_written(const struct blk_dataplane *dp)
{
	const _Atomic uint64_t *n = dp->stats.requests;

	return atomic_load_explicit(&n[BLK_OP_WRITE], memory_order_relaxed) ||
	       atomic_load_explicit(&n[BLK_OP_WRITE_ZEROES], memory_order_relaxed) ||
	       atomic_load_explicit(&n[BLK_OP_DISCARD], memory_order_relaxed);
}

/* Also in part: what has not completed is sent on, but not what of it was done before. */
static bool may_be_dirty(const struct blk_dataplane *dp)
{
	return has_written(dp) || dp->failed.first;
}

/*
 * Makes durable what no FLUSH will: the guest is at its end, or has just said that it sends none
 * from now on (WCE = 0) and takes every completed write for durable, the earlier ones, too. Blocks
 * this very thread, which has nothing else to do: nothing is with an engine and nothing is taken.
 */
static void sync_image(struct blk_dataplane *dp)
{
	int ret;

	if (dp->be->readonly || dp->be->cache == DISK_CACHE_UNSAFE || dp->overlay)
		return;
	if (!may_be_dirty(dp) || dataplane_has_lost(dp))
		return;
	ret = blk_blocking_sync(dp->be);
	if (ret)
		dataplane_sync_failed(dp, ret);
}

static void finish_command(struct blk_dataplane *dp, const struct blk_command *cmd)
{
	switch (cmd->type) {
	case BLK_CMD_PAUSE:
		dp->paused = true;
		break;
	case BLK_CMD_SET_WCE:
		if (!cmd->writeback)
			sync_image(dp);
		dp->writeback = cmd->writeback;
		break;
	case BLK_CMD_RESIZE:
		set_size(dp, cmd->size);
		break;
	case BLK_CMD_QUIT:
		dp->quit = true;
		/* fallthrough */
	default:
		stop_queues(dp);
	}
}

/* Nobody is to wait for a thread that has ended: a guest's command came too late for it. */
static void refuse_commands(struct blk_dataplane *dp)
{
	if (blk_bell_close(&dp->bell) & dp->mailbox[BLK_BOX_GUEST].bit)
		blk_mailbox_answer(&dp->mailbox[BLK_BOX_GUEST], -ESHUTDOWN);
}

/*
 * What QUIT does for the guest, once, as soon as nothing of its is in flight. True: there is a job yet,
 * which has buffers of its own with the host, and whose target may not answer for a long time.
 */
static bool waits_for_job(struct blk_dataplane *dp)
{
	const struct blk_command *control = dp->pending[BLK_BOX_CONTROL];

	if (!control || control->type != BLK_CMD_QUIT)
		return false;
	if (!dp->over)
		sync_image(dp);
	dp->over = true;
	return dp->job;
}

/* Ends the commands that waited for the last request with an engine: a RESET of the guest's may have
 * come while control waits for a pause. */
static bool finish_commands(struct blk_dataplane *dp)
{
	bool waits, did = false;

	if (!dp->draining || !dataplane_drained(dp))
		return false;
	waits = waits_for_job(dp);
	for (unsigned id = 0; id < BLK_BOX_COUNT; id++) {
		if (!dp->pending[id] || (waits && id == BLK_BOX_CONTROL))
			continue;
		finish_command(dp, dp->pending[id]);
		dp->pending[id] = NULL;
		if (dp->quit)
			refuse_commands(dp);
		blk_mailbox_answer(&dp->mailbox[id], 0);
		did = true;
	}
	dp->draining = waits;
	return did;
}

/*
 * Asks for kicks before sleep. False: work arrived meanwhile, for which no kick will come. Without
 * a free request slot the rings can wait: a completion will wake us, a kick need not.
 */
static bool ask_for_kicks(struct blk_dataplane *dp)
{
	bool work = false;

	if (!dataplane_serving(dp) || !dataplane_has_request(dp))
		return true;
	dp->notify_on = true;
	for (unsigned i = 0; i < dp->nqueues; i++)
		work |= virtq_enable_notify(&dp->queue[i].vq);
	return !work;
}

/* `timeout_ms` as for epoll_wait(). */
static void wait_for_events(struct blk_dataplane *dp, int timeout_ms)
{
	struct epoll_event events[16];
	const int n = epoll_wait(dp->epoll_fd, events, 16, timeout_ms);

	for (int i = 0; i < n; i++)
		if (events[i].data.u32 < BLK_MAX_QUEUES)
			stat_add(&dp->stats.kicks, 1);
}

/* With silent requests in flight the epoll set does not see all we wait for, but Linux AIO sees the
 * epoll set: sleep there, and then empty the set, or it would end the next sleep too. */
static void wait_for_aio(struct blk_dataplane *dp)
{
	const int n = blk_aio_wait(&dp->aio, dp->epoll_fd, dp->events, BLK_EVENTS);

	if (n > 0)
		dataplane_reaped(dp, n);
	if (!dp->aio.armed)
		wait_for_events(dp, n < 0 ? RETRY_MS : 0);
}

static void sleep_until_event(struct blk_dataplane *dp)
{
	const bool stalled = dp->native && dp->aio.queued && !dp->aio.in_flight;
	const bool silent = dp->native && dp->aio.silent && dp->aio.in_flight;
	const uint64_t from = dp->poller.max_ns ? dataplane_now() : 0;

	stat_add(&dp->stats.sleeps, 1);
	/* Requests that outlast our patience had better ring, as long as that goes on. */
	dp->aio.ring_bell = dp->aio.in_flight;
	if (dp->throttled)
		dataplane_set_timer(dp);
	if (silent)
		wait_for_aio(dp);
	else
		wait_for_events(dp, stalled ? RETRY_MS : -1);
	if (from)
		blk_poller_slept(&dp->poller, from, dataplane_now());
}

void *dataplane_run(void *arg)
{
	struct blk_dataplane *dp = arg;
	bool did;

	while (!dp->quit) {
		did = take_commands(dp);
		did |= dataplane_poll_once(dp);
		did |= finish_commands(dp);
		if (!did && !dp->quit && !dataplane_look(dp) && ask_for_kicks(dp))
			sleep_until_event(dp);
	}
	return NULL;
}
