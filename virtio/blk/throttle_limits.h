/* SPDX-License-Identifier: Apache-2.0 */
/* How fast a disk, or a group of them, may go: what the user says. Plain values. */
#ifndef MVMM_THROTTLE_LIMITS_H
#define MVMM_THROTTLE_LIMITS_H

#include <stdbool.h>
#include <stdint.h>

/* Requests per second and bytes per second; of all, of reads, of writes. A request is held by every
 * limit that counts it. */
enum throttle_kind {
	THROTTLE_IOPS,
	THROTTLE_IOPS_RD,
	THROTTLE_IOPS_WR,
	THROTTLE_BPS,
	THROTTLE_BPS_RD,
	THROTTLE_BPS_WR,
	THROTTLE_KINDS,
};

#define THROTTLE_RATE_MAX   (1ULL << 44) /* a hundredth of a ns per unit */
#define THROTTLE_LENGTH_MAX 86400
#define THROTTLE_GROUP_NAME 32 /* with its NUL */

struct throttle_rate {
	uint64_t rate;	 /* per second, for ever; 0: no limit */
	uint64_t max;	 /* per second in a burst, at least `rate`; 0: no bursts */
	uint32_t length; /* of a burst at `max`, seconds; 0: 1 */
};

struct throttle_limits {
	struct throttle_rate of[THROTTLE_KINDS];
};

/* As the command line and the control socket call them: "iops", "iops-rd", ... "bps-wr". */
const char *throttle_kind_name(enum throttle_kind kind);

/* NULL, or what is wrong with `r`, to be put behind the limit's name. */
const char *throttle_rate_fault(const struct throttle_rate *r);

bool throttle_rate_equal(const struct throttle_rate *a, const struct throttle_rate *b);
bool throttle_limits_any(const struct throttle_limits *limits);

#endif
