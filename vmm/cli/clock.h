/* SPDX-License-Identifier: Apache-2.0 */
/* Deadlines of the control thread: milliseconds of CLOCK_MONOTONIC. */
#ifndef MVMM_CLI_CLOCK_H
#define MVMM_CLI_CLOCK_H

#include <limits.h>
#include <stdint.h>
#include <time.h>

#define CLOCK_NEVER UINT64_MAX

static inline uint64_t clock_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static inline uint64_t clock_ms(void)
{
	return clock_ns() / 1000000;
}

/* What poll(2) takes to sleep until `deadline`: rounded up, so that it never wakes just before. */
static inline int clock_poll_timeout(uint64_t deadline, uint64_t now)
{
	if (deadline == CLOCK_NEVER)
		return -1;
	if (deadline <= now)
		return 0;
	return deadline - now < INT_MAX ? (int)(deadline - now) + 1 : INT_MAX;
}

#endif
