/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Exits and questions that only an x86 vCPU has. On the vCPU's thread, outside KVM_RUN.
 */
#include "vmm/arch.h"
#include "vmm/kvm.h"

#define RFLAGS_IF (1 << 9)

/* String instructions arrive as one exit with a count; each element is an access of its own. */
static void handle_pio(struct vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;
	uint8_t *data = (uint8_t *)run + run->io.data_offset;

	for (uint32_t i = 0; i < run->io.count; i++, data += run->io.size) {
		if (run->io.direction == KVM_EXIT_IO_OUT)
			bus_write(&vcpu->vm->pio, run->io.port, data, run->io.size);
		else
			bus_read(&vcpu->vm->pio, run->io.port, data, run->io.size);
	}
}

bool arch_vcpu_exit(struct vcpu *vcpu)
{
	if (vcpu->run->exit_reason != KVM_EXIT_IO)
		return false;
	handle_pio(vcpu);
	return true;
}

bool arch_vcpu_halted(struct vcpu *vcpu)
{
	struct kvm_mp_state state;
	struct kvm_regs regs;

	if (kvm_ioctl(vcpu->fd, KVM_GET_MP_STATE, &state) < 0)
		return false;
	if (state.mp_state == KVM_MP_STATE_UNINITIALIZED ||
	    state.mp_state == KVM_MP_STATE_INIT_RECEIVED)
		return true;
	if (state.mp_state != KVM_MP_STATE_HALTED)
		return false;
	return kvm_ioctl(vcpu->fd, KVM_GET_REGS, &regs) >= 0 && !(regs.rflags & RFLAGS_IF);
}

/* kvm-clock's PVCLOCK_GUEST_STOPPED. EINVAL: this vCPU uses no kvm-clock. */
void arch_vcpu_resumes(struct vcpu *vcpu)
{
	kvm_ioctl(vcpu->fd, KVM_KVMCLOCK_CTRL, NULL);
}
