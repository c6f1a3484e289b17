/* SPDX-License-Identifier: Apache-2.0 */
/* Prints the sandbox's rules, one line per rule and role, for tests/sandbox/run:
 *
 *	ROLE CALL ARG VALUE REASON	ARG -1: any; VALUE "pid": the process's own; REASON or "-"
 */
#include <stdio.h>

#include "vmm/cli/roles.h"

static void print_rule(const struct role_rule *rule, enum role role)
{
	printf("%s %s ", role_names[role], rule->call);
	if (!rule->by_arg)
		printf("-1 -");
	else if (rule->value == ROLE_OWN_PID)
		printf("%u pid", rule->arg);
	else
		printf("%u %#x", rule->arg, rule->value);
	printf(" %s\n", rule->unseen ? rule->unseen : "-");
}

int main(void)
{
	for (const struct role_rule *rule = role_rules; rule->call; rule++)
		for (unsigned role = 0; role < ROLE_COUNT; role++)
			if (rule->roles & 1U << role)
				print_rule(rule, role);
	return fflush(stdout) != 0;
}
