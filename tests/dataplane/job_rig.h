/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A job on the disk of a rig, and a guest that writes meanwhile. Calls to the host about the job's
 * files can be made to fail or to hang: they are ours, which the linker prefers to the libraries'.
 * Included by one file of a test program.
 */
#ifndef MVMM_TESTS_JOB_RIG_H
#define MVMM_TESTS_JOB_RIG_H

#include <libaio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "tests/dataplane/driver.h"
#include "tests/dataplane/rig.h"
#include "virtio/blk/job_priv.h"
#include "virtio/blk/overlay.h"
#include "virtio/blk/target.h"

#define CHUNK	(1U << BLK_CHUNK_MIN_SHIFT)
#define MB	(1ULL << 20)
#define HOUR_NS 3600000000000ULL

/* ---- calls ----------------------------------------------------------------------------------- */

static struct {
	_Atomic int fd;	    /* of the file that fails, 0: none */
	_Atomic int writes; /* errno of writes to it */
	_Atomic int reads;  /* of a whole chunk's reads from it, which are the job's */
	_Atomic int syncs;  /* and of syncs */
	_Atomic int begun;  /* reads of a whole chunk by Linux AIO: the job's, of any file */
	_Atomic bool hang;  /* writes to it neither fail nor end */
	_Atomic bool hang_syncs;
	_Atomic int pace_us;  /* what a worker writes takes so long, of another file twice that */
	_Atomic int watched;  /* another one, of which is counted: */
	_Atomic int unsynced; /* writes since the last sync began */
	_Atomic size_t align; /* of memory, that direct I/O wants; 0: none */
	_Atomic int refused;  /* reads that had other memory */
} host;

struct job;

/* What a backup is to become: the disk as it is when the job reads it for the first time. No write that
 * came since ends before that read does, and none that came before is under way any more. */
static struct {
	pthread_mutex_t lock;
	struct job *_Atomic of;
	uint8_t *image;
} moment = { .lock = PTHREAD_MUTEX_INITIALIZER };

static void see_moment(const void *buffer);

static bool job_read(int fd, size_t len)
{
	return fd == host.fd && host.reads && len == CHUNK;
}

static bool io_fails(const struct iocb *iocb)
{
	const int op = iocb->aio_lio_opcode;

	if (op == IO_CMD_PREAD && host.align && (uintptr_t)iocb->u.c.buf & (host.align - 1))
		host.refused++;
	host.begun += op == IO_CMD_PREAD && iocb->u.c.nbytes == CHUNK;
	if (op == IO_CMD_PREAD)
		see_moment(iocb->u.c.buf);
	if (op == IO_CMD_PREAD)
		return job_read(iocb->aio_fildes, iocb->u.c.nbytes);
	return op == IO_CMD_PWRITE && iocb->aio_fildes == host.fd && (host.writes || host.hang);
}

/* One that fails is refused, so that a worker tries, whose call says why. */
int io_submit(io_context_t ctx, long n, struct iocb **iocb)
{
	long good = 0;
	int ret;

	for (; good < n && !io_fails(iocb[good]); good++)
		if (iocb[good]->aio_lio_opcode == IO_CMD_PWRITE &&
		    iocb[good]->aio_fildes == host.watched)
			host.unsynced++;
	if (!good)
		return -EINVAL;
	ret = syscall(SYS_io_submit, ctx, good, iocb);
	return ret < 0 ? -errno : ret;
}

static int failed(int code)
{
	errno = code;
	return -1;
}

ssize_t pwritev2(int fd, const struct iovec *iov, int n, off_t off, int flags)
{
	while (fd == host.fd && host.hang)
		usleep(1000);
	if (fd == host.fd && host.writes)
		return failed(host.writes);
	if (host.pace_us)
		usleep(host.pace_us << (fd != host.fd));
	if (fd == host.watched)
		host.unsynced++;
	return syscall(SYS_pwritev2, fd, iov, (long)n, off, 0L, flags);
}

