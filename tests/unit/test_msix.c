/* SPDX-License-Identifier: Apache-2.0 */
/* MSI-X against a KVM in the test: what is assigned when, what is pending, what is never lost. H
 * numbers are the cases of the hostile-guest list. */
#include "tests/unit/msix_rig.h"

static void vectors_start_masked(void **state)
{
	struct rig *rig = rig_new();

	for (unsigned v = 0; v < NVEC; v++)
		assert_int_equal(read32(rig, 16 * v + 12), 1);
	msix_set_control(&rig->msix, ENABLE);
	assert_int_equal(fake_kvm.nirqfds, 0);
	assert_int_equal(fake_kvm.routings, 0);
	rig_free(rig);
}

static void an_unmasked_vector_interrupts(void **state)
{
	struct rig *rig = rig_with_vector_3();
	const struct kvm_irq_routing_entry *route = &fake_kvm.route[rig->msix.vector[3].gsi];

	assert_true(assigned(rig, 3));
	assert_int_equal(fake_kvm.nirqfds, 1);
	assert_int_equal(route->type, KVM_IRQ_ROUTING_MSI);
	assert_int_equal(route->u.msi.address_lo, ADDR);
	assert_int_equal(route->u.msi.data, 0x31);
	signal_vector(rig, 3);
	signal_vector(rig, 3);
	assert_int_equal(injected(rig, 3), 2);
	signal_vector(rig, 4);
	assert_int_equal(injected(rig, 4), 0);
	rig_free(rig);
}

static void a_signal_while_masked_is_pending_and_comes_at_the_unmask(void **state)
{
	struct rig *rig = rig_with_vector_3();

	mask(rig, 3, true);
	assert_false(assigned(rig, 3));
	assert_int_equal(pba(rig), 0);
	signal_vector(rig, 3);
	signal_vector(rig, 3);
	assert_int_equal(injected(rig, 3), 0);
	assert_int_equal(pba(rig), 1 << 3);
	mask(rig, 3, false);
	assert_int_equal(injected(rig, 3), 1);
	assert_int_equal(pba(rig), 0);
	signal_vector(rig, 3);
	assert_int_equal(injected(rig, 3), 2);
	rig_free(rig);
}

/* What an irqfd has not picked up yet is on its way, not pending. */
static void an_assigned_vector_is_never_pending(void **state)
{
	struct rig *rig = rig_with_vector_3();
	struct irq_line line = msix_line(&rig->msix, 3);

	irq_line_signal(&line);
	assert_int_equal(pba(rig), 0);
	rig_free(rig);
}

static void H28_function_mask_holds_all_vectors(void **state)
{
	struct rig *rig = rig_with_vector_3();

	program(rig, 39, ADDR, 0x32);
	mask(rig, 39, false);
	assert_int_equal(fake_kvm.nirqfds, 2);
	msix_set_control(&rig->msix, ENABLE | MASKALL);
	assert_int_equal(fake_kvm.nirqfds, 0);
	signal_vector(rig, 39);
	assert_true(pba(rig) == 1ULL << 39);
	msix_set_control(&rig->msix, ENABLE);
	assert_int_equal(fake_kvm.nirqfds, 2);
	assert_int_equal(injected(rig, 39), 1);
	assert_int_equal(injected(rig, 3), 0);
	rig_free(rig);
}

static void disabling_msix_takes_all_vectors_off(void **state)
{
	struct rig *rig = rig_with_vector_3();

	msix_set_control(&rig->msix, 0);
	assert_int_equal(fake_kvm.nirqfds, 0);
	signal_vector(rig, 3);
	assert_int_equal(injected(rig, 3), 0);
	rig_free(rig);
}

static void routes_change_only_at_an_unmask_with_something_new(void **state)
{
	struct rig *rig = rig_with_vector_3();

	assert_int_equal(fake_kvm.routings, 1);
	for (unsigned i = 0; i < 10; i++) {
		mask(rig, 3, true);
		mask(rig, 3, false);
	}
	assert_int_equal(fake_kvm.routings, 1);
	program(rig, 3, ADDR, 0x31); /* the same again */
	mask(rig, 3, false);
	assert_int_equal(fake_kvm.routings, 1);
	program(rig, 3, ADDR + 0x1000, 0x31);
	assert_int_equal(fake_kvm.routings, 1); /* still masked */
	mask(rig, 3, false);
	assert_int_equal(fake_kvm.routings, 2);
	assert_int_equal(fake_kvm.route[rig->msix.vector[3].gsi].u.msi.address_lo, ADDR + 0x1000);
	rig_free(rig);
}

