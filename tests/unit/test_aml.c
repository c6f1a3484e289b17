/* SPDX-License-Identifier: Apache-2.0 */
/* AML encodings held against bytes worked out by hand from the specification. */
#include "loader_test.h"

#include "loader/aml.h"

static uint8_t buf[8192];

static struct aml empty(size_t cap)
{
	memset(buf, 0xee, sizeof(buf));
	return (struct aml){ .buf = buf, .cap = cap };
}

#define assert_encoded(aml, ...)                                                                   \
	do {                                                                                       \
		const uint8_t want[] = { __VA_ARGS__ };                                            \
		assert_false((aml)->full);                                                         \
		assert_int_equal((aml)->len, sizeof(want));                                        \
		assert_memory_equal((aml)->buf, want, sizeof(want));                               \
	} while (0)

static void integers_take_their_shortest_form(void **state)
{
	struct aml aml = empty(sizeof(buf));

	aml_int(&aml, 0);
	aml_int(&aml, 1);
	aml_int(&aml, 2);
	aml_int(&aml, 0xff);
	aml_int(&aml, 0x100);
	aml_int(&aml, 0x12345);
	aml_int(&aml, 0x123456789);
	assert_encoded(&aml, 0x00, 0x01, 0x0a, 2, 0x0a, 0xff, 0x0b, 0, 1, 0x0c, 0x45, 0x23, 1, 0,
		       0x0e, 0x89, 0x67, 0x45, 0x23, 1, 0, 0, 0);
}

static void names_are_padded_and_paths_prefixed(void **state)
{
	struct aml aml = empty(sizeof(buf));

	aml_path(&aml, "GED");
	aml_path(&aml, "\\_S5");
	aml_path(&aml, "\\_SB.PWRB");
	aml_path(&aml, "A.B.C");
	assert_encoded(&aml, 'G', 'E', 'D', '_', '\\', '_', 'S', '5', '_', '\\', 0x2e, '_', 'S',
		       'B', '_', 'P', 'W', 'R', 'B', 0x2f, 3, 'A', '_', '_', '_', 'B', '_', '_',
		       '_', 'C', '_', '_', '_');
}

static void eisa_ids_are_compressed(void **state)
{
	struct aml aml = empty(sizeof(buf));

	aml_name_eisa_id(&aml, "_HID", "PNP0C0A");
	assert_encoded(&aml, 0x08, '_', 'H', 'I', 'D', 0x0c, 0x41, 0xd0, 0x0c, 0x0a);
}

static void a_template_knows_its_size(void **state)
{
	struct aml aml = empty(sizeof(buf));
	size_t crs = aml_crs(&aml);

	aml_io(&aml, 0x3f8, 8);
	aml_irq_edge(&aml, 4);
	aml_crs_end(&aml, crs);
	assert_encoded(&aml, 0x08, '_', 'C', 'R', 'S', 0x11, 22, 0x0a, 19, 0x47, 1, 0xf8, 3, 0xf8,
		       3, 1, 8, 0x89, 6, 0, 0x03, 1, 4, 0, 0, 0, 0x79, 0);
}

/* A scope with a body of `body` bytes besides its four-letter name; returns its encoded length. */
static uint32_t scope_length(size_t body, unsigned *bytes)
{
	struct aml aml = empty(sizeof(buf));
	size_t mark = aml_scope(&aml, "ABCD");
	uint32_t len;
	unsigned i;

	for (; body; body--)
		aml_u8(&aml, 0xa3);
	aml_end(&aml, mark);
	assert_false(aml.full);
	*bytes = 1 + (buf[1] >> 6);
	len = *bytes == 1 ? buf[1] & 0x3f : buf[1] & 0xf;
	for (i = 1; i < *bytes; i++)
		len |= (uint32_t)buf[1 + i] << (4 + 8 * (i - 1));
	assert_int_equal(len, aml.len - 1);
	assert_memory_equal(buf + 1 + *bytes, "ABCD", 4);
	return len;
}

static void package_lengths_count_themselves(void **state)
{
	static const struct {
		size_t body;
		uint32_t len;
		unsigned bytes;
	} cases[] = { { 0, 5, 1 },	 { 58, 63, 1 },	    { 59, 65, 2 },
		      { 4089, 4095, 2 }, { 4090, 4097, 3 }, { 8000, 8007, 3 } };
	unsigned bytes;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_int_equal(scope_length(cases[i].body, &bytes), cases[i].len);
		assert_int_equal(bytes, cases[i].bytes);
	}
}

static void a_full_buffer_is_noted_and_not_overrun(void **state)
{
	size_t cap;

	for (cap = 0; cap < 40; cap++) {
		struct aml aml = empty(cap);
		size_t dev = aml_device(&aml, "COM1");
		size_t crs = aml_crs(&aml);

		aml_io(&aml, 0x3f8, 8);
		aml_crs_end(&aml, crs);
		aml_end(&aml, dev);
		assert_int_equal(aml.full, cap < 26);
		assert_true(aml.len <= cap);
		for (size_t i = cap; i < 64; i++)
			assert_int_equal(buf[i], 0xee);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(integers_take_their_shortest_form),
		cmocka_unit_test(names_are_padded_and_paths_prefixed),
		cmocka_unit_test(eisa_ids_are_compressed),
		cmocka_unit_test(a_template_knows_its_size),
		cmocka_unit_test(package_lengths_count_themselves),
		cmocka_unit_test(a_full_buffer_is_noted_and_not_overrun),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