ssize_t preadv2(int fd, const struct iovec *iov, int n, off_t off, int flags)
{
	see_moment(iov->iov_base);
	if (n == 1 && job_read(fd, iov->iov_len))
		return failed(host.reads);
	return syscall(SYS_preadv2, fd, iov, (long)n, off, 0L, flags);
}

int fdatasync(int fd)
{
	while (fd == host.fd && host.hang_syncs)
		usleep(1000);
	if (fd == host.fd && host.syncs)
		return failed(host.syncs);
	if (fd == host.watched)
		host.unsynced = 0;
	return syscall(SYS_fdatasync, fd);
}

/* ---- a job ----------------------------------------------------------------------------------- */

struct job {
	struct rig *rig;
	char path[64];
	bool keep; /* the path is not ours to remove */
	bool zero;
	struct block_backend be; /* the target */
	struct blk_job *job;
};

/* Until the first request is with the kernel. */
static inline void wait_submitted(const struct rig *rig)
{
	while (!rig_stat(&blk_dataplane_stats(rig->dp)->submits))
		usleep(1000);
}

static inline void job_target(struct job *j)
{
	struct disk_config config = j->rig->disk;
	struct error err;
	int fd;

	snprintf(j->path, sizeof(j->path), "%s/mvmm-test-XXXXXX",
		 j->rig->config.dir ? j->rig->config.dir : "/var/tmp");
	fd = mkostemp(j->path, O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, RIG_SIZE), 0);
	close(fd);
	config.path = j->path;
	config.readonly = config.overlay = false;
	if (block_backend_open(&j->be, &config, &err))
		fail_msg("%s", err.text);
	j->zero = true;
}

static inline int job_answer(struct rig *rig)
{
	struct pollfd pfd = { .fd = blk_dataplane_answer_fd(rig->dp), .events = POLLIN };
	int ret = 0;

	while (blk_dataplane_answer(rig->dp, &ret) == -EAGAIN)
		if (poll(&pfd, 1, RIG_WAIT_MS) <= 0)
			return -ETIMEDOUT;
	return ret;
}

static inline void job_create(struct job *j, enum blk_copy_mode mode, uint64_t speed)
{
	struct blk_job_config config = {
		.mode = mode,
		.source = &j->rig->be,
		.target_zero = j->zero,
		.speed = speed,
		.name = "test",
	};
	struct error err;

	config.target = &j->be;
	config.notify_fd = j->rig->job_fd;
	if (blk_job_create(&j->job, &config, &err))
		fail_msg("%s", err.text);
	assert_int_equal(j->job->hold_max_ns, BLK_JOB_HOLD_MAX_NS);
	j->job->hold_max_ns = HOUR_NS; /* how slow this host is, is nobody's fault */
}

/* All but the start. */
static inline struct job *job_new(struct rig *rig, enum blk_copy_mode mode, uint64_t speed)
{
	struct job *j = calloc(1, sizeof(*j));

	assert_non_null(j);
	j->rig = rig;
	job_target(j);
	job_create(j, mode, speed);
	return j;
}

/* The same to a target as main would open it, which stays when the job is freed. */
static inline struct job *job_new_to(struct rig *rig, enum blk_copy_mode mode, uint64_t speed,
				     const char *path)
{
	struct job *j = calloc(1, sizeof(*j));
	struct error err;

	assert_non_null(j);
	j->rig = rig;
	j->keep = true;
	snprintf(j->path, sizeof(j->path), "%s", path);
	if (blk_target_open(&j->be, path, &rig->be, NULL, &j->zero, &err))
		fail_msg("%s", err.text);
	job_create(j, mode, speed);
	return j;
}

static inline void job_begin(struct job *j)
{
	assert_int_equal(blk_dataplane_start_job(j->rig->dp, j->job), 0);
	assert_int_equal(job_answer(j->rig), 0);
}

