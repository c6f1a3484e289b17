/* SPDX-License-Identifier: Apache-2.0 */
/* What start.S and the C code agree on. */
#ifndef GUEST_START_H
#define GUEST_START_H

#define GDT_CODE0  0x08
#define GDT_DATA0  0x10
#define GDT_CODE3  0x18
#define GDT_DATA3  0x20
#define GDT_CODE32 0x28
#define GDT_TSS	   0x38 /* one of 16 bytes for each CPU */
#define GDT_SIZE   (GDT_TSS + 16 * MAX_CPUS)
#define MAX_CPUS   64

#define TSS_BITMAP 104 /* the I/O permissions follow the 64-bit TSS */
#define TSS_SIZE   (TSS_BITMAP + 65536 / 8 + 1)

#define IDT_SIZE	    4096
#define TRAP_STUB_SIZE	    16
#define TRAP_INVALID_OPCODE 6
#define TRAPS_WITH_ERROR    0x60227d00 /* SDM vol. 3, 6.3.1: 8, 10-14, 17, 21, 29, 30 */
#define IRQ_VECTOR_FIRST    0x30
#define IRQ_VECTORS	    64
#define IRQ_STUB_SIZE	    32

#ifndef __ASSEMBLER__
#include <stdint.h>

/* main.c: where ring 3 begins. */
_Noreturn void guest_main(void);
/* smp.c: and where it begins on further CPUs. */
_Noreturn void smp_main(void);
/* end.c: `frame` is what the stub pushed (vector, error code) and the CPU before it. In ring 0. */
void trap_report(const uint64_t *frame);
#endif

#endif
