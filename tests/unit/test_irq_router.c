/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the router sends to KVM and when; see vmm/irq.h. The source is included so that its two calls
 * to KVM end here: what KVM makes of a table is not tested, only that it is the right one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#define kvm_ioctl	    fake_kvm_ioctl
#define kvm_check_extension fake_kvm_check_extension
#include "vmm/irq.c"

#define VM_FD 4711
#define MSI   0xfee01000ULL

static struct {
	unsigned calls;
	int answer;
	bool msi_devid;
	unsigned nr;
	struct kvm_irq_routing_entry entry[IRQ_ROUTER_MAX_PINS + IRQ_ROUTER_MAX_MSI];
} kvm;

int fake_kvm_ioctl(int fd, unsigned long request, void *arg)
{
	const struct kvm_irq_routing *table = arg;

	assert_int_equal(fd, VM_FD);
	assert_int_equal(request, KVM_SET_GSI_ROUTING);
	kvm.calls++;
	kvm.nr = table->nr;
	memcpy(kvm.entry, table->entries, table->nr * sizeof(kvm.entry[0]));
	return kvm.answer;
}

int fake_kvm_check_extension(int fd, unsigned cap)
{
	assert_int_equal(cap, KVM_CAP_MSI_DEVID);
	return kvm.msi_devid;
}

static const struct kvm_irq_routing_entry *sent(uint32_t gsi)
{
	for (unsigned i = 0; i < kvm.nr; i++)
		if (kvm.entry[i].gsi == gsi)
			return &kvm.entry[i];
	return NULL;
}

static int setup(void **state)
{
	static struct irq_router r;

	memset(&kvm, 0, sizeof(kvm));
	*state = &r;
	return irq_router_init(&r, VM_FD, NULL);
}

static int setup_with_devid(void **state)
{
	static struct irq_router r;

	memset(&kvm, 0, sizeof(kvm));
	kvm.msi_devid = true;
	*state = &r;
	return irq_router_init(&r, VM_FD, NULL);
}

static int teardown(void **state)
{
	irq_router_destroy(*state);
	return 0;
}

static void nothing_is_sent_before_a_route_is_set(void **state)
{
	struct irq_router *r = *state;
	int gsi = irq_router_alloc_msi(r);

	assert_true(gsi > 0);
	irq_router_free_msi(r, gsi);
	assert_int_equal(kvm.calls, 0);
}

static void a_route_is_sent_with_every_pin(void **state)
{
	struct irq_router *r = *state;
	int gsi = irq_router_alloc_msi(r);
	const struct kvm_irq_routing_entry *e;

	assert_int_equal(irq_router_set_msi(r, gsi, 0x5fee01000, 0x4041, 8), 0);
	assert_int_equal(kvm.calls, 1);
	assert_int_equal(kvm.nr, r->pins + 1);
	e = sent(gsi);
	assert_int_equal(e->type, KVM_IRQ_ROUTING_MSI);
	assert_int_equal(e->flags, 0);
	assert_int_equal(e->u.msi.address_lo, 0xfee01000);
	assert_int_equal(e->u.msi.address_hi, 5);
	assert_int_equal(e->u.msi.data, 0x4041);
	for (unsigned i = 0; i < r->pins; i++)
		assert_int_equal(kvm.entry[i].type, KVM_IRQ_ROUTING_IRQCHIP);
}

static void the_same_route_again_is_no_call(void **state)
{
	struct irq_router *r = *state;
	int gsi = irq_router_alloc_msi(r);

	irq_router_set_msi(r, gsi, MSI, 1, 8);
	irq_router_set_msi(r, gsi, MSI, 1, 8);
	assert_int_equal(kvm.calls, 1);
	irq_router_set_msi(r, gsi, MSI, 2, 8);
	irq_router_set_msi(r, gsi, MSI + 0x1000, 2, 8);
	irq_router_set_msi(r, gsi, MSI + 0x1000 + (1ULL << 32), 2, 8);
	assert_int_equal(kvm.calls, 4);
}

static void entries_without_a_route_are_left_out(void **state)
{
	struct irq_router *r = *state;
	int a = irq_router_alloc_msi(r), b = irq_router_alloc_msi(r), c = irq_router_alloc_msi(r);

	irq_router_set_msi(r, a, MSI, 1, 0);
	irq_router_set_msi(r, c, MSI, 3, 0);
	assert_int_equal(kvm.nr, r->pins + 2);
	assert_null(sent(b));
	irq_router_set_msi(r, b, MSI, 2, 0);
	assert_int_equal(kvm.nr, r->pins + 3);
	irq_router_free_msi(r, a);
	irq_router_set_msi(r, b, MSI, 4, 0);
	assert_null(sent(a));
	assert_int_equal(sent(c)->u.msi.data, 3);
}

