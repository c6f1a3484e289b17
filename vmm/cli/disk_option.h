/* SPDX-License-Identifier: Apache-2.0 */
/* The value of --disk: PATH[,key=value...]; a comma in a path or a value is written twice. */
#ifndef MVMM_CLI_DISK_OPTION_H
#define MVMM_CLI_DISK_OPTION_H

#include "virtio/blk/disk_config.h"
#include "vmm/cli/throttle_option.h"
#include "vmm/error.h"

/* What --help says about the keys. */
#define DISK_OPTION_HELP                                                                           \
	"a raw image or block device as virtio-blk disk; repeatable.\n"                            \
	"readonly          the guest cannot write\n"                                               \
	"serial=TEXT       up to 20 characters\n"                                                  \
	"cache=MODE        none (O_DIRECT), writeback, unsafe\n"                                   \
	"aio=ENGINE        native (Linux AIO), threads\n"                                          \
	"overlay=temp[:DIR] only reads the image; writes end with VM\n"                            \
	"queues=N          default: vCPUs, at most 4\n"                                            \
	"queue-size=N      power of two, default 256\n"                                            \
	"aio-depth=N       requests in flight, default 128\n"                                      \
	"poll-max-us=N     time to poll before sleeping, default 100\n"                            \
	"block-size=N      logical block: 512 (default) or 4096\n"                                 \
	"on-error=WHAT     report (default), stop, enospc: stop if\n"                              \
	"                  there is no space\n"                                                    \
	"cpu=N             host CPU for the disk's thread\n" THROTTLE_OPTION_HELP                  \
	"Write a comma inside PATH or a value twice."

/* Fills every field, defaults included. The path is allocated; on error nothing is. 0, -EINVAL or
 * -ENOMEM; the message names the key, the value and what is allowed. */
int disk_option_parse(const char *text, struct disk_config *disk, struct error *err);

/* A disk that stops needs someone who can resume it. 0 or -EINVAL. */
int disk_option_check_control(const struct disk_config *disk, const char *control,
			      struct error *err);

/* By enum disk_on_error, then NULL. */
extern const char *const disk_on_error_names[];

/* 0, or -EINVAL: no name of these, and nothing is stored. */
int disk_on_error_parse(const char *name, int *on_error);

void disk_config_free(struct disk_config *disk);

#endif
