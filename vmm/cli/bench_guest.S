/* SPDX-License-Identifier: Apache-2.0 */
/* The guest of `mvmm bench`, an ELF file in our own; empty where there is none. */
	.section .rodata
	.globl bench_guest, bench_guest_size
	.balign 8
bench_guest_size:
	.quad	end - bench_guest
bench_guest:
#ifdef BENCH_GUEST
	.incbin BENCH_GUEST
#endif
end:

	.section .note.GNU-stack, "", %progbits
