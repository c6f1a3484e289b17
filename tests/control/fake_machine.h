/* SPDX-License-Identifier: Apache-2.0 */
/* A machine without KVM for tests of the control socket: two vCPUs that never started, real disks. */
#ifndef MVMM_TESTS_CONTROL_FAKE_MACHINE_H
#define MVMM_TESTS_CONTROL_FAKE_MACHINE_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "vmm/cli/machine.h"
#include "vmm/vcpu.h"

#define FAKE_DISKS 2
#define FAKE_BYTES (1 << 20)

struct fake_machine {
	struct machine m;
	struct run_options opt;
	struct disk_config config[FAKE_DISKS];
	struct vcpu vcpu[2];
	struct sandbox sandbox;
	char path[FAKE_DISKS][64];
};

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
	struct error err = { "" };
	int fd;

	snprintf(f->path[i], sizeof(f->path[i]), "/tmp/mvmm-fake-XXXXXX");
	fd = mkstemp(f->path[i]);
	if (!disk || fd < 0 || ftruncate(fd, FAKE_BYTES))
		return -1;
	close(fd);
	f->config[i] = defaults;
	f->config[i].path = f->path[i];
	if (i)
		strcpy(f->config[i].serial, "second");
	disk->config = &f->config[i];
	disk->index = i;
	f->m.disk[f->m.ndisks++] = disk;
	return virtio_blk_init(&disk->blk, disk->config, i, 2, &f->m.vm.mem, f->m.vm.stop_fd, NULL,
			       &err);
}

static inline int fake_machine_open(struct fake_machine *f)
{
	memset(f, 0, sizeof(*f));
	f->opt = (struct run_options){
		.name = "fake", .cpus = 2, .memory = 64 << 20, .result_fd = -1
	};
	f->m.opt = &f->opt;
	f->m.sandbox = &f->sandbox;
	f->m.vm.vcpu = f->vcpu;
	f->m.vm.nvcpus = 2;
	f->m.vm.fd = f->m.vm.kvm_fd = -1;
	f->m.vm.event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	f->m.vm.stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	f->m.power.vm = &f->m.vm;
	f->m.power.ged.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	for (unsigned i = 0; i < FAKE_DISKS; i++)
		if (fake_disk(f, i))
			return -1;
	return 0;
}

static inline void fake_machine_close(struct fake_machine *f)
{
	while (f->m.ndisks) {
		struct machine_disk *disk = f->m.disk[--f->m.ndisks];

		virtio_blk_shutdown(&disk->blk, -1);
		virtio_blk_destroy(&disk->blk);
		unlink(f->path[f->m.ndisks]);
		free(disk);
	}
	close(f->m.vm.event_fd);
	close(f->m.vm.stop_fd);
	close(f->m.power.ged.fd);
}

#endif