static inline struct job *job_start(struct rig *rig, enum blk_copy_mode mode, uint64_t speed)
{
	struct job *j = job_new(rig, mode, speed);

	job_begin(j);
	return j;
}

static inline int job_speed(struct job *j, uint64_t speed)
{
	const struct blk_command cmd = { .type = BLK_CMD_JOB_SPEED, .speed = speed };

	return blk_dataplane_send(j->rig->dp, &cmd, -1, RIG_WAIT_MS);
}

/* Discards or makes zeroes: `n` ranges in one request. */
static inline void do_ranges(struct rig *rig, const struct rig_req *r, uint32_t type,
			     const struct virtio_blk_discard_write_zeroes *seg, unsigned n)
{
	const uint32_t size = n * sizeof(*seg);
	struct fake_buf buf[3] = { { r->hdr, 16, 0 }, { r->data, size, 0 }, { r->status, 1, W } };

	rig_header(rig, r, type, 0);
	memcpy(rig_ptr(rig, r->data), seg, size);
	rig_do_chain(rig, buf, 3);
	assert_int_equal(rig_status(rig, r), VIRTIO_BLK_S_OK);
}

static inline void do_range(struct rig *rig, const struct rig_req *r, uint32_t type,
			    uint64_t sector, uint32_t sectors)
{
	const struct virtio_blk_discard_write_zeroes seg = { .sector = sector,
							     .num_sectors = sectors };

	do_ranges(rig, r, type, &seg, 1);
}

/* Waits until it is in `state`, or in one after it. */
static inline enum blk_job_state job_wait(struct job *j, enum blk_job_state state)
{
	struct pollfd pfd = { .fd = j->rig->job_fd, .events = POLLIN };
	uint64_t count;

	while (blk_job_state(j->job) < state) {
		if (poll(&pfd, 1, RIG_WAIT_MS) <= 0)
			fail_msg("state %d, not %d", blk_job_state(j->job), state);
		if (read(j->rig->job_fd, &count, sizeof(count)) < 0)
			fail_msg("eventfd");
	}
	return blk_job_state(j->job);
}

/* Until nothing is left, for now. */
static inline void job_wait_copied(const struct job *j)
{
	for (unsigned ms = 0; rig_stat(&blk_job_progress(j->job)->left); ms++) {
		assert_true(ms < RIG_WAIT_MS);
		usleep(1000);
	}
}

/* Of a job that has ended, or whose disk has. */
static inline void job_free(struct job *j)
{
	memset(&host, 0, sizeof(host));
	blk_job_destroy(j->job);
	block_backend_close(&j->be);
	if (!j->keep)
		unlink(j->path);
	free(j);
}

static inline int job_error(const struct job *j)
{
	return atomic_load(&blk_job_progress(j->job)->error);
}

/* ---- images ---------------------------------------------------------------------------------- */

static inline uint8_t *image_of(const char *path)
{
	uint8_t *image = malloc(RIG_SIZE);
	const int fd = open(path, O_RDONLY | O_CLOEXEC);

	assert_non_null(image);
	assert_int_equal(pread(fd, image, RIG_SIZE, 0), RIG_SIZE);
	close(fd);
	return image;
}

/* Frees both. */
static inline void assert_same_image(uint8_t *a, uint8_t *b)
{
	for (unsigned i = 0; i < BLOCKS; i++)
		if (memcmp(a + i * BLOCK, b + i * BLOCK, BLOCK))
			fail_msg("block %u differs", i);
	free(a);
	free(b);
}

/* Whether the overlay holds a sector, by the maps themselves. The disk's thread is paused. */
static inline bool holds(const struct blk_overlay *ov, uint64_t sector)
{
	const uint64_t chunk = sector * 512 / BLK_OVERLAY_CHUNK;

	return ov->whole[chunk / 64] >> chunk % 64 & 1 ||
	       ov->sector[sector / 64] >> sector % 64 & 1;
}

