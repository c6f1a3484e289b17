/* SPDX-License-Identifier: Apache-2.0 */
/* The tests a command line may name: `test=NAME[,NAME...]`. */
#ifndef PAYLOAD_TESTS_H
#define PAYLOAD_TESTS_H

#include "guest/blk.h"
#include "workload.h"

struct test {
	const char *name;
	void (*run)(void);
};

/* Each ends with a nameless entry. */
extern const struct test io_tests[], request_tests[], reset_tests[], frozen_tests[],
	hostile_tests[], notify_tests[], machine_tests[], failing_tests[], place_tests[],
	serial_tests[], pci_tests[], pci_hostile_tests[], smp_tests[], plug_tests[], live_tests[];

/* main.c. The disks of the machine, PCI first; a missing one ends the payload. */
unsigned disk_count(void);
struct blk *disk(unsigned n);
/* What a disk must hold; the host compares its checksum with the image at the end. */
struct shadow *disk_shadow_of(unsigned n);
struct shadow *disk_shadow(void); /* disk 0 */

/* The logical block the host was asked for (`block=` on the command line), in sectors. */
uint32_t disk_block(void);

/* A few verified requests on disk 0 by interrupts, after whatever a test did to it. */
bool disk_works(void);

/* Verified requests on disk 0, each waited for by its interrupt, with a call of `disturb` after
 * every kick: one check, named `what`. */
void run_disturbed(const char *what, void (*disturb)(struct virtio *dev));
/* The same by another way to wait: for what takes interrupts away. */
void run_disturbed_by(enum waiting waiting, const char *what, void (*disturb)(struct virtio *dev));

/* A random number; `seed=` on the command line begins another sequence. */
uint64_t chance(void);

/* test_smp.c. CPUs as `cpus=N` promises; their APIC ids are 0 to N - 1. */
bool start_all_cpus(void);

#endif
