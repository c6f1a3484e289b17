/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Other disks: while tests do their worst to disk 0, CPU 1 keeps verified I/O going on all the
 * others, which must not notice.
 */
#ifndef PAYLOAD_NEIGHBOURS_H
#define PAYLOAD_NEIGHBOURS_H

#include <stdint.h>

void neighbours_start(void);
/* Requests they have completed so far; any CPU. */
uint64_t neighbours_done(void);
/* Stops them: a check that all went well, and went on. */
void neighbours_end(void);

#endif
