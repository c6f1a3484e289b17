/* SPDX-License-Identifier: Apache-2.0 */
/* A standard stream that nobody who writes to it can be held up by. */
#ifndef MVMM_CLI_STREAM_H
#define MVMM_CLI_STREAM_H

/*
 * Puts an open file of our own behind `fd`, a terminal or a pipe, one that does not wait: the one we were
 * given may be a shell's, too, which would find it changed. Everything else, and what cannot be opened once
 * more (no /proc, another user's terminal), stays as it is. Main, before threads, forks and the sandbox.
 */
void stream_make_own(int fd);

#endif
