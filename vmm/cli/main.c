/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The way in and the way out: picks the subcommand, prints the last message, returns the exit
 * status. The only place that does either.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "vmm/cli/commands.h"
#include "vmm/cli/result.h"
#include "vmm/cli/run_options.h"
#include "vmm/log.h"

struct command {
	const struct command_spec *spec;
	int (*main)(int argc, char **argv, struct error *err);
};

static const struct command commands[] = {
	{ &run_command, run_main },
	{ &bench_command, bench_main },
	{ &check_command, check_main },
	{ &ctl_command, ctl_main },
};

#define COMMANDS (sizeof(commands) / sizeof(commands[0]))

static void print_usage(FILE *out)
{
	fprintf(out, "Usage: mvmm COMMAND [options]\n\nCommands:\n");
	for (unsigned i = 0; i < COMMANDS; i++)
		fprintf(out, "  %-8s %s\n", commands[i].spec->name, commands[i].spec->summary);
	fprintf(out, "\nmvmm COMMAND --help tells more; mvmm --version the version.\n");
}

static const struct command *find_command(const char *name)
{
	for (unsigned i = 0; i < COMMANDS; i++)
		if (!strcmp(commands[i].spec->name, name))
			return &commands[i];
	return NULL;
}

/*
 * Started with a standard stream closed, the next file opened would take its number, and the
 * guest's console would be written into a disk image.
 */
static bool fill_standard_streams(void)
{
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) != fd)
			return false;
	return true;
}

static bool is_any(const char *word, const char *a, const char *b)
{
	return !strcmp(word, a) || !strcmp(word, b);
}

int main(int argc, char **argv)
{
	const struct command *command;
	struct error err = { 0 };
	int status;

	if (!fill_standard_streams()) {
		log_error("/dev/null: cannot stand in for a closed standard stream: %s",
			  strerror(errno));
		return STATUS_ERROR;
	}
	if (argc < 2) {
		print_usage(stderr);
		return STATUS_USAGE;
	}
	if (is_any(argv[1], "--help", "-h") || !strcmp(argv[1], "help")) {
		print_usage(stdout);
		return 0;
	}
	if (is_any(argv[1], "--version", "-V")) {
		printf("mvmm " MVMM_VERSION "\n");
		return 0;
	}
	command = find_command(argv[1]);
	if (!command) {
		log_error("unknown command '%s' (known: run, bench, check, ctl; see: mvmm --help)",
			  argv[1]);
		return STATUS_USAGE;
	}
	status = command->main(argc - 1, argv + 1, &err);
	if (err.text[0])
		log_error("%s", err.text);
	fflush(NULL);
	_exit(status); /* what is left of a machine goes with the process: see ending_run() */
}
