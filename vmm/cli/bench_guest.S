/* SPDX-License-Identifier: Apache-2.0 */
/* The guest of `mvmm bench`, an ELF file in our own; empty where there is none. */
	.section .rodata
	.globl bench_guest, bench_guest_end
bench_guest:
#ifdef BENCH_GUEST
	.incbin BENCH_GUEST
#endif
bench_guest_end:

	.section .note.GNU-stack, "", %progbits
