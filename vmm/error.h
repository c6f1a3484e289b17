/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Set-up errors for people: one line that names the object, the wish and the cause.
 *
 * A constructor that can fail takes a `struct error *` and returns -errno; whoever called first
 * (vmm/cli/main.c) prints the text once and picks the exit status. Never used on the I/O path.
 */
#ifndef MVMM_ERROR_H
#define MVMM_ERROR_H

struct error {
	char text[512];
};

/*
 * Writes the message and returns -code, so that a failing path reads
 *	return error_set(err, errno, "disk '%s': cannot open", path);
 * ": " and strerror(code) are appended; error_setx() appends nothing. `err` may be NULL.
 */
int error_set(struct error *err, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
int error_setx(struct error *err, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

#endif
