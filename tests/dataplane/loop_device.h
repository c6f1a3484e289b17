/* SPDX-License-Identifier: Apache-2.0 */
/* A loop device on a file, for tests that need a block device. Only root has one, and not in every
 * container. */
#ifndef MVMM_TESTS_LOOP_DEVICE_H
#define MVMM_TESTS_LOOP_DEVICE_H

#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

struct loop_device {
	char path[32];
	int fd; /* the device ends with the last open file of it */
};

/* 0 or -errno. The file's descriptor stays the caller's. */
static inline int loop_device_attach(struct loop_device *dev, int file, uint32_t block_size)
{
	const struct loop_config config = {
		.fd = file,
		.block_size = block_size,
		.info.lo_flags = LO_FLAGS_AUTOCLEAR,
	};
	const int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
	int n, ret;

	if (control < 0)
		return -errno;
	n = ioctl(control, LOOP_CTL_GET_FREE);
	close(control);
	if (n < 0)
		return -errno;
	snprintf(dev->path, sizeof(dev->path), "/dev/loop%d", n);
	dev->fd = open(dev->path, O_RDWR | O_CLOEXEC);
	if (dev->fd < 0)
		return -errno;
	if (!ioctl(dev->fd, LOOP_CONFIGURE, &config))
		return 0;
	ret = -errno;
	close(dev->fd);
	return ret;
}

#endif
