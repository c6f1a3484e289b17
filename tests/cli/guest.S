/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest that ends as its command line says, by its first letter; entered by PVH (32-bit protected
 * mode, no paging, EBX = hvm_start_info).
 *
 *	p  power off (ACPI sleep register)	r  reset (i8042)	R  reset (ACPI reset register)
 *	t  triple fault				h  halt for good	l  loop for ever
 *	d  write the second letter to the debug-exit port 0xf4
 *	v  pvpanic, then reset			V  pvpanic, then loop
 *	w  pvpanic, then triple fault
 *	m  print the rest, then reset		M  print the rest, then loop
 *	s  write serial bytes for ever, then power off once 0x30000 are out
 *	e  echo serial input until 'q', then power off
 *	b  print 'b', then reset; a second boot does the same
 *	c  read all of the CMOS, the clock included, then power off
 */
#define COM1	   0x3f8
#define LSR_READY  0x01
#define LSR_THRE   0x20
#define CMDLINE	   24 /* hvm_start_info.cmdline_paddr */
#define SLP_S5	   0x34 /* SLP_EN | SLP_TYP 5 */

	.section .note.pvh, "a", @note
	.long	4, 4, 18	/* namesz, descsz, XEN_ELFNOTE_PHYS32_ENTRY */
	.asciz	"Xen"
	.long	_start

	.text
	.code32
	.globl	_start
_start:
	movl	CMDLINE(%ebx), %esi
	lodsb
	cmpb	$'p', %al
	je	poweroff
	cmpb	$'r', %al
	je	reset
	cmpb	$'R', %al
	je	acpi_reset
	cmpb	$'t', %al
	je	triple
	cmpb	$'h', %al
	je	halt
	cmpb	$'d', %al
	je	debug_exit
	cmpb	$'v', %al
	je	panic_reset
	cmpb	$'V', %al
	je	panic_loop
	cmpb	$'w', %al
	je	panic_triple
	movl	$reset, %edi
	cmpb	$'m', %al
	je	print
	movl	$loop, %edi
	cmpb	$'M', %al
	je	print
	cmpb	$'s', %al
	je	spam
	cmpb	$'e', %al
	je	echo
	cmpb	$'b', %al
	je	boot
	cmpb	$'c', %al
	je	clock
loop:	jmp	loop

poweroff:
	movw	$0x600, %dx
	movb	$SLP_S5, %al
	outb	%al, %dx
	jmp	loop
acpi_reset:
	movw	$0x602, %dx
	movb	$1, %al
	outb	%al, %dx
	jmp	loop
clock:
	xorl	%ecx, %ecx
1:	movb	%cl, %al
	outb	%al, $0x70
	inb	$0x71, %al
	incb	%cl
	jns	1b
	jmp	poweroff
boot:
	movw	$COM1, %dx
	outb	%al, %dx
reset:
	movb	$0xfe, %al
	outb	%al, $0x64
	jmp	loop
triple:
	lidt	no_idt
	ud2
halt:
	cli
1:	hlt
	jmp	1b
debug_exit:
	lodsb
	outb	%al, $0xf4
	jmp	loop
panic_reset:
	movw	$0x505, %dx
	movb	$1, %al
	outb	%al, %dx
	jmp	reset
panic_triple:
	movw	$0x505, %dx
	movb	$1, %al
	outb	%al, %dx
	jmp	triple
panic_loop:
	movw	$0x505, %dx
	movb	$1, %al
	outb	%al, %dx
	jmp	loop
print:
	movw	$COM1, %dx
1:	lodsb
	testb	%al, %al
	jz	2f
	outb	%al, %dx
	jmp	1b
2:	jmp	*%edi
spam:
	movl	$0x30000, %ecx
1:	movw	$COM1 + 5, %dx
2:	inb	%dx, %al
	testb	$LSR_THRE, %al
	jz	2b
	movw	$COM1, %dx
	movb	$'s', %al
	outb	%al, %dx
	loop	1b
	jmp	poweroff
echo:
	movw	$COM1 + 5, %dx
1:	inb	%dx, %al
	testb	$LSR_READY, %al
	jz	1b
	movw	$COM1, %dx
	inb	%dx, %al
	outb	%al, %dx
	cmpb	$'q', %al
	je	poweroff
	jmp	echo

	.balign	4
no_idt:	.word	0
	.long	0

	.section .note.GNU-stack, "", @progbits
