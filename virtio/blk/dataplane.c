/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Main's side of a disk's thread: creates it with all it will ever need, sends it commands, ends
 * it.
 *
 * Never runs on the disk's thread. Knows files and threads, not what a request is.
 */
#include "virtio/blk/dataplane.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "virtio/blk/dataplane_priv.h"
#include "virtio/blk/job_priv.h"

/* One mapping for the struct, the requests and their spill tables: most of it is never touched, and
 * what is not touched costs nothing. */
static struct blk_dataplane *map_dataplane(unsigned slots)
{
	const size_t fixed = sizeof(struct blk_dataplane) + slots * sizeof(struct blk_request);
	const size_t size = fixed + (size_t)slots * VIRTQ_MAX_CHAIN * sizeof(struct iovec);
	struct blk_dataplane *dp;

	dp = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
		  -1, 0);
	if (dp == MAP_FAILED)
		return NULL;
	/* A huge page would touch 2 MiB of it at once. Kernels without them refuse the call. */
	madvise(dp, size, MADV_NOHUGEPAGE);
	dp->mapped = size;
	dp->slots = slots;
	dp->spill = (struct iovec *)((uint8_t *)dp + fixed);
	return dp;
}

static void copy_config(struct blk_dataplane *dp, const struct blk_dataplane_config *config)
{
	static const struct throttle_limits unlimited;

	dp->be = config->backend;
	dp->size = config->backend->size;
	dp->overlay = config->backend->overlay;
	dp->checks_ends = dp->overlay;
	dp->mem = config->mem;
	dp->nqueues = config->nqueues;
	dp->depth = config->depth;
	dp->native = config->backend->aio == DISK_AIO_NATIVE;
	dp->try_cached = !config->backend->direct;
	dp->config_line.fd = -1;
	dp->on_error = config->on_error;
	dp->event_fd = config->event_fd;
	dp->measures = config->measures;
	blk_poller_init(&dp->poller, config->poll_max_us * 1000);
	throttle_init(&dp->throttle, config->buckets, config->limits ? config->limits : &unlimited);
	dp->throttled = config->limits && throttle_limits_any(config->limits);
	snprintf(dp->serial, sizeof(dp->serial), "%s", config->serial);
}

static int watch(struct blk_dataplane *dp, int fd, uint32_t what)
{
	struct epoll_event event = { .events = EPOLLIN | EPOLLET, .data.u32 = what };

	return epoll_ctl(dp->epoll_fd, EPOLL_CTL_ADD, fd, &event) ? -errno : 0;
}

static int watch_all(struct blk_dataplane *dp, const int *kick_fd)
{
	int ret;

	ret = watch(dp, dp->bell.fd, EVENT_MAILBOX);
	if (!ret)
		ret = watch(dp, dp->pool.event_fd, EVENT_POOL);
	if (!ret)
		ret = watch(dp, dp->timer_fd, EVENT_TIMER);
	if (!ret && dp->native)
		ret = watch(dp, dp->aio.event_fd, EVENT_AIO);
	for (unsigned i = 0; i < dp->nqueues && !ret; i++)
		ret = watch(dp, kick_fd[i], i);
	return ret;
}

static int create_epoll(struct blk_dataplane *dp, const int *kick_fd, struct error *err)
{
	int ret;

	dp->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	if (dp->timer_fd < 0)
		return error_set(err, errno, "cannot create a timer");
	dp->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (dp->epoll_fd < 0) {
		ret = error_set(err, errno, "cannot create an epoll set");
		goto err_timer;
	}
	ret = watch_all(dp, kick_fd);
	if (ret) {
		error_set(err, -ret, "cannot fill the epoll set");
		goto err_epoll;
	}
	return 0;
err_epoll:
	close(dp->epoll_fd);
err_timer:
	close(dp->timer_fd);
	return ret;
}

static void destroy_epoll(struct blk_dataplane *dp)
{
	close(dp->epoll_fd);
	close(dp->timer_fd);
}

/* One helper for what must not block the thread, or as many workers as make a queue depth. */
static unsigned count_workers(const struct blk_dataplane *dp)
{
	if (dp->native)
		return 1;
	return dp->depth < BLK_MAX_WORKERS ? dp->depth : BLK_MAX_WORKERS;
}

/* No context to be had, no AIO in this kernel, or none for this process. */
static bool is_refusal(int ret)
{
	return ret == -EAGAIN || ret == -ENOSYS || ret == -EPERM;
}

static int create_engines(struct blk_dataplane *dp, const struct blk_dataplane_config *config,
			  struct error *err)
{
	const struct thread_hook *hook = config->hooks ? &config->hooks->worker : NULL;
	int ret;

	if (dp->native) {
		ret = blk_aio_init(&dp->aio, dp->be, dp->depth, err);
		if (ret)
			return is_refusal(ret) ? -EOPNOTSUPP : ret;
	}
	ret = blk_pool_init(&dp->pool, dp->be, count_workers(dp), config->name, hook, err);
	if (ret && dp->native)
		blk_aio_destroy(&dp->aio);
	return ret;
}

static void destroy_engines(struct blk_dataplane *dp)
{
	blk_pool_destroy(&dp->pool);
	if (dp->native)
		blk_aio_destroy(&dp->aio);
}

