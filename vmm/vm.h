/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One virtual machine: descriptors, memory, buses, vCPUs, and the one place where it is decided
 * why it ends.
 */
#ifndef MVMM_VM_H
#define MVMM_VM_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "vmm/bus.h"
#include "vmm/error.h"
#include "vmm/irq.h"
#include "vmm/memory.h"
#include "vmm/thread_hook.h"

#define VM_MAX_VCPUS 254 /* APIC ids in 8 bits: no x2APIC-only destinations needed */

/* Why a VM ended. Exit statuses are vmm/cli's business. */
enum vm_end {
	VM_RUNNING = 0,
	VM_END_POWEROFF,   /* the guest switched itself off */
	VM_END_RESET,	   /* the guest asked for a reset */
	VM_END_CRASH,	   /* triple fault, KVM internal error, entry failure */
	VM_END_PANIC,	   /* the guest kernel panicked */
	VM_END_HALTED,	   /* every vCPU halted with interrupts off */
	VM_END_TIMEOUT,	   /* --timeout ran out */
	VM_END_SIGNAL,	   /* value: signal number */
	VM_END_DEBUG_EXIT, /* value: what the guest wrote to the port */
	VM_END_QUIT,	   /* the user closed the console */
	VM_END_HOST_ERROR, /* value: errno of a host call the VM cannot go on without */
};

struct vcpu;
struct arch_vm;

struct vm {
	int kvm_fd;
	int fd;
	struct guest_memory mem;
	struct bus pio;
	struct bus mmio;
	struct irq_router irq;
	struct vcpu *vcpu; /* nvcpus of them */
	unsigned nvcpus;
	struct arch_vm *arch;	      /* vmm/<arch>'s own */
	struct thread_hook vcpu_hook; /* set before vm_start_vcpus() */
	_Atomic uint32_t released;    /* a futex: vCPUs may run */
	_Atomic uint32_t hold;	      /* a futex, counts up: while it is odd, vCPUs hold */
	FILE *report;		      /* crash.c's, into report_text */
	char *report_text;
	/*
	 * An eventfd, readable for good once the VM is asked to stop: whoever must wait on a vCPU's
	 * thread (a device reset that drains I/O) polls it too, so that no stop waits for a guest.
	 */
	int stop_fd;
	/* Wakes main when `end` or `panicked` changes, when the last vCPU holds, or when a device has
	 * something to say; main reads it. */
	int event_fd;
	_Atomic uint64_t end;  /* enum vm_end << 32 | value; the first writer wins */
	_Atomic bool panicked; /* a panic was seen: the next reset, halt or crash is its end */
	_Atomic bool reported; /* a vCPU has printed its crash report: there is only one */
};

/* Opens KVM, creates the VM and its eventfds and describes no memory yet. On error nothing is left
 * open. `kvm_path` NULL means /dev/kvm. */
int vm_init(struct vm *vm, const char *kvm_path, struct error *err);

/*
 * Allocates guest RAM and gives every slot to KVM, then creates the interrupt chips, the router and
 * the vCPUs, in this order: a memslot call is 20 times dearer after the irqchip exists. Slots the
 * caller wants besides RAM must be KVM's before this call, numbered from GUEST_MEMORY_MAX_SLOTS.
 * On error nothing is left but what vm_init() made, fit for vm_destroy() only.
 */
int vm_create_machine(struct vm *vm, uint64_t memory_size, unsigned memory_flags, unsigned nvcpus,
		      struct error *err);

/* vCPU threads must be stopped. */
void vm_destroy(struct vm *vm);

/*
 * Any thread but a disk's. Only the first reason counts, except that a reset, halt or crash after a
 * noted panic is that panic. Does not stop anything itself: main wakes and does.
 */
void vm_request_end(struct vm *vm, enum vm_end end, uint32_t value);

/* Any thread: notes a guest panic and wakes main, which gives the guest 5 s to say more. */
void vm_note_panic(struct vm *vm);

/* Any thread: makes main look. */
void vm_wake_main(struct vm *vm);

enum vm_end vm_end_reason(const struct vm *vm, uint32_t *value);

/*
 * Starts one thread per vCPU and holds it there until vm_release_vcpus(): so that all threads of the
 * process are where they should be before the guest's first instruction. On error none is left.
 */
int vm_start_vcpus(struct vm *vm, struct error *err);
void vm_release_vcpus(struct vm *vm);

/* Main thread: makes stop_fd readable, kicks every vCPU out of KVM_RUN and joins its thread, paused or
 * not. */
void vm_stop_vcpus(struct vm *vm);

/*
 * Main; none of them waits. vm_pause() asks every vCPU's thread to leave KVM_RUN with no access to a
 * device half done, and to hold. Each does so as soon as it can: one that waits inside a device's
 * reset for frozen storage keeps vm_paused() false until that answers. event_fd tells when it has
 * become true; then no vCPU runs or touches a device, and what they did before can be seen.
 * vm_resume() lets them go on, and also takes back a pause that is not complete. Both do nothing for
 * a VM that is so already. A pause before vm_release_vcpus() is complete some time after it.
 *
 * The guest's clocks go on meanwhile: none of them jumps back, and its wall clock stays right. Each
 * vCPU with a kvm-clock is told that it has been stopped, so that no watchdog of the guest barks.
 */
void vm_pause(struct vm *vm);
void vm_resume(struct vm *vm);
bool vm_paused(struct vm *vm);

/*
 * True when every vCPU sits in HLT with interrupts off (or was never started), so that nothing can
 * wake the guest again. Asks the vCPU threads (a kick each) only when all of them have used hardly
 * any CPU time since the last call: main calls it from a timer, about once a second. Waits 100 ms at
 * most; a vCPU that has not answered by then (its device is draining I/O) is not halted. Nor is a VM
 * that is paused or about to be.
 */
bool vm_all_halted(struct vm *vm);

#endif
