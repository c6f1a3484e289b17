/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From either boot protocol to C code in ring 3, and the few instructions that must run in ring 0.
 *
 * Some hosts emulate ring 0 one instruction at a time while ring 3 runs natively, so all that can
 * is left to ring 3: the page tables are assembled, not computed, and C code fills the IDT. Ring 3
 * may use every port and every page, device registers included. The ports are granted by the TSS's
 * bitmap: such hosts lose the IOPL on the way to ring 3, and with it CLI and STI.
 *
 * All addresses below 4 GiB are mapped one to one, and the last GiB of them again at the top of the
 * 64-bit space, so that the local APIC is in reach of a sign-extended 32-bit displacement: an
 * interrupt costs three instructions.
 */
#include "guest/start.h"

#define CR0_BOOT     0x80000033 /* PG, NE, ET, MP, PE */
#define CR0_PROTECTED 0x00000033
#define CR4_PAE	     0x20
#define MSR_EFER     0xc0000080
#define EFER_LME     0x100
#define RFLAGS_RING3 0x0002 /* interrupts off until ring 3 asks for them */
#define RFLAGS_IF    0x0200

#define PTE_TABLE    0x007 /* present, writable, user */
#define PTE_RAM	     0x087 /* a 2 MiB page */
#define PTE_DEVICE   0x09f /* and uncached */

#define LAPIC_EOI    0xfffffffffee000b0
#define X2APIC_EOI   0x80b

	.section .text.start, "ax"
	.code32
	.globl start32
start32:
	movl	$pml4, %eax
	movl	%eax, %cr3
	movl	$CR4_PAE, %eax
	movl	%eax, %cr4
	movl	$MSR_EFER, %ecx
	rdmsr
	orl	$EFER_LME, %eax
	wrmsr
	movl	$CR0_BOOT, %eax
	movl	%eax, %cr0
	lgdt	gdt_ptr
	movl	%ebx, boot_start_info
	ljmp	$GDT_CODE0, $start_common

/*
 * Further CPUs begin in real mode, at a page below 1 MiB to which smp.c copies this, with what they
 * need in ap_tss and ap_stack: one at a time.
 */
	.code16
	.globl ap_real_mode
ap_real_mode:
	cli
	lgdtl	%cs:ap_gdt_ptr - ap_real_mode
	movl	$CR0_PROTECTED, %eax
	movl	%eax, %cr0
	ljmpl	$GDT_CODE32, $ap_start32
ap_gdt_ptr:
	.word	GDT_SIZE - 1
	.long	gdt
ap_real_mode_end:

	.code32
ap_start32:
	movl	$pml4, %eax
	movl	%eax, %cr3
	movl	$CR4_PAE, %eax
	movl	%eax, %cr4
	movl	$MSR_EFER, %ecx
	rdmsr
	orl	$EFER_LME, %eax
	wrmsr
	movl	$CR0_BOOT, %eax
	movl	%eax, %cr0
	ljmp	$GDT_CODE0, $ap_common

	.code64
ap_common:
	movq	ap_stack, %rsp
	lgdt	gdt_ptr
	movl	$GDT_DATA0, %eax
	movl	%eax, %ss
	movw	ap_tss, %ax
	ltr	%ax
	lidt	idt_ptr
	pushq	$GDT_DATA3 | 3
	pushq	ap_stack
	pushq	$RFLAGS_RING3
	pushq	$GDT_CODE3 | 3
	pushq	$smp_main
	iretq

	.globl start64
start64:
	movl	$pml4, %eax
	movq	%rax, %cr3
	lgdt	gdt_ptr
	movl	%esi, boot_zero_page
	movl	$ring0_stack_top, %esp
	pushq	$GDT_CODE0
	pushq	$start_common
	lretq

start_common:
	xorl	%eax, %eax
	movl	%eax, %ds
	movl	%eax, %es
	movl	%eax, %fs
	movl	%eax, %gs
	movl	$GDT_DATA0, %eax
	movl	%eax, %ss
	movl	$ring0_stack_top, %esp
	/* The TSS descriptor wants its base in pieces, which no relocation can express. */
	movl	$tss, %eax
	movw	%ax, gdt + GDT_TSS + 2
	shrl	$16, %eax
	movb	%al, gdt + GDT_TSS + 4
	movb	%ah, gdt + GDT_TSS + 7
	movl	$GDT_TSS, %eax
	ltr	%ax
	lidt	idt_ptr
	pushq	$GDT_DATA3 | 3
	pushq	$ring3_stack_top
	pushq	$RFLAGS_RING3
	pushq	$GDT_CODE3 | 3
	pushq	$guest_main
	iretq

/*
 * Interrupt stubs: count, end of interrupt, back. Ring 3 looks at the counters. The second set is
 * for x2APIC mode, where the APIC has no page and only WRMSR ends an interrupt.
 */
	.text
	.globl irq_stubs, irq_stubs_x2apic
	.balign IRQ_STUB_SIZE
irq_stubs:
	.set	n, 0
	.rept	IRQ_VECTORS
	incl	irq_count + 4 * n
	movl	$0, LAPIC_EOI
	iretq
	.balign IRQ_STUB_SIZE
	.set	n, n + 1
	.endr

