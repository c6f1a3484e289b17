/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A machine without KVM for tests of the control socket: two vCPUs whose guest idles, real disks, the
 * last one with an overlay. Their images have no name that a program which is killed could leave
 * behind. ioctl(2) below takes the place of libc's: include it in one file of a program.
 */
#ifndef MVMM_TESTS_CONTROL_FAKE_MACHINE_H
#define MVMM_TESTS_CONTROL_FAKE_MACHINE_H

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "vmm/cli/machine.h"
#include "vmm/vcpu.h"

#define FAKE_DISKS 3
#define FAKE_BYTES (1 << 20)
#define FAKE_VCPU  1000000 /* a descriptor that is none, + the vCPU's number */

struct fake_machine {
	struct machine m;
	struct run_options opt;
	struct disk_config config[FAKE_DISKS];
	struct vcpu vcpu[2];
	struct kvm_run run[2];
	struct sandbox sandbox;
	int image_fd[FAKE_DISKS];
	char path[FAKE_DISKS][32];
};

/* A guest that has no driver: it is never interrupted. */
static const struct virtio_transport_ops fake_transport;

static inline int fake_disk(struct fake_machine *f, unsigned i)
{
	static const struct disk_config defaults = {
		.cache = DISK_CACHE_WRITEBACK,
		.aio = DISK_AIO_THREADS,
		.queues = 1,
		.queue_size = 256,
		.aio_depth = 16,
		.block_size = 512,
		.cpu = -1,
	};
	struct machine_disk *disk = calloc(1, sizeof(*disk));
	struct virtio_blk_place place = { .index = i,
					  .nvcpus = 2,
					  .stop_fd = f->m.vm.stop_fd,
					  .measures = true,
					  .mem = &f->m.vm.mem };
	struct block_backend be;
	struct error err = { "" };

	f->image_fd[i] = memfd_create("image", MFD_CLOEXEC);
	if (!disk || f->image_fd[i] < 0 || ftruncate(f->image_fd[i], FAKE_BYTES))
		return -1;
	snprintf(f->path[i], sizeof(f->path[i]), "/proc/%d/fd/%d", getpid(), f->image_fd[i]);
	f->config[i] = defaults;
	f->config[i].path = f->path[i];
	f->config[i].overlay = i == 2;
	if (i == 1)
		strcpy(f->config[i].serial, "second");
	else
		strcpy(f->config[i].group, "pair");
	disk->config = &f->config[i];
	disk->index = i;
	disk->calls.blk = &disk->blk;
	copying_init(&disk->copying, &f->m, disk);
	resizing_init(&disk->resizing, disk);
	f->m.disk[f->m.ndisks++] = disk;
	if (throttle_group_join(&f->m.throttle, f->config[i].group, &f->config[i].limits,
				&place.group, &err))
		return -1;
	if (block_backend_open(&be, disk->config, &err) ||
	    virtio_blk_init(&disk->blk, &be, disk->config, &place, &err))
		return -1;
	disk->blk.dev.transport_ops = &fake_transport;
	return 0;
}

/* Of the machine whose vCPUs run. */
static struct fake_machine *fake_running;

/* Until a kick. */
static int fake_idle(const struct kvm_run *run)
{
	while (!__atomic_load_n(&run->immediate_exit, __ATOMIC_SEQ_CST) && !usleep(10000))
		;
	return EINTR;
}

int ioctl(int fd, unsigned long request, ...)
{
	va_list ap;
	void *arg;

	va_start(ap, request);
	arg = va_arg(ap, void *);
	va_end(ap);
	if (_IOC_TYPE(request) != KVMIO)
		return syscall(SYS_ioctl, fd, request, arg);
	errno = request == KVM_RUN ? fake_idle(&fake_running->run[fd - FAKE_VCPU]) : EINVAL;
	return -1;
}

static inline int fake_vcpus(struct fake_machine *f)
{
	struct error err;

	fake_running = f;
	f->m.vm.vcpu = f->vcpu;
	f->m.vm.nvcpus = 2;
	for (unsigned i = 0; i < 2; i++)
		f->vcpu[i] = (struct vcpu){
			.vm = &f->m.vm, .id = i, .fd = FAKE_VCPU + i, .run = &f->run[i], .cpu = -1
		};
	if (vm_start_vcpus(&f->m.vm, &err))
		return -1;
	vm_release_vcpus(&f->m.vm);
	return 0;
}

static inline int fake_machine_open(struct fake_machine *f)
{
	memset(f, 0, sizeof(*f));
	f->opt = (struct run_options){
		.name = "fake", .cpus = 2, .memory = 64 << 20, .result_fd = -1, .broker_fd = -1
	};
	f->m.opt = &f->opt;
	f->m.sandbox = &f->sandbox;
	f->m.vm.fd = f->m.vm.kvm_fd = -1;
	f->m.vm.event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	f->m.vm.stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	f->m.power.vm = &f->m.vm;
	f->m.power.ged.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	for (unsigned i = 0; i < FAKE_DISKS; i++)
		if (fake_disk(f, i))
			return -1;
	return fake_vcpus(f);
}

static inline void fake_machine_close(struct fake_machine *f)
{
	vm_stop_vcpus(&f->m.vm);
	while (f->m.ndisks) {
		struct machine_disk *disk = f->m.disk[--f->m.ndisks];

		virtio_blk_shutdown(&disk->blk, -1);
		virtio_blk_destroy(&disk->blk);
		while (!copying_has_left(&disk->copying))
			loop_once(disk->copying.loop);
		copying_destroy(&disk->copying);
		resizing_destroy(&disk->resizing);
		free(disk->path);
		throttle_group_leave(&f->m.throttle, disk->blk.group);
		close(f->image_fd[f->m.ndisks]);
		free(disk);
	}
	close(f->m.vm.event_fd);
	close(f->m.vm.stop_fd);
	close(f->m.power.ged.fd);
}

#endif