static int start_thread(struct blk_dataplane *dp, const struct blk_dataplane_config *config,
			struct error *err)
{
	const struct thread_hook *hook = config->hooks ? &config->hooks->disk : NULL;
	int ret;

	ret = blk_thread_create(&dp->thread, config->name, config->cpu, hook, dataplane_run, dp);
	if (ret == -EINVAL && config->cpu >= 0)
		return error_setx(err, EINVAL, "cannot run thread '%s' on host CPU %d",
				  config->name, config->cpu);
	if (ret)
		return error_set(err, -ret, "cannot create thread '%s'", config->name);
	return 0;
}

static int create_mailboxes(struct blk_dataplane *dp, struct error *err)
{
	unsigned id = 0;
	int ret;

	ret = blk_bell_init(&dp->bell);
	if (ret)
		return error_set(err, -ret, "cannot create eventfds");
	for (; id < BLK_BOX_COUNT; id++) {
		ret = blk_mailbox_init(&dp->mailbox[id], &dp->bell, id);
		if (ret)
			goto err_mailboxes;
	}
	return 0;
err_mailboxes:
	while (id--)
		blk_mailbox_destroy(&dp->mailbox[id]);
	blk_bell_destroy(&dp->bell);
	return error_set(err, -ret, "cannot create eventfds");
}

static void destroy_mailboxes(struct blk_dataplane *dp)
{
	for (unsigned id = 0; id < BLK_BOX_COUNT; id++)
		blk_mailbox_destroy(&dp->mailbox[id]);
	blk_bell_destroy(&dp->bell);
}

int blk_dataplane_create(struct blk_dataplane **out, const struct blk_dataplane_config *config,
			 struct error *err)
{
	struct blk_dataplane *dp;
	int ret;

	dp = map_dataplane(config->slots);
	if (!dp)
		return error_set(err, errno, "cannot map memory for %u requests", config->slots);
	copy_config(dp, config);
	ret = create_mailboxes(dp, err);
	if (ret)
		goto err_map;
	ret = create_engines(dp, config, err);
	if (ret)
		goto err_mailboxes;
	ret = create_epoll(dp, config->kick_fd, err);
	if (ret)
		goto err_engines;
	ret = start_thread(dp, config, err);
	if (ret)
		goto err_epoll;
	*out = dp;
	return 0;
err_epoll:
	destroy_epoll(dp);
err_engines:
	destroy_engines(dp);
err_mailboxes:
	destroy_mailboxes(dp);
err_map:
	munmap(dp, dp->mapped);
	return ret;
}

int blk_dataplane_send(struct blk_dataplane *dp, const struct blk_command *command, int stop_fd,
		       int timeout_ms)
{
	return blk_mailbox_send(&dp->mailbox[blk_command_mailbox(command->type)], command, stop_fd,
				timeout_ms);
}

int blk_dataplane_post(struct blk_dataplane *dp, const struct blk_command *command)
{
	return blk_mailbox_post(&dp->mailbox[BLK_BOX_CONTROL], command);
}

int blk_dataplane_start_job(struct blk_dataplane *dp, struct blk_job *job)
{
	const struct blk_command cmd = {
		.type = BLK_CMD_JOB_START,
		.job = job,
	};
	int ret;

	ret = watch(dp, job->pool.event_fd, EVENT_JOB);
	if (!ret)
		ret = watch(dp, job->timer_fd, EVENT_JOB);
	return ret ? ret : blk_dataplane_post(dp, &cmd);
}

int blk_dataplane_answer(struct blk_dataplane *dp, int *result)
{
	return blk_mailbox_poll(&dp->mailbox[BLK_BOX_CONTROL], result);
}

int blk_dataplane_answer_fd(const struct blk_dataplane *dp)
{
	return dp->mailbox[BLK_BOX_CONTROL].answer;
}

/* Once only: the thread that answers a QUIT is gone, also if its sender has given up waiting. */
static int ask_to_quit(struct blk_dataplane *dp, int timeout_ms)
{
	const struct blk_command quit = { .type = BLK_CMD_QUIT };
	struct blk_mailbox *mb = &dp->mailbox[BLK_BOX_CONTROL];
	const uint32_t posted = mb->posted;
	int ret;

	if (dp->quit_posted)
		return blk_mailbox_settle(mb, -1, timeout_ms);
	ret = blk_mailbox_send(mb, &quit, -1, timeout_ms);
	dp->quit_posted = mb->posted != posted;
	return ret;
}

int blk_dataplane_stop(struct blk_dataplane *dp, int timeout_ms)
{
	int ret;

	if (dp->joined)
		return 0;
	ret = ask_to_quit(dp, timeout_ms);
	if (ret)
		return ret;
	pthread_join(dp->thread.id, NULL);
	dp->joined = true;
	return 0;
}

void blk_dataplane_destroy(struct blk_dataplane *dp)
{
	destroy_epoll(dp);
	destroy_engines(dp);
	destroy_mailboxes(dp);
	munmap(dp, dp->mapped);
}

const struct blk_stats *blk_dataplane_stats(const struct blk_dataplane *dp)
{
	return &dp->stats;
}
