/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The results, a line each, `key=value` with blanks between:
 *
 *	disk 0 at=pci:1 depth=32 ios=... errors=... kicks=... irqs=... passes=... mean=... p50=...
 *		p99=... p999=... max=...
 *	total us=... (the same keys)
 *	hist NS:COUNT ...
 *
 * Times are nanoseconds, but for `us`, how long was measured.
 */
#include "guest/bench/bench.h"
#include "guest/lib.h"

struct sum {
	uint64_t errors, kicks, passes;
	uint32_t irqs;
	unsigned depth;
	struct hist hist;
};

static void add(struct sum *sum, const struct lane *lane)
{
	sum->errors += lane->errors;
	sum->kicks += lane->kicks;
	sum->irqs += lane->irqs;
	sum->passes += lane->passes;
	sum->depth += lane->depth;
	hist_merge(&sum->hist, &lane->hist);
}

static void print_sum(const struct sum *sum)
{
	const struct hist *h = &sum->hist;

	print("depth=%u ios=%lu errors=%lu kicks=%lu irqs=%u passes=%lu ", sum->depth, h->total,
	      sum->errors, sum->kicks, sum->irqs, sum->passes);
	print("mean=%lu p50=%lu p99=%lu p999=%lu max=%lu\n",
	      h->total ? ticks_to_ns(h->sum / h->total) : 0, ticks_to_ns(hist_percentile(h, 500)),
	      ticks_to_ns(hist_percentile(h, 990)), ticks_to_ns(hist_percentile(h, 999)),
	      ticks_to_ns(h->max));
}

static void print_place(const struct virtio *dev)
{
	if (dev->base)
		print("at=mmio:%lx ", dev->base);
	else
		print("at=pci:%u ", dev->pci.slot);
}

static void report_disk(const struct lane *lanes, unsigned nlanes, unsigned disk)
{
	static struct sum sum;
	const struct virtio *dev = NULL;

	memset(&sum, 0, sizeof(sum));
	for (unsigned i = 0; i < nlanes; i++) {
		if (lanes[i].disk != disk)
			continue;
		dev = lanes[i].vq->dev;
		add(&sum, &lanes[i]);
	}
	if (!dev)
		return; /* no lane drives it */
	print("disk %u ", disk);
	print_place(dev);
	print_sum(&sum);
}

static void print_hist(const struct hist *h)
{
	print("hist");
	for (unsigned i = 0; i < HIST_BUCKETS; i++) {
		if (h->count[i])
			print(" %lu:%u", ticks_to_ns(hist_value(i)), h->count[i]);
	}
	print("\n");
}

void report(const struct lane *lanes, unsigned nlanes, unsigned ndisks, uint64_t ticks)
{
	static struct sum total;

	for (unsigned i = 0; i < ndisks; i++)
		report_disk(lanes, nlanes, i);
	for (unsigned i = 0; i < nlanes; i++)
		add(&total, &lanes[i]);
	print("total us=%lu ", ticks_to_ns(ticks) / 1000);
	print_sum(&total);
	print_hist(&total.hist);
}
