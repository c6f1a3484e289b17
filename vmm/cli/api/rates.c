/* SPDX-License-Identifier: Apache-2.0 */
/*
 * I/Os and bytes per second of each disk, from its counters. Main. Must not know who asks.
 */
#include "vmm/cli/api/rates.h"

#include "virtio/blk/dataplane.h"
#include "vmm/cli/clock.h"
#include "vmm/cli/machine.h"

static void count(const struct blk_stats *s, uint64_t n[RATES])
{
	const _Atomic uint64_t *const at[RATES] = {
		[RATE_READS] = &s->requests[BLK_OP_READ],
		[RATE_WRITES] = &s->requests[BLK_OP_WRITE],
		[RATE_BYTES_READ] = &s->bytes_read,
		[RATE_BYTES_WRITTEN] = &s->bytes_written,
	};

	for (unsigned i = 0; i < RATES; i++)
		n[i] = atomic_load_explicit(at[i], memory_order_relaxed);
}

static void look(struct disk_rates *rates, const struct blk_stats *stats, uint64_t now)
{
	const uint64_t ms = now - rates->at;
	uint64_t n[RATES];

	if (!ms)
		return;
	count(stats, n);
	for (unsigned i = 0; i < RATES; i++) {
		rates->per_s[i] = rates->at ? (n[i] - rates->count[i]) * 1000 / ms : 0;
		rates->count[i] = n[i];
	}
	rates->at = now;
}

void rates_look(struct machine *m)
{
	const uint64_t now = clock_ms();

	for (unsigned i = 0; i < m->ndisks; i++)
		look(&m->disk[i]->rates, blk_dataplane_stats(m->disk[i]->blk.dataplane), now);
}

json_t *rates_json(const struct disk_rates *rates)
{
	static const char *const names[RATES] = {
		[RATE_READS] = "reads",
		[RATE_WRITES] = "writes",
		[RATE_BYTES_READ] = "bytes_read",
		[RATE_BYTES_WRITTEN] = "bytes_written",
	};
	json_t *json = json_object();

	for (unsigned i = 0; i < RATES; i++)
		json_object_set_new(json, names[i], json_integer((json_int_t)rates->per_s[i]));
	return json;
}
