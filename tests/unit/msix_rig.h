/* SPDX-License-Identifier: Apache-2.0 */
/* The vectors of one function against a KVM in the test. */
#ifndef MVMM_TESTS_MSIX_RIG_H
#define MVMM_TESTS_MSIX_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <linux/pci_regs.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "tests/unit/fake_kvm.h"
#include "vmm/msix.h"

#define ENABLE	PCI_MSIX_FLAGS_ENABLE
#define MASKALL PCI_MSIX_FLAGS_MASKALL
#define VM_FD	1000000 /* nothing the kernel knows */
#define NVEC	40
#define ADDR	0xfee01000u

struct rig {
	struct irq_router router;
	struct msix msix;
};

static inline struct rig *rig_new(void)
{
	struct rig *rig = calloc(1, sizeof(*rig));

	fake_kvm_reset();
	assert_non_null(rig);
	assert_int_equal(irq_router_init(&rig->router, VM_FD, NULL), 0);
	assert_int_equal(msix_init(&rig->msix, &rig->router, NVEC, 0, NULL), 0);
	return rig;
}

static inline void rig_free(struct rig *rig)
{
	msix_destroy(&rig->msix);
	assert_int_equal(fake_kvm.nirqfds, 0);
	irq_router_destroy(&rig->router);
	free(rig);
}

static inline void write32(struct rig *rig, uint64_t off, uint32_t value)
{
	msix_table_write(&rig->msix, off, &value, 4);
}

static inline uint32_t read32(struct rig *rig, uint64_t off)
{
	uint32_t value = 0x12345678;

	msix_table_read(&rig->msix, off, &value, 4);
	return value;
}

/* As Linux does it: masked, then address and data. */
static inline void program(struct rig *rig, unsigned v, uint32_t addr, uint32_t data)
{
	write32(rig, 16 * v + 12, 1);
	write32(rig, 16 * v, addr);
	write32(rig, 16 * v + 4, 0);
	write32(rig, 16 * v + 8, data);
}

static inline void mask(struct rig *rig, unsigned v, bool on)
{
	write32(rig, 16 * v + 12, on);
}

static inline bool assigned(struct rig *rig, unsigned v)
{
	return fake_kvm_is_assigned(rig->msix.vector[v].fd);
}

static inline void signal_vector(struct rig *rig, uint16_t v)
{
	struct irq_line line = msix_line(&rig->msix, v);

	irq_line_signal(&line);
	fake_kvm_deliver();
}

static inline unsigned injected(struct rig *rig, unsigned v)
{
	return fake_kvm.injected[rig->msix.vector[v].gsi];
}

static inline uint64_t pba(struct rig *rig)
{
	uint64_t bits;

	msix_pba_read(&rig->msix, 0, &bits, 8);
	return bits;
}

static inline struct rig *rig_with_vector_3(void)
{
	struct rig *rig = rig_new();

	msix_set_control(&rig->msix, ENABLE);
	program(rig, 3, ADDR, 0x31);
	mask(rig, 3, false);
	return rig;
}

#endif
