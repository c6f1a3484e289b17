/* SPDX-License-Identifier: Apache-2.0 */
/*
 * GET /metrics: the numbers of the VM and its disks in Prometheus's text form (version 0.0.4). Main.
 *
 * All samples of a family follow its HELP and TYPE at once, so the outer loop is over families.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "vmm/cli/api/handlers.h"
#include "vmm/cli/api/latency.h"
#include "vmm/cli/api/stats.h"
#include "vmm/cli/clock.h"
#include "vmm/cli/machine.h"
#include "vmm/vcpu.h"

#define TEXT_TYPE "text/plain; version=0.0.4; charset=utf-8"

static void family(FILE *f, const char *name, const char *type, const char *help)
{
	fprintf(f, "# HELP mvmm_%s %s\n# TYPE mvmm_%s %s\n", name, help, name, type);
}

/* Of a label's value: a backslash, a quote and a newline are escaped. */
static void quote(FILE *f, const char *text)
{
	fputc('"', f);
	for (; *text; text++) {
		if (*text == '"' || *text == '\\')
			fputc('\\', f);
		if (*text == '\n')
			fputs("\\n", f);
		else
			fputc(*text, f);
	}
	fputc('"', f);
}

static void vm_metrics(FILE *f, const struct api_context *ctx)
{
	const struct machine *m = ctx->machine;
	struct timespec ts;
	clockid_t clock;

	family(f, "info", "gauge", "The VM; always 1");
	fputs("mvmm_info{version=\"" MVMM_VERSION "\",name=", f);
	quote(f, m->opt->name ? m->opt->name : "");
	fputs("} 1\n", f);
	family(f, "uptime_seconds", "gauge", "Time since the vCPUs were started");
	fprintf(f, "mvmm_uptime_seconds %.3f\n", (double)(clock_ms() - ctx->started) / 1000);
	family(f, "memory_bytes", "gauge", "Memory of the guest");
	fprintf(f, "mvmm_memory_bytes %" PRIu64 "\n", m->opt->memory);
	family(f, "vcpu_cpu_seconds_total", "counter", "CPU time of a vCPU's thread");
	for (unsigned i = 0; i < m->vm.nvcpus; i++) {
		const struct vcpu *vcpu = &m->vm.vcpu[i];

		if (vcpu->started && !pthread_getcpuclockid(vcpu->thread, &clock) &&
		    !clock_gettime(clock, &ts))
			fprintf(f, "mvmm_vcpu_cpu_seconds_total{vcpu=\"%u\"} %lld.%09ld\n", i,
				(long long)ts.tv_sec, ts.tv_nsec);
	}
}

static void samples(FILE *f, const struct machine *m, const struct disk_stat *stat)
{
	for (unsigned i = 0; i < m->ndisks; i++) {
		const struct virtio_blk *blk = &m->disk[i]->blk;

		fprintf(f, "mvmm_disk_%s{disk=\"%s\"%s%s} %" PRIu64 "\n", stat->metric,
			blk->dev.name, stat->label ? "," : "", stat->label ? stat->label : "",
			disk_stat_get(blk_dataplane_stats(blk->dataplane), stat));
	}
}

static void latencies(FILE *f, const struct machine *m)
{
	family(f, "disk_latency_seconds", "histogram",
	       "Time of requests from the ring to their answer, waits for limits included");
	for (unsigned i = 0; i < m->ndisks; i++)
		for (unsigned op = 0; op < BLK_TIMED_OPS; op++)
			latency_print(f, "mvmm_disk_latency_seconds", m->disk[i]->blk.dev.name,
				      blk_dataplane_stats(m->disk[i]->blk.dataplane), op);
}

static void disk_metrics(FILE *f, const struct machine *m)
{
	const char *last = "";
	char name[64];

	for (const struct disk_stat *stat = disk_stats; stat->name; stat++) {
		if (strcmp(stat->metric, last)) {
			snprintf(name, sizeof(name), "disk_%s", stat->metric);
			family(f, name, disk_stat_is_counter(stat) ? "counter" : "gauge",
			       stat->help);
		}
		last = stat->metric;
		samples(f, m, stat);
	}
	family(f, "disk_size_bytes", "gauge", "Size of the disk as the guest sees it");
	for (unsigned i = 0; i < m->ndisks; i++)
		fprintf(f, "mvmm_disk_size_bytes{disk=\"%s\"} %" PRIu64 "\n",
			m->disk[i]->blk.dev.name, m->disk[i]->blk.backend.size);
	latencies(f, m);
}

void metrics_show(struct api_request *req)
{
	char *text = NULL;
	size_t len = 0;
	FILE *f = open_memstream(&text, &len);

	if (f) {
		vm_metrics(f, req->ctx);
		disk_metrics(f, req->ctx->machine);
	}
	if (f && !fclose(f))
		api_reply_text(req, 200, TEXT_TYPE, text, len);
	else
		api_error(req, 500, "out of memory");
	free(text);
}
