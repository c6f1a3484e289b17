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

static int open_late(struct machine *m, const struct disk_config *config, struct machine_disk **out,
		     struct error *err)
{
	struct broker broker;
	const struct blk_opener by = { broker_open, &broker };
	struct block_backend be;
	int ret;

	broker_init(&broker, m->opt->broker_fd);
	ret = block_backend_open_by(&be, config, &by, err);
	return ret ? ret : machine_disk_add(m, config, &be, out, err);
}

static int parse_late(const struct kept_disk *kept, struct disk_config *config, struct error *err)
{
	if (!memchr(kept->text, '\0', sizeof(kept->text)))
		return error_setx(err, EINVAL, "disk: the boot before has left nonsense");
	return disk_option_parse(kept->text, config, err);
}

static int add_late(struct machine *m, const struct kept_disk *kept, struct error *err)
{
	struct machine_disk *disk;
	struct disk_config config;
	int ret = parse_late(kept, &config, err);

	if (ret)
		return ret;
	ret = open_late(m, &config, &disk, err);
	if (ret) {
		disk_config_free(&config);
		return ret;
	}
	disk->own = config;
	disk->config = &disk->own;
	return 0;
}

static bool is_late(const struct machine *m, const struct kept_disk *kept)
{
	return kept->option < 0 || (unsigned)kept->option >= m->opt->ndisks;
}

static int add_each(struct machine *m, const struct kept *kept, struct error *err)
{
	struct error why;
	int ret = 0;

	for (unsigned i = 0; i < kept->n && !ret; i++) {
		const struct kept_disk *disk = &kept->disk[i];

		if (!is_late(m, disk))
			ret = machine_disk_open(m, &m->opt->disk[disk->option], err);
		else if (add_late(m, disk, &why))
			log_warn("%s: left out of this boot", why.text);
	}
	return ret;
}

/* Groups that have their limits before the disk is added that brings them. */
struct held {
	struct throttle_group *group[KEPT_MAX];
	unsigned n;
};

static void hold(struct machine *m, const struct disk_config *config, struct held *held)
{
	struct error ignored; /* the disk's own attempt will say it */

	if (config->group[0] && throttle_limits_any(&config->limits) &&
	    !throttle_group_join(&m->throttle, config->group, &config->limits,
				 &held->group[held->n], &ignored))
		held->n++;
}

/*
 * In the order of names a disk that left the limits of its group to others may come before them, and
 * would make the group without any. What the command line says goes before what came later.
 */
static void hold_groups(struct machine *m, const struct kept *kept, struct held *held)
{
	struct disk_config config;
	struct error ignored;

	held->n = 0;
	for (unsigned i = 0; i < kept->n; i++)
		if (!is_late(m, &kept->disk[i]))
			hold(m, &m->opt->disk[kept->disk[i].option], held);
	for (unsigned i = 0; i < kept->n; i++) {
		if (!is_late(m, &kept->disk[i]) || parse_late(&kept->disk[i], &config, &ignored))
			continue;
		hold(m, &config, held);
		disk_config_free(&config);
	}
}

static void leave_groups(struct machine *m, struct held *held)
{
	while (held->n)
		throttle_group_leave(&m->throttle, held->group[--held->n]);
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
	struct held held;
	int ret;

	if (!kept)
		return -ENOMEM;
	hold_groups(m, kept, &held);
	ret = add_each(m, kept, err);
	leave_groups(m, &held);
	free(kept);
	return ret;
}
