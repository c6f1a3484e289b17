/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A disk under test: the real dataplane thread on a real file, a fake driver in plain memory at the
 * other end of its rings, eventfds between them as KVM would have them.
 *
 * Helpers that a driver's thread uses return an error instead of failing the test: cmocka's asserts
 * work on the main thread only.
 */
#ifndef MVMM_TESTS_RIG_H
#define MVMM_TESTS_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_blk.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "tests/unit/fake_driver.h"
#include "virtio/blk/dataplane.h"

#define RIG_QUEUES  4
#define RIG_SIZE    (4ULL << 20) /* of the image */
#define RIG_SECTORS (RIG_SIZE / 512)
#define RIG_WAIT_MS 30000 /* whatever takes longer never comes */
#define F_EVENT	    (1ULL << VIRTIO_RING_F_EVENT_IDX)
#define F_INDIRECT  (1ULL << VIRTIO_RING_F_INDIRECT_DESC)
#define F_RANGES    (1ULL << VIRTIO_BLK_F_DISCARD | 1ULL << VIRTIO_BLK_F_WRITE_ZEROES)
#define W	    VRING_DESC_F_WRITE

struct rig_config {
	const char *dir;   /* NULL: /var/tmp, a real file system */
	const char *image; /* NULL: one of its own, in `dir` */
	int cache, aio;	   /* 0 is cache=none,aio=native */
	bool readonly;
	bool overlay;
	const char *overlay_dir; /* NULL: the default */
	bool writethrough;
	bool measures;
	bool no_look;	     /* poll-max-us=0: always sleeps at once */
	unsigned nqueues;    /* 0: 1 */
	unsigned queue_size; /* 0: 128 */
	unsigned depth;	     /* 0: 64 */
	unsigned slots;	     /* 0: what the rings hold */
	uint64_t features;
	enum disk_on_error on_error;
	int main_fd; /* rung instead of the rig's own event_fd; 0: none */
	struct throttle_limits limits;
	struct throttle_buckets *buckets; /* NULL: of its own */
};

struct rig {
	struct rig_config config;
	char path[64];
	struct disk_config disk;
	struct block_backend be;
	struct fake_guest guest;
	struct fake_queue drv[RIG_QUEUES];
	int kick_fd[RIG_QUEUES];
	int irq_fd[RIG_QUEUES];
	int config_fd;
	int event_fd;		 /* on-error= has stopped it */
	int job_fd;		 /* of all its jobs, told until the thread has ended */
	_Atomic uint32_t status; /* NEEDS_RESET */
	struct throttle_buckets buckets;
	struct blk_dataplane *dp;
};

static inline int rig_file(struct rig *rig)
{
	const int fd = mkostemp(rig->path, O_CLOEXEC);

	if (fd < 0)
		return -errno;
	/* Written, not a hole: O_DIRECT writes to holes are synchronous on some file systems. */
	for (uint64_t off = 0; off < RIG_SIZE; off += 4096) {
		uint8_t page[4096];

		memset(page, (int)(off >> 12), sizeof(page));
		if (pwrite(fd, page, sizeof(page), off) != sizeof(page))
			return -EIO;
	}
	close(fd);
	return 0;
}

static inline int rig_send(struct rig *rig, enum blk_command_type type)
{
	const struct blk_command cmd = { .type = type };

	return blk_dataplane_send(rig->dp, &cmd, -1, RIG_WAIT_MS);
}

static inline int rig_start(struct rig *rig)
{
	struct blk_command cmd = {
		.type = BLK_CMD_START,
		.writeback = !rig->config.writethrough,
		.features = rig->config.features,
		.config_line = { .fd = rig->config_fd },
		.status = &rig->status,
	};

	for (unsigned q = 0; q < rig->config.nqueues; q++) {
		cmd.queue[q].config = rig->drv[q].config;
		cmd.queue[q].line = (struct irq_line){ .fd = rig->irq_fd[q] };
	}
	return blk_dataplane_send(rig->dp, &cmd, -1, RIG_WAIT_MS);
}

/* All indirect tables now: guest memory has one allocator and no lock, drivers may be threads. */
static inline void rig_indirect(struct fake_queue *drv)
{
	for (unsigned i = 0; i < drv->config.size; i++)
		drv->indirect[i] = fake_guest_alloc(drv->guest, 16 * FAKE_INDIRECT_MAX, 16);
}

