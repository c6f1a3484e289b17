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
	_Atomic bool stop;	  /* set by main, seen at every exit */
	_Atomic uint32_t halt_asked; /* sequence number of main's question "are you halted?" */
	_Atomic uint32_t halt_answer; /* sequence << 1 | halted */
	uint64_t cpu_time;	  /* ns at main's last look; main's */
};

int vcpu_init(struct vcpu *vcpu, struct vm *vm, unsigned id, struct error *err);
void vcpu_destroy(struct vcpu *vcpu);
int vcpu_start(struct vcpu *vcpu, struct error *err);

/* Any thread: makes a running KVM_RUN return soon (immediate_exit and a signal). */
void vcpu_kick(struct vcpu *vcpu);

#endif