static void gsis_are_distinct_and_beyond_the_pins(void **state)
{
	struct irq_router *r = *state;
	static bool seen[IRQ_ROUTER_MAX_PINS + IRQ_ROUTER_MAX_MSI];

	memset(seen, 0, sizeof(seen));
	for (unsigned i = 0; i < IRQ_ROUTER_MAX_MSI; i++) {
		int gsi = irq_router_alloc_msi(r);

		assert_in_range(gsi, r->msi_base, sizeof(seen) - 1);
		assert_false(seen[gsi]);
		seen[gsi] = true;
	}
	for (unsigned i = 0; i < r->pins; i++)
		assert_false(seen[r->table->entries[i].gsi]);
	assert_int_equal(irq_router_alloc_msi(r), -ENOSPC);
}

static void freed_gsis_come_back_without_their_route(void **state)
{
	struct irq_router *r = *state;
	int a = irq_router_alloc_msi(r), b = irq_router_alloc_msi(r);
	int again[3];

	irq_router_set_msi(r, a, MSI, 1, 0);
	irq_router_free_msi(r, a);
	irq_router_free_msi(r, b);
	for (unsigned i = 0; i < 3; i++)
		again[i] = irq_router_alloc_msi(r);
	assert_int_equal(again[0], b);
	assert_int_equal(again[1], a);
	assert_int_equal(again[2], b + 1);
	/* The route it once had is gone: setting the same one is a change. */
	irq_router_set_msi(r, a, MSI, 1, 0);
	assert_int_equal(kvm.calls, 2);
}

static void gsis_that_are_not_ours_are_refused(void **state)
{
	struct irq_router *r = *state;

	assert_int_equal(irq_router_set_msi(r, 4, MSI, 1, 0), -EINVAL);
	assert_int_equal(irq_router_set_msi(r, r->msi_next, MSI, 1, 0), -EINVAL);
	assert_int_equal(irq_router_set_msi(r, UINT32_MAX, MSI, 1, 0), -EINVAL);
	irq_router_free_msi(r, 4);
	irq_router_free_msi(r, UINT32_MAX);
	assert_int_equal(irq_router_alloc_msi(r), r->msi_base);
	assert_int_equal(kvm.calls, 0);
}

static void a_refused_table_leaves_the_old_route(void **state)
{
	struct irq_router *r = *state;
	int gsi = irq_router_alloc_msi(r);

	irq_router_set_msi(r, gsi, MSI, 1, 0);
	kvm.answer = -ENOMEM;
	assert_int_equal(irq_router_set_msi(r, gsi, MSI, 2, 0), -ENOMEM);
	kvm.answer = 0;
	kvm.calls = 0;
	assert_int_equal(irq_router_set_msi(r, gsi, MSI, 1, 0), 0);
	assert_int_equal(kvm.calls, 0);
	assert_int_equal(irq_router_set_msi(r, gsi, MSI, 2, 0), 0);
	assert_int_equal(kvm.calls, 1);
}

static void the_requester_id_travels_where_kvm_wants_it(void **state)
{
	struct irq_router *r = *state;
	int gsi = irq_router_alloc_msi(r);

	irq_router_set_msi(r, gsi, MSI, 1, 8);
	assert_int_equal(sent(gsi)->flags, KVM_MSI_VALID_DEVID);
	assert_int_equal(sent(gsi)->u.msi.devid, 8);
	irq_router_set_msi(r, gsi, MSI, 1, 16);
	assert_int_equal(kvm.calls, 2);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(nothing_is_sent_before_a_route_is_set),
		TEST(a_route_is_sent_with_every_pin),
		TEST(the_same_route_again_is_no_call),
		TEST(entries_without_a_route_are_left_out),
		TEST(gsis_are_distinct_and_beyond_the_pins),
		TEST(freed_gsis_come_back_without_their_route),
		TEST(gsis_that_are_not_ours_are_refused),
		TEST(a_refused_table_leaves_the_old_route),
		cmocka_unit_test_setup_teardown(the_requester_id_travels_where_kvm_wants_it,
						setup_with_devid, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
