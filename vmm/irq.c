/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The router: which GSI becomes which message or pin.
 *
 * vCPU threads call it when a guest programs or unmasks a vector, main when devices come and go; a
 * mutex keeps them apart. Never a disk's thread: it only writes its eventfd. Knows no device.
 *
 * GSIs of MSIs are handed out from above the chips' pins; entry i of the table past the pins
 * belongs to GSI msi_base + i, whether it has a route or not. KVM's own default table, which the
 * interrupt chips bring along, stays in force until the first MSI route is set: it holds the same
 * pins, and sending ours would make every start wait for a grace period.
 */
#include "vmm/irq.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/arch.h"
#include "vmm/kvm.h"

#define NO_ROUTE 0 /* no type of KVM's is 0 */
#define FREE_END UINT32_MAX

static size_t table_bytes(unsigned entries)
{
	return sizeof(struct kvm_irq_routing) + entries * sizeof(struct kvm_irq_routing_entry);
}

int irq_router_init(struct irq_router *r, int vm_fd, struct error *err)
{
	const unsigned max = IRQ_ROUTER_MAX_PINS + IRQ_ROUTER_MAX_MSI;

	memset(r, 0, sizeof(*r));
	/* Both are touched only as far as routes exist: the rest never becomes real memory. */
	r->table = calloc(1, table_bytes(max));
	r->sent = calloc(1, table_bytes(max));
	if (!r->table || !r->sent) {
		free(r->table);
		free(r->sent);
		r->table = r->sent = NULL;
		return error_set(err, ENOMEM, "cannot allocate the interrupt routing table");
	}
	pthread_mutex_init(&r->lock, NULL);
	r->vm_fd = vm_fd;
	r->devid = kvm_check_extension(vm_fd, KVM_CAP_MSI_DEVID) > 0;
	r->pins = arch_irq_pins(r->table->entries, IRQ_ROUTER_MAX_PINS);
	for (unsigned i = 0; i < r->pins; i++)
		if (r->table->entries[i].gsi >= r->msi_base)
			r->msi_base = r->table->entries[i].gsi + 1;
	r->msi_next = r->msi_base;
	r->free_head = FREE_END;
	return 0;
}

void irq_router_destroy(struct irq_router *r)
{
	if (!r->table)
		return;
	pthread_mutex_destroy(&r->lock);
	free(r->table);
	free(r->sent);
	r->table = NULL;
	r->sent = NULL;
}

static bool is_msi(const struct irq_router *r, uint32_t gsi)
{
	return gsi >= r->msi_base && gsi < r->msi_next;
}

static struct kvm_irq_routing_entry *msi_entry(struct irq_router *r, uint32_t gsi)
{
	return &r->table->entries[r->pins + gsi - r->msi_base];
}

static void clear_entry(struct kvm_irq_routing_entry *entry, uint32_t gsi)
{
	memset(entry, 0, sizeof(*entry));
	entry->gsi = gsi;
	entry->type = NO_ROUTE;
}

int irq_router_alloc_msi(struct irq_router *r)
{
	int gsi = -ENOSPC;

	pthread_mutex_lock(&r->lock);
	if (r->free_head != FREE_END) {
		gsi = (int)r->free_head;
		r->free_head = msi_entry(r, r->free_head)->u.msi.pad;
	} else if (r->msi_next - r->msi_base < IRQ_ROUTER_MAX_MSI) {
		gsi = (int)r->msi_next++;
	}
	if (gsi >= 0)
		clear_entry(msi_entry(r, gsi), gsi);
	pthread_mutex_unlock(&r->lock);
	return gsi;
}

/* KVM keeps the stale route until the next change; without an irqfd nothing can use it. */
void irq_router_free_msi(struct irq_router *r, uint32_t gsi)
{
	pthread_mutex_lock(&r->lock);
	if (is_msi(r, gsi)) {
		clear_entry(msi_entry(r, gsi), gsi);
		msi_entry(r, gsi)->u.msi.pad = r->free_head;
		r->free_head = gsi;
	}
	pthread_mutex_unlock(&r->lock);
}

/* Sends the entries that have a route: KVM refuses a table with any other in it. */
static int send_table(struct irq_router *r)
{
	const unsigned n = r->pins + (r->msi_next - r->msi_base);

	r->sent->nr = 0;
	for (unsigned i = 0; i < n; i++)
		if (r->table->entries[i].type != NO_ROUTE)
			r->sent->entries[r->sent->nr++] = r->table->entries[i];
	return kvm_ioctl(r->vm_fd, KVM_SET_GSI_ROUTING, r->sent);
}

static bool same_route(const struct kvm_irq_routing_entry *entry, uint64_t addr, uint32_t data,
		       uint32_t devid)
{
	return entry->type == KVM_IRQ_ROUTING_MSI && entry->u.msi.address_lo == (uint32_t)addr &&
	       entry->u.msi.address_hi == addr >> 32 && entry->u.msi.data == data &&
	       entry->u.msi.devid == devid;
}

/* On an error the table is as before, and so is KVM's. */
static int change_route(struct irq_router *r, struct kvm_irq_routing_entry *entry, uint64_t addr,
			uint32_t data, uint32_t devid)
{
	const struct kvm_irq_routing_entry old = *entry;
	int ret;

	entry->type = KVM_IRQ_ROUTING_MSI;
	entry->flags = r->devid ? KVM_MSI_VALID_DEVID : 0;
	entry->u.msi.address_lo = (uint32_t)addr;
	entry->u.msi.address_hi = addr >> 32;
	entry->u.msi.data = data;
	entry->u.msi.devid = devid;
	ret = send_table(r);
	if (ret < 0)
		*entry = old;
	return ret;
}

int irq_router_set_msi(struct irq_router *r, uint32_t gsi, uint64_t addr, uint32_t data,
		       uint32_t devid)
{
	int ret = 0;

	if (!r->devid)
		devid = 0;
	pthread_mutex_lock(&r->lock);
	if (!is_msi(r, gsi))
		ret = -EINVAL;
	else if (!same_route(msi_entry(r, gsi), addr, data, devid))
		ret = change_route(r, msi_entry(r, gsi), addr, data, devid);
	pthread_mutex_unlock(&r->lock);
	return ret;
}
