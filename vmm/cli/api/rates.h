/* SPDX-License-Identifier: Apache-2.0 */
/* What a disk does per second, measured about once a second. */
#ifndef MVMM_CLI_API_RATES_H
#define MVMM_CLI_API_RATES_H

#include <jansson.h>
#include <stdint.h>

enum { RATE_READS, RATE_WRITES, RATE_BYTES_READ, RATE_BYTES_WRITTEN, RATES };

/* A disk's; zero at first. */
struct disk_rates {
	uint64_t at;	       /* clock_ms() of the last look; 0: there was none */
	uint64_t count[RATES]; /* as they were then */
	uint64_t per_s[RATES]; /* between the last two looks */
};

struct machine;

/* Main, about once a second. */
void rates_look(struct machine *m);

json_t *rates_json(const struct disk_rates *rates);

#endif
