/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Drives getopt_long from a table of options and prints the table as --help.
 *
 * Main only, before any thread (getopt has global state). Must not know a single option by name.
 */
#include "vmm/cli/options.h"

#include <errno.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define HELP_COLUMN 26

static int has_arg(const struct option_spec *spec)
{
	if (!spec->arg)
		return no_argument;
	return spec->arg[0] == '[' ? optional_argument : required_argument;
}

static unsigned count_options(const struct command_spec *cmd)
{
	unsigned n = 0;

	while (cmd->options[n].name)
		n++;
	return n;
}

/* getopt's table: ours, then --help, then the end. `val` is only told from '?' and ':'. */
static struct option *getopt_table(const struct command_spec *cmd, unsigned n)
{
	struct option *table = calloc(n + 2, sizeof(*table));

	if (!table)
		return NULL;
	for (unsigned i = 0; i < n; i++) {
		table[i].name = cmd->options[i].name;
		table[i].has_arg = has_arg(&cmd->options[i]);
		table[i].val = 1;
	}
	table[n].name = "help";
	table[n].val = 1;
	return table;
}

/* getopt takes any unambiguous beginning of a name; we do not. */
static bool spelled_out(const char *word, const char *name)
{
	size_t len = strlen(name);

	return !strncmp(word, "--", 2) && !strncmp(word + 2, name, len) &&
	       (word[2 + len] == '\0' || word[2 + len] == '=');
}

static int unknown_option(const struct command_spec *cmd, const char *word, struct error *err)
{
	return error_setx(err, EINVAL, "unknown option '%s' (see: mvmm %s --help)", word,
			  cmd->name);
}

/*
 * getopt could not use `word`: of ours, it lacks its argument or has one too many; else it is not
 * ours. Only the part before '=' names it.
 */
static int bad_option(const struct command_spec *cmd, const char *word, struct error *err)
{
	for (const struct option_spec *spec = cmd->options; spec->name; spec++) {
		if (!spelled_out(word, spec->name))
			continue;
		if (spec->arg)
			return error_setx(err, EINVAL, "option '--%s' needs a value: %s",
					  spec->name, spec->arg);
		return error_setx(err, EINVAL, "option '--%s' takes no value, as in '%s'",
				  spec->name, word);
	}
	return unknown_option(cmd, word, err);
}

static int parse_all(const struct command_spec *cmd, const struct option *table, unsigned n,
		     int argc, char **argv, void *into, struct error *err)
{
	int index, c, ret;

	for (;;) {
		/* The word an option came from: with a separate value optind skips two. */
		int at = optind ? optind : 1;

		c = getopt_long(argc, argv, "+:h", table, &index);
		if (c == -1)
			break;
		if (c == 'h')
			return OPTIONS_HELP;
		if (c != 1)
			return bad_option(cmd, argv[at], err);
		if (!spelled_out(argv[at], table[index].name))
			return unknown_option(cmd, argv[at], err);
		if ((unsigned)index == n)
			return OPTIONS_HELP;
		ret = cmd->options[index].set(into, optarg, err);
		if (ret)
			return ret;
	}
	if (optind < argc)
		return error_setx(err, EINVAL, "unexpected argument '%s' (see: mvmm %s --help)",
				  argv[optind], cmd->name);
	return 0;
}

int options_parse(const struct command_spec *cmd, int argc, char **argv, void *into,
		  struct error *err)
{
	unsigned n = count_options(cmd);
	struct option *table = getopt_table(cmd, n);
	int ret;

	if (!table)
		return error_set(err, ENOMEM, "options");
	optind = 0;
	opterr = 0;
	ret = parse_all(cmd, table, n, argc, argv, into, err);
	free(table);
	return ret;
}

/* One option: name and argument on the left, each line of its text on the right. */
static void print_option(const struct option_spec *spec, FILE *out)
{
	const char *sep = spec->arg && spec->arg[0] != '[' ? " " : "";
	int width = fprintf(out, "  --%s%s%s", spec->name, sep, spec->arg ? spec->arg : "");

	if (width >= HELP_COLUMN) {
		fputc('\n', out);
		width = 0;
	}
	for (const char *line = spec->help; line;) {
		const char *end = strchrnul(line, '\n');

		fprintf(out, "%*s%.*s\n", HELP_COLUMN - width, "", (int)(end - line), line);
		width = 0;
		line = *end ? end + 1 : NULL;
	}
}

void options_print_help(const struct command_spec *cmd, FILE *out)
{
	static const struct option_spec help = { .name = "help", .help = "this text" };

	fprintf(out, "Usage: mvmm %s %s\n%s\n\nOptions:\n", cmd->name, cmd->synopsis, cmd->summary);
	for (const struct option_spec *spec = cmd->options; spec->name; spec++)
		print_option(spec, out);
	print_option(&help, out);
	if (cmd->epilogue)
		fprintf(out, "\n%s", cmd->epilogue);
}

int option_invalid(struct error *err, const char *name, const char *value, const char *allowed)
{
	return error_setx(err, EINVAL, "--%s '%s': %s", name, value, allowed);
}
