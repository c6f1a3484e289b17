/* SPDX-License-Identifier: Apache-2.0 */
/* The disks of a machine from boot to boot; see kept.h. Main. Must not know what a boot is. */
#include "vmm/cli/kept.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "vmm/cli/broker.h"
#include "vmm/cli/disk_option.h"
#include "vmm/cli/machine.h"
#include "vmm/log.h"

/* Storage that answers at all does so by then. The guest waits, and so does whoever wants to reach it. */
#define PATIENCE_MS 10000

_Static_assert(KEPT_MAX == MACHINE_MAX_DISKS, "a place for each");

struct kept *kept_create(struct error *err)
{
	struct kept *kept = mmap(NULL, sizeof(*kept), PROT_READ | PROT_WRITE,
				 MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (kept != MAP_FAILED)
		return kept;
	error_set(err, errno, "--on-reboot 'restart': memory");
	return NULL;
}

static const struct machine_disk *find(const struct machine *m, unsigned index)
{
	for (unsigned i = 0; i < m->ndisks; i++)
		if (m->disk[i]->index == index)
			return m->disk[i];
	return NULL;
}

static void put(struct kept *kept, const struct machine *m, const struct machine_disk *disk)
{
	struct kept_disk *to = &kept->disk[kept->n++];
	const bool late = disk->config == &disk->own;

	to->option = late ? -1 : (int)(disk->config - m->opt->disk);
	to->limits = disk->blk.group->limits;
	to->on_error = disk->blk.on_error;
	if (late)
		strncpy(to->text, disk->own.text, sizeof(to->text));
}

void kept_update(const struct machine *m)
{
	struct kept *kept = m->opt->kept;
	const struct machine_disk *disk;

	if (!kept)
		return;
	kept->n = 0;
	for (unsigned i = 0; i < KEPT_MAX; i++) {
		disk = find(m, i);
		if (disk && disk->exit.state == DISK_STAYS)
			put(kept, m, disk);
	}
	kept->changed = 1;
}

static int open_late(struct machine *m, const struct disk_config *config, struct broker *broker,
		     struct machine_disk **out, struct error *err)
{
	const struct blk_opener by = { broker_open, broker };
	struct block_backend be;
	int ret;

	ret = block_backend_open_by(&be, config, &by, err);
	return ret ? ret : machine_disk_add(m, config, &be, out, err);
}

static int parse_late(const struct kept_disk *kept, struct disk_config *config, struct error *err)
{
	if (!memchr(kept->text, '\0', sizeof(kept->text)))
		return error_setx(err, EINVAL, "disk: the boot before has left nonsense");
	return disk_option_parse(kept->text, config, err);
}

static int check_limits(const struct throttle_limits *limits, struct error *err)
{
	for (unsigned i = 0; i < THROTTLE_KINDS * THROTTLE_OPTION_KEYS; i++)
		if (throttle_option_get(limits, i) > throttle_option_max(i))
			return error_setx(err, EINVAL, "limits: too high");
	return throttle_option_check(limits, err);
}

/* What the control socket has made of them, and not what their options say. A disk has the limits of its
 * group, so all of a group have the same, and each may be the first. */
static int put_policy(const struct kept_disk *kept, struct disk_config *config, struct error *err)
{
	const int ret = check_limits(&kept->limits, err);

	if (ret)
		return ret;
	if (kept->on_error > DISK_ON_ERROR_ENOSPC)
		return error_setx(err, EINVAL, "on-error: no such policy");
	config->limits = kept->limits;
	config->on_error = kept->on_error;
	return 0;
}

static int add_late(struct machine *m, const struct kept_disk *kept, struct broker *broker,
		    struct error *err)
{
	struct machine_disk *disk;
	struct disk_config config;
	int ret = parse_late(kept, &config, err);

	if (ret)
		return ret;
	ret = put_policy(kept, &config, err);
	if (!ret)
		ret = open_late(m, &config, broker, &disk, err);
	if (ret) {
		disk_config_free(&config);
		return ret;
	}
	disk->own = config;
	disk->config = &disk->own;
	return 0;
}

/* It is there whatever the boot before has left. */
static int add_ours(struct machine *m, const struct kept_disk *kept, struct error *err)
{
	struct disk_config *config = &m->opt->disk[kept->option];
	struct error why;

	if (put_policy(kept, config, &why))
		log_warn("disk '%s': as on the command line again: %s", config->path, why.text);
	return machine_disk_open(m, config, err);
}

static bool is_late(const struct machine *m, const struct kept_disk *kept)
{
	return kept->option < 0 || (unsigned)kept->option >= m->opt->ndisks;
}

static int add_each(struct machine *m, const struct kept *kept, struct error *err)
{
	struct broker broker;
	struct error why;
	int ret = 0;

	broker_init(&broker, m->opt->broker_fd, PATIENCE_MS);
	for (unsigned i = 0; i < kept->n && !ret; i++) {
		const struct kept_disk *disk = &kept->disk[i];

		if (!is_late(m, disk))
			ret = add_ours(m, disk, err);
		else if (add_late(m, disk, &broker, &why))
			log_warn("%s: left out of this boot", why.text);
	}
	return ret;
}

/*
 * A process of the boot before, if somebody has taken it over, may be left and write to the list
 * while this one, which is in no sandbox yet, reads it: what is checked has to be what is used.
 */
static struct kept *copy(const struct kept *shared, struct error *err)
{
	struct kept *own = malloc(sizeof(*own));

	if (!own) {
		error_set(err, ENOMEM, "disks of the boot before");
		return NULL;
	}
	memcpy(own, shared, sizeof(*own));
	if (own->n > KEPT_MAX)
		own->n = KEPT_MAX;
	return own;
}

int kept_add(struct machine *m, struct error *err)
{
	struct kept *kept = copy(m->opt->kept, err);
	int ret;

	if (!kept)
		return -ENOMEM;
	ret = add_each(m, kept, err);
	free(kept);
	return ret;
}
