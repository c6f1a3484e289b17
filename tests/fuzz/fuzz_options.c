/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What people type -> the parsers of options, disks and numbers. What is accepted must be what the
 * manual page allows; numbers are read a second time, by the letter.
 *
 * An input is one byte that picks a parser and then text: for options one argument per line.
 */
#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <string.h>

#include "tests/fuzz/target.h"
#include "vmm/cli/bench_options.h"
#include "vmm/cli/disk_option.h"
#include "vmm/cli/number.h"
#include "vmm/cli/run_options.h"

const char fuzz_target[] = "options";

#define MAX_ARGS 64

/* ---- numbers --------------------------------------------------------------------------------- */

/* Digits of `base` at *s, to 128 bits; false: there is none, or too many. */
static bool read_digits(const char **s, unsigned base, unsigned __int128 *n)
{
	const char *from = *s;

	*n = 0;
	for (; isxdigit((unsigned char)**s); (*s)++) {
		const unsigned digit = isdigit((unsigned char)**s)
					       ? (unsigned)(**s - '0')
					       : (unsigned)(tolower((unsigned char)**s) - 'a' + 10);

		if (digit >= base)
			break;
		*n = *n * base + digit;
		if (*n > UINT64_MAX)
			return false;
	}
	return *s != from;
}

static bool read_number(const char *s, uint64_t min, uint64_t max, uint64_t *out)
{
	const bool hex = s[0] == '0' && (s[1] == 'x' || s[1] == 'X');
	unsigned __int128 n;

	s += hex ? 2 : 0;
	if (!read_digits(&s, hex ? 16 : 10, &n) || *s || n < min || n > max)
		return false;
	*out = n;
	return true;
}

static bool read_size(const char *s, uint64_t *out)
{
	static const char units[] = "kKmMgGtT";
	unsigned __int128 n;
	unsigned shift = 20;

	if (!read_digits(&s, 10, &n))
		return false;
	if (*s) {
		const char *unit = strchr(units, *s++);

		if (!unit || *s)
			return false;
		shift = 10 * (1 + (unit - units) / 2);
	}
	n <<= shift;
	*out = n;
	return n <= UINT64_MAX;
}

static bool read_seconds(const char *s, uint64_t *ms)
{
	unsigned __int128 n;

	if (!read_digits(&s, 10, &n) || n > INT_MAX)
		return false;
	n *= 1000;
	if (*s == '.') {
		unsigned unit = 100;

		if (!isdigit((unsigned char)*++s))
			return false;
		for (; isdigit((unsigned char)*s); s++, unit /= 10)
			n += unit * (unsigned)(*s - '0');
	}
	*ms = n;
	return !*s && n;
}

static void check_numbers(const char *text)
{
	uint64_t said = 7, right = 7;
	char buf[24];

	fuzz_check(!number_parse_size(text, &said) == read_size(text, &right), "a size: '%s'",
		   text);
	fuzz_check(said == right || !read_size(text, &right), "the size '%s' is %llu", text,
		   (unsigned long long)said);
	if (read_size(text, &right)) {
		number_format_size(said, buf);
		fuzz_check(strlen(buf) < sizeof(buf), "a size as text");
	}
	said = right = 7;
	fuzz_check(!number_parse(text, 2, 1u << 20, &said) ==
			   read_number(text, 2, 1u << 20, &right),
		   "a number: '%s'", text);
	fuzz_check(said == right, "the number '%s' is %llu", text, (unsigned long long)said);
	said = right = 7;
	if (read_seconds(text, &right))
		fuzz_check(!number_parse_seconds(text, &said) && said == right,
			   "'%s' seconds are %llu ms", text, (unsigned long long)said);
	else
		fuzz_check(number_parse_seconds(text, &said) && said == 7, "seconds: '%s'", text);
}

/* ---- disks ----------------------------------------------------------------------------------- */

