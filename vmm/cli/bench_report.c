/* SPDX-License-Identifier: Apache-2.0 */
/* Reads the lines of the benchmark guest and prints them for people or scripts. Main. */
#include "vmm/cli/bench_report.h"

#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define MIB 1048576.0

struct key {
	const char *name;
	size_t offset;
};

#define KEY(name)                                                                                  \
	{                                                                                          \
#name, offsetof(struct bench_line, name)                                           \
	}
static const struct key keys[] = {
	KEY(depth), KEY(ios), KEY(errors), KEY(kicks), KEY(irqs), KEY(passes),
	KEY(mean),  KEY(p50), KEY(p99),	   KEY(p999),  KEY(max),
};
#define KEYS (sizeof(keys) / sizeof(keys[0]))

static uint64_t *field(struct bench_line *line, const struct key *key)
{
	return (uint64_t *)((char *)line + key->offset);
}

/* " KEY=NUMBER" in the line that begins at `s`. */
static int take_number(const char *s, const char *key, uint64_t *out)
{
	const char *end = strchrnul(s, '\n');
	size_t len = strlen(key);

	for (; s + len + 2 < end; s++) {
		if (s[0] != ' ' || memcmp(s + 1, key, len) || s[1 + len] != '=')
			continue;
		*out = strtoull(s + len + 2, NULL, 10);
		return 0;
	}
	return -EPROTO;
}

static int take_line(const char *s, struct bench_line *line)
{
	int ret = s ? 0 : -EPROTO;

	for (unsigned i = 0; i < KEYS && !ret; i++)
		ret = take_number(s, keys[i].name, field(line, &keys[i]));
	return ret;
}

static const char *find_line(const char *text, const char *begin)
{
	size_t len = strlen(begin);

	for (const char *s = text; s; s = strchr(s, '\n')) {
		s += *s == '\n';
		if (!strncmp(s, begin, len))
			return s;
	}
	return NULL;
}

static int take_report(const char *text, struct bench_report *r)
{
	const char *total = find_line(text, "total ");
	char begin[24];
	int ret = take_line(total, &r->total);

	for (unsigned i = 0; i < r->ndisks && !ret; i++) {
		snprintf(begin, sizeof(begin), "disk %u ", i);
		ret = take_line(find_line(text, begin), &r->disk[i]);
	}
	r->hist = find_line(text, "hist");
	if (ret || !r->hist || !find_line(text, "bench end") || take_number(total, "us", &r->us) ||
	    !r->us)
		return -EPROTO;
	r->hist += strlen("hist");
	r->hist += *r->hist == ' ';
	return 0;
}

int bench_report_parse(const char *text, unsigned ndisks, struct bench_report *r, struct error *err)
{
	const char *why = find_line(text, "Bail out! ");

	r->ndisks = ndisks;
	if (why)
		return error_setx(err, EPROTO, "the guest gave up: %.*s",
				  (int)strcspn(why + 10, "\r\n"), why + 10);
	if (take_report(text, r))
		return error_setx(err, EPROTO, "the guest did not report");
	return 0;
}

static double per_second(const struct bench_report *r, uint64_t n)
{
	return n * 1e6 / r->us;
}

static double ratio(uint64_t n, uint64_t of)
{
	return of ? (double)n / of : 0;
}

static const char *disk_name(unsigned i, char buf[8])
{
	snprintf(buf, 8, "vd%c", 'a' + i);
	return buf;
}

static void print_row(const struct bench_report *r, const char *name, const struct bench_line *line,
		      const struct bench_engine *e, uint32_t bs, FILE *out)
{
	fprintf(out, "%-6s %8.0f %9.1f %8.1f %8.1f %8.1f %8.1f %9.1f %8.0f %8.0f %9.1f\n", name,
		per_second(r, line->ios), per_second(r, line->ios) * bs / MIB, line->mean / 1e3,
		line->p50 / 1e3, line->p99 / 1e3, line->p999 / 1e3, line->max / 1e3,
		per_second(r, line->kicks), per_second(r, line->irqs),
		ratio(e->requests, e->batches));
}

void bench_report_table(const struct bench_report *r, const struct bench_options *opt, FILE *out)
{
	char name[8];

	fprintf(out, "%-6s %8s %9s %8s %8s %8s %8s %9s %8s %8s %9s\n", "disk", "IOPS", "MiB/s",
		"mean us", "p50", "p99", "p99.9", "max", "kicks/s", "irqs/s", "I/O/batch");
	for (unsigned i = 0; i < r->ndisks; i++)
		print_row(r, disk_name(i, name), &r->disk[i], &r->engine[i], opt->bs, out);
	print_row(r, "total", &r->total, &r->engines, opt->bs, out);
}

static void json_line(const struct bench_report *r, const struct bench_line *line,
		      const struct bench_engine *e, FILE *out)
{
	fprintf(out, "\"iops\":%.1f", per_second(r, line->ios));
	for (unsigned i = 0; i < KEYS; i++) {
		const uint64_t *value = field((struct bench_line *)line, &keys[i]);
		const char *unit = keys[i].offset >= offsetof(struct bench_line, mean) ? "_ns" : "";

		fprintf(out, ",\"%s%s\":%" PRIu64, keys[i].name, unit, *value);
	}
	fprintf(out,
		",\"engine\":{\"requests\":%" PRIu64 ",\"batches\":%" PRIu64 ",\"submits\":%" PRIu64
		",\"sleeps\":%" PRIu64 ",\"kicks\":%" PRIu64 ",\"interrupts\":%" PRIu64 "}",
		e->requests, e->batches, e->submits, e->sleeps, e->kicks, e->interrupts);
}

/* "NS:COUNT NS:COUNT" to "[NS,COUNT],[NS,COUNT]" */
static void json_hist(const char *s, FILE *out)
{
	fputs(",\"histogram_ns\":[", out);
	for (const char *sep = "["; *s && *s != '\n'; sep = ",[") {
		char *end;
		uint64_t ns = strtoull(s, &end, 10);
		uint64_t count = *end == ':' ? strtoull(end + 1, &end, 10) : 0;

		fprintf(out, "%s%" PRIu64 ",%" PRIu64 "]", sep, ns, count);
		if (end == s)
			break;
		s = end + (*end == ' ');
	}
	fputs("]", out);
}

void bench_report_json(const struct bench_report *r, const struct bench_options *opt, FILE *out)
{
	char name[8];

	fprintf(out,
		"{\"rw\":\"%s\",\"bs\":%u,\"depth\":%u,\"complete\":\"%s\",\"transport\":\"%s\","
		"\"cpus\":%u,\"us\":%" PRIu64 ",\"disks\":[",
		opt->rw, opt->bs, opt->depth, opt->complete,
		opt->run.transport == TRANSPORT_PCI ? "pci" : "mmio", opt->run.cpus, r->us);
	for (unsigned i = 0; i < r->ndisks; i++) {
		fprintf(out, "%s{\"name\":\"%s\",", i ? "," : "", disk_name(i, name));
		json_line(r, &r->disk[i], &r->engine[i], out);
		fputc('}', out);
	}
	fputs("],\"total\":{", out);
	json_line(r, &r->total, &r->engines, out);
	fputc('}', out);
	json_hist(r->hist, out);
	fputs("}\n", out);
}
