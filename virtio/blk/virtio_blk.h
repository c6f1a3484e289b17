/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A virtio-blk disk (virtio 1.2, 5.2): its configuration space and feature bits on one side, its
 * dataplane on the other, and between them nothing but commands.
 */
#ifndef MVMM_VIRTIO_BLK_H
#define MVMM_VIRTIO_BLK_H

#include "virtio/blk/backend.h"
#include "virtio/blk/disk_config.h"
#include "virtio/virtio_dev.h"

struct blk_dataplane;
struct blk_hooks;
struct blk_job;
struct blk_stats;
struct throttle_group;

struct virtio_blk {
	struct virtio_dev dev;
	struct block_backend backend; /* main's knowledge of it */
	struct block_backend *moved;  /* its thread's, once a mirror has become the disk; owned */
	struct blk_dataplane *dataplane; /* owned */
	struct throttle_group *group;	 /* whose limits it has */
	int stop_fd;			 /* the VM's: see struct vm */
	enum disk_on_error on_error;	 /* main's knowledge of it */
	char serial[21];
	bool ended;		   /* main's: the thread is gone */
	uint64_t told_broken;	   /* main's: rings broken when it last looked */
	bool told_sync;		   /* main's: it has said that a sync failed */
	uint64_t told_failures;	   /* main's: requests failed by the host when it last looked */
	struct log_limit failures; /* and how often it may say so */
};

/* What a disk finds in its machine. */
struct virtio_blk_place {
	unsigned index;	 /* its name: vda, vdb, ... */
	unsigned nvcpus; /* for the default number of queues */
	int stop_fd;	 /* ends every wait for the dataplane */
	int event_fd;	 /* an eventfd to ring when on-error= stops the disk; -1: none */
	bool measures;	 /* somebody may ask how long requests take */
	const struct guest_memory *mem;
	const struct blk_hooks *hooks; /* copied; NULL: none */
	struct throttle_group *group;  /* outlives the disk, as does `mem` */
};

/*
 * Creates the dataplane and its thread (idle until the driver starts the device) for an open image,
 * which is the disk's on success. Main. The device may then be attached to a transport.
 */
int virtio_blk_init(struct virtio_blk *blk, const struct block_backend *be,
		    const struct disk_config *config, const struct virtio_blk_place *place,
		    struct error *err);

/* Main, about once a second: says what the disk's thread itself must not say. */
void virtio_blk_watch(struct virtio_blk *blk);

/*
 * Control's commands, which never wait for storage. 0, -EBUSY: the last one is not answered yet, or
 * -ESHUTDOWN. The pause is complete, with nothing in flight, when it is answered. Main.
 */
int virtio_blk_pause(struct virtio_blk *blk);
int virtio_blk_resume(struct virtio_blk *blk);
int virtio_blk_set_on_error(struct virtio_blk *blk, enum disk_on_error on_error);
int virtio_blk_set_limits(struct virtio_blk *blk); /* to what its group has now */

/*
 * A new size, in three steps. virtio_blk_resize() is a command as above: requests beyond `bytes` fail
 * from its answer on, and then nothing beyond it is under way. virtio_blk_show_size() tells the guest;
 * -EBUSY: a vCPU is in the device's registers, try again later. The image itself is the caller's: a
 * larger one is there before the first, a smaller one is cut after the second (backend_size.h).
 */
int virtio_blk_resize(struct virtio_blk *blk, uint64_t bytes);
int virtio_blk_show_size(struct virtio_blk *blk, uint64_t bytes);

/* Of a job (job.h), in the same way. */
int virtio_blk_start_job(struct virtio_blk *blk, struct blk_job *job);
int virtio_blk_complete_job(struct virtio_blk *blk);
int virtio_blk_pivot(struct virtio_blk *blk);
int virtio_blk_set_job_speed(struct virtio_blk *blk, uint64_t speed);
int virtio_blk_cancel_job(struct virtio_blk *blk);

/* A mirror has ended and the disk is now `target`, which is taken over, as is its descriptor; *old, the
 * image that it was, is the caller's to close. Main. */
void virtio_blk_move(struct virtio_blk *blk, struct block_backend *target,
		     struct block_backend *old);

/* 0: the last command is answered, with *result; -EAGAIN: not yet. The descriptor is readable by
 * then, until virtio_blk_answer() is called. Main. */
int virtio_blk_answer(struct virtio_blk *blk, int *result);
int virtio_blk_answer_fd(const struct virtio_blk *blk);

/* Whether on-error= has stopped the disk, which goes on when it is resumed; with *code, the errno of
 * the request that did. Any thread; event_fd says when to look. */
bool virtio_blk_stopped(const struct virtio_blk *blk, int *code);

/*
 * Main, vCPUs stopped: drains in-flight I/O and ends the thread. Waits at most `timeout_ms`;
 * -ETIMEDOUT leaves the thread and everything it may still touch alone (storage that does not
 * answer), and the process must end without virtio_blk_destroy(). May be called again.
 */
int virtio_blk_shutdown(struct virtio_blk *blk, int timeout_ms);

/* The thread has ended: the image is the caller's to close, which may take as long as storage takes, and
 * not the disk's any more. Main, before virtio_blk_destroy(), which otherwise closes it. */
void virtio_blk_give_image(struct virtio_blk *blk, struct block_backend *image);
void virtio_blk_destroy(struct virtio_blk *blk);

#endif
