/* SPDX-License-Identifier: Apache-2.0 */
/* The keys of a disk's limits, as --disk and the control socket have them. Main. */
#ifndef MVMM_CLI_THROTTLE_OPTION_H
#define MVMM_CLI_THROTTLE_OPTION_H

#include <stddef.h>

#include "virtio/blk/disk_config.h"
#include "vmm/error.h"

/* What --help says about them. */
#define THROTTLE_OPTION_HELP                                                                       \
	"iops=N, bps=N     requests, bytes per second, at most\n"                                  \
	"iops-rd= iops-wr= bps-rd= bps-wr=\n"                                                      \
	"                  the same, of one direction\n"                                           \
	"LIMIT-max=N       and in a burst (iops-max= ...)\n"                                       \
	"LIMIT-max-length=N  seconds of a burst, default 1\n"                                      \
	"group=NAME        share limits with other disks\n"

/* Keys of one limit: NAME, NAME-max, NAME-max-length. */
#define THROTTLE_OPTION_KEYS 3

/* "iops-rd-max-length" and the like; `i` below THROTTLE_KINDS * THROTTLE_OPTION_KEYS. */
const char *throttle_option_name(unsigned i, char buf[24]);
uint64_t throttle_option_get(const struct throttle_limits *limits, unsigned i);

/* Takes what throttle_option_max(i) allows; 0 is no limit, no burst, the default length. */
void throttle_option_put(struct throttle_limits *limits, unsigned i, uint64_t value);
uint64_t throttle_option_max(unsigned i);

/* -ENOENT: no key of ours. -EINVAL: *allowed says what would do. `value` may be NULL: none. */
int throttle_option_set(struct throttle_limits *limits, const char *key, const char *value,
			const char **allowed);

/* What goes together: -EINVAL, with the names of the keys. */
int throttle_option_check(const struct throttle_limits *limits, struct error *err);

/* Gives the last of `n` disks the limits of its group, and them to the group. -EINVAL, names and all,
 * when another disk says otherwise. */
int throttle_option_join(struct disk_config *disk, unsigned n, struct error *err);

#endif