static void check_disk(const struct disk_config *disk)
{
	fuzz_check(disk->path && disk->path[0], "a disk without a path");
	fuzz_check(memchr(disk->serial, '\0', sizeof(disk->serial)), "a serial without an end");
	for (const char *s = disk->serial; *s; s++)
		fuzz_check(isgraph((unsigned char)*s), "a serial with %#x", *s);
	fuzz_check(disk->cache >= DISK_AUTO && disk->cache <= DISK_CACHE_UNSAFE, "cache");
	fuzz_check(disk->aio >= DISK_AUTO && disk->aio <= DISK_AIO_THREADS, "aio");
	fuzz_check(disk->queues <= 63, "%u queues", disk->queues);
	fuzz_check(disk->queue_size >= 4 && disk->queue_size <= 1024 &&
			   !(disk->queue_size & (disk->queue_size - 1)),
		   "queue-size %u", disk->queue_size);
	fuzz_check(disk->aio_depth >= 1 && disk->aio_depth <= 256, "aio-depth %u", disk->aio_depth);
	fuzz_check(disk->poll_max_us <= 10000, "poll-max-us %u", disk->poll_max_us);
	fuzz_check(disk->block_size == 512 || disk->block_size == 4096, "block-size %u",
		   disk->block_size);
	fuzz_check(disk->on_error >= DISK_ON_ERROR_REPORT && disk->on_error <= DISK_ON_ERROR_ENOSPC,
		   "on-error");
	fuzz_check(!disk->overlay || !disk->readonly, "an overlay for reading");
	fuzz_check(!disk->overlay_dir || (disk->overlay && disk->overlay_dir[0]), "overlay");
	fuzz_check(disk->cpu >= -1 && disk->cpu < 1024, "cpu %d", disk->cpu);
	fuzz_check(memchr(disk->group, '\0', sizeof(disk->group)), "a group without an end");
	for (unsigned i = 0; i < THROTTLE_KINDS; i++) {
		const struct throttle_rate *r = &disk->limits.of[i];

		fuzz_check(r->rate <= THROTTLE_RATE_MAX && r->max <= THROTTLE_RATE_MAX &&
				   r->length <= THROTTLE_LENGTH_MAX,
			   "a limit of %llu", (unsigned long long)r->rate);
		fuzz_check(!r->max || (r->rate && r->max >= r->rate), "a burst below its limit");
		fuzz_check(!r->length || r->max, "a length without a burst");
	}
}

static char *put_limits(char *to, const struct throttle_limits *limits)
{
	char name[24];

	for (unsigned i = 0; i < THROTTLE_KINDS * THROTTLE_OPTION_KEYS; i++)
		if (throttle_option_get(limits, i))
			to += sprintf(to, ",%s=%llu", throttle_option_name(i, name),
				      (unsigned long long)throttle_option_get(limits, i));
	return to;
}

static bool same_limits(const struct disk_config *a, const struct disk_config *b)
{
	for (unsigned i = 0; i < THROTTLE_KINDS * THROTTLE_OPTION_KEYS; i++)
		if (throttle_option_get(&a->limits, i) != throttle_option_get(&b->limits, i))
			return false;
	return !strcmp(a->group, b->group);
}

static char *put_doubled(char *to, const char *from)
{
	for (; *from; from++) {
		if (*from == ',')
			*to++ = ',';
		*to++ = *from;
	}
	*to = '\0';
	return to;
}

/* Written down by the manual page and parsed again, a disk is the same. */
static void check_round_trip(const struct disk_config *disk)
{
	static const char *const cache[] = { "none", "writeback", "unsafe" };
	static const char *const aio[] = { "native", "threads" };
	const char *dir = disk->overlay_dir ? disk->overlay_dir : "";
	const size_t room = 2 * strlen(disk->path) + 2 * strlen(dir) + 1400;
	char *text = malloc(room), *to = put_doubled(text, disk->path);
	struct disk_config again;
	struct error err;

	to += sprintf(to,
		      ",queue-size=%u,aio-depth=%u,poll-max-us=%u,block-size=%u,readonly=%s,on-"
		      "error=%s",
		      disk->queue_size, disk->aio_depth, disk->poll_max_us, disk->block_size,
		      disk->readonly ? "on" : "off", disk_on_error_names[disk->on_error]);
	if (disk->serial[0])
		to = put_doubled(to + sprintf(to, ",serial="), disk->serial);
	if (disk->cache != DISK_AUTO)
		to += sprintf(to, ",cache=%s", cache[disk->cache]);
	if (disk->aio != DISK_AUTO)
		to += sprintf(to, ",aio=%s", aio[disk->aio]);
	if (disk->overlay)
		to = put_doubled(to + sprintf(to, ",overlay=temp%s", dir[0] ? ":" : ""), dir);
	if (disk->queues)
		to += sprintf(to, ",queues=%u", disk->queues);
	if (disk->cpu >= 0)
		to += sprintf(to, ",cpu=%d", disk->cpu);
	if (disk->group[0])
		to = put_doubled(to + sprintf(to, ",group="), disk->group);
	put_limits(to, &disk->limits);
	fuzz_check(!disk_option_parse(text, &again, &err), "'%s' is refused: %s", text, err.text);
	fuzz_check(!strcmp(again.path, disk->path) && !strcmp(again.serial, disk->serial) &&
			   again.readonly == disk->readonly && again.cache == disk->cache &&
			   again.aio == disk->aio && again.queues == disk->queues &&
			   again.queue_size == disk->queue_size &&
			   again.aio_depth == disk->aio_depth && again.overlay == disk->overlay &&
			   !strcmp(again.overlay_dir ? again.overlay_dir : "", dir) &&
			   again.block_size == disk->block_size &&
			   again.on_error == disk->on_error &&
			   again.poll_max_us == disk->poll_max_us && again.cpu == disk->cpu &&
			   same_limits(&again, disk),
		   "'%s' is another disk", text);
	disk_config_free(&again);
	free(text);
}

