/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Parses --disk. Looks at the text only: whether the file can be had as asked is the backend's
 * business. Main.
 */
#include "vmm/cli/disk_option.h"

#include <ctype.h>
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "virtio/virtqueue.h"
#include "vmm/cli/number.h"

#define MAX_QUEUES 63 /* and one MSI-X vector more for the configuration: 64 at most */
#define MAX_DEPTH  256
#define MAX_POLL   10000
/* The turn of a guest that waits for each I/O, also where its interrupt is an exit or two of 30 us: half of
 * it lets such a guest pay for a doorbell, too (docs/performance.md). */
#define DEFAULT_POLL 100

const char *const disk_on_error_names[] = {
	[DISK_ON_ERROR_REPORT] = "report",
	[DISK_ON_ERROR_STOP] = "stop",
	[DISK_ON_ERROR_ENOSPC] = "enospc",
	NULL,
};

struct disk_key {
	const char *name;
	const char *allowed; /* for the message */
	bool flag;	     /* may stand alone */
	int (*set)(struct disk_config *disk, const char *value);
};

static int set_unsigned(const char *value, uint64_t min, uint64_t max, unsigned *out)
{
	uint64_t n;

	if (number_parse(value, min, max, &n))
		return -EINVAL;
	*out = n;
	return 0;
}

static int set_choice(const char *value, const char *const *names, int *out)
{
	for (int i = 0; names[i]; i++) {
		if (!strcmp(value, names[i])) {
			*out = i;
			return 0;
		}
	}
	return -EINVAL;
}

int disk_on_error_parse(const char *name, int *on_error)
{
	return set_choice(name, disk_on_error_names, on_error);
}

static int set_readonly(struct disk_config *disk, const char *value)
{
	static const char *const names[] = { "off", "on", NULL };
	int on = 1;

	if (value && set_choice(value, names, &on))
		return -EINVAL;
	disk->readonly = on;
	return 0;
}

/* What the control socket would take for a disk of that name, now or later. */
static bool is_disk_name(const char *text)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyz";

	return !strncmp(text, "vd", 2) && text[2] && !text[2 + strspn(text + 2, letters)];
}

static int set_serial(struct disk_config *disk, const char *value)
{
	size_t len = strlen(value);

	if (!len || len >= sizeof(disk->serial) || is_disk_name(value))
		return -EINVAL;
	for (size_t i = 0; i < len; i++)
		if (!isgraph((unsigned char)value[i]))
			return -EINVAL;
	memcpy(disk->serial, value, len + 1);
	return 0;
}

static int set_cache(struct disk_config *disk, const char *value)
{
	static const char *const names[] = {
		[DISK_CACHE_NONE] = "none",
		[DISK_CACHE_WRITEBACK] = "writeback",
		[DISK_CACHE_UNSAFE] = "unsafe",
		NULL,
	};

	return set_choice(value, names, &disk->cache);
}

static int set_aio(struct disk_config *disk, const char *value)
{
	static const char *const names[] = {
		[DISK_AIO_NATIVE] = "native",
		[DISK_AIO_THREADS] = "threads",
		NULL,
	};

	return set_choice(value, names, &disk->aio);
}

static int set_on_error(struct disk_config *disk, const char *value)
{
	return disk_on_error_parse(value, &disk->on_error);
}

static int set_overlay(struct disk_config *disk, const char *value)
{
	char *dir = NULL;

	if (strncmp(value, "temp", 4) || (value[4] && (value[4] != ':' || !value[5])))
		return -EINVAL;
	if (value[4]) {
		dir = strdup(value + 5);
		if (!dir)
			return -ENOMEM;
	}
	free(disk->overlay_dir);
	disk->overlay_dir = dir;
	disk->overlay = true;
	return 0;
}

static int set_queues(struct disk_config *disk, const char *value)
{
	return set_unsigned(value, 1, MAX_QUEUES, &disk->queues);
}

static int set_queue_size(struct disk_config *disk, const char *value)
{
	unsigned n;

	if (set_unsigned(value, 4, VIRTQ_MAX_SIZE, &n) || (n & (n - 1)))
		return -EINVAL;
	disk->queue_size = n;
	return 0;
}

static int set_aio_depth(struct disk_config *disk, const char *value)
{
	return set_unsigned(value, 1, MAX_DEPTH, &disk->aio_depth);
}

static int set_poll_max(struct disk_config *disk, const char *value)
{
	return set_unsigned(value, 0, MAX_POLL, &disk->poll_max_us);
}

static int set_block_size(struct disk_config *disk, const char *value)
{
	unsigned n;

	if (set_unsigned(value, 512, 4096, &n) || (n != 512 && n != 4096))
		return -EINVAL;
	disk->block_size = n;
	return 0;
}

static int set_cpu(struct disk_config *disk, const char *value)
{
	uint64_t n;

	if (number_parse(value, 0, CPU_SETSIZE - 1, &n))
		return -EINVAL;
	disk->cpu = n;
	return 0;
}

static int set_group(struct disk_config *disk, const char *value)
{
	const size_t len = strlen(value);

	if (!len || len >= sizeof(disk->group))
		return -EINVAL;
	for (size_t i = 0; i < len; i++)
		if (!isgraph((unsigned char)value[i]))
			return -EINVAL;
	memcpy(disk->group, value, len + 1);
	return 0;
}