static void a_second_unmask_does_nothing(void **state)
{
	struct rig *rig = rig_with_vector_3();
	const unsigned calls = fake_kvm.irqfd_calls;

	mask(rig, 3, false);
	msix_set_control(&rig->msix, ENABLE);
	assert_int_equal(fake_kvm.irqfd_calls, calls);
	rig_free(rig);
}

static void a_vector_never_programmed_stays_unassigned(void **state)
{
	struct rig *rig = rig_new();

	msix_set_control(&rig->msix, ENABLE);
	mask(rig, 0, false);
	assert_false(assigned(rig, 0));
	assert_int_equal(fake_kvm.routings, 0);
	signal_vector(rig, 0);
	assert_int_equal(pba(rig), 1);
	rig_free(rig);
}

static void H28_vectors_that_do_not_exist_have_no_line(void **state)
{
	static const uint16_t bad[] = { NVEC, NVEC + 1, 65534, 65535 };
	struct rig *rig = rig_new();

	for (unsigned i = 0; i < 4; i++) {
		assert_int_equal(msix_line(&rig->msix, bad[i]).fd, -1);
		signal_vector(rig, bad[i]);
	}
	assert_true(msix_line(&rig->msix, NVEC - 1).fd >= 0);
	assert_null(msix_line(&rig->msix, 0).status);
	rig_free(rig);
}

static void H28_accesses_beyond_the_table_find_nothing(void **state)
{
	static const uint64_t bad[] = { 16 * NVEC, 16 * NVEC + 12, 0x1000, 0xfffffffc, ~3ULL };
	struct rig *rig = rig_new();
	struct msix_vector before[NVEC];

	memcpy(before, rig->msix.vector, sizeof(before));
	msix_set_control(&rig->msix, ENABLE);
	for (unsigned i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		uint64_t value = 0;

		write32(rig, bad[i], 0);
		msix_table_write(&rig->msix, bad[i] & ~7ULL, &value, 8);
		assert_int_equal(read32(rig, bad[i]), 0xffffffff);
		msix_table_read(&rig->msix, bad[i] & ~7ULL, &value, 8);
		assert_true(value == ~0ULL);
	}
	assert_memory_equal(before, rig->msix.vector, sizeof(before));
	rig_free(rig);
}

static void H28_odd_widths_and_places_are_dropped(void **state)
{
	struct rig *rig = rig_with_vector_3();
	uint8_t data[8];

	for (unsigned len = 1; len <= 8; len++) {
		for (uint64_t off = 0; off < 64; off++) {
			if ((len == 4 || len == 8) && off % len == 0)
				continue;
			memset(data, 0, sizeof(data));
			msix_table_write(&rig->msix, off, data, len);
			msix_table_read(&rig->msix, off, data, len);
			for (unsigned i = 0; i < len; i++)
				assert_int_equal(data[i], 0xff);
			memset(data, 0, sizeof(data));
			msix_pba_read(&rig->msix, off, data, len);
			assert_int_equal(data[len - 1], 0xff);
		}
	}
	assert_int_equal(read32(rig, 48), ADDR);
	assert_int_equal(read32(rig, 12), 1);
	rig_free(rig);
}

static void H28_eight_byte_writes_set_both_words_before_the_unmask(void **state)
{
	struct rig *rig = rig_new();
	const uint64_t addr = 0x100000000ULL | ADDR, data_unmask = 0x45;
	const struct kvm_irq_routing_entry *route = &fake_kvm.route[rig->msix.vector[5].gsi];
	uint64_t back;

	msix_set_control(&rig->msix, ENABLE);
	msix_table_write(&rig->msix, 80, &addr, 8);
	msix_table_write(&rig->msix, 88, &data_unmask, 8);
	assert_true(assigned(rig, 5));
	assert_int_equal(route->u.msi.data, 0x45);
	assert_int_equal(route->u.msi.address_hi, 1);
	msix_table_read(&rig->msix, 80, &back, 8);
	assert_true(back == addr);
	rig_free(rig);
}

static void H28_only_the_mask_bit_of_the_control_word_is_writable(void **state)
{
	struct rig *rig = rig_new();

	write32(rig, 12, 0xfffffffe);
	assert_int_equal(read32(rig, 12), 0);
	write32(rig, 12, 0xffffffff);
	assert_int_equal(read32(rig, 12), 1);
	rig_free(rig);
}

static void H28_pending_bits_beyond_the_vectors_read_0(void **state)
{
	static const uint64_t far[] = { 8, 16, 0x800, 0x1000, 1ULL << 61, ~7ULL };
	struct rig *rig = rig_new();

	for (unsigned v = 0; v < NVEC; v++)
		signal_vector(rig, v);
	assert_true(pba(rig) == (1ULL << NVEC) - 1);
	for (unsigned i = 0; i < sizeof(far) / sizeof(*far); i++) {
		uint64_t bits = 1;

		msix_pba_read(&rig->msix, far[i], &bits, 8);
		assert_true(bits == 0);
	}
	rig_free(rig);
}