static void check_refusal(int ret, const struct error *err)
{
	fuzz_check(ret == -EINVAL || ret == -ENOMEM, "a parser says %d", ret);
	fuzz_check(err->text[0] && memchr(err->text, '\0', sizeof(err->text)), "no message");
}

static void parse_disk(const char *text)
{
	struct error err = { "" };
	struct disk_config disk;
	const int ret = disk_option_parse(text, &disk, &err);

	if (ret) {
		check_refusal(ret, &err);
		fuzz_check(!disk.path, "a refused disk keeps its path");
		return;
	}
	check_disk(&disk);
	check_round_trip(&disk);
	disk_config_free(&disk);
}

/* ---- options --------------------------------------------------------------------------------- */

static void check_run(const struct run_options *opt)
{
	fuzz_check(opt->memory >= 2 << 20 && opt->memory <= 1ULL << 40 && !(opt->memory % 4096),
		   "memory %llu", (unsigned long long)opt->memory);
	fuzz_check(opt->cpus >= 1 && opt->cpus <= VM_MAX_VCPUS, "%u vCPUs", opt->cpus);
	fuzz_check(opt->naffinity <= VM_MAX_VCPUS, "%u host CPUs", opt->naffinity);
	for (unsigned i = 0; i < opt->naffinity; i++)
		fuzz_check(opt->affinity[i] < 1024, "host CPU %u", opt->affinity[i]);
	for (unsigned i = 0; i < opt->ndisks; i++)
		check_disk(&opt->disk[i]);
	fuzz_check(!opt->mmio_isr || opt->transport == TRANSPORT_MMIO, "mmio-isr with pci");
	fuzz_check(!opt->console_path || opt->console_path[0], "a console without a path");
	fuzz_check(!opt->result || opt->result[0], "a result without a path");
	fuzz_check(!opt->name || (opt->name[0] && strlen(opt->name) <= 64), "a name");
}

static void parse_run(int argc, char **argv)
{
	struct error err = { "" };
	struct run_options opt;
	const int ret = run_options_parse(argc, argv, &opt, &err);

	if (!ret) {
		fuzz_check(opt.kernel, "no kernel");
		check_run(&opt);
	} else if (ret != OPTIONS_HELP) {
		check_refusal(ret, &err);
	}
	run_options_free(&opt);
}

static void parse_bench(int argc, char **argv)
{
	struct error err = { "" };
	struct bench_options opt;
	const int ret = bench_options_parse(argc, argv, &opt, &err);

	if (!ret) {
		check_run(&opt.run);
		fuzz_check(opt.bs >= 512 && opt.bs <= 1 << 20 && !(opt.bs % 512), "bs %u", opt.bs);
		fuzz_check(opt.depth >= 1 && opt.depth <= 256, "depth %u", opt.depth);
		fuzz_check(opt.run.ndisks >= 1 && opt.run.ndisks <= BENCH_MAX_DISKS, "disks");
		fuzz_check(opt.time_ms && opt.time_ms <= 3600 * 1000, "time");
	} else if (ret != OPTIONS_HELP) {
		check_refusal(ret, &err);
	}
	bench_options_free(&opt);
}

/* One argument per line, each in memory of its own. */
static void parse_lines(char *text, void (*parse)(int argc, char **argv))
{
	char *argv[MAX_ARGS + 2] = { strdup("run") };
	int argc = 1;

	for (char *line; (line = strsep(&text, "\n")) && argc <= MAX_ARGS;)
		argv[argc++] = strdup(line);
	parse(argc, argv);
	while (argc)
		free(argv[--argc]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text;

	if (!size)
		return 0;
	text = strndup((const char *)data + 1, size - 1);
	switch (data[0] % 4) {
	case 0:
		parse_lines(text, parse_run);
		break;
	case 1:
		parse_disk(text);
		break;
	case 2:
		check_numbers(text);
		break;
	case 3:
		parse_lines(text, parse_bench);
		break;
	}
	free(text);
	return 0;
}