static inline void rig_guest(struct rig *rig)
{
	fake_guest_init(&rig->guest, 0x100000, 16 << 20);
	for (unsigned q = 0; q < rig->config.nqueues; q++) {
		fake_queue_init(&rig->drv[q], &rig->guest, rig->config.queue_size,
				rig->config.features);
		rig_indirect(&rig->drv[q]);
		rig->kick_fd[q] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		rig->irq_fd[q] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	}
	rig->config_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	rig->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	rig->job_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
}

static inline int rig_create_dataplane(struct rig *rig, struct error *err)
{
	const struct blk_dataplane_config dc = {
		.backend = &rig->be,
		.mem = &rig->guest.mem,
		.kick_fd = rig->kick_fd,
		.nqueues = rig->config.nqueues,
		.depth = rig->config.depth,
		.slots = rig->config.slots,
		.cpu = -1,
		.poll_max_us = rig->config.no_look ? 0 : 50,
		.name = "blk-test",
		.serial = "rig-0815",
		.on_error = rig->config.on_error,
		.measures = rig->config.measures,
		.event_fd = rig->config.main_fd ? rig->config.main_fd : rig->event_fd,
		.limits = &rig->config.limits,
		.buckets = rig->config.buckets ? rig->config.buckets : &rig->buckets,
	};

	return blk_dataplane_create(&rig->dp, &dc, err);
}

/* Everything up to, but without, BLK_CMD_START. */
static inline struct rig *rig_new_stopped(struct rig_config config)
{
	struct rig *rig = calloc(1, sizeof(*rig));
	struct error err;

	assert_non_null(rig);
	config.nqueues = config.nqueues ? config.nqueues : 1;
	config.queue_size = config.queue_size ? config.queue_size : 128;
	config.depth = config.depth ? config.depth : 64;
	config.slots = config.slots ? config.slots : config.nqueues * config.queue_size;
	rig->config = config;
	if (config.image) {
		snprintf(rig->path, sizeof(rig->path), "%s", config.image);
	} else {
		snprintf(rig->path, sizeof(rig->path), "%s/mvmm-test-XXXXXX",
			 config.dir ? config.dir : "/var/tmp");
		assert_int_equal(rig_file(rig), 0);
	}
	rig->disk = (struct disk_config){
		.path = rig->path,
		.readonly = config.readonly,
		.overlay = config.overlay,
		.overlay_dir = (char *)config.overlay_dir,
		.cache = config.cache,
		.aio = config.aio,
		.block_size = 512,
	};
	if (block_backend_open(&rig->be, &rig->disk, &err))
		fail_msg("%s", err.text);
	rig_guest(rig);
	if (rig_create_dataplane(rig, &err))
		fail_msg("%s", err.text);
	return rig;
}

static inline struct rig *rig_new(struct rig_config config)
{
	struct rig *rig = rig_new_stopped(config);

	assert_int_equal(rig_start(rig), 0);
	return rig;
}

static inline void rig_free(struct rig *rig)
{
	assert_int_equal(blk_dataplane_stop(rig->dp, RIG_WAIT_MS), 0);
	blk_dataplane_destroy(rig->dp);
	block_backend_close(&rig->be);
	for (unsigned q = 0; q < rig->config.nqueues; q++) {
		close(rig->kick_fd[q]);
		close(rig->irq_fd[q]);
	}
	close(rig->config_fd);
	close(rig->event_fd);
	close(rig->job_fd);
	fake_guest_free(&rig->guest);
	if (!rig->config.image)
		unlink(rig->path);
	free(rig);
}

static inline uint64_t rig_stat(const _Atomic uint64_t *counter)
{
	return atomic_load_explicit(counter, memory_order_relaxed);
}

/* One of a number of faults to be made, if any is left; several threads may ask. */
static inline bool take(_Atomic int *left)
{
	int n = *left;

	while (n > 0)
		if (atomic_compare_exchange_weak(left, &n, n - 1))
			return true;
	return false;
}

static inline void rig_ring(int fd)
{
	const uint64_t one = 1;

	if (write(fd, &one, sizeof(one)) < 0)
		fake_die("eventfd");
}

