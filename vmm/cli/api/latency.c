/* SPDX-License-Identifier: Apache-2.0 */
/* From counters of how long requests took to what is said of them. Main; reads, changes nothing. */
#include "vmm/cli/api/latency.h"

#include <inttypes.h>

/* As they were read, one by one. */
struct latency_view {
	uint64_t count; /* of all buckets */
	uint64_t ns;
	uint64_t requests[BLK_LATENCY_BUCKETS];
};

const char *const latency_ops[BLK_TIMED_OPS] = {
	[BLK_OP_READ] = "read",
	[BLK_OP_WRITE] = "write",
	[BLK_OP_FLUSH] = "flush",
};

static void look(const struct blk_latency *latency, struct latency_view *view)
{
	view->count = 0;
	view->ns = atomic_load_explicit(&latency->ns, memory_order_relaxed);
	for (unsigned i = 0; i < BLK_LATENCY_BUCKETS; i++) {
		view->requests[i] =
			atomic_load_explicit(&latency->requests[i], memory_order_relaxed);
		view->count += view->requests[i];
	}
}

/* So many of 100 took at most as long, as far as buckets tell; 0: none is known, or longer than all
 * bounds. */
static uint64_t percentile(const struct latency_view *view, unsigned percent)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < BLK_LATENCY_BUCKETS - 1 && view->count; i++) {
		n += view->requests[i];
		if (n * 100 >= view->count * percent)
			return blk_latency_bound(i);
	}
	return 0;
}

static json_t *number(uint64_t n)
{
	return n ? json_integer((json_int_t)n) : json_null();
}

static json_t *op_json(const struct latency_view *view, const char *op)
{
	json_t *buckets = json_array();

	for (unsigned i = 0; i < BLK_LATENCY_BUCKETS; i++)
		json_array_append_new(buckets, json_integer((json_int_t)view->requests[i]));
	return json_pack("{s:s, s:I, s:o, s:o, s:o, s:o}", "op", op, "requests",
			 (json_int_t)view->count, "mean_ns",
			 number(view->count ? view->ns / view->count : 0), "p50_ns",
			 number(percentile(view, 50)), "p99_ns", number(percentile(view, 99)),
			 "buckets", buckets);
}

json_t *latency_json(const struct blk_stats *stats)
{
	json_t *list = json_array();
	struct latency_view view;

	for (unsigned op = 0; op < BLK_TIMED_OPS; op++) {
		look(&stats->latency[op], &view);
		json_array_append_new(list, op_json(&view, latency_ops[op]));
	}
	return list;
}

void latency_print(FILE *f, const char *family, const char *disk, const struct blk_stats *stats,
		   unsigned op)
{
	struct latency_view view;
	uint64_t n = 0;

	look(&stats->latency[op], &view);
	for (unsigned i = 0; i < BLK_LATENCY_BUCKETS - 1; i++) {
		n += view.requests[i];
		fprintf(f, "%s_bucket{disk=\"%s\",op=\"%s\",le=\"%.9f\"} %" PRIu64 "\n", family,
			disk, latency_ops[op], (double)blk_latency_bound(i) / 1e9, n);
	}
	fprintf(f, "%s_bucket{disk=\"%s\",op=\"%s\",le=\"+Inf\"} %" PRIu64 "\n", family, disk,
		latency_ops[op], view.count);
	fprintf(f, "%s_sum{disk=\"%s\",op=\"%s\"} %.9f\n", family, disk, latency_ops[op],
		(double)view.ns / 1e9);
	fprintf(f, "%s_count{disk=\"%s\",op=\"%s\"} %" PRIu64 "\n", family, disk, latency_ops[op],
		view.count);
}
