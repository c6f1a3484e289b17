/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A driver that reads the configuration from a page while it changes. The source is included so that
 * each of its stores to the page ends here, and is followed by a look of the driver's.
 */
#include "tests/unit/virtio_mmio_rig.h"

static void store(_Atomic uint32_t *word, uint32_t value);

#undef atomic_store_explicit
#define atomic_store_explicit(word, value, order) store(word, value)
#include "virtio/virtio_mmio.c"

struct view {
	uint32_t generation, low, high; /* of the first 64 bits */
};

static struct {
	const uint8_t *page; /* NULL: nobody looks */
	unsigned n;
	struct view view[64];
} driver;

static void look(void)
{
	struct view *view = &driver.view[driver.n++];

	assert_in_range(driver.n, 1, 64);
	memcpy(&view->generation, driver.page + VIRTIO_MMIO_CONFIG_GENERATION, 4);
	memcpy(&view->low, driver.page + VIRTIO_MMIO_CONFIG, 4);
	memcpy(&view->high, driver.page + VIRTIO_MMIO_CONFIG + 4, 4);
}

static void store(_Atomic uint32_t *word, uint32_t value)
{
	*word = value;
	if (driver.page)
		look();
}

/* Reads both halves at looks from `from` to `to`, and the generation before and afterwards. One that is
 * neither the old nor the new one says that the change goes on. */
static void expect_no_half(unsigned from, unsigned to)
{
	const struct view *v = driver.view, *last = &v[driver.n - 1];
	const uint32_t generation = v[from].generation;

	if (v[to].generation != generation ||
	    (generation != v->generation && generation != last->generation))
		return;
	for (unsigned low = from; low <= to; low++)
		for (unsigned high = from; high <= to; high++)
			assert_int_equal(v[low].low == last->low, v[high].high == last->high);
}

/* virtio 1.2, 2.5.1 */
static void a_driver_that_looks_in_between_believes_no_half(void **state)
{
	struct rig *rig = rig_without_mmio();
	const uint64_t capacity = 0x1122334455667788;

	rig_attach(rig, true);
	driver.page = rig->page;
	look();
	assert_int_equal(virtio_dev_try_change_config(&rig->dev, 0, &capacity, 8), 0);
	driver.page = NULL;
	assert_in_range(driver.n, 5, 64);
	assert_int_not_equal(driver.view[0].generation, driver.view[driver.n - 1].generation);
	assert_int_equal(driver.view[driver.n - 1].low, 0x55667788);
	assert_int_equal(driver.view[driver.n - 1].high, 0x11223344);
	for (unsigned from = 0; from < driver.n; from++)
		for (unsigned to = from; to < driver.n; to++)
			expect_no_half(from, to);
	rig_free(rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_driver_that_looks_in_between_believes_no_half),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
