/* SPDX-License-Identifier: Apache-2.0 */
/* MSI-X against a KVM that refuses: the vector stays masked, and is tried again until it is taken.
 * H numbers are the cases of the hostile-guest list. */
#include "tests/unit/msix_rig.h"

/* A vector that is unmasked, and that KVM has not taken: `request` fails `times` times. */
static struct rig *rig_refused(unsigned long request, unsigned times)
{
	struct rig *rig = rig_new();

	msix_set_control(&rig->msix, ENABLE);
	program(rig, 3, ADDR, 0x31);
	fake_kvm_fail(request, ENOMEM, times);
	mask(rig, 3, false);
	assert_false(assigned(rig, 3));
	signal_vector(rig, 3);
	assert_int_equal(injected(rig, 3), 0);
	return rig;
}

static void check_recovered(struct rig *rig)
{
	assert_true(assigned(rig, 3));
	assert_int_equal(fake_kvm.route[rig->msix.vector[3].gsi].u.msi.data, 0x31);
	assert_int_equal(injected(rig, 3), 1);
	rig_free(rig);
}

static void H28_a_refused_route_leaves_the_vector_masked_until_the_next_unmask(void **state)
{
	struct rig *rig = rig_refused(KVM_SET_GSI_ROUTING, 1);

	mask(rig, 3, true);
	mask(rig, 3, false);
	check_recovered(rig);
}

static void H28_a_refused_irqfd_leaves_the_vector_masked_until_the_next_unmask(void **state)
{
	struct rig *rig = rig_refused(KVM_IRQFD, 1);

	mask(rig, 3, false);
	check_recovered(rig);
}

/* No driver unmasks what it has unmasked: that the interrupt comes after all is up to us. */
static void H28_what_kvm_refused_is_tried_again_at_the_next_access(void **state)
{
	static const unsigned long requests[] = { KVM_SET_GSI_ROUTING, KVM_IRQFD };

	for (unsigned i = 0; i < 2; i++) {
		struct rig *rig = rig_refused(requests[i], 1);

		mask(rig, 4, true); /* another vector */
		check_recovered(rig);
		rig = rig_refused(requests[i], 2);
		assert_int_equal(pba(rig), 1 << 3);
		assert_int_equal(pba(rig), 0);
		check_recovered(rig);
	}
}

static void H28_what_kvm_refused_main_tries_again_until_it_is_taken(void **state)
{
	static const unsigned long requests[] = { KVM_SET_GSI_ROUTING, KVM_IRQFD };

	for (unsigned i = 0; i < 2; i++) {
		struct rig *rig = rig_refused(requests[i], 4);

		for (unsigned n = 0; n < 3; n++) {
			msix_retry(&rig->msix);
			assert_false(assigned(rig, 3));
		}
		msix_retry(&rig->msix);
		check_recovered(rig);
	}
}

static void H28_a_mask_that_kvm_refused_is_tried_again(void **state)
{
	struct rig *rig = rig_with_vector_3();

	fake_kvm_fail(KVM_IRQFD, ENOMEM, 1);
	mask(rig, 3, true);
	assert_true(assigned(rig, 3));
	msix_retry(&rig->msix);
	assert_false(assigned(rig, 3));
	signal_vector(rig, 3);
	assert_int_equal(injected(rig, 3), 0);
	rig_free(rig);
}

/* The guest may have masked it meanwhile, or pointed it elsewhere. */
static void H28_only_what_is_still_wanted_is_tried_again(void **state)
{
	struct rig *rig = rig_refused(KVM_IRQFD, 1);
	unsigned calls;

	fake_kvm_fail(KVM_IRQFD, ENOMEM, 2);
	mask(rig, 3, true);
	calls = fake_kvm.irqfd_calls;
	fake_kvm_fail(KVM_IRQFD, ENOMEM, 0);
	msix_retry(&rig->msix);
	msix_retry(&rig->msix);
	assert_int_equal(fake_kvm.irqfd_calls, calls);
	assert_false(assigned(rig, 3));
	assert_int_equal(pba(rig), 1 << 3);
	rig_free(rig);
}

/* Main has no time for a vCPU that waits for KVM with the lock held. */
static void H28_main_does_not_wait_for_a_vcpu(void **state)
{
	struct rig *rig = rig_refused(KVM_IRQFD, 1);

	pthread_mutex_lock(&rig->msix.lock);
	msix_retry(&rig->msix); /* hangs if it waits */
	assert_false(assigned(rig, 3));
	pthread_mutex_unlock(&rig->msix.lock);
	msix_retry(&rig->msix);
	check_recovered(rig);
}

static void H28_what_kvm_refuses_again_and_again_is_told_once(void **state)
{
	const int saved = dup(STDERR_FILENO), fd = memfd_create("stderr", MFD_CLOEXEC);
	char text[1024] = "";
	struct rig *rig;

	dup2(fd, STDERR_FILENO);
	rig = rig_refused(KVM_IRQFD, 5);
	for (unsigned i = 0; i < 4; i++)
		msix_retry(&rig->msix);
	dup2(saved, STDERR_FILENO);
	close(saved);
	assert_true(pread(fd, text, sizeof(text) - 1, 0) > 0);
	close(fd);
	assert_non_null(strstr(text, "MSI-X vector 3 stays masked for now: Cannot allocate"));
	assert_ptr_equal(strchr(text, '\n'), strrchr(text, '\n'));
	msix_retry(&rig->msix);
	check_recovered(rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			H28_a_refused_route_leaves_the_vector_masked_until_the_next_unmask),
		cmocka_unit_test(
			H28_a_refused_irqfd_leaves_the_vector_masked_until_the_next_unmask),
		cmocka_unit_test(H28_what_kvm_refused_is_tried_again_at_the_next_access),
		cmocka_unit_test(H28_what_kvm_refused_main_tries_again_until_it_is_taken),
		cmocka_unit_test(H28_a_mask_that_kvm_refused_is_tried_again),
		cmocka_unit_test(H28_only_what_is_still_wanted_is_tried_again),
		cmocka_unit_test(H28_main_does_not_wait_for_a_vcpu),
		cmocka_unit_test(H28_what_kvm_refuses_again_and_again_is_told_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