static void clear_pending_forgets_masked_signals(void **state)
{
	struct rig *rig = rig_with_vector_3();

	mask(rig, 3, true);
	signal_vector(rig, 3);
	msix_clear_pending(&rig->msix);
	assert_int_equal(pba(rig), 0);
	mask(rig, 3, false);
	assert_int_equal(injected(rig, 3), 0);
	rig_free(rig);
}

static void init_gives_everything_back_when_vectors_run_out(void **state)
{
	struct rig *rig = rig_new();
	struct msix other;
	struct error err;

	for (unsigned i = 0; i < IRQ_ROUTER_MAX_MSI - NVEC - 4; i++)
		assert_true(irq_router_alloc_msi(&rig->router) >= 0);
	assert_int_equal(msix_init(&other, &rig->router, 5, 0, &err), -ENOSPC);
	assert_int_equal(msix_init(&other, &rig->router, 4, 0, &err), 0);
	msix_destroy(&other);
	rig_free(rig);
}

/*
 * H28: masks flip while the device signals. Each signal is followed by an interrupt, however the masks
 * fall, before the next one is sent: one that came late could stand for one that was lost.
 */
struct storm {
	struct rig *rig;
	_Atomic bool stop;
	_Atomic unsigned rounds;
};

static void *mask_storm(void *arg)
{
	struct storm *storm = arg;

	for (unsigned i = 0; !atomic_load(&storm->stop); i++) {
		mask(storm->rig, 3, i & 1);
		if (i % 16 == 0)
			msix_set_control(&storm->rig->msix, ENABLE | (i % 32 ? MASKALL : 0));
		if (i % 64 == 1)
			program(storm->rig, 3, ADDR, i);
		atomic_fetch_add(&storm->rounds, 1);
	}
	return NULL;
}

/* Within some seconds of anybody's time, while the masks go on flipping. */
static bool interrupt_follows(struct rig *rig, unsigned before)
{
	for (unsigned i = 0; i < 5000; i++) {
		for (unsigned n = 0; n < 100; n++) {
			fake_kvm_deliver();
			if (fake_kvm_injected(rig->msix.vector[3].gsi) != before)
				return true;
			sched_yield();
		}
		usleep(1000);
	}
	return false;
}

static void H28_no_signal_is_lost_in_a_mask_storm(void **state)
{
	struct storm storm = { .rig = rig_with_vector_3() };
	struct rig *rig = storm.rig;
	const struct irq_line line = msix_line(&rig->msix, 3);
	pthread_t thread;
	bool came = true;

	assert_int_equal(pthread_create(&thread, NULL, mask_storm, &storm), 0);
	for (unsigned i = 0; came && (i < 2000 || atomic_load(&storm.rounds) < 2000); i++) {
		const unsigned before = fake_kvm_injected(rig->msix.vector[3].gsi);

		irq_line_signal(&line);
		came = interrupt_follows(rig, before);
	}
	atomic_store(&storm.stop, true);
	pthread_join(thread, NULL);
	assert_true(came);
	rig_free(rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(vectors_start_masked),
		cmocka_unit_test(an_unmasked_vector_interrupts),
		cmocka_unit_test(a_signal_while_masked_is_pending_and_comes_at_the_unmask),
		cmocka_unit_test(an_assigned_vector_is_never_pending),
		cmocka_unit_test(H28_function_mask_holds_all_vectors),
		cmocka_unit_test(disabling_msix_takes_all_vectors_off),
		cmocka_unit_test(routes_change_only_at_an_unmask_with_something_new),
		cmocka_unit_test(a_second_unmask_does_nothing),
		cmocka_unit_test(a_vector_never_programmed_stays_unassigned),
		cmocka_unit_test(H28_vectors_that_do_not_exist_have_no_line),
		cmocka_unit_test(H28_accesses_beyond_the_table_find_nothing),
		cmocka_unit_test(H28_odd_widths_and_places_are_dropped),
		cmocka_unit_test(H28_eight_byte_writes_set_both_words_before_the_unmask),
		cmocka_unit_test(H28_only_the_mask_bit_of_the_control_word_is_writable),
		cmocka_unit_test(H28_pending_bits_beyond_the_vectors_read_0),
		cmocka_unit_test(clear_pending_forgets_masked_signals),
		cmocka_unit_test(init_gives_everything_back_when_vectors_run_out),
		cmocka_unit_test(H28_no_signal_is_lost_in_a_mask_storm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
