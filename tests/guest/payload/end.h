/* SPDX-License-Identifier: Apache-2.0 */
/* The ways a guest can end its machine. */
#ifndef PAYLOAD_END_H
#define PAYLOAD_END_H

#include <stdint.h>

/* After all tests: power off if none failed, debug-exit with the number of failures otherwise;
 * `end=debug-exit` on the command line keeps to the latter (value 0x10 for none). */
_Noreturn void end_tests(unsigned failures);

/* Something the payload cannot go on without: a "Bail out!" line, debug-exit 0x7e. */
_Noreturn void end_abort(const char *why);

/* By the name on the command line, `end-...`; false: no such way. Returns true only if the machine
 * outlived it. */
int end_by_name(const char *name);

#endif
