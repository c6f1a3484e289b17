/* SPDX-License-Identifier: Apache-2.0 */
/* The subcommands. Each returns the exit status; a message to print, if any, is in `err`. */
#ifndef MVMM_CLI_COMMANDS_H
#define MVMM_CLI_COMMANDS_H

#include "vmm/cli/options.h"
#include "vmm/error.h"

extern const struct command_spec bench_command, check_command, ctl_command;

int run_main(int argc, char **argv, struct error *err);
int bench_main(int argc, char **argv, struct error *err);
int check_main(int argc, char **argv, struct error *err);
int ctl_main(int argc, char **argv, struct error *err);

#endif
