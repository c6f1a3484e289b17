/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Main's side of a job: makes it with all it will ever need, and takes it apart; see job.h.
 *
 * Never runs on the disk's thread. Knows files and threads, not how a disk is copied.
 */
#include "virtio/blk/job.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "virtio/blk/job_priv.h"

#define PAGE 4096UL

static size_t pages(size_t bytes)
{
	return (bytes + PAGE - 1) & ~(PAGE - 1);
}

/* The struct, two maps, buffers: each from a page of its own, touched when it is used. */
static struct blk_job *map_job(const struct blk_job_config *config)
{
	const uint64_t size = config->source->size;
	const unsigned shift = blk_chunks_shift(size);
	const size_t map = pages(blk_chunks_words(size, shift) * sizeof(uint64_t));
	const size_t fixed = pages(sizeof(struct blk_job));
	const size_t all = fixed + 2 * map + ((size_t)BLK_JOB_SLOTS << shift);
	struct blk_job *job;
	uint8_t *p;

	p = mmap(NULL, all, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
		 0);
	if (p == MAP_FAILED)
		return NULL;
	job = (struct blk_job *)p;
	job->mapped = all;
	p += fixed;
	blk_copy_init(&job->copy, config->mode, size, !config->target_zero, (uint64_t *)p,
		      (uint64_t *)(p + map));
	for (unsigned i = 0; i < BLK_JOB_SLOTS; i++)
		job->slot[i].buffer = p + 2 * map + ((size_t)i << shift);
	return job;
}

static void copy_config(struct blk_job *job, const struct blk_job_config *config)
{
	job->source = config->source;
	job->target = config->target;
	job->native = config->source->aio == DISK_AIO_NATIVE;
	job->notify_fd = config->notify_fd;
	job->hold_max_ns = BLK_JOB_HOLD_MAX_NS;
	job->patience_ns = BLK_JOB_PATIENCE_NS;
	job_set_speed(job, config->speed);
	atomic_store_explicit(&job->progress.left, config->source->size, memory_order_relaxed);
}

static int create_context(struct blk_job *job, struct error *err)
{
	const int ret = io_setup(BLK_JOB_SLOTS, &job->ctx);

	if (ret == -EAGAIN)
		return error_setx(err, EAGAIN,
				  "the host has no AIO context for %d more requests (sysctl "
				  "fs.aio-max-nr)",
				  BLK_JOB_SLOTS);
	if (ret)
		return error_set(err, -ret, "cannot set up Linux AIO");
	job->ring = aio_ring_of(job->ctx);
	return 0;
}

int blk_job_create(struct blk_job **out, const struct blk_job_config *config, struct error *err)
{
	const struct thread_hook *hook = config->hooks ? &config->hooks->worker : NULL;
	struct blk_job *job;
	int ret;

	job = map_job(config);
	if (!job)
		return error_set(err, errno, "cannot map memory for a job");
	copy_config(job, config);
	job->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	if (job->timer_fd < 0) {
		ret = error_set(err, errno, "cannot create a timer");
		goto err_map;
	}
	ret = job->native ? create_context(job, err) : 0;
	if (ret)
		goto err_timer;
	ret = blk_pool_init(&job->pool, config->target, BLK_JOB_WORKERS, config->name, hook, err);
	if (ret)
		goto err_context;
	*out = job;
	return 0;
err_context:
	if (job->native)
		io_destroy(job->ctx);
err_timer:
	close(job->timer_fd);
err_map:
	munmap(job, job->mapped);
	return ret;
}

void blk_job_destroy(struct blk_job *job)
{
	blk_pool_destroy(&job->pool);
	if (job->native)
		io_destroy(job->ctx);
	close(job->timer_fd);
	munmap(job, job->mapped);
}

const struct blk_job_progress *blk_job_progress(const struct blk_job *job)
{
	return &job->progress;
}

enum blk_job_state blk_job_state(const struct blk_job *job)
{
	/* Pairs with the release in dataplane_job.c, end(): the disk's thread has let go of it. */
	return atomic_load_explicit(&job->progress.state, memory_order_acquire);
}