static const struct disk_key disk_keys[] = {
	{ "readonly", "nothing, on, off", true, set_readonly },
	{ "serial", "1 to 20 printable characters, not a disk's name as vda is", false,
	  set_serial },
	{ "cache", "none, writeback, unsafe", false, set_cache },
	{ "aio", "native, threads", false, set_aio },
	{ "overlay", "temp, temp:DIR", false, set_overlay },
	{ "queues", "1 to 63", false, set_queues },
	{ "queue-size", "a power of two, 4 to 1024", false, set_queue_size },
	{ "aio-depth", "1 to 256", false, set_aio_depth },
	{ "poll-max-us", "0 to 10000", false, set_poll_max },
	{ "block-size", "512, 4096", false, set_block_size },
	{ "on-error", "report, stop, enospc", false, set_on_error },
	{ "cpu", "0 to 1023", false, set_cpu },
	{ "group", "1 to 31 printable characters", false, set_group },
	{ NULL, NULL, false, NULL },
};

static const struct disk_key *find_key(const char *name)
{
	for (const struct disk_key *key = disk_keys; key->name; key++)
		if (!strcmp(key->name, name))
			return key;
	return NULL;
}

/* Cuts the next field off *rest, in place, and makes two commas one. */
static char *next_field(char **rest)
{
	char *field = *rest, *from = field, *to = field;

	while (*from && (from[0] != ',' || from[1] == ',')) {
		if (*from == ',')
			from++;
		*to++ = *from++;
	}
	*rest = *from ? from + 1 : NULL;
	*to = '\0';
	return field;
}

static int set_limit(struct disk_config *disk, const char *name, const char *value,
		     const char *text, struct error *err)
{
	const char *allowed;
	int ret = throttle_option_set(&disk->limits, name, value, &allowed);

	if (ret != -EINVAL)
		return ret;
	if (!value)
		return error_setx(err, EINVAL, "--disk '%s': %s needs a value: %s", text, name,
				  allowed);
	return error_setx(err, EINVAL, "--disk '%s': %s '%s': allowed: %s", text, name, value,
			  allowed);
}

static int set_field(struct disk_config *disk, char *field, const char *text, struct error *err)
{
	char *value = strchr(field, '=');
	const struct disk_key *key;
	int ret;

	if (value)
		*value++ = '\0';
	ret = set_limit(disk, field, value, text, err);
	if (ret != -ENOENT)
		return ret;
	key = find_key(field);
	if (!key)
		return error_setx(err, EINVAL,
				  "--disk '%s': unknown key '%s' (known: readonly, serial, cache, "
				  "aio, overlay, queues, queue-size, aio-depth, poll-max-us, "
				  "block-size, "
				  "on-error, cpu, iops, bps, ..., group)",
				  text, field);
	if (!value && !key->flag)
		return error_setx(err, EINVAL, "--disk '%s': %s needs a value: %s", text, field,
				  key->allowed);
	if (key->set(disk, value))
		return error_setx(err, EINVAL, "--disk '%s': %s '%s': allowed: %s", text, field,
				  value, key->allowed);
	return 0;
}

/* Linux AIO is asynchronous with O_DIRECT only. */
static int check_engine(const struct disk_config *disk, const char *text, struct error *err)
{
	if (disk->aio != DISK_AIO_NATIVE || disk->cache == DISK_AUTO ||
	    disk->cache == DISK_CACHE_NONE)
		return 0;
	return error_setx(err, EINVAL, "--disk '%s': aio 'native' goes with cache=none only", text);
}

static int check_overlay(const struct disk_config *disk, const char *text, struct error *err)
{
	if (!disk->overlay || !disk->readonly)
		return 0;
	return error_setx(err, EINVAL,
			  "--disk '%s': readonly leaves an overlay nothing to take; give one of "
			  "them",
			  text);
}

static int parse_fields(char *copy, const char *text, struct disk_config *disk, struct error *err)
{
	char *rest = copy;
	struct error why;
	int ret;

	disk->path = strdup(next_field(&rest));
	if (!disk->path)
		return error_set(err, ENOMEM, "--disk");
	if (!disk->path[0])
		return error_setx(err, EINVAL, "--disk '%s': the path is empty", text);
	while (rest) {
		ret = set_field(disk, next_field(&rest), text, err);
		if (ret)
			return ret;
	}
	if (throttle_option_check(&disk->limits, &why))
		return error_setx(err, EINVAL, "--disk '%s': %s", text, why.text);
	ret = check_engine(disk, text, err);
	return ret ? ret : check_overlay(disk, text, err);
}

int disk_option_parse(const char *text, struct disk_config *disk, struct error *err)
{
	char *copy = strdup(text);
	int ret;

	*disk = (struct disk_config){
		.cache = DISK_AUTO,
		.aio = DISK_AUTO,
		.queue_size = 256,
		.aio_depth = 128,
		.poll_max_us = DEFAULT_POLL,
		.block_size = 512,
		.cpu = -1,
	};
	disk->text = strdup(text);
	ret = copy && disk->text ? 0 : error_set(err, ENOMEM, "--disk");
	if (!ret)
		ret = parse_fields(copy, text, disk, err);
	if (ret)
		disk_config_free(disk);
	free(copy);
	return ret;
}

int disk_option_check_control(const struct disk_config *disk, const char *control,
			      struct error *err)
{
	if (control || disk->on_error == DISK_ON_ERROR_REPORT)
		return 0;
	return error_setx(err, EINVAL, "--disk '%s': on-error=%s goes with --control only",
			  disk->path, disk_on_error_names[disk->on_error]);
}

void disk_config_free(struct disk_config *disk)
{
	free(disk->text);
	free(disk->path);
	free(disk->overlay_dir);
	disk->text = disk->path = NULL;
	disk->overlay_dir = NULL;
}
