/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The end of a VM in words and numbers. Main, and the thread that ends a slow end (ending.c). The
 * one place that maps reasons to exit statuses.
 */
#include "vmm/cli/result.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct reason {
	const char *word; /* in the JSON line */
	const char *text; /* in the closing line */
};

static const struct reason reasons[] = {
	[VM_RUNNING] = { "running", "still running" },
	[VM_END_POWEROFF] = { "poweroff", "guest powered off" },
	[VM_END_RESET] = { "reset", "guest asked for a reset" },
	[VM_END_CRASH] = { "crash", "guest crashed" },
	[VM_END_PANIC] = { "panic", "guest kernel panicked" },
	[VM_END_HALTED] = { "halted", "guest halted for good" },
	[VM_END_TIMEOUT] = { "timeout", "time limit reached" },
	[VM_END_SIGNAL] = { "signal", "ended by" },
	[VM_END_DEBUG_EXIT] = { "debug-exit", "guest wrote" },
	[VM_END_QUIT] = { "quit", "console closed by the user" },
	[VM_END_HOST_ERROR] = { "error", "host error" },
};

int result_status(const struct result *res)
{
	switch (res->end) {
	case VM_END_POWEROFF:
	case VM_END_QUIT:
		return STATUS_POWEROFF;
	case VM_END_RESET:
		return STATUS_RESET;
	case VM_END_CRASH:
		return STATUS_CRASH;
	case VM_END_PANIC:
		return STATUS_PANIC;
	case VM_END_HALTED:
		return STATUS_HALTED;
	case VM_END_TIMEOUT:
		return STATUS_TIMEOUT;
	case VM_END_SIGNAL:
		return STATUS_SIGNAL + (res->value & 0x7f);
	case VM_END_DEBUG_EXIT:
		return ((res->value << 1) | 1) & 0xff;
	case VM_RUNNING:
	case VM_END_HOST_ERROR:
		break;
	}
	return STATUS_ERROR;
}

/* snprintf that appends and never runs over; *len may end beyond size. */
static void append(char *buf, size_t size, size_t *len, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

static void append(char *buf, size_t size, size_t *len, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(*len < size ? buf + *len : NULL, *len < size ? size - *len : 0, fmt, ap);
	va_end(ap);
	if (n > 0)
		*len += n;
}

static const char *signal_name(uint32_t sig, char buf[16])
{
	const char *abbrev = sigabbrev_np((int)sig);

	if (abbrev)
		snprintf(buf, 16, "SIG%s", abbrev);
	else
		snprintf(buf, 16, "signal %u", sig);
	return buf;
}

static void append_detail(const struct result *res, char *buf, size_t size, size_t *len)
{
	char name[16];

	if (res->end == VM_END_SIGNAL)
		append(buf, size, len, " %s", signal_name(res->value, name));
	else if (res->end == VM_END_DEBUG_EXIT)
		append(buf, size, len, " 0x%" PRIx32 " to the debug-exit port", res->value);
	else if (res->end == VM_END_HOST_ERROR)
		append(buf, size, len, ": %s",
		       res->message ? res->message : strerror((int)res->value));
}

void result_line(const struct result *res, char *buf, size_t size)
{
	size_t len = 0;

	if (res->name)
		append(buf, size, &len, "%s: ", res->name);
	append(buf, size, &len, "%s", reasons[res->end].text);
	append_detail(res, buf, size, &len);
	append(buf, size, &len, " (exit status %d", result_status(res));
	if (res->dropped)
		append(buf, size, &len, ", %" PRIu64 " console bytes dropped", res->dropped);
	append(buf, size, &len, ")");
}

/* How many bytes the well-formed sequence at `s` has (Unicode 15.0, table 3-7), or 0. */
static unsigned utf8_length(const unsigned char *s)
{
	const unsigned len = s[0] < 0x80 ? 1 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;

	if ((s[0] >= 0x80 && s[0] < 0xc2) || s[0] > 0xf4)
		return 0;
	/* Longer forms than needed, surrogates, and what is beyond U+10FFFF. */
	if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) ||
	    (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f))
		return 0;
	for (unsigned i = 1; i < len; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	return len;
}

