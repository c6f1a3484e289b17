/* SPDX-License-Identifier: Apache-2.0 */
/* What happens when a thread breaks the rules of its sandbox. */
#ifndef MVMM_CLI_VIOLATION_H
#define MVMM_CLI_VIOLATION_H

/*
 * From here on a forbidden system call restores the terminal, says in one line which thread wanted
 * what, and ends the process with STATUS_VIOLATION. Main, before threads.
 */
void violation_report(void);

#endif
