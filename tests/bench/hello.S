/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The smallest guest: one byte on the serial port, then halt. What the time to its byte measures is
 * the monitor's own start. Entered by PVH (32-bit protected mode) in every monitor that is compared.
 */
	.section .note.pvh, "a", @note
	.long	4, 4, 18	/* namesz, descsz, XEN_ELFNOTE_PHYS32_ENTRY */
	.asciz	"Xen"
	.long	_start

	.text
	.code32
	.globl	_start
_start:
	movw	$0x3f8, %dx
	movb	$'!', %al
	outb	%al, %dx
	cli
1:	hlt
	jmp	1b

	.section .note.GNU-stack, "", @progbits
