/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The payload: brings the machine up, runs the tests its command line names, says on the serial
 * console how they went, and ends the machine. Runs in ring 3, see start.S.
 *
 *	test=NAME[,NAME...]  what to do, see the tables
 *	mmio=ADDRESS:PIN     a virtio-mmio device; repeatable. PCI is always searched
 *	apic=x2              x2APIC mode
 *	end=debug-exit       end by that port even if all is well
 *	others               parameters of single tests
 */
#include "ways.h"
#include "guest/end.h"
#include "guest/io.h"
#include "guest/irq.h"
#include "guest/lib.h"
#include "guest/start.h"
#include "md5.h"
#include "tests.h"

#define NAME_MAX 32

static struct virtio devices[VIRTIO_MAX_DEVICES];
static struct blk blks[VIRTIO_MAX_DEVICES];
static struct shadow shadow;
static unsigned ndisks;

static const struct test *const tables[] = {
	io_tests,      failing_tests, request_tests, reset_tests,
	hostile_tests, machine_tests, pci_tests,     smp_tests,
};

unsigned disk_count(void)
{
	if (!ndisks) {
		ndisks = virtio_find(VIRTIO_ID_BLOCK, devices, ARRAY_SIZE(devices));
		for (unsigned i = 0; i < ndisks; i++)
			blks[i].dev = &devices[i];
	}
	return ndisks;
}

struct blk *disk(unsigned n)
{
	if (n >= disk_count())
		end_abort("no such disk");
	return &blks[n];
}

struct shadow *disk_shadow(void)
{
	if (!shadow.sectors)
		shadow_init(&shadow, disk(0)->capacity);
	return &shadow;
}

uint32_t disk_block(void)
{
	return option_u64("block", SECTOR) / SECTOR;
}

bool disk_works(void)
{
	struct workload w = {
		.queue = disk(0)->queue,
		.nqueues = 1,
		.unit = disk_block(),
		.waiting = WAIT_IRQ,
		.depth = 8,
		.max_sectors = 8,
		.write_percent = 50,
		.total = 50,
		.seed = rdtsc(),
	};

	if (!blk_start(disk(0), BLK_FEATURES, 1, VQ_MAX_SIZE))
		return false;
	w.shadow = disk_shadow();
	workload_init(&w);
	if (workload_run(&w))
		return true;
	workload_report(&w);
	return false;
}

static bool run_one(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(tables); i++) {
		for (const struct test *t = tables[i]; t->name; t++) {
			if (strcmp(t->name, name) == 0) {
				t->run();
				return true;
			}
		}
	}
	return end_by_name(name);
}

/* Copies the next name of a comma list; NULL at its end. */
static const char *next_name(const char *list, char *name)
{
	unsigned n = 0;

	if (!*list || *list == ' ')
		return NULL;
	for (; *list && *list != ' ' && *list != ','; list++) {
		if (n < NAME_MAX - 1)
			name[n++] = *list;
	}
	name[n] = '\0';
	return *list == ',' ? list + 1 : list;
}

static void run_tests(const char *list)
{
	char name[NAME_MAX];

	while ((list = next_name(list, name))) {
		if (!run_one(name))
			ok(false, "there is no test named %s", name);
	}
}

_Noreturn void guest_main(void)
{
	const char *list;
	char md5[MD5_TEXT];

	serial_init();
	boot_init();
	irq_init();
	time_init();
	print("\n# payload: %s, %lu MiB, %s\n", boot.protocol ? boot.protocol : "?",
	      boot.ram_size >> 20, irq_x2apic() ? "x2APIC" : "xAPIC");
	list = option("test", 0);
	if (list)
		run_tests(list);
	else
		note("command line: %s", boot.cmdline);
	if (shadow.sectors) {
		shadow_md5(&shadow, md5);
		note("md5 %s", md5);
	}
	end_tests(tap_end());
}
