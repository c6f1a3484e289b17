/* SPDX-License-Identifier: Apache-2.0 */
/*
 * MSI-X: the vector table, the pending bits, and which vectors have their irqfd in place.
 *
 * Runs on vCPU threads under its own lock, on main before and after; msix_retry() on main at any
 * time. A disk's thread never comes here: it writes its eventfd, masked or not. Must not know who signals a vector or what for, nor
 * where in a BAR the table lies.
 */
#include "vmm/msix.h"

#include <errno.h>
#include <linux/pci_regs.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* ---- life ------------------------------------------------------------------------------------ */

static int init_vector(struct msix *msix, struct msix_vector *v, struct error *err)
{
	int gsi;

	v->control = PCI_MSIX_ENTRY_CTRL_MASKBIT;
	v->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (v->fd < 0)
		return error_set(err, errno, "cannot create the eventfd of an MSI-X vector");
	gsi = irq_router_alloc_msi(msix->router);
	if (gsi < 0) {
		close(v->fd);
		return error_set(err, -gsi, "too many MSI-X vectors in one machine");
	}
	v->gsi = gsi;
	return 0;
}

static void destroy_vector(struct msix *msix, struct msix_vector *v)
{
	if (v->assigned)
		irqfd_deassign(msix->router->vm_fd, v->fd, v->gsi);
	irq_router_free_msi(msix->router, v->gsi);
	close(v->fd);
}

int msix_init(struct msix *msix, struct irq_router *router, unsigned nvectors, uint32_t devid,
	      struct error *err)
{
	memset(msix, 0, sizeof(*msix));
	msix->router = router;
	msix->devid = devid;
	msix->vector = calloc(nvectors, sizeof(*msix->vector));
	if (!msix->vector)
		return error_set(err, ENOMEM, "cannot allocate %u MSI-X vectors", nvectors);
	pthread_mutex_init(&msix->lock, NULL);
	for (; msix->nvectors < nvectors; msix->nvectors++) {
		const int ret = init_vector(msix, &msix->vector[msix->nvectors], err);

		if (ret) {
			msix_destroy(msix);
			return ret;
		}
	}
	return 0;
}

void msix_destroy(struct msix *msix)
{
	while (msix->nvectors)
		destroy_vector(msix, &msix->vector[--msix->nvectors]);
	free(msix->vector);
	msix->vector = NULL;
	pthread_mutex_destroy(&msix->lock);
}

struct irq_line msix_line(const struct msix *msix, uint16_t vector)
{
	struct irq_line line = { .fd = -1 };

	/* The descriptors never change: no lock. */
	if (vector < msix->nvectors)
		line.fd = msix->vector[vector].fd;
	return line;
}

/* ---- masks ----------------------------------------------------------------------------------- */

/* An address of 0 was never programmed: there is nowhere to send to. */
static bool may_fire(const struct msix *msix, const struct msix_vector *v)
{
	return msix->enabled && !msix->function_masked &&
	       !(v->control & PCI_MSIX_ENTRY_CTRL_MASKBIT) && (v->addr_lo || v->addr_hi);
}

/* Assigning injects what came in while the vector was masked. */
static int assign_vector(struct msix *msix, struct msix_vector *v)
{
	const uint64_t addr = (uint64_t)v->addr_hi << 32 | v->addr_lo;
	int ret;

	ret = irq_router_set_msi(msix->router, v->gsi, addr, v->data, msix->devid);
	if (!ret)
		ret = irqfd_assign(msix->router->vm_fd, v->fd, v->gsi);
	return ret;
}

/*
 * If KVM refuses, which it does for want of memory, the vector stays as it was: signals wait in its
 * counter. No driver would unmask again what it has unmasked, so msix_retry() must. Told once.
 */
static void note_answer(struct msix *msix, struct msix_vector *v, int ret)
{
	if (ret < 0 && !v->refused)
		log_guest(&msix->log, "MSI-X vector %u stays %smasked for now: %s",
			  (unsigned)(v - msix->vector), v->assigned ? "un" : "", strerror(-ret));
	v->refused = ret < 0;
	msix->refused |= v->refused;
	if (!v->refused)
		v->assigned = !v->assigned;
}

static void update_vector(struct msix *msix, struct msix_vector *v)
{
	const bool wanted = may_fire(msix, v);

	if (wanted == v->assigned)
		v->refused = false;
	else if (wanted)
		note_answer(msix, v, assign_vector(msix, v));
	else
		note_answer(msix, v, irqfd_deassign(msix->router->vm_fd, v->fd, v->gsi));
}

static void update_all(struct msix *msix)
{
	for (unsigned i = 0; i < msix->nvectors; i++)
		update_vector(msix, &msix->vector[i]);
}

