/* SPDX-License-Identifier: Apache-2.0 */
/* One vCPU: its KVM descriptor, its thread ("vcpu0", ...), and the exit loop. */
#ifndef MVMM_VCPU_H
#define MVMM_VCPU_H

#include <linux/kvm.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "vmm/error.h"
#include "vmm/vm.h"

struct vcpu {
	struct vm *vm;
	unsigned id;
	int fd;
	struct kvm_run *run;
	size_t run_size;
	pthread_t thread;
	bool started;
	int cpu;		      /* host CPU for the thread; -1: any. Before vcpu_start() */
	_Atomic bool stop;	      /* set by main, seen at every exit */
	_Atomic uint32_t ended;	      /* a futex: its thread will not run the guest again */
	_Atomic uint32_t halt_asked;  /* sequence number of main's question "are you halted?" */
	_Atomic uint32_t halt_answer; /* sequence << 1 | halted */
	_Atomic uint32_t held;	      /* vm->hold when it last began to hold */
	bool woken;		      /* by INIT or SIPI, in the last KVM_RUN; its thread's */
	uint64_t cpu_time;	      /* ns at main's last look; main's */
};

/* Main. vcpu_destroy() wants the thread joined. */
int vcpu_init(struct vcpu *vcpu, struct vm *vm, unsigned id, struct error *err);
void vcpu_destroy(struct vcpu *vcpu);

/* Main. Stopping is in two steps so that several vCPUs stop at the same time; both do nothing for a
 * vCPU that was not started. vcpu_join() kicks again until the thread has ended. */
int vcpu_start(struct vcpu *vcpu, struct error *err);
void vcpu_ask_stop(struct vcpu *vcpu);
void vcpu_join(struct vcpu *vcpu);

/*
 * Main, between start and join: makes a running or coming KVM_RUN return soon (immediate_exit and a
 * signal). What the thread is to notice must have been stored, seq_cst, before.
 */
void vcpu_kick(struct vcpu *vcpu);

/*
 * On the vCPU's thread, outside KVM_RUN and with no access half done: holds while the VM is paused.
 * Returns when the guest may go on or is to stop, and looks at neither again.
 */
void vcpu_hold(struct vcpu *vcpu);

/* Main: makes room for a report and gives it back. A vCPU's thread must not allocate: its sandbox
 * has no calls for it. */
int vcpu_report_open(struct vm *vm, struct error *err);
void vcpu_report_close(struct vm *vm);

/*
 * On the vCPU's thread: ends the VM with VM_END_CRASH (or what is given) and prints one report: the
 * message, the registers, the code. Only the first vCPU's is printed, and none once the VM has ended
 * for another reason.
 */
void vcpu_crash(struct vcpu *vcpu, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void vcpu_host_error(struct vcpu *vcpu, int code, const char *what);

#endif