static inline void rig_kick(struct rig *rig, unsigned q)
{
	if (fake_queue_publish(&rig->drv[q]))
		rig_ring(rig->kick_fd[q]);
}

/* Waits for one completion as Linux does: looks, asks for an interrupt, looks again, sleeps. False:
 * neither came. */
static inline bool rig_wait(struct rig *rig, unsigned q, struct fake_done *done)
{
	struct pollfd pfd = { .fd = rig->irq_fd[q], .events = POLLIN };
	struct fake_queue *drv = &rig->drv[q];
	uint64_t count;

	fake_queue_disable_interrupts(drv);
	while (!fake_queue_poll(drv, done)) {
		if (fake_queue_enable_interrupts(drv, 0))
			continue;
		if (poll(&pfd, 1, RIG_WAIT_MS) <= 0)
			return false;
		if (read(rig->irq_fd[q], &count, sizeof(count)) < 0)
			return false;
	}
	return true;
}

/* ---- requests -------------------------------------------------------------------------------- */

/* One request's guest memory: header, status and room for data, reused as often as one likes. */
struct rig_req {
	gpa_t hdr, status, data;
	uint32_t room;
};

static inline struct rig_req rig_req(struct rig *rig, uint32_t room)
{
	return (struct rig_req){
		.hdr = fake_guest_alloc(&rig->guest, 16, 16),
		.status = fake_guest_alloc(&rig->guest, 1, 1),
		.data = fake_guest_alloc(&rig->guest, room ? room : 1, 4096),
		.room = room,
	};
}

static inline void *rig_ptr(struct rig *rig, gpa_t gpa)
{
	return fake_guest_ptr(&rig->guest, gpa);
}

static inline uint8_t rig_status(struct rig *rig, const struct rig_req *r)
{
	return *(uint8_t *)rig_ptr(rig, r->status);
}

static inline void rig_header(struct rig *rig, const struct rig_req *r, uint32_t type,
			      uint64_t sector)
{
	struct virtio_blk_outhdr *hdr = rig_ptr(rig, r->hdr);

	*hdr = (struct virtio_blk_outhdr){ .type = type, .sector = sector };
	*(uint8_t *)rig_ptr(rig, r->status) = 0xff;
}

/* Queues header, `len` bytes of data, status; `cookie` comes back with the completion. */
static inline int rig_queue(struct rig *rig, unsigned q, const struct rig_req *r, uint32_t type,
			    uint64_t sector, uint32_t len, uint64_t cookie)
{
	const uint16_t dir = type == VIRTIO_BLK_T_IN || type == VIRTIO_BLK_T_GET_ID ? W : 0;
	struct fake_buf buf[3] = { { r->hdr, 16, 0 }, { r->data, len, dir }, { r->status, 1, W } };

	rig_header(rig, r, type, sector);
	if (!len)
		buf[1] = buf[2];
	if (rig->config.features & F_INDIRECT)
		return fake_queue_add_indirect(&rig->drv[q], buf, len ? 3 : 2, cookie);
	return fake_queue_add(&rig->drv[q], buf, len ? 3 : 2, cookie);
}

/* Any chain at all, done and waited for. Returns used.len. */
static inline uint32_t rig_do_chain(struct rig *rig, const struct fake_buf *buf, unsigned n)
{
	struct fake_done done;

	assert_true(fake_queue_add(&rig->drv[0], buf, n, 4711) >= 0);
	rig_kick(rig, 0);
	assert_true(rig_wait(rig, 0, &done));
	assert_int_equal(done.cookie, 4711);
	return done.len;
}

/* One request, done and waited for; the main thread's. Returns the status. */
static inline uint8_t rig_do(struct rig *rig, const struct rig_req *r, uint32_t type,
			     uint64_t sector, uint32_t len)
{
	struct fake_done done;

	assert_true(rig_queue(rig, 0, r, type, sector, len, 1) >= 0);
	rig_kick(rig, 0);
	assert_true(rig_wait(rig, 0, &done));
	assert_int_equal(done.cookie, 1);
	return rig_status(rig, r);
}

/* What the host finds in the image. */
static inline void rig_peek(struct rig *rig, uint64_t off, void *buf, size_t len)
{
	const int fd = open(rig->path, O_RDONLY | O_CLOEXEC);

	assert_int_equal(pread(fd, buf, len, off), len);
	close(fd);
}

#endif