irq_stubs_x2apic:
	.set	n, 0
	.rept	IRQ_VECTORS
	incl	irq_count + 4 * n
	jmp	x2apic_eoi
	.balign IRQ_STUB_SIZE
	.set	n, n + 1
	.endr

x2apic_eoi:
	pushq	%rax
	pushq	%rcx
	pushq	%rdx
	movl	$X2APIC_EOI, %ecx
	xorl	%eax, %eax
	xorl	%edx, %edx
	wrmsr
	popq	%rdx
	popq	%rcx
	popq	%rax
	iretq

/* Exceptions end the guest: vector and error code, then C code for the report. */
	.globl trap_stubs
	.balign TRAP_STUB_SIZE
trap_stubs:
	.set	n, 0
	.rept	32
	.if	((1 << n) & TRAPS_WITH_ERROR) == 0
	pushq	$0
	.endif
	pushq	$n
	jmp	trap_common
	.balign TRAP_STUB_SIZE
	.set	n, n + 1
	.endr

trap_common:
	movq	%rsp, %rdi
	call	trap_report
1:	cli
	hlt
	jmp	1b

/*
 * The way into ring 0: an invalid opcode at one known place, RAX = the function to call there with
 * the caller's registers, IF = 0. An exception because every host takes those to ring 0, which is
 * not true of INT and SYSCALL on one that emulates it.
 */
	.globl ring0_gate, ring0_stub
ring0_gate:
	ud2
	ret

ring0_stub:
	cmpq	$ring0_gate, (%rsp)
	jne	trap_stubs + TRAP_INVALID_OPCODE * TRAP_STUB_SIZE
	addq	$2, (%rsp)
	call	*%rax
	iretq

/*
 * Sleeps unless RCX words at RSI and RDI differ, with interrupts off till then: STI takes effect with
 * the instruction after it, so that none can come between the look and HLT. Few instructions, for
 * hosts that emulate each of them; IRETQ restores the flag.
 */
	.globl ring0_sleep
ring0_sleep:
	repe cmpsq
	jne	1f
	sti
	hlt
1:	ret

/* Interrupts on in ring 3: the frame above our return address is RIP, CS, RFLAGS. */
	.globl ring0_irq_on
ring0_irq_on:
	orl	$RFLAGS_IF, 24(%rsp)
	ret

/* An exception with nowhere to go. */
	.globl ring0_triple_fault
ring0_triple_fault:
	lidt	no_idt_ptr
	ud2

	.data
	.globl boot_start_info, boot_zero_page
boot_start_info:
	.long	0
boot_zero_page:
	.long	0

	.globl ap_tss, ap_stack, ap_real_mode_size
ap_real_mode_size:
	.long	ap_real_mode_end - ap_real_mode
ap_tss:
	.word	0
	.balign 8
ap_stack:
	.quad	0

	.globl gdt, tss
	.balign 8
gdt:
	.quad	0
	.quad	0x00af9b000000ffff /* ring 0 code, 64-bit */
	.quad	0x00cf93000000ffff /* ring 0 data */
	.quad	0x00affb000000ffff /* ring 3 code, 64-bit */
	.quad	0x00cff3000000ffff /* ring 3 data */
	.quad	0x00cf9b000000ffff /* ring 0 code, 32-bit: a step on the way of further CPUs */
	.quad	0
	.quad	0x0000890000000000 + TSS_SIZE - 1
	.quad	0
	.skip	GDT_SIZE - GDT_TSS - 16
gdt_ptr:
	.word	GDT_SIZE - 1
	.quad	gdt
idt_ptr:
	.word	IDT_SIZE - 1
	.quad	idt
no_idt_ptr:
	.word	0
	.quad	0

	.balign 16
tss:
	.long	0
	.quad	ring0_stack_top
	.skip	TSS_BITMAP - 14
	.word	TSS_BITMAP
	.skip	65536 / 8 /* all ports allowed */
	.byte	0xff	  /* SDM vol. 1, 19.5.2: read together with the last one */

	.section .tables, "aw"
	.globl pdpt
	.balign 4096
pml4:
	.quad	pdpt + PTE_TABLE
	.skip	510 * 8
	.quad	pdpt + PTE_TABLE
pdpt:
	.quad	pd + PTE_TABLE
	.quad	pd + 0x1000 + PTE_TABLE
	.quad	pd + 0x2000 + PTE_TABLE
	.quad	pd + 0x3000 + PTE_TABLE
	.skip	507 * 8
	.quad	pd + 0x3000 + PTE_TABLE
pd:
	.set	n, 0
	.rept	1536
	.quad	(n << 21) + PTE_RAM
	.set	n, n + 1
	.endr
	.rept	512
	.quad	(n << 21) + PTE_DEVICE
	.set	n, n + 1
	.endr

	.bss
	.balign 4096
	.globl idt, irq_count
idt:
	.skip	IDT_SIZE
irq_count:
	.skip	4 * IRQ_VECTORS
	.balign 16
	.skip	16384
ring0_stack_top:
	.skip	32768
ring3_stack_top:

	.section .note.GNU-stack, "", @progbits