/* RFC 8259, 7 and 8.1: quote, backslash and control characters are escaped, and all is UTF-8, which
 * file names need not be. */
static void append_string(char *buf, size_t size, size_t *len, const char *key, const char *text)
{
	append(buf, size, len, ",\"%s\":\"", key);
	while (*text) {
		const unsigned char c = (unsigned char)*text;
		const unsigned n = utf8_length((const unsigned char *)text);

		if (!n)
			append(buf, size, len, "\\ufffd");
		else if (c == '"' || c == '\\')
			append(buf, size, len, "\\%c", c);
		else if (c < 0x20 || c == 0x7f)
			append(buf, size, len, "\\u%04x", c);
		else
			append(buf, size, len, "%.*s", (int)n, text);
		text += n ? n : 1;
	}
	append(buf, size, len, "\"");
}

int result_json(const struct result *res, char *buf, size_t size)
{
	size_t len = 0;
	char name[16];

	append(buf, size, &len, "{\"reason\":\"%s\",\"status\":%d,\"value\":%" PRIu32,
	       reasons[res->end].word, result_status(res), res->value);
	if (res->end == VM_END_SIGNAL)
		append_string(buf, size, &len, "signal", signal_name(res->value, name));
	if (res->message)
		append_string(buf, size, &len, "message", res->message);
	if (res->name)
		append_string(buf, size, &len, "name", res->name);
	append(buf, size, &len, ",\"run_ms\":%" PRIu64 ",\"console_dropped\":%" PRIu64, res->run_ms,
	       res->dropped);
	append(buf, size, &len, ",\"disk_errors\":%" PRIu64 ",\"disks_stuck\":%u}\n",
	       res->disk_errors, res->stuck);
	return len < size ? (int)len : -ENOSPC;
}

static int write_all(int fd, const char *buf, size_t len)
{
	while (len) {
		ssize_t n = write(fd, buf, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		buf += n;
		len -= n;
	}
	return 0;
}

/* Links count: /dev/stdout may lead to a regular file that is not ours to replace. */
static bool is_special(const char *path)
{
	struct stat st;

	return !lstat(path, &st) && !S_ISREG(st.st_mode);
}

/* A pipe may have no reader yet: to hold both its ends waits for one and asks nobody. */
static int open_special(const char *path)
{
	const int flags = O_APPEND | O_NONBLOCK | O_CLOEXEC | O_NOCTTY;
	int fd = open(path, O_WRONLY | flags);

	if (fd < 0 && errno == ENXIO)
		fd = open(path, O_RDWR | flags);
	return fd < 0 ? -errno : fd;
}

/* A new file, never an old one emptied: whoever reads that keeps what it had. */
static int open_regular(const char *path)
{
	int fd;

	if (unlink(path) && errno != ENOENT)
		return -errno;
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
	return fd < 0 ? -errno : fd;
}

int result_open(const char *path, struct error *err)
{
	const int fd = is_special(path) ? open_special(path) : open_regular(path);

	return fd < 0 ? error_set(err, -fd, "--result '%s': cannot write", path) : fd;
}

int result_write(const struct result *res, int fd, struct error *err)
{
	char line[4096]; /* control characters in a message grow sixfold */
	int len = result_json(res, line, sizeof(line));
	int ret = len < 0 ? len : write_all(fd, line, len);

	return ret ? error_set(err, -ret, "--result: cannot write") : 0;
}

static int check(const char *path)
{
	char copy[PATH_MAX];
	struct stat st;

	if (!stat(path, &st) && S_ISDIR(st.st_mode))
		return -EISDIR;
	if (is_special(path))
		return access(path, W_OK) ? -errno : 0;
	if ((size_t)snprintf(copy, sizeof(copy), "%s", path) >= sizeof(copy))
		return -ENAMETOOLONG;
	return access(dirname(copy), W_OK | X_OK) ? -errno : 0;
}

int result_check(const char *path, struct error *err)
{
	int ret = check(path);

	return ret ? error_set(err, -ret, "--result '%s': cannot write", path) : 0;
}
