/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The payload: brings the machine up, runs the tests its command line names, says on the serial
 * console how they went, and ends the machine. Runs in ring 3, see start.S.
 *
 *	test=NAME[,NAME...]  what to do, see the tables
 *	mmio=ADDRESS:PIN     a virtio-mmio device; repeatable. PCI is always searched
 *	apic=x2              x2APIC mode
 *	others=busy          verified I/O on the other disks meanwhile, by the second CPU
 *	generation=1         the disk was filled by the test `fill`
 *	end=debug-exit       end by that port even if all is well
 *	and more             parameters of single tests
 */
#include "ways.h"
#include "guest/end.h"
#include "guest/io.h"
#include "guest/irq.h"
#include "guest/lib.h"
#include "guest/start.h"
#include "md5.h"
#include "neighbours.h"
#include "tests.h"

#define NAME_MAX 32

static struct virtio devices[VIRTIO_MAX_DEVICES];
static struct blk blks[VIRTIO_MAX_DEVICES];
static struct shadow shadows[VIRTIO_MAX_DEVICES];
static unsigned ndisks;

static const struct test *const tables[] = {
	io_tests,	   failing_tests, request_tests, reset_tests, hostile_tests,
	notify_tests,	   machine_tests, pci_tests,	 smp_tests,   frozen_tests,
	pci_hostile_tests, place_tests,	  serial_tests,	 plug_tests,  live_tests,
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

struct shadow *disk_shadow_of(unsigned n)
{
	if (!shadows[n].sectors)
		shadow_init(&shadows[n], disk(n)->capacity);
	return &shadows[n];
}

struct shadow *disk_shadow(void)
{
	return disk_shadow_of(0);
}

uint64_t chance(void)
{
	static uint64_t state;

	if (!state)
		state = option_u64("seed", 1);
	return random_u64(&state);
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

void run_disturbed_by(enum waiting waiting, const char *what, void (*disturb)(struct virtio *dev))
{
	struct blk *blk = disk(0);
	struct workload w = {
		.queue = blk->queue,
		.nqueues = 1,
		.waiting = waiting,
		.depth = 16,
		.max_sectors = 8,
		.write_percent = 50,
		.total = 100,
		.seed = 1,
		.disturb = disturb,
	};
	bool good = true;
	unsigned rounds = 0;

	if (!ok(blk_start(blk, BLK_FEATURES, 1, VQ_MAX_SIZE), "the device starts"))
		return;
	w.shadow = disk_shadow();
	workload_init(&w);
	while (good && rounds++ < option_u64("rounds", 5)) {
		w.done = 0;
		good = workload_run(&w);
		w.seed++;
	}
	ok(good, "verified I/O while %s", what);
	workload_report(&w);
}

void run_disturbed(const char *what, void (*disturb)(struct virtio *dev))
{
	run_disturbed_by(WAIT_IRQ, what, disturb);
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

static void run_with_neighbours(const char *list)
{
	neighbours_start();
	run_tests(list);
	neighbours_end();
}

/* What each disk must hold: the host compares. */
static void say_md5s(void)
{
	char md5[MD5_TEXT];

	for (unsigned i = 0; i < ndisks; i++) {
		if (!shadows[i].sectors)
			continue;
		shadow_md5(&shadows[i], md5);
		note("md5 %s of disk %u", md5, i);
	}
}

_Noreturn void guest_main(void)
{
	const char *list;

	serial_init();
	boot_init();
	irq_init();
	time_init();
	print("\n# payload: %s, %lu MiB, %s\n", boot.protocol ? boot.protocol : "?",
	      boot.ram_size >> 20, irq_x2apic() ? "x2APIC" : "xAPIC");
	list = option("test", 0);
	if (!list)
		note("command line: %s", boot.cmdline);
	else if (option_is("others", "busy"))
		run_with_neighbours(list);
	else
		run_tests(list);
	say_md5s();
	end_tests(tap_end());
}
