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
extern const struct test io_tests[], request_tests[], reset_tests[], hostile_tests[],
	machine_tests[], failing_tests[], pci_tests[], smp_tests[];

/* main.c. The disks of the machine, PCI first; a missing one ends the payload. */
unsigned disk_count(void);
struct blk *disk(unsigned n);
/* What disk 0 must hold; the host compares its checksum with the image at the end. */
struct shadow *disk_shadow(void);

/* The logical block the host was asked for (`block=` on the command line), in sectors. */
uint32_t disk_block(void);

/* A few verified requests on disk 0 by interrupts, after whatever a test did to it. */
bool disk_works(void);

#endif
