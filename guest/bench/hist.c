/* SPDX-License-Identifier: Apache-2.0 */
/* Latencies in buckets. */
#include "guest/bench/bench.h"

void hist_merge(struct hist *into, const struct hist *h)
{
	into->total += h->total;
	into->sum += h->sum;
	if (h->max > into->max)
		into->max = h->max;
	for (unsigned i = 0; i < HIST_BUCKETS; i++)
		into->count[i] += h->count[i];
}

uint64_t hist_value(unsigned bucket)
{
	unsigned shift;

	if (bucket < 2 << HIST_BITS)
		return bucket;
	shift = (bucket >> HIST_BITS) - 1;
	return (((uint64_t)(bucket & ((1 << HIST_BITS) - 1)) | 1 << HIST_BITS) << shift) +
	       (1ULL << shift) / 2;
}

uint64_t hist_percentile(const struct hist *h, unsigned permille)
{
	uint64_t wanted = (h->total * permille + 999) / 1000, seen = 0;

	for (unsigned i = 0; i < HIST_BUCKETS; i++) {
		seen += h->count[i];
		if (seen >= wanted)
			return hist_value(i) < h->max ? hist_value(i) : h->max;
	}
	return h->max;
}