/* What the guest would read, were it not paused. */
static inline uint8_t *image_now(const struct rig *rig)
{
	const struct blk_overlay *ov = rig->be.overlay;
	uint8_t *image = image_of(rig->path), *top;
	char path[32];

	if (!ov)
		return image;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", rig->be.fd);
	top = image_of(path);
	for (uint64_t s = 0; s < RIG_SECTORS; s++)
		if (holds(ov, s))
			memcpy(image + s * 512, top + s * 512, 512);
	free(top);
	return image;
}

static void see_moment(const void *buffer)
{
	const struct job *j = moment.of;
	const uintptr_t at = j ? (uintptr_t)buffer - (uintptr_t)j->job : 0;

	if (!j || at >= j->job->mapped)
		return;
	pthread_mutex_lock(&moment.lock);
	if (!moment.image)
		moment.image = image_now(j->rig);
	pthread_mutex_unlock(&moment.lock);
}

/* The caller's. */
static inline uint8_t *take_moment(void)
{
	uint8_t *image = moment.image;

	moment.of = NULL;
	moment.image = NULL;
	return image;
}

/* The backup's moment is that of the pause: nothing is written before the job begins. */
static inline struct job *start_paused(struct rig *rig, uint64_t speed, uint8_t **then)
{
	struct job *j;

	assert_int_equal(rig_send(rig, BLK_CMD_PAUSE), 0);
	*then = image_now(rig);
	j = job_start(rig, BLK_COPY_BACKUP, speed);
	assert_int_equal(rig_send(rig, BLK_CMD_RESUME), 0);
	return j;
}

/* ---- a guest --------------------------------------------------------------------------------- */

struct busy {
	struct driver *d;
	pthread_t thread;
	_Atomic bool stop;
	_Atomic bool failed; /* d->error says of what */
	_Atomic unsigned rounds;
};

static inline void *stay_busy(void *arg)
{
	struct busy *b = arg;

	while (!b->stop && !b->d->error) {
		drive(b->d);
		b->failed = b->d->error;
		b->rounds++;
	}
	return NULL;
}

static inline struct busy *busy_new(struct rig *rig, unsigned depth)
{
	struct busy *b = calloc(1, sizeof(*b));

	assert_non_null(b);
	b->d = driver_new(rig, 0, depth, 200);
	assert_int_equal(pthread_create(&b->thread, NULL, stay_busy, b), 0);
	return b;
}

/* So that what has changed is really used. */
static inline void busy_rounds(struct busy *b, unsigned n)
{
	const unsigned until = b->rounds + n;

	for (unsigned ms = 0; b->rounds < until && !b->failed; ms++) {
		assert_true(ms < RIG_WAIT_MS);
		usleep(1000);
	}
}

static inline void busy_end(struct busy *b)
{
	b->stop = true;
	pthread_join(b->thread, NULL);
	if (b->d->error)
		fail_msg("%s", b->d->error);
}

/* What the guest believes to be on the disk. */
static inline uint8_t *busy_image(const struct busy *b)
{
	uint8_t *image = malloc(RIG_SIZE);

	assert_non_null(image);
	for (unsigned i = 0; i < BLOCKS; i++)
		fill(image + (size_t)i * BLOCK, i, b->d->gen[i]);
	return image;
}

static inline void busy_free(struct busy *b)
{
	free(b->d);
	free(b);
}

/* The guest goes on for a while; then the image at `path` holds what it believes to be on the disk, and
 * all is taken apart. */
static inline void end_busy(struct busy *b, struct job *j, const char *path)
{
	struct rig *rig = j->rig;

	busy_rounds(b, 2);
	busy_end(b);
	assert_same_image(image_of(path), busy_image(b));
	busy_free(b);
	rig_free(rig);
	job_free(j);
}

static inline void end_idle(struct job *j)
{
	rig_free(j->rig);
	job_free(j);
}

#endif
