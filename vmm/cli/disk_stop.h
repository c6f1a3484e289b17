/* SPDX-License-Identifier: Apache-2.0 */
/* Disks that on-error= has stopped: which, why, and what is said of it. Main. */
#ifndef MVMM_CLI_DISK_STOP_H
#define MVMM_CLI_DISK_STOP_H

#include <stdbool.h>
#include <stddef.h>

struct machine;
struct machine_disk;

/* Has stopped, and has no RESUME on its way to it. */
bool disk_stop_holds(const struct machine_disk *disk, int *code);

/* Says once of each disk that it has stopped, and how to go on. True if there is one. */
bool disk_stop_tell(struct machine *m);

/* "disk 'a.img': No space left on device", of the first one that has stopped. False: none has. */
bool disk_stop_reason(const struct machine *m, char *text, size_t size);

#endif
