/* SPDX-License-Identifier: Apache-2.0 */
/* JSON for people: what `mvmm ctl` prints without --json. */
#ifndef MVMM_CLI_CTL_PRINT_H
#define MVMM_CLI_CTL_PRINT_H

#include <jansson.h>
#include <stdio.h>

/* An object as a list of its members, an array of objects as a table. */
void ctl_print(const json_t *json, FILE *out);

#endif
