/* SPDX-License-Identifier: Apache-2.0 */
/* XEN_ELFNOTE_PHYS32_ENTRY: boot me in 32-bit protected mode, EBX = hvm_start_info. */
	.section .note.pvh, "a", @note
	.balign 4
	.long	4, 8, 18
	.asciz	"Xen"
	.quad	start32

	.section .note.GNU-stack, "", @progbits
