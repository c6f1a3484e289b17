/* SPDX-License-Identifier: Apache-2.0 */
/* The ways a guest can end its machine. */
#ifndef PAYLOAD_WAYS_H
#define PAYLOAD_WAYS_H

/* After all tests: power off if none failed, debug-exit with the number of failures otherwise;
 * `end=debug-exit` on the command line keeps to the latter (END_GOOD for none). */
_Noreturn void end_tests(unsigned failures);

/* By the name on the command line, `end-...`; false: no such way. Returns true only if the machine
 * outlived it. */
int end_by_name(const char *name);

#endif
