/* SPDX-License-Identifier: Apache-2.0 */
/* The table of a disk's counters. Constants, and relaxed loads of what the disk's thread counts. */
#include "vmm/cli/api/stats.h"

#include <string.h>

#define AT(field)     offsetof(struct blk_stats, field)
#define REQUESTS(op)  (AT(requests) + (op) * sizeof(_Atomic uint64_t))
#define REQUESTS_HELP "Requests completed, whatever came of them"
#define BYTES_HELP    "Bytes moved by requests that succeeded"

/* clang-format off */
const struct disk_stat disk_stats[] = {
	{ "reads", "requests_total", "op=\"read\"", REQUESTS_HELP, REQUESTS(BLK_OP_READ) },
	{ "writes", "requests_total", "op=\"write\"", REQUESTS_HELP, REQUESTS(BLK_OP_WRITE) },
	{ "flushes", "requests_total", "op=\"flush\"", REQUESTS_HELP, REQUESTS(BLK_OP_FLUSH) },
	{ "discards", "requests_total", "op=\"discard\"", REQUESTS_HELP, REQUESTS(BLK_OP_DISCARD) },
	{ "write_zeroes", "requests_total", "op=\"write_zeroes\"", REQUESTS_HELP,
	  REQUESTS(BLK_OP_WRITE_ZEROES) },
	{ "others", "requests_total", "op=\"other\"", REQUESTS_HELP, REQUESTS(BLK_OP_OTHER) },
	{ "errors", "errors_total", NULL, "Requests that ended with an error", AT(errors) },
	{ "bytes_read", "bytes_total", "op=\"read\"", BYTES_HELP, AT(bytes_read) },
	{ "bytes_written", "bytes_total", "op=\"write\"", BYTES_HELP, AT(bytes_written) },
	{ "kicks", "kicks_total", NULL, "Doorbells of the guest that woke the disk's thread",
	  AT(kicks) },
	{ "interrupts", "interrupts_total", NULL, "Interrupts sent to the guest", AT(interrupts) },
	{ "batches", "batches_total", NULL, "Times a queue was found with requests", AT(batches) },
	{ "submits", "submits_total", NULL, "Times requests were handed to the host",
	  AT(submits) },
	{ "stalls", "stalls_total", NULL, "Times the host would not take a request yet",
	  AT(stalls) },
	{ "sleeps", "sleeps_total", NULL, "Times the disk's thread slept", AT(sleeps) },
	{ "polls", "polls_total", NULL, "Times it looked for work before it would sleep", AT(looks) },
	{ "poll_hits", "poll_hits_total", NULL, "Times that found some", AT(hits) },
	{ "poll_yields", "poll_yields_total", NULL, "Times others wanted the CPU", AT(yields) },
	{ "throttled", "throttled_total", NULL, "Requests that had to wait for a limit",
	  AT(throttled) },
	{ "stops", "stops_total", NULL, "Times on-error= stopped the disk", AT(stops) },
	{ "broken_rings", "broken_rings_total", NULL, "Rings that the guest's driver broke",
	  AT(broken) },
	{ "queue_depth", "queue_depth", NULL, "Requests taken from the rings and not answered yet",
	  AT(in_flight) },
	{ 0 },
};
/* clang-format on */

/* By the name, as Prometheus has it. */
bool disk_stat_is_counter(const struct disk_stat *stat)
{
	const size_t n = strlen(stat->metric);

	return n > 6 && !strcmp(stat->metric + n - 6, "_total");
}

uint64_t disk_stat_get(const struct blk_stats *stats, const struct disk_stat *stat)
{
	const void *at = (const char *)stats + stat->at;

	return atomic_load_explicit((const _Atomic uint64_t *)at, memory_order_relaxed);
}
