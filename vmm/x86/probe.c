/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Does this host run kernel-mode guest code natively? KVM exists that emulates ring 0 one instruction
 * at a time: everything works there, and no stock kernel boots in useful time. No capability tells.
 *
 * A throw-away VM with one page counts down in ring 0. Main thread, on request only.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "vmm/kvm.h"
#include "vmm/x86/x86.h"

#define PROBE_CODE 0x1000
#define PROBE_SIZE 0x1000
#define FEW	   2000	   /* instructions; 1.3 ms at 1.5 million a second */
#define MANY	   1000000 /* for hosts that did the few in next to no time */
#define SLOW_NS	   400000

struct probe {
	int vm;
	int vcpu;
	struct kvm_run *run;
	size_t run_size;
	void *mem;
};

static const uint8_t countdown[] = {
	0xff, 0xc9, /* 1: dec %ecx */
	0x75, 0xfc, /*    jnz 1b   */
	0xf4,	    /*    hlt      */
};

static void probe_destroy(struct probe *p)
{
	if (p->run != MAP_FAILED)
		munmap(p->run, p->run_size);
	if (p->vcpu >= 0)
		close(p->vcpu);
	if (p->vm >= 0)
		close(p->vm);
	if (p->mem != MAP_FAILED)
		munmap(p->mem, PROBE_SIZE);
}

static int create_vcpu(struct probe *p, int kvm_fd)
{
	int ret;

	p->vcpu = ret = kvm_create_vcpu(p->vm, 0);
	if (ret < 0)
		return ret;
	ret = kvm_vcpu_mmap_size(kvm_fd);
	if (ret < (int)sizeof(*p->run))
		return ret < 0 ? ret : -EIO;
	p->run_size = ret;
	p->run = mmap(NULL, p->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, p->vcpu, 0);
	return p->run == MAP_FAILED ? -errno : 0;
}

/* Without an interrupt chip, so that HLT comes back to us. */
static int probe_create(struct probe *p, int kvm_fd)
{
	int ret;

	*p = (struct probe){ .vm = -1, .vcpu = -1, .run = MAP_FAILED };
	p->mem = mmap(NULL, PROBE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p->mem == MAP_FAILED)
		return -errno;
	memcpy(p->mem, countdown, sizeof(countdown));
	p->vm = ret = kvm_create_vm(kvm_fd);
	if (ret < 0)
		return ret;
	ret = kvm_set_memory(p->vm, 0, 0, PROBE_CODE, PROBE_SIZE, p->mem);
	if (ret < 0)
		return ret;
	return create_vcpu(p, kvm_fd);
}

/* 32-bit protected mode without paging: real mode is emulated even by some hosts that are native. */
static int set_state(struct probe *p, uint64_t instructions)
{
	struct boot_entry entry = { .protocol = BOOT_PVH, .entry = PROBE_CODE };
	struct kvm_sregs sregs;
	struct kvm_regs regs;
	int ret = kvm_ioctl(p->vcpu, KVM_GET_SREGS, &sregs);

	if (ret < 0)
		return ret;
	x86_boot_sregs(&sregs, BOOT_PVH);
	ret = kvm_ioctl(p->vcpu, KVM_SET_SREGS, &sregs);
	if (ret < 0)
		return ret;
	x86_boot_regs(&regs, &entry);
	regs.rcx = instructions / 2;
	return kvm_ioctl(p->vcpu, KVM_SET_REGS, &regs);
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* How long the guest needs, in ns, or -errno. */
static int64_t time_run(struct probe *p, uint64_t instructions)
{
	uint64_t start;
	int ret = set_state(p, instructions);

	if (ret < 0)
		return ret;
	start = now_ns();
	do {
		ret = kvm_ioctl(p->vcpu, KVM_RUN, NULL);
	} while (ret == -EINTR);
	if (ret < 0)
		return ret;
	return p->run->exit_reason == KVM_EXIT_HLT ? (int64_t)(now_ns() - start) : -EIO;
}

static int64_t measure(struct probe *p, double *mips)
{
	uint64_t instructions = FEW;
	int64_t ns = time_run(p, FEW); /* pays for the page faults */

	if (ns >= 0)
		ns = time_run(p, FEW);
	if (ns >= 0 && ns < SLOW_NS) {
		instructions = MANY;
		ns = time_run(p, MANY);
	}
	if (ns >= 0)
		*mips = instructions * 1e3 / (ns ? ns : 1);
	return ns;
}

int arch_probe_native(int kvm_fd, double *mips, struct error *err)
{
	struct probe p;
	int64_t ret = probe_create(&p, kvm_fd);

	if (ret >= 0)
		ret = measure(&p, mips);
	probe_destroy(&p);
	if (ret < 0)
		return error_set(err, -ret, "cannot run a test VM");
	return 0;
}
