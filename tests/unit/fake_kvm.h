/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A KVM that lives in the test: include it in exactly one file of a program, and ioctl(2) below
 * takes the place of libc's for the whole of it. Knows irqfds, ioeventfds, GSI routes, memslots and
 * capabilities, with KVM's own rules about what collides; other requests go to the kernel.
 *
 * Nothing happens by itself: fake_kvm_deliver() turns signalled irqfds into counted interrupts, and
 * fake_kvm_write() is a guest's store that may hit a doorbell.
 */
#ifndef MVMM_TESTS_FAKE_KVM_H
#define MVMM_TESTS_FAKE_KVM_H

#include <errno.h>
#include <linux/kvm.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define FAKE_KVM_MAX  512
#define FAKE_KVM_GSIS 4096

struct fake_kvm {
	pthread_mutex_t lock;
	struct kvm_irqfd irqfd[FAKE_KVM_MAX];
	unsigned nirqfds;
	struct kvm_ioeventfd io[FAKE_KVM_MAX];
	unsigned nio;
	struct kvm_irq_routing_entry route[FAKE_KVM_GSIS]; /* as last set; type 0: none */
	unsigned injected[FAKE_KVM_GSIS];		   /* interrupts, by GSI */
	unsigned routings;				   /* KVM_SET_GSI_ROUTING calls */
	unsigned ioeventfd_calls;
	unsigned irqfd_calls;
	struct kvm_userspace_memory_region slot; /* the last one set */
	bool no_any_length;			 /* KVM_CAP_IOEVENTFD_ANY_LENGTH is missing */
	bool no_readonly;			 /* KVM_CAP_READONLY_MEM is missing */
	unsigned long fail; /* this request fails with fail_errno, fail_count times */
	unsigned fail_count;
	int fail_errno;
	void (*before)(void); /* each request, on the thread that makes it; may be NULL */
};

static struct fake_kvm fake_kvm = { .lock = PTHREAD_MUTEX_INITIALIZER };

/* Forgets everything; at the start of each test. */
static inline void fake_kvm_reset(void)
{
	memset(&fake_kvm, 0, sizeof(fake_kvm));
	pthread_mutex_init(&fake_kvm.lock, NULL);
}

static inline void fake_kvm_fail(unsigned long request, int code, unsigned count)
{
	fake_kvm.fail = request;
	fake_kvm.fail_errno = code;
	fake_kvm.fail_count = count;
}

static inline bool fake_kvm_take(int fd)
{
	struct pollfd pfd = { .fd = fd, .events = POLLIN };
	uint64_t n;

	return poll(&pfd, 1, 0) == 1 && read(fd, &n, sizeof(n)) == sizeof(n);
}

static inline struct kvm_irqfd *fake_kvm_find_irqfd(int fd)
{
	for (unsigned i = 0; i < fake_kvm.nirqfds; i++)
		if ((int)fake_kvm.irqfd[i].fd == fd)
			return &fake_kvm.irqfd[i];
	return NULL;
}

static inline void fake_kvm_inject(uint32_t gsi)
{
	if (gsi < FAKE_KVM_GSIS)
		fake_kvm.injected[gsi]++;
}

static inline int fake_kvm_irqfd(const struct kvm_irqfd *req)
{
	struct kvm_irqfd *old = fake_kvm_find_irqfd(req->fd);

	fake_kvm.irqfd_calls++;
	if (req->flags & KVM_IRQFD_FLAG_DEASSIGN) {
		if (!old || old->gsi != req->gsi)
			return 0;
		/* The irqfd has seen each write when it was made, and flushes what it has seen. */
		if (fake_kvm_take(req->fd))
			fake_kvm_inject(req->gsi);
		*old = fake_kvm.irqfd[--fake_kvm.nirqfds];
		return 0;
	}
	if (old)
		return -EBUSY;
	if (fake_kvm.nirqfds == FAKE_KVM_MAX)
		return -ENOSPC;
	fake_kvm.irqfd[fake_kvm.nirqfds++] = *req;
	if (fake_kvm_take(req->fd))
		fake_kvm_inject(req->gsi);
	return 0;
}

/* virt/kvm/eventfd.c, ioeventfd_check_collision(). */
static inline bool fake_kvm_collides(const struct kvm_ioeventfd *a, const struct kvm_ioeventfd *b)
{
	const bool any = !(a->flags & b->flags & KVM_IOEVENTFD_FLAG_DATAMATCH);

	return a->addr == b->addr &&
	       (!a->len || !b->len || (a->len == b->len && (any || a->datamatch == b->datamatch)));
}