/* Under the lock. */
static void retry(struct msix *msix)
{
	if (!msix->refused)
		return;
	msix->refused = false;
	update_all(msix);
}

void msix_retry(struct msix *msix)
{
	if (pthread_mutex_trylock(&msix->lock))
		return;
	retry(msix);
	pthread_mutex_unlock(&msix->lock);
}

void msix_set_control(struct msix *msix, uint16_t control)
{
	pthread_mutex_lock(&msix->lock);
	msix->enabled = control & PCI_MSIX_FLAGS_ENABLE;
	msix->function_masked = control & PCI_MSIX_FLAGS_MASKALL;
	update_all(msix);
	pthread_mutex_unlock(&msix->lock);
}

/* ---- pending --------------------------------------------------------------------------------- */

static bool is_pending(const struct msix_vector *v)
{
	struct pollfd pfd = { .fd = v->fd, .events = POLLIN };

	return !v->assigned && poll(&pfd, 1, 0) == 1;
}

void msix_clear_pending(struct msix *msix)
{
	pthread_mutex_lock(&msix->lock);
	for (unsigned i = 0; i < msix->nvectors; i++) {
		uint64_t count;

		/* EAGAIN: nothing was pending. */
		if (read(msix->vector[i].fd, &count, sizeof(count)) < 0)
			continue;
	}
	pthread_mutex_unlock(&msix->lock);
}

/* ---- registers ------------------------------------------------------------------------------- */

/* PCI 3.0, 6.8.2: software uses aligned DWORD or QWORD accesses, anything else is undefined. */
static bool is_aligned(uint64_t off, unsigned len)
{
	return (len == 4 || len == 8) && off % len == 0;
}

static uint32_t *table_word(struct msix_vector *v, uint64_t off)
{
	switch (off % PCI_MSIX_ENTRY_SIZE) {
	case PCI_MSIX_ENTRY_LOWER_ADDR:
		return &v->addr_lo;
	case PCI_MSIX_ENTRY_UPPER_ADDR:
		return &v->addr_hi;
	case PCI_MSIX_ENTRY_DATA:
		return &v->data;
	default:
		return &v->control;
	}
}

static void write_table_word(struct msix *msix, uint64_t off, uint32_t value)
{
	struct msix_vector *v = &msix->vector[off / PCI_MSIX_ENTRY_SIZE];

	if (off % PCI_MSIX_ENTRY_SIZE != PCI_MSIX_ENTRY_VECTOR_CTRL) {
		*table_word(v, off) = value;
		return;
	}
	v->control = value & PCI_MSIX_ENTRY_CTRL_MASKBIT;
	update_vector(msix, v);
}

/* `len` has been checked; entries are 16 bytes, so no aligned access straddles the table's end. */
static bool in_table(const struct msix *msix, uint64_t off)
{
	return off / PCI_MSIX_ENTRY_SIZE < msix->nvectors;
}

void msix_table_read(struct msix *msix, uint64_t off, void *data, unsigned len)
{
	memset(data, 0xff, len);
	if (!is_aligned(off, len) || !in_table(msix, off))
		return;
	pthread_mutex_lock(&msix->lock);
	for (unsigned i = 0; i < len; i += 4)
		memcpy((uint8_t *)data + i,
		       table_word(&msix->vector[off / PCI_MSIX_ENTRY_SIZE], off + i), 4);
	pthread_mutex_unlock(&msix->lock);
}

void msix_table_write(struct msix *msix, uint64_t off, const void *data, unsigned len)
{
	uint32_t word;

	if (!is_aligned(off, len) || !in_table(msix, off))
		return;
	pthread_mutex_lock(&msix->lock);
	retry(msix);
	for (unsigned i = 0; i < len; i += 4) {
		memcpy(&word, (const uint8_t *)data + i, 4);
		write_table_word(msix, off + i, word);
	}
	pthread_mutex_unlock(&msix->lock);
}

/* 32 pending bits from byte `off` of the array on. */
static uint32_t pending_word(const struct msix *msix, uint64_t off)
{
	uint32_t bits = 0;

	if (off >= msix->nvectors) /* an upper bound, and no product below can overflow */
		return 0;
	for (unsigned i = 0; i < 32 && off * 8 + i < msix->nvectors; i++)
		bits |= (uint32_t)is_pending(&msix->vector[off * 8 + i]) << i;
	return bits;
}

void msix_pba_read(struct msix *msix, uint64_t off, void *data, unsigned len)
{
	memset(data, 0xff, len);
	if (!is_aligned(off, len))
		return;
	pthread_mutex_lock(&msix->lock);
	retry(msix);
	for (unsigned i = 0; i < len; i += 4) {
		const uint32_t bits = pending_word(msix, off + i);

		memcpy((uint8_t *)data + i, &bits, 4);
	}
	pthread_mutex_unlock(&msix->lock);
}
