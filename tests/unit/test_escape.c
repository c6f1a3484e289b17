/* SPDX-License-Identifier: Apache-2.0 */
/* Ctrl-A and a letter: what the guest gets, and what mvmm does. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "vmm/cli/escape.h"

#define A "\x01"

/* Types `keys`; the guest must get `guest`, mvmm must do `action` at the last key and nothing
 * before. */
static void expect(const char *keys, const char *guest, enum escape_action action)
{
	struct escape esc = { 0 };
	const size_t len = strlen(keys);
	char got[32];
	size_t n = 0;

	for (size_t i = 0; i < len; i++) {
		uint8_t byte;
		unsigned sent = 99;
		enum escape_action did = escape_feed(&esc, keys[i], &byte, &sent);

		assert_int_equal(did, i == len - 1 ? action : ESCAPE_NONE);
		assert_in_range(sent, 0, did == ESCAPE_NONE);
		if (sent)
			got[n++] = byte;
	}
	got[n] = '\0';
	assert_string_equal(got, guest);
}

static void other_keys_pass(void **state)
{
	expect("ls -l\r", "ls -l\r", ESCAPE_NONE);
	expect("\x03\x1a\x1b[A\xff", "\x03\x1a\x1b[A\xff", ESCAPE_NONE);
	expect("xchb", "xchb", ESCAPE_NONE);
}

static void every_byte_but_the_prefix_passes(void **state)
{
	struct escape esc = { 0 };

	for (unsigned i = 0; i < 256; i++) {
		uint8_t byte = 0;
		unsigned sent;

		if (i == ESCAPE_KEY)
			continue;
		assert_int_equal(escape_feed(&esc, i, &byte, &sent), ESCAPE_NONE);
		assert_int_equal(sent, 1);
		assert_int_equal(byte, i);
	}
}

static void letters_after_the_prefix_act(void **state)
{
	expect("ls" A "x", "ls", ESCAPE_QUIT);
	expect(A "c", "", ESCAPE_STATUS);
	expect(A "h", "", ESCAPE_HELP);
	expect(A "?", "", ESCAPE_HELP);
	expect(A "b", "", ESCAPE_BREAK);
}

static void prefix_twice_sends_it_once(void **state)
{
	expect(A A, A, ESCAPE_NONE);
	expect(A A "x", A "x", ESCAPE_NONE);
	expect(A A A "x", A, ESCAPE_QUIT);
}

static void prefix_alone_sends_nothing(void **state)
{
	expect(A, "", ESCAPE_NONE);
}

static void unknown_letter_is_swallowed_and_ends_the_prefix(void **state)
{
	expect(A "qx", "x", ESCAPE_NONE);
	expect(A "X", "", ESCAPE_NONE);
}

static void help_names_every_key(void **state)
{
	const char *help = escape_help();

	assert_non_null(strstr(help, "Ctrl-A h"));
	assert_non_null(strstr(help, "Ctrl-A x"));
	assert_non_null(strstr(help, "Ctrl-A c"));
	assert_non_null(strstr(help, "Ctrl-A b"));
	assert_non_null(strstr(help, "Ctrl-A Ctrl-A"));
	assert_int_equal(help[strlen(help) - 1], '\n');
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(other_keys_pass),
		cmocka_unit_test(every_byte_but_the_prefix_passes),
		cmocka_unit_test(letters_after_the_prefix_act),
		cmocka_unit_test(prefix_twice_sends_it_once),
		cmocka_unit_test(prefix_alone_sends_nothing),
		cmocka_unit_test(unknown_letter_is_swallowed_and_ends_the_prefix),
		cmocka_unit_test(help_names_every_key),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
