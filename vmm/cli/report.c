/* SPDX-License-Identifier: Apache-2.0 */
/* Reads and prints what a VM does, and its counters at its end. Main. */
#include "vmm/cli/report.h"

#include <inttypes.h>

#include "virtio/blk/dataplane.h"
#include "vmm/cli/disk_stop.h"
#include "vmm/log.h"

static uint64_t get(const _Atomic uint64_t *counter)
{
	return atomic_load_explicit(counter, memory_order_relaxed);
}

void report_status(const struct machine *m)
{
	char why[512];
	const bool stopped = disk_stop_reason(m, why, sizeof(why));

	log_info("%s%s%s: %u vCPUs, %u disks; no monitor here, Ctrl-A h shows the keys",
		 pausing_state_name(&m->pausing), stopped ? ", " : "", stopped ? why : "",
		 m->vm.nvcpus, m->ndisks);
}

void report_vcpus(const struct machine *m)
{
	for (unsigned i = 0; i < m->vm.nvcpus; i++)
		arch_vcpu_report(&m->vm.vcpu[i], stderr);
}

static void report_disk(const char *name, const struct blk_stats *s)
{
	uint64_t requests = 0;

	for (unsigned op = 0; op < BLK_OP_COUNT; op++)
		requests += get(&s->requests[op]);
	log_info("%s: %" PRIu64 " requests, %" PRIu64 " failed; %" PRIu64 " bytes read, %" PRIu64
		 " written; %" PRIu64 " kicks, %" PRIu64 " batches, %" PRIu64 " submits, %" PRIu64
		 " interrupts, %" PRIu64 " stalls, %" PRIu64 " sleeps",
		 name, requests, get(&s->errors), get(&s->bytes_read), get(&s->bytes_written),
		 get(&s->kicks), get(&s->batches), get(&s->submits), get(&s->interrupts),
		 get(&s->stalls), get(&s->sleeps));
}

void report_disks(const struct machine *m)
{
	for (unsigned i = 0; i < m->ndisks; i++) {
		const struct virtio_blk *blk = &m->disk[i]->blk;

		report_disk(blk->dev.name, blk_dataplane_stats(blk->dataplane));
	}
}

uint64_t report_failed_requests(const struct machine *m)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < m->ndisks; i++)
		sum += get(&blk_dataplane_stats(m->disk[i]->blk.dataplane)->errors);
	return sum;
}
