/* SPDX-License-Identifier: Apache-2.0 */
/* Prints an assembled machine, for --dry-run and --verbose. Main. */
#include <inttypes.h>

#include "vmm/cli/machine.h"
#include "vmm/cli/number.h"
#include "vmm/cli/throttle_option.h"

static void print_range(FILE *out, uint64_t base, uint64_t len, int width, const char *what)
{
	fprintf(out, "  0x%0*" PRIx64 "-0x%0*" PRIx64 "  %s\n", width, base, width, base + len - 1,
		what);
}

static void print_memory(const struct guest_memory *mem, FILE *out)
{
	char size[24], what[32];

	for (unsigned i = 0; i < mem->nslots; i++) {
		snprintf(what, sizeof(what), "RAM %s", number_format_size(mem->slot[i].size, size));
		print_range(out, mem->slot[i].gpa, mem->slot[i].size, 12, what);
	}
}

static void print_bus(const struct bus *bus, int width, FILE *out)
{
	for (unsigned i = 0; i < bus->n; i++)
		print_range(out, bus->dev[i].base, bus->dev[i].len, width, bus->dev[i].name);
}

static void print_place(const struct machine *m, const struct machine_disk *disk, FILE *out)
{
	if (m->opt->transport == TRANSPORT_PCI)
		fprintf(out, "PCI 00:%02x.0", disk->pci.slot);
	else
		fprintf(out, "mmio 0x%" PRIx64 " GSI %u isr=%s", disk->mmio.base, disk->mmio.gsi,
			disk->mmio.page ? "page" : "exit");
}

static void print_limits(const struct virtio_blk *blk, FILE *out)
{
	const struct throttle_limits *limits = &blk->group->limits;
	char name[24];

	for (unsigned i = 0; i < THROTTLE_KINDS * THROTTLE_OPTION_KEYS; i++)
		if (throttle_option_get(limits, i))
			fprintf(out, ",%s=%" PRIu64, throttle_option_name(i, name),
				throttle_option_get(limits, i));
	if (blk->group->name[0])
		fprintf(out, ",group=%s", blk->group->name);
}

static void print_disk(const struct machine *m, const struct machine_disk *disk, FILE *out)
{
	static const char *const cache[] = { "none", "writeback", "unsafe" };
	static const char *const aio[] = { "native", "threads" };
	const struct block_backend *be = &disk->blk.backend;
	const struct disk_config *config = disk->config;
	char size[24];

	fprintf(out, "  %s  ", disk->blk.dev.name);
	print_place(m, disk, out);
	fprintf(out, "  %s%s  cache=%s,aio=%s,queues=%u,queue-size=%u,aio-depth=%u,block-size=%u",
		number_format_size(be->size, size), be->readonly ? " readonly" : "",
		cache[be->cache], aio[be->aio], disk->blk.dev.nqueues, config->queue_size,
		config->aio_depth, be->block_size);
	if (config->overlay)
		fprintf(out, ",overlay=temp%s%s", config->overlay_dir ? ":" : "",
			config->overlay_dir ? config->overlay_dir : "");
	if (config->serial[0])
		fprintf(out, ",serial=%s", config->serial);
	print_limits(&disk->blk, out);
	fprintf(out, "  %s\n", config->path);
}

void machine_print(const struct machine *m, FILE *out)
{
	fprintf(out, "vCPUs: %u\nmemory:\n", m->vm.nvcpus);
	print_memory(&m->vm.mem, out);
	print_bus(&m->vm.mmio, 12, out);
	fprintf(out, "ports:\n");
	print_bus(&m->vm.pio, 4, out);
	fprintf(out, "disks:%s\n", m->ndisks ? "" : " none");
	for (unsigned i = 0; i < m->ndisks; i++)
		print_disk(m, m->disk[i], out);
	fprintf(out, "kernel: %s, entry 0x%" PRIx64 " (%s)\n", m->opt->kernel, m->entry.entry,
		m->entry.protocol == BOOT_PVH ? "PVH" : "Linux 64-bit");
	if (m->opt->initrd)
		fprintf(out, "initrd: %s\n", m->opt->initrd);
	fprintf(out, "command line: %s\n", m->cmdline);
}