static inline int fake_kvm_ioeventfd(const struct kvm_ioeventfd *req)
{
	const uint32_t deassign = KVM_IOEVENTFD_FLAG_DEASSIGN;

	fake_kvm.ioeventfd_calls++;
	if (req->len > 8 || (req->len & (req->len - 1)) ||
	    (!req->len && (fake_kvm.no_any_length || req->flags & KVM_IOEVENTFD_FLAG_DATAMATCH)))
		return -EINVAL;
	for (unsigned i = 0; i < fake_kvm.nio; i++) {
		struct kvm_ioeventfd *io = &fake_kvm.io[i];

		if (!(req->flags & deassign) && fake_kvm_collides(io, req))
			return -EEXIST;
		if (req->flags & deassign && io->fd == req->fd && io->addr == req->addr &&
		    io->len == req->len && io->flags == (req->flags & ~deassign) &&
		    io->datamatch == req->datamatch) {
			*io = fake_kvm.io[--fake_kvm.nio];
			return 0;
		}
	}
	if (req->flags & deassign)
		return -ENOENT;
	if (fake_kvm.nio == FAKE_KVM_MAX)
		return -ENOSPC;
	fake_kvm.io[fake_kvm.nio++] = *req;
	return 0;
}

static inline int fake_kvm_routing(const struct kvm_irq_routing *table)
{
	fake_kvm.routings++;
	memset(fake_kvm.route, 0, sizeof(fake_kvm.route));
	for (unsigned i = 0; i < table->nr; i++)
		if (table->entries[i].gsi < FAKE_KVM_GSIS)
			fake_kvm.route[table->entries[i].gsi] = table->entries[i];
	return 0;
}

static inline int fake_kvm_request(unsigned long request, void *arg)
{
	if (fake_kvm.fail == request && fake_kvm.fail_count) {
		fake_kvm.fail_count--;
		return -fake_kvm.fail_errno;
	}
	switch (request) {
	case KVM_IRQFD:
		return fake_kvm_irqfd(arg);
	case KVM_IOEVENTFD:
		return fake_kvm_ioeventfd(arg);
	case KVM_SET_GSI_ROUTING:
		return fake_kvm_routing(arg);
	case KVM_SET_USER_MEMORY_REGION:
		fake_kvm.slot = *(struct kvm_userspace_memory_region *)arg;
		return 0;
	case KVM_CHECK_EXTENSION:
		if ((uintptr_t)arg == KVM_CAP_READONLY_MEM)
			return !fake_kvm.no_readonly;
		return (uintptr_t)arg == KVM_CAP_IOEVENTFD_ANY_LENGTH && !fake_kvm.no_any_length;
	default:
		return -ENOTTY;
	}
}

int ioctl(int fd, unsigned long request, ...)
{
	va_list ap;
	void *arg;
	int ret;

	va_start(ap, request);
	arg = va_arg(ap, void *);
	va_end(ap);
	if (_IOC_TYPE(request) != KVMIO)
		return syscall(SYS_ioctl, fd, request, arg);
	if (fake_kvm.before)
		fake_kvm.before();
	pthread_mutex_lock(&fake_kvm.lock);
	ret = fake_kvm_request(request, arg);
	pthread_mutex_unlock(&fake_kvm.lock);
	if (ret >= 0)
		return ret;
	errno = -ret;
	return -1;
}

/* How often this GSI has interrupted, while other threads are at it. */
static inline unsigned fake_kvm_injected(uint32_t gsi)
{
	unsigned n;

	pthread_mutex_lock(&fake_kvm.lock);
	n = fake_kvm.injected[gsi];
	pthread_mutex_unlock(&fake_kvm.lock);
	return n;
}

/* ---- what a guest and the wire would do ------------------------------------------------------ */

/* Injects what is signalled; returns how many interrupts that made. */
static inline unsigned fake_kvm_deliver(void)
{
	unsigned n = 0;

	pthread_mutex_lock(&fake_kvm.lock);
	for (unsigned i = 0; i < fake_kvm.nirqfds; i++) {
		if (!fake_kvm_take(fake_kvm.irqfd[i].fd))
			continue;
		fake_kvm_inject(fake_kvm.irqfd[i].gsi);
		n++;
	}
	pthread_mutex_unlock(&fake_kvm.lock);
	return n;
}

static inline bool fake_kvm_is_assigned(int fd)
{
	return fake_kvm_find_irqfd(fd);
}

/* A guest's store: true when an ioeventfd caught it (and was signalled). */
static inline bool fake_kvm_write(uint64_t addr, unsigned len, uint64_t value)
{
	const uint64_t one = 1;

	for (unsigned i = 0; i < fake_kvm.nio; i++) {
		const struct kvm_ioeventfd *io = &fake_kvm.io[i];

		if (io->addr != addr || (io->len && io->len != len) ||
		    (io->flags & KVM_IOEVENTFD_FLAG_DATAMATCH && io->datamatch != value))
			continue;
		return write(io->fd, &one, sizeof(one)) == sizeof(one);
	}
	return false;
}

/* How many doorbells lie in [addr, addr + len). */
static inline unsigned fake_kvm_doorbells(uint64_t addr, uint64_t len)
{
	unsigned n = 0;

	for (unsigned i = 0; i < fake_kvm.nio; i++)
		n += fake_kvm.io[i].addr - addr < len;
	return n;
}

#endif
