/* SPDX-License-Identifier: Apache-2.0 */
/* Holds docs/mvmm.1 and the bash completion to the option tables. Runs in the top folder. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "vmm/cli/commands.h"
#include "vmm/cli/ctl.h"
#include "vmm/cli/disk_option.h"
#include "vmm/cli/run_options.h"

#define MANPAGE	   "docs/mvmm.1"
#define COMPLETION "docs/completion/mvmm.bash"

static char *read_file(const char *path)
{
	char *text = NULL;
	size_t size = 0;
	FILE *f = fopen(path, "r");

	if (!f)
		fail_msg("%s: not here; run this in the top folder", path);
	if (getdelim(&text, &size, '\0', f) < 0)
		fail_msg("%s: empty", path);
	fclose(f);
	return text;
}

/* "needle" as a word of its own: --cpu is not found in --cpus. */
static bool has_word(const char *text, const char *needle)
{
	for (const char *s = text; (s = strstr(s, needle)); s++)
		if (strspn(s + strlen(needle), "abcdefghijklmnopqrstuvwxyz-") == 0)
			return true;
	return false;
}

static void check_described(const char *text, const struct command_spec *cmd)
{
	for (const struct option_spec *spec = cmd->options; spec->name; spec++) {
		char item[64];

		snprintf(item, sizeof(item), "\n.It Fl Fl %s", spec->name);
		if (!has_word(text, item))
			fail_msg(MANPAGE " does not describe --%s of mvmm %s", spec->name,
				 cmd->name);
	}
}

static void the_manual_describes_every_option(void **state)
{
	char *text = read_file(MANPAGE);

	check_described(text, &run_command);
	check_described(text, &bench_command);
	check_described(text, &check_command);
	check_described(text, &ctl_command);
	free(text);
}

static bool is_option(const char *name, size_t len)
{
	const struct command_spec *cmds[] = { &run_command, &bench_command, &check_command,
					      &ctl_command };

	for (unsigned i = 0; i < 4; i++)
		for (const struct option_spec *spec = cmds[i]->options; spec->name; spec++)
			if (strlen(spec->name) == len && !memcmp(spec->name, name, len))
				return true;
	return false;
}

static void the_manual_describes_nothing_else(void **state)
{
	static const char item[] = "\n.It Fl Fl ";
	char *text = read_file(MANPAGE);
	unsigned found = 0;

	for (char *s = text; (s = strstr(s, item)); found++) {
		size_t len = strcspn(s += strlen(item), " \n");

		if (!is_option(s, len))
			fail_msg(MANPAGE " describes --%.*s, which is no option", (int)len, s);
	}
	assert_true(found > 10);
	free(text);
}

/* --help lists the keys of --disk at the beginning of its lines. */
static void the_manual_describes_every_disk_key(void **state)
{
	char *text = read_file(MANPAGE), help[] = DISK_OPTION_HELP;
	unsigned found = 0;

	for (char *line = strtok(help, "\n"); line; line = strtok(NULL, "\n")) {
		char item[64];
		size_t len = strcspn(line, "= ");

		if (len > 14 || !strchr("= ", line[len]) || line[0] < 'a' || !strstr(line, "  "))
			continue;
		snprintf(item, sizeof(item), "\n.It Cm %.*s", (int)len, line);
		if (!has_word(text, item))
			fail_msg(MANPAGE " does not describe the disk key %.*s", (int)len, line);
		found++;
	}
	assert_true(found > 8);
	free(text);
}

static void the_manual_describes_every_limit(void **state)
{
	char *text = read_file(MANPAGE), item[64];

	for (unsigned kind = 0; kind < THROTTLE_KINDS; kind++) {
		snprintf(item, sizeof(item), "\n.It Cm %s", throttle_kind_name(kind));
		if (!has_word(text, item))
			fail_msg(MANPAGE " does not describe %s", throttle_kind_name(kind));
	}
	assert_non_null(strstr(text, "\n.It Ar limit Ns Cm -max Ns ="));
	assert_non_null(strstr(text, "\n.It Ar limit Ns Cm -max-length Ns ="));
	free(text);
}

/* It makes the names of bursts itself. */
static void the_completion_knows_every_limit(void **state)
{
	char *text = read_file(COMPLETION), want[128] = "for limit in";

	for (unsigned kind = 0; kind < THROTTLE_KINDS; kind++)
		snprintf(want + strlen(want), sizeof(want) - strlen(want), " %s",
			 throttle_kind_name(kind));
	if (!strstr(text, want))
		fail_msg(COMPLETION " has no line \"%s\"", want);
	assert_non_null(strstr(text, " $limit= $limit-max= $limit-max-length="));
	free(text);
}

static void the_completion_knows_every_option(void **state)
{
	const struct command_spec *cmds[] = { &run_command, &bench_command, &check_command,
					      &ctl_command };
	char *text = read_file(COMPLETION);

	for (unsigned i = 0; i < 4; i++) {
		for (const struct option_spec *spec = cmds[i]->options; spec->name; spec++) {
			char word[64];

			snprintf(word, sizeof(word), "--%s", spec->name);
			if (!has_word(text, word))
				fail_msg(COMPLETION " does not know %s", word);
		}
	}
	free(text);
}

/* Each of its words by itself: the completion looks at the one before. */
static void assert_completes(const char *completion, const struct ctl_verb *verb)
{
	char words[64], *word, *rest;

	snprintf(words, sizeof(words), "%s", verb->words);
	for (word = strtok_r(words, " ", &rest); word; word = strtok_r(NULL, " ", &rest))
		if (!has_word(completion, word))
			fail_msg(COMPLETION " does not know ctl %s", verb->words);
}

static void the_manual_and_the_completion_know_every_verb(void **state)
{
	char *manual = read_file(MANPAGE), *completion = read_file(COMPLETION);

	for (const struct ctl_verb *verb = ctl_verbs; verb->words; verb++) {
		char item[64];

		snprintf(item, sizeof(item), "\n.It Cm %s", verb->words);
		if (!has_word(manual, item))
			fail_msg(MANPAGE " does not describe ctl %s", verb->words);
		assert_completes(completion, verb);
	}
	free(manual);
	free(completion);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_manual_describes_every_option),
		cmocka_unit_test(the_manual_describes_nothing_else),
		cmocka_unit_test(the_manual_describes_every_disk_key),
		cmocka_unit_test(the_manual_describes_every_limit),
		cmocka_unit_test(the_completion_knows_every_option),
		cmocka_unit_test(the_manual_and_the_completion_know_every_verb),
		cmocka_unit_test(the_completion_knows_every_limit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
